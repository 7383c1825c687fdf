"""Crowds of connections (crowd.c), and the requests they send."""
import json
import os
import random
import struct
import subprocess
import tempfile

import wire

OFFSET_FETCH, DESCRIBE_GROUPS, LIST_GROUPS, DESCRIBE_CONFIGS, JOIN_GROUP = 9, 15, 16, 32, 11


def frame(key, version, body, client="crowd"):
    whole = struct.pack(">hhi", key, version, 1) + wire.string(client) + body
    return struct.pack(">i", len(whole)) + whole


def produce(topic, parts, acks=-1, timeout_ms=30000):
    """parts: [(partition, batch)]"""
    body = wire.string(None) + struct.pack(">hi", acks, timeout_ms)
    items = [struct.pack(">ii", index, len(records)) + records for index, records in parts]
    return frame(wire.PRODUCE, 3, body + wire.array([wire.string(topic) + wire.array(items)]))


def fetch(topic, partitions, offset=0, size=50 << 20, wait_ms=500, min_bytes=1):
    body = struct.pack(">iiiib", -1, wait_ms, min_bytes, size, 0)
    items = [struct.pack(">iqi", p, offset, size) for p in partitions]
    return frame(wire.FETCH, 4, body + wire.array([wire.string(topic) + wire.array(items)]))


def metadata(topics=None):
    """None: of all topics."""
    body = struct.pack(">i", -1) if topics is None else wire.array([wire.string(t) for t in topics])
    return frame(wire.METADATA, 4, body + b"\0")


def list_offsets(topic, partition):
    return frame(wire.LIST_OFFSETS, 1, struct.pack(">i", -1) + wire.array(
        [wire.string(topic) + wire.array([struct.pack(">iq", partition, -1)])]))


def api_versions():
    return frame(wire.API_VERSIONS, 0, b"")


def mix(topic, led, groups):
    """What an ordinary crowd of clients asks of a broker that leads these partitions and coordinates these groups."""
    small = wire.batch([b"busy" * 16] * 3)
    frames = []
    for partition in led:
        frames += [produce(topic, [(partition, small)]), fetch(topic, [partition], 0, 20000, 100),
                   list_offsets(topic, partition), metadata([topic]), api_versions()]
    for group in groups:
        commit = wire.string(group) + struct.pack(">i", -1) + wire.string("") + struct.pack(">q", -1)
        commit += wire.array([wire.string(topic) + wire.array([struct.pack(">iq", 0, 1) + wire.string("note")])])
        asked = wire.string(group) + wire.array([wire.string(topic) + wire.array([struct.pack(">i", 0)])])
        frames += [frame(wire.OFFSET_COMMIT, 2, commit), frame(OFFSET_FETCH, 1, asked), frame(wire.FIND_COORDINATOR, 0, wire.string(group)),
                   frame(DESCRIBE_GROUPS, 0, wire.array([wire.string(group)]))]
    frames += [frame(LIST_GROUPS, 0, b""), metadata(None), frame(wire.INIT_PRODUCER_ID, 0, wire.string(None) + struct.pack(">i", 60000)),
               frame(DESCRIBE_CONFIGS, 1, wire.array([b"\2" + wire.string(topic) + struct.pack(">i", -1)]) + b"\0")]
    random.shuffle(frames)
    return frames


class Crowd:
    def __init__(self, binary, broker, count, frames, window=1, requests=0, interval_ms=0, send=-1, read=-1, reopen=False, per_second=0,
                 receive_buffer=0):
        with tempfile.NamedTemporaryFile(prefix="kvorum-crowd-", delete=False) as f:
            for one in frames:
                f.write(one)
            self.path = f.name
        command = [binary, "-p", broker.port, "-n", count, "-f", self.path, "-w", window, "-m", requests, "-i", interval_ms, "-s", send,
                   "-r", read, "-c", per_second, "-b", receive_buffer] + (["-o"] if reopen else [])
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=lambda: os.nice(5))
        self.count = count

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the crowd ended with %s" % self.process.wait())
        return json.loads(line)

    def figures(self):
        return self.ask("figures")

    def remove(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()
        if os.path.exists(self.path):
            os.unlink(self.path)
