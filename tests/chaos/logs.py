"""What lies on the disks of stopped brokers: every batch of every replica, read without the broker's help.

Offsets follow each other, leader epochs never fall, the sequences of a producer epoch are gap-free and none is there twice, and
all replicas hold the same batches."""
import glob
import os
import re
import struct
import subprocess

from load import expect

HEADER = struct.Struct(">qiibIhiqqqhii")  # base offset, size, leader epoch, magic, crc, attributes, last delta, …


def segments(directory):
    return sorted(glob.glob(os.path.join(directory, "*.log")))


def batches(directory):
    """(base offset, last offset, leader epoch, crc, producer id, producer epoch, base sequence, count, file, position)"""
    result = []
    for path in segments(directory):
        with open(path, "rb") as f:
            data = f.read()
        at = 0
        while at + HEADER.size <= len(data):
            base, size, epoch, magic, crc, _, delta, _, _, pid, pid_epoch, sequence, count = HEADER.unpack_from(data, at)
            if magic != 2 or size < 49 or at + 12 + size > len(data):
                break
            result.append((base, base + delta, epoch, crc, pid, pid_epoch, sequence, count, path, at))
            at += 12 + size
    return result


def records(directory):
    """How many records a replica holds, as far as its bytes are sound."""
    return sum(b[7] for b in batches(directory))


def fetched(data):
    """Whole batches of a fetch answer: (base offset, last offset, crc, what the crc covers)."""
    at = 0
    while at + HEADER.size <= len(data):
        base, size, _, _, crc, _, delta = HEADER.unpack_from(data, at)[:7]
        if at + 12 + size > len(data):
            return
        yield base, base + delta, crc, data[at + 21:at + 12 + size]
        at += 12 + size


def check_one(name, found):
    """One replica by itself."""
    following = None
    epoch = -1
    sequences = {}
    for base, last, leader_epoch, _, pid, pid_epoch, sequence, count, _, _ in found:
        expect(following is None or base == following, "%s: offset %s follows %s", name, base, following)
        expect(leader_epoch >= epoch, "%s: epoch %d after %d at offset %d", name, leader_epoch, epoch, base)
        following, epoch = last + 1, leader_epoch
        if pid < 0 or sequence < 0:
            continue
        wanted = sequences.get((pid, pid_epoch), sequence)
        expect(sequence == wanted, "%s: producer %d epoch %d: sequence %d at offset %d, where %d is next: %s", name, pid, pid_epoch,
               sequence, base, wanted, "twice in the log" if sequence < wanted else "a gap")
        sequences[(pid, pid_epoch)] = sequence + count


def check(cluster, topic, partitions, equal=True):
    """All replicas of a topic, of brokers that are stopped; how many batches were looked at."""
    looked = 0
    for partition in range(partitions):
        copies = {}
        for b in cluster.brokers:
            directory = os.path.join(b.dir, "%s-%d" % (topic, partition))
            if os.path.isdir(directory):
                copies[b.id] = batches(directory)
        for node, found in copies.items():
            check_one("node %d, %s-%d" % (node, topic, partition), found)
            looked += len(found)
        if len(copies) < 2:
            continue
        keys = {node: [b[:4] for b in found] for node, found in copies.items()}
        first, *others = sorted(keys)
        for other in others:
            a, b = keys[first], keys[other]
            start = max(a[0][0] if a else 0, b[0][0] if b else 0)
            a, b = [k for k in a if k[0] >= start], [k for k in b if k[0] >= start]
            same = min(len(a), len(b))
            for x, y in zip(a, b):
                expect(x == y, "%s-%d: nodes %d and %d differ at offset %d (offset, last, epoch, crc: %s and %s)", topic, partition,
                       first, other, x[0], x, y)
            expect(not equal or len(a) == len(b), "%s-%d: node %d has %d batches, node %d %d, the same up to %d", topic, partition,
                   first, len(a), other, len(b), same)
    return looked


def verify(binary, cluster, topic):
    """The broker's own reader agrees that every byte is sound."""
    name = re.compile(re.escape(topic) + r"-\d+$")  # what was set aside as damaged has a longer one
    files = [s for b in cluster.brokers for d in os.listdir(b.dir) if name.match(d) for s in segments(os.path.join(b.dir, d))]
    for at in range(0, len(files), 50):
        done = subprocess.run([binary, "log", "dump", "--verify"] + files[at:at + 50], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True)
        expect(done.returncode == 0, "log dump --verify: exit %d: %s", done.returncode, done.stdout[-400:])
    return len(files)
