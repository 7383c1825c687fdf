// A producer and a group member with kafkajs, all settings at their defaults but acks and idempotence. With KAFKAJS_TUNED in the
// environment its consumer has those of kafkajs-tuned/README.md.
import kafkajs from 'kafkajs';

const { CompressionTypes, Kafka, logLevel } = kafkajs;
// The other codecs need plugins of their own.
const CODECS = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP };

const NAME = process.env.KAFKAJS_TUNED ? 'kafkajs-tuned' : 'kafkajs';
const CONSUMER = process.env.KAFKAJS_TUNED ? { sessionTimeout: 6000, heartbeatInterval: 2000, maxWaitTimeInMs: 500,
    retry: { retries: 3, initialRetryTime: 100 } } : {};

function say(...words) {
    process.stdout.write(words.join(' ') + '\n'); // synchronous for pipes
}

function client(bootstrap) {
    return new Kafka({ clientId: 'kafkajs-test', brokers: bootstrap.split(','), logLevel: logLevel.WARN,
        logCreator: () => entry => process.stderr.write(JSON.stringify(entry) + '\n') });
}

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

// One record after the other: kafkajs takes back the sequence number of a send that failed, so that with several sends under
// way a retried one could come out as the duplicate of another. After an outage the pace is caught up with.
async function produce(bootstrap, topic, count, intervalMs, codec) {
    if (!(codec in CODECS)) {
        say('unsupported', codec);
        return 3;
    }
    const producer = client(bootstrap).producer({ idempotent: true, maxInFlightRequests: 1 });
    let stopping = false;
    process.on('SIGTERM', () => { stopping = true; });
    await producer.connect();
    const begin = Date.now();
    const pad = '.'.repeat(Number(process.env.PAD ?? 0));
    let acked = 0;
    for (let i = 0; i < count && !stopping; i++) {
        const wait = begin + i * intervalMs - Date.now();
        if (wait > 0)
            await sleep(wait);
        try {
            const [metadata] = await producer.send({ topic, acks: -1, compression: CODECS[codec],
                messages: [{ key: String(i), value: `${NAME}-${i}${pad}` }] });
            acked++;
            say('ack', i, metadata.partition, metadata.baseOffset, Date.now());
        } catch (error) {
            say('error', i, error.message);
        }
    }
    await producer.disconnect();
    say('done', acked);
    return 0;
}

async function consume(bootstrap, topic, groupId) {
    const consumer = client(bootstrap).consumer({ groupId, ...CONSUMER });
    const stopped = new Promise(resolve => process.on('SIGTERM', () => resolve(0)));
    const crashed = new Promise(resolve => consumer.on(consumer.events.CRASH, ({ payload }) => {
        if (!payload.restart)
            resolve(1);
    }));
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
        const mine = payload.memberAssignment[topic] ?? [];
        say(...['assigned', [...mine].sort((a, b) => a - b).join(',')].filter(word => word !== ''));
    });
    await consumer.connect();
    await consumer.subscribe({ topic, fromBeginning: true });
    await consumer.run({
        eachMessage: async ({ partition, message }) =>
            say('record', partition, message.offset, message.value, Date.now()),
    });
    const status = await Promise.race([stopped, crashed]);
    await consumer.disconnect(); // finishes and commits the batch at hand, leaves the group
    return status;
}

const [mode, ...args] = process.argv.slice(2);
if (mode === 'produce' && args.length === 5) {
    process.exit(await produce(args[0], args[1], Number(args[2]), Number(args[3]), args[4]));
} else if (mode === 'consume' && args.length === 3) {
    process.exit(await consume(...args));
} else {
    say('usage: client produce BOOTSTRAP TOPIC COUNT INTERVAL_MS CODEC | client consume BOOTSTRAP TOPIC GROUP');
    process.exit(2);
}
