"""aiokafka, a Python client without librdkafka, to the contract of tests/clients/README.md; and the reader that judges the
clients built on librdkafka:

    client read BOOTSTRAP TOPIC      each record of the topic as `record <partition> <offset> <value>`, in order, then `end`
"""
import asyncio
import os
import signal
import sys
import time

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener

NAME = "aiokafka"
READ_STALL_S = 20


def say(*words):
    print(*words, flush=True)


def now_ms():
    return int(time.time() * 1000)


async def acknowledged(i, future):
    try:
        m = await future
    except Exception as e:  # whatever the client gives up with is what the driver wants to hear of
        say("error", i, repr(e))
        return 0
    say("ack", i, m.partition, m.offset, now_ms())
    return 1


async def produce(end, bootstrap, topic, count, interval_ms, codec):
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", enable_idempotence=True,
                                compression_type=None if codec == "none" else codec)
    await producer.start()
    pad = "." * int(os.environ.get("PAD", "0"))
    loop = asyncio.get_running_loop()
    next_at = loop.time()
    answers = []
    for i in range(count):
        try:
            await asyncio.wait_for(end.wait(), max(0.0, next_at - loop.time()))
            break
        except asyncio.TimeoutError:
            pass
        next_at += interval_ms / 1000.0
        future = await producer.send(topic, key=b"%d" % i, value=("%s-%d%s" % (NAME, i, pad)).encode())
        answers.append(asyncio.create_task(acknowledged(i, future)))
    await producer.flush()
    acked = sum(await asyncio.gather(*answers))
    await producer.stop()
    say("done", acked)


class Listener(ConsumerRebalanceListener):
    async def on_partitions_revoked(self, revoked):
        pass

    async def on_partitions_assigned(self, assigned):
        say("assigned", ",".join(str(p.partition) for p in sorted(assigned)))


async def consume(end, bootstrap, topic, group):
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest")
    await consumer.start()
    consumer.subscribe([topic], listener=Listener())

    async def pump():
        async for m in consumer:
            say("record", m.partition, m.offset, m.value.decode(), now_ms())

    pumping = asyncio.create_task(pump())
    ending = asyncio.create_task(end.wait())
    await asyncio.wait([pumping, ending], return_when=asyncio.FIRST_COMPLETED)
    failed = pumping.done()
    pumping.cancel()
    await consumer.stop()
    if failed:
        raise SystemExit("reading ended: %r" % (pumping.exception(),))


async def read(_, bootstrap, topic):
    # Without a group the client assigns itself all partitions.
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    partitions = sorted(consumer.assignment())
    missing = {p: end for p, end in (await consumer.end_offsets(partitions)).items() if end > 0}
    while missing:
        batches = await consumer.getmany(timeout_ms=READ_STALL_S * 1000)
        if not batches:
            raise SystemExit("no record for %d s, still before the end: %r" % (READ_STALL_S, missing))
        for p, messages in batches.items():
            for m in messages:
                say("record", m.partition, m.offset, m.value.decode())
                if m.offset + 1 >= missing.get(p, m.offset + 2):
                    del missing[p]
    await consumer.stop()
    say("end")


async def main():
    end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end.set)
    if sys.argv[1] == "produce":
        await produce(end, sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
    else:
        await {"consume": consume, "read": read}[sys.argv[1]](end, *sys.argv[2:])


if __name__ == "__main__":
    if sys.argv[1] == "produce" and sys.argv[6] not in ("none", "gzip", "snappy", "lz4", "zstd"):
        say("unsupported", sys.argv[6])
        sys.exit(3)
    asyncio.run(main())
