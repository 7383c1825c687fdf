"""The memory limit: producers of large batches that never wait, readers that never read, and a broker that stays under
kvorum.memory.max.bytes while its other clients go on."""
import socket
import struct
import threading
import time

import wire
from load import expect, wait_until
from wire import Connection

LIMIT = 128 << 20
ALLOWANCE = 48 << 20  # program, libraries, heap that is not given back; an idle broker has 9 MB
BATCH = 4 << 20
PRODUCERS = 40
READERS = 40
SECONDS = 12


def fetch_frame(topic):
    size = 50 << 20
    body = struct.pack(">iiiib", -1, 100, 1, size, 0)
    body += wire.array([wire.string(topic) + wire.array([struct.pack(">iqi", 0, 0, size)])])
    frame = struct.pack(">hhi", wire.FETCH, 4, 1) + wire.string("slow") + body
    return struct.pack(">i", len(frame)) + frame


def push(port, topic, records, until, sent):
    """Sends produce requests as fast as the broker reads them; answers are thrown away."""
    s = socket.create_connection(("127.0.0.1", port), 15)
    body = wire.string(None) + struct.pack(">hi", 1, 5000)
    body += wire.array([wire.string(topic) + wire.array([struct.pack(">ii", 0, len(records)) + records])])
    frame = struct.pack(">hhi", wire.PRODUCE, 3, 1) + wire.string("push") + body
    frame = memoryview(struct.pack(">i", len(frame)) + frame)
    s.settimeout(0.2)
    at = 0
    while time.monotonic() < until:
        try:
            at += s.send(frame[at:])
        except (socket.timeout, BlockingIOError):
            continue
        except OSError:
            break
        if at == len(frame):
            at = 0
            sent.append(1)
    s.close()


def memory_limit(bench):
    cluster = bench.cluster(settings={"kvorum.memory.max.bytes": LIMIT})
    bench.start(cluster)
    load = bench.load(cluster)
    load.start()
    target = cluster.brokers[0]
    with Connection(target.port) as c:
        error, message = c.create_topic("large", assignments=[[1, 2, 3]],
                                        configs={"max.message.bytes": str(BATCH * 2), "retention.bytes": str(64 << 20),
                                                 "segment.bytes": str(16 << 20)})
        expect(error == wire.NONE, "CreateTopics: %d %s", error, message)
        wait_until("node 1 leads large-0", lambda: c.end_offset("large", 0)[0] == wire.NONE, 20)
        records = wire.batch([b"x" * (BATCH // 4)] * 4)
        for _ in range(4):
            error, _ = c.produce("large", 0, records)
            expect(error == wire.NONE, "a large batch: error %d", error)
    load.gap_ms()
    until = time.monotonic() + SECONDS
    sent = []
    threads = [threading.Thread(target=push, args=(target.port, "large", records, until, sent)) for _ in range(PRODUCERS)]
    slow = []
    try:
        for _ in range(READERS):
            s = socket.create_connection(("127.0.0.1", target.port), 15)
            for _ in range(4):
                s.sendall(fetch_frame("large"))
            slow.append(s)
        for t in threads:
            t.start()
        most = {b.id: 0 for b in cluster.brokers}
        while time.monotonic() < until:
            for b in cluster.brokers:
                most[b.id] = max(most[b.id], b.rss_bytes())
            time.sleep(0.02)
    finally:
        for t in threads:
            t.join(30)
        for s in slow:
            s.close()
    expect(all(b.alive() for b in cluster.brokers), "a broker ended")
    expect(len(sent) >= 20, "only %d large requests were taken in %d s", len(sent), SECONDS)
    for node, rss in most.items():
        expect(rss < LIMIT + ALLOWANCE, "node %d used %d MB, its limit is %d", node, rss >> 20, LIMIT >> 20)
    gap = load.gap_ms()
    expect(gap < 30000, "other clients were held up for %.0f ms", gap)
    return "limit %d MB; at most %s MB under %d requests of 4 MB and %d readers that do not read; others waited %.0f ms; %s" % (
        LIMIT >> 20, "/".join(str(m >> 20) for m in most.values()), len(sent), READERS, gap, load.verdict())


TESTS = [("memory-limit", memory_limit)]
