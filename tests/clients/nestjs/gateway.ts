// The service in front: sends requests and waits for their replies, emits events.
import 'reflect-metadata';
import { Inject, Injectable, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientKafka, ClientsModule, Transport } from '@nestjs/microservices';
import { lastValueFrom, retry, throwError, timeout } from 'rxjs';
import { logger, say, sleep, textOf } from './say.js';
import { TUNED } from './tuned.js';

// NestJS commits a request before its reply is out: a killed worker takes replies with it. Requests are sent again, as by any
// client of such a service.
const REPLY_MS = 45000;
const TRIES_MAX = 3;

export async function gateway(bootstrap: string, prefix: string, count: number, intervalMs: number): Promise<void> {
    @Injectable()
    class Front {
        constructor(@Inject('KAFKA') private readonly kafka: ClientKafka) {}

        async onModuleInit(): Promise<void> {
            this.kafka.subscribeToResponseOf(`${prefix}.square`);
            await this.kafka.connect();
        }

        async request(i: number): Promise<void> {
            say('request', i, Date.now());
            try {
                const late = () => {
                    say('again', i, Date.now());
                    return throwError(() => new Error(`no reply within ${REPLY_MS} ms`));
                };
                const answer = await lastValueFrom(this.kafka.send(`${prefix}.square`, { i }).pipe(
                    timeout({ each: REPLY_MS, with: late }), retry(TRIES_MAX - 1)));
                if (answer.i === i && answer.square === i * i)
                    say('reply', i, Date.now());
                else
                    say('error', i, `wrong answer ${JSON.stringify(answer)}`);
            } catch (error) {
                say('error', i, `request: ${textOf(error)}`);
            }
        }

        async event(i: number): Promise<void> {
            try {
                await lastValueFrom(this.kafka.emit(`${prefix}.happened`, { i }));
            } catch (error) {
                say('error', i, `event: ${textOf(error)}`);
            }
        }
    }

    @Module({
        imports: [ClientsModule.register([{
            name: 'KAFKA',
            transport: Transport.KAFKA,
            options: {
                client: { clientId: `${prefix}-gateway`, brokers: bootstrap.split(',') },
                consumer: { groupId: `${prefix}-gateway`, ...TUNED },
                subscribe: { fromBeginning: true },
            },
        }])],
        providers: [Front],
    })
    class Root {}

    const app = await NestFactory.createApplicationContext(Root, { logger });
    app.enableShutdownHooks(['SIGTERM']);
    say('ready', Date.now());
    const front = app.get(Front);
    const begin = Date.now();
    const pending: Promise<void>[] = [];
    for (let i = 0; i < count; i++) {
        await sleep(Math.max(0, begin + i * intervalMs - Date.now()));
        pending.push(front.request(i), front.event(i));
    }
    await Promise.all(pending);
    say('answered', Date.now()); // the process stays: it is stopped like any service
}
