"""Codecs: what one client has compressed, another reads: Java what librdkafka wrote, librdkafka what all others did."""
import collections

import view
from contract import END_S, Failed, require, wait_for

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
RECORDS = 120
PAD_BYTES = 1500  # compressible, and more than 1 KB
MUST_HAVE_ALL = ("librdkafka", "java")
READ_S = 90


def write(cluster, client):
    """One topic with a fifth of its records in each codec; returns the acknowledgements by codec."""
    topic = "codecs-" + client.name
    view.create_topic(cluster, topic, 3, 3)
    acks = {}
    for codec in CODECS:
        producer = client.produce(cluster, topic, RECORDS, 0, codec, PAD_BYTES)
        if producer.process.wait(END_S) == 3:
            producer.thread.join(END_S)
            require(producer.unsupported and client.name not in MUST_HAVE_ALL, "codec %s: status 3", codec)
            continue
        producer.wait_end()
        require(len(producer.acks) == RECORDS, "%s: %d of %d records acknowledged", codec, len(producer.acks), RECORDS)
        acks[codec] = producer.heard()
    require(len(acks) > 1, "only %s is supported", ", ".join(acks))
    return acks


def read(cluster, reader, writer, acks):
    """reader consumes all that writer wrote: at every acknowledged place the record with its whole value."""
    topic = "codecs-" + writer.name
    consumer = reader.consume(cluster, topic, "%s-by-%s" % (topic, reader.name))
    expected = {(a.partition, a.offset): "%s-%d" % (writer.name, a.i) for list_ in acks.values() for a in list_}

    def missing():
        seen = {(r.partition, r.offset) for r in consumer.heard()}
        return [place for place in expected if place not in seen]
    try:
        wait_for(READ_S, lambda: not missing(), lambda: "%s did not read %d of %d records of %s: %s" % (
            reader.name, len(missing()), len(expected), topic, consumer.say_why()))
        lengths = collections.Counter()
        for r in consumer.heard():
            want = expected.get((r.partition, r.offset))
            require(want is None or r.value.rstrip(".") == want, "%s-%d: offset %d reads as %s instead of %s", topic,
                    r.partition, r.offset, r.value[:40], want)
            lengths[len(r.value) - len(r.value.rstrip("."))] += 1
        if writer.name in MUST_HAVE_ALL:
            require(set(lengths) == {PAD_BYTES}, "%s: values are not whole: %s", topic, lengths)
        consumer.ask_to_end()
        consumer.wait_end()
    except Failed:
        consumer.kill()
        raise
    return len(expected)


def cross(cluster, writer, clients):
    """The test of one writer."""
    acks = write(cluster, writer)
    reader = next(c for c in clients if c.name == ("java" if writer.name == "librdkafka" else "librdkafka"))
    count = read(cluster, reader, writer, acks)
    return "%s; %d records read by %s" % (" ".join(acks), count, reader.name)
