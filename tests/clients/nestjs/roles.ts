// The contract's producer and group member, with NestJS's own means: emit(), and a handler of events.
import 'reflect-metadata';
import { Controller, Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ClientKafka, Ctx, EventPattern, KafkaContext, KafkaOptions, Payload, ServerKafka } from '@nestjs/microservices';
import kafkajs from 'kafkajs';
import { lastValueFrom } from 'rxjs';
import { logger, say, sleep, textOf } from './say.js';

const CODECS: Record<string, kafkajs.CompressionTypes> = {
    none: kafkajs.CompressionTypes.None,
    gzip: kafkajs.CompressionTypes.GZIP,
};

// One record after the other; see kafkajs/client.js for why.
export async function produce(bootstrap: string, topic: string, count: number, intervalMs: number,
    codec: string): Promise<number> {
    if (!(codec in CODECS)) {
        say('unsupported', codec);
        return 3;
    }
    const client = new ClientKafka({
        client: { clientId: 'nestjs-test', brokers: bootstrap.split(',') },
        producerOnlyMode: true,
        producer: { idempotent: true, maxInFlightRequests: 1 },
        send: { acks: -1, compression: CODECS[codec] },
    });
    await client.connect();
    let stopping = false;
    process.on('SIGTERM', () => { stopping = true; });
    const pad = '.'.repeat(Number(process.env.PAD ?? 0));
    const begin = Date.now();
    let acked = 0;
    for (let i = 0; i < count && !stopping; i++) {
        await sleep(Math.max(0, begin + i * intervalMs - Date.now()));
        try {
            const [metadata] = await lastValueFrom(
                client.emit<kafkajs.RecordMetadata[]>(topic, { key: String(i), value: `nestjs-${i}${pad}` }));
            acked++;
            say('ack', i, metadata.partition, metadata.baseOffset ?? -1, Date.now());
        } catch (error) {
            say('error', i, textOf(error));
        }
    }
    await client.close();
    say('done', acked);
    return 0;
}

// Tells its share each time it gets one.
class TellingServer extends ServerKafka {
    constructor(private readonly topic: string, options: Required<KafkaOptions>['options']) {
        super(options);
    }

    protected override registerConsumerEventListeners(): void {
        super.registerConsumerEventListeners();
        this.consumer!.on('consumer.group_join', ({ payload }: kafkajs.ConsumerGroupJoinEvent) => {
            const mine = [...payload.memberAssignment[this.topic] ?? []].sort((a, b) => a - b);
            say(...['assigned', mine.join(',')].filter(word => word !== ''));
        });
    }
}

export async function consume(bootstrap: string, topic: string, groupId: string): Promise<number> {
    @Controller()
    class Reader {
        @EventPattern<string>(topic)
        record(@Payload() value: string, @Ctx() context: KafkaContext) {
            say('record', context.getPartition(), context.getMessage().offset, value, Date.now());
        }
    }

    @Module({ controllers: [Reader] })
    class Root {}

    const stopped = new Promise<number>(resolve => process.on('SIGTERM', () => resolve(0)));
    const strategy = new TellingServer(topic, {
        client: { clientId: 'nestjs-test', brokers: bootstrap.split(',') },
        consumer: { groupId },
        postfixId: '',
        subscribe: { fromBeginning: true },
    });
    const app = await NestFactory.createMicroservice(Root, { strategy, logger });
    await app.listen();
    const status = await stopped;
    await app.close(); // commits, leaves the group
    return status;
}
