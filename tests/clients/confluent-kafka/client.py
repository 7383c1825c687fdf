"""confluent-kafka, Confluent's Python client over the newest librdkafka, to the contract of tests/clients/README.md."""
import os
import signal
import sys
import time

from confluent_kafka import Consumer, Producer

NAME = "confluent-kafka"
asked_to_end = []


def say(*words):
    print(*words, flush=True)


def now_ms():
    return int(time.time() * 1000)


def produce(bootstrap, topic, count, interval_ms, codec):
    if codec not in ("none", "gzip", "snappy", "lz4", "zstd"):
        say("unsupported", codec)
        sys.exit(3)
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": codec})
    acked = []

    def report(i):
        def on_delivery(error, message):
            if error is not None:
                say("error", i, error.str())
            else:
                acked.append(i)
                say("ack", i, message.partition(), message.offset(), now_ms())
        return on_delivery

    next_at = time.monotonic()
    for i in range(count):
        while not asked_to_end and time.monotonic() < next_at:
            producer.poll(max(0.0, next_at - time.monotonic()))
        if asked_to_end:
            break
        next_at += interval_ms / 1000.0
        producer.produce(topic, key=str(i), value="%s-%d%s" % (NAME, i, "." * int(os.environ.get("PAD", "0"))),
                         on_delivery=report(i))
        producer.poll(0)
    producer.flush(60)
    say("done", len(acked))


def consume(bootstrap, topic, group):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic], on_assign=lambda _, given: say("assigned", ",".join(str(p.partition) for p in given)))
    while not asked_to_end:
        message = consumer.poll(0.1)
        if message is None:
            continue
        if message.error():
            print(message.error(), file=sys.stderr, flush=True)
            continue
        say("record", message.partition(), message.offset(), message.value().decode(), now_ms())
    consumer.close()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: asked_to_end.append(True))
    if sys.argv[1] == "produce":
        produce(sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
    else:
        consume(sys.argv[2], sys.argv[3], sys.argv[4])
