// The service behind the topics: answers requests, takes events.
import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { EventPattern, MessagePattern, Payload, Transport } from '@nestjs/microservices';
import { logger, say } from './say.js';
import { TUNED } from './tuned.js';

export async function worker(bootstrap: string, prefix: string): Promise<void> {
    @Controller()
    class Service {
        @MessagePattern<string>(`${prefix}.square`)
        square(@Payload() request: { i: number }) {
            return { i: request.i, square: request.i * request.i, worker: process.pid };
        }

        @EventPattern<string>(`${prefix}.happened`)
        happened(@Payload() event: { i: number }) {
            say('event', event.i, Date.now());
        }
    }

    @Module({ controllers: [Service] })
    class Root {}

    const app = await NestFactory.createMicroservice(Root, {
        transport: Transport.KAFKA,
        logger,
        options: {
            client: { clientId: `${prefix}-worker`, brokers: bootstrap.split(',') },
            consumer: { groupId: `${prefix}-worker`, ...TUNED },
            // What came before this service was there for the first time is served too.
            subscribe: { fromBeginning: true },
        },
    });
    app.enableShutdownHooks(['SIGTERM']);
    await app.listen();
    say('ready', Date.now());
}
