"""Malformed requests over real sockets, half requests on idle connections, and few descriptors: the right Kafka error or a
closed connection, nothing stored, nothing leaked, nobody else disturbed."""
import os
import re
import resource
import socket
import struct
import time

import wire
from load import expect, wait_until
from wire import Connection

IDLE_CONNECTIONS = 2000
MEMORY_SLACK = 8 << 20  # pages the allocator keeps, and records of the load that runs meanwhile


def frame(body):
    return struct.pack(">i", len(body)) + body


def header(key, version, client="faults"):
    return struct.pack(">hhi", key, version, 1) + wire.string(client)


def bad_frames():
    """(name, bytes): the connection must be closed without an answer."""
    huge_array = struct.pack(">i", 0x7FFFFFFF)
    return [
        ("a negative size", struct.pack(">i", -1)),
        ("the smallest size", struct.pack(">i", -2147483648)),
        ("a size of 2 GB", struct.pack(">i", 2147483647) + b"x" * 100),
        ("a size just above the limit", struct.pack(">i", 104857601)),
        ("an empty frame", frame(b"")),
        ("a header of one byte", frame(b"\0")),
        ("a header cut in the client id", frame(struct.pack(">hhih", wire.METADATA, 1, 1, 30) + b"abc")),
        ("an unknown api key", frame(header(9999, 0))),
        ("a negative api key", frame(header(-5, 0))),
        ("an api of brokers only", frame(header(52, 0) + b"\0" * 20)),
        ("an unsupported version", frame(header(wire.METADATA, 99))),
        ("a negative version", frame(header(wire.METADATA, -1))),
        ("a body that is missing", frame(header(wire.METADATA, 1))),
        ("an array of 2 billion topics", frame(header(wire.METADATA, 1) + huge_array)),
        ("a topic name of negative length", frame(header(wire.METADATA, 1) + struct.pack(">ih", 1, -7))),
        ("produce with 2 billion partitions", frame(header(wire.PRODUCE, 3) + wire.string(None) + struct.pack(">hi", -1, 1000) +
                                                    struct.pack(">i", 1) + wire.string("load") + huge_array)),
        ("records longer than the request", frame(header(wire.PRODUCE, 3) + wire.string(None) + struct.pack(">hi", -1, 1000) +
                                                  struct.pack(">i", 1) + wire.string("load") + struct.pack(">iii", 1, 0, 1 << 30))),
        ("a varint without an end", frame(header(wire.METADATA, 12) + b"\0" + b"\xff" * 20)),
        ("text of another protocol", b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n"),
        ("a TLS greeting", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64),
    ]


def send_bad_frames(port):
    for name, data in bad_frames():
        with Connection(port) as c:
            c.send_raw(data)
            expect(c.closed(10), "%s: the connection stays open", name)
    with Connection(port) as c:  # cut in the middle: nothing to close, nothing to keep
        c.send_raw(frame(header(wire.METADATA, 1) + struct.pack(">i", 0))[:9])
    return len(bad_frames()) + 1


def send_garbage(port, seed_source, count=300):
    """Frames of noise, with real keys and versions in front so that the parsers behind them are reached."""
    for _ in range(count):
        noise = seed_source.randbytes(seed_source.randrange(1, 200))
        key = seed_source.choice((0, 1, 2, 3, 8, 9, 10, 11, 12, 13, 14, 15, 16, 18, 19, 20, 22, 23, 32, 33, 37, 42, 43, 44, 47, 55, 60, 75))
        try:
            with Connection(port) as c:
                c.send_raw(frame(header(key, seed_source.randrange(0, 9)) + noise))
                c.socket.settimeout(0.02)
                c.socket.recv(4096)
        except (socket.timeout, ConnectionResetError, BrokenPipeError):
            pass
    return count


def check_unknown_version(port):
    """ApiVersions is the exception: it answers with what there is."""
    with Connection(port) as c:
        r = c.call(wire.API_VERSIONS, 99, b"\0whatever")  # an empty tag section ends the header
        error = r.take(">h")
        listed = r.array(lambda: (r.take(">h"), r.take(">h"), r.take(">h")))
        expect(error == wire.UNSUPPORTED_VERSION and [k for k, _, _ in listed] == [wire.API_VERSIONS],
               "ApiVersions 99: error %d, keys %s", error, listed)
        expect(c.api_versions()[0] == wire.NONE, "the connection is not usable after ApiVersions 99")


def check_batches(port):
    """Bad batches: the right error, nothing appended, and the connection goes on."""
    topic = "strict"
    good = wire.batch([b"good"])
    tail_cut = good[:-3]
    cases = [
        ("a wrong CRC", wire.batch([b"x"], spoil_crc=True), (wire.CORRUPT_MESSAGE,)),
        ("magic 1", wire.batch([b"x"], magic=1), (wire.INVALID_RECORD, wire.CORRUPT_MESSAGE)),
        ("magic 7", wire.batch([b"x"], magic=7), (wire.INVALID_RECORD, wire.CORRUPT_MESSAGE)),
        ("two batches in one", good + good, (wire.INVALID_RECORD,)),
        ("a batch cut at its end", tail_cut, (wire.CORRUPT_MESSAGE, wire.INVALID_RECORD)),
        ("noise instead of a batch", b"\xa5" * 200, (wire.CORRUPT_MESSAGE, wire.INVALID_RECORD)),
        ("a batch above max.message.bytes", wire.batch([b"x" * 20000]), (wire.MESSAGE_TOO_LARGE,)),
    ]
    with Connection(port) as c:
        error, first = c.produce(topic, 0, good)
        expect(error == wire.NONE, "a good batch: error %d", error)
        for name, records, wanted in cases:
            error, offset = c.produce(topic, 0, records)
            expect(error in wanted and offset == -1, "%s: error %d at offset %d, wanted %s", name, error, offset, wanted)
        error, end = c.end_offset(topic, 0)
        expect((error, end) == (wire.NONE, first + 1), "refused batches moved the end from %d to %d", first + 1, end)
        check_sequences(c, topic, end)
        return len(cases)


def check_sequences(c, topic, end):
    error, producer, epoch = c.init_producer_id()
    expect(error == wire.NONE, "InitProducerId: error %d", error)
    error, base = c.produce(topic, 0, wire.batch([b"0", b"1"], (producer, epoch, 0)))
    expect((error, base) == (wire.NONE, end), "the first batch of a producer: error %d at %d", error, base)
    error, _ = c.produce(topic, 0, wire.batch([b"9"], (producer, epoch, 9)))
    expect(error == wire.OUT_OF_ORDER_SEQUENCE_NUMBER, "a gap in the sequence: error %d", error)
    error, base = c.produce(topic, 0, wire.batch([b"0", b"1"], (producer, epoch, 0)))
    expect((error, base) == (wire.NONE, end), "a batch sent again: error %d at %d instead of %d", error, base, end)
    error, base = c.produce(topic, 0, wire.batch([b"2"], (producer, epoch, 2)))
    expect((error, base) == (wire.NONE, end + 2), "the next batch in order: error %d at %d", error, base)
    error, now = c.end_offset(topic, 0)
    expect((error, now) == (wire.NONE, end + 3), "after a gap and a repetition the end is %d instead of %d", now, end + 3)


def half_requests(port, count):
    """Connections that each send half a request and say no more."""
    half = frame(header(wire.METADATA, 1) + struct.pack(">i", 0))[:12]
    idle = []
    for _ in range(count):
        s = socket.create_connection(("127.0.0.1", port), 15)
        s.sendall(half)
        idle.append(s)
    return idle


def rejections_logged(broker):
    with open(broker.log, errors="replace") as f:
        return len(re.findall(r"WARN client .*event=(?:bad_frame|bad_request|rejected|request_rejected)\S*", f.read()))


def malformed(bench):
    import random
    need = IDLE_CONNECTIONS + 500
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < need:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(need, hard), hard))
    cluster = bench.cluster()
    bench.start(cluster)
    load = bench.load(cluster)
    load.start()
    with Connection(cluster.brokers[0].port) as c:
        error, message = c.create_topic("strict", assignments=[[1, 2, 3]], configs={"max.message.bytes": "10000"})
        expect(error == wire.NONE, "CreateTopics: %d %s", error, message)
        wait_until("node 1 leads strict-0", lambda: c.end_offset("strict", 0)[0] == wire.NONE, 20)
    target = cluster.brokers[0]
    frames = send_bad_frames(target.port)  # buffers that are kept are there from now on
    batches = check_batches(target.port)
    check_unknown_version(target.port)
    load.gap_ms()
    before = target.rss_bytes()
    began = time.monotonic()
    for _ in range(3):
        frames += send_bad_frames(target.port)
    frames += send_garbage(target.port, random)
    seconds = time.monotonic() - began
    idle = half_requests(target.port, IDLE_CONNECTIONS)
    try:
        time.sleep(1)
        grown = target.rss_bytes() - before
        with Connection(target.port) as c:
            expect(c.api_versions()[0] == wire.NONE, "a good request among %d idle connections fails", len(idle))
        whole = idle[-1]  # the other half of a request may come late
        whole.sendall(frame(header(wire.METADATA, 1) + struct.pack(">i", 0))[12:])
        expect(len(whole.recv(4)) == 4, "a request that came in two halves is not answered")
    finally:
        for s in idle:
            s.close()
    expect(grown < MEMORY_SLACK, "%d bad frames and %d half requests cost %d KB of memory", frames, IDLE_CONNECTIONS, grown >> 10)
    lines = rejections_logged(target)
    expect(0 < lines <= 20 + seconds * 5, "%d log lines for %d bad requests in %.1f s", lines, frames, seconds)
    gap = load.gap_ms()
    expect(gap < 5000, "other clients were held up for %.0f ms", gap)
    expect(all(b.alive() for b in cluster.brokers), "a broker ended")
    return "%d bad frames, %d bad batches, %d half requests: %d KB of memory, %d log lines, others waited %.0f ms at most; %s" % (
        frames, batches, IDLE_CONNECTIONS, max(0, grown) >> 10, lines, gap, load.verdict())


# ---- few descriptors

def few_descriptors(bench):
    """With 256 descriptors for everything: new clients may be turned away, brokers, links and the load are not."""
    cluster = bench.cluster(wrap=lambda broker: ["prlimit", "--nofile=256:256"])
    bench.start(cluster)
    load = bench.load(cluster)
    load.start()
    target = cluster.brokers[0]
    limit = int(re.search(r"Max open files\s+(\d+)", open("/proc/%d/limits" % target.process.pid).read()).group(1))
    expect(limit == 256, "the broker may open %d files", limit)
    held = []
    refused = 0
    try:
        for _ in range(400):
            try:
                s = socket.create_connection(("127.0.0.1", target.port), 5)
                held.append(s)
            except OSError:
                refused += 1
        time.sleep(3)
        for s in held:
            s.settimeout(0)
            try:
                refused += s.recv(1) == b""
            except BlockingIOError:
                pass
            except OSError:
                refused += 1
        expect(all(b.alive() for b in cluster.brokers), "a broker ended for want of descriptors")
        expect(load.cluster()["steady"] or load.wait_full(20), "the load does not go on")
    finally:
        for s in held:
            s.close()
    # More partitions than descriptors: log files are opened as they are needed.
    with Connection(cluster.brokers[1].port, 60) as c:
        for number in range(3):
            error, message = c.create_topic("many-%d" % number, 100, 3)
            expect(error == wire.NONE, "CreateTopics: %d %s", error, message)
        for partition in range(0, 100, 7):
            leader = wait_until("many-2 has leaders", lambda p=partition: c.metadata("many-2")["partitions"].get(p, {}).get("leader", -1) > 0
                                and c.metadata("many-2")["partitions"][p]["leader"], 30)
            with Connection(cluster.broker(leader).port, 30) as leading:
                error, _ = wait_until("many-2-%d is written" % partition, lambda: (lambda r: r if r[0] == wire.NONE else None)(
                    leading.produce("many-2", partition, wire.batch([b"few"]))), 30, 0.2)
    used = len(os.listdir("/proc/%d/fd" % target.process.pid))
    load.wait_full()
    return "256 descriptors, %d of 400 idle clients turned away, 306 partitions, %d open; %s" % (refused, used, load.verdict())


TESTS = [
    ("malformed", malformed),
    ("few-descriptors", few_descriptors),
]
