"""Kafka's bytes, as few of them as a crowd of plain clients needs: requests of old, non-flexible versions and record batches."""
import struct

PRODUCE, FETCH, LIST_OFFSETS, METADATA, FIND_COORDINATOR, API_VERSIONS = 0, 1, 2, 3, 10, 18
DESCRIBE_GROUPS, LIST_GROUPS, CREATE_TOPICS, DELETE_TOPICS, DELETE_RECORDS, INIT_PRODUCER_ID = 15, 16, 19, 20, 21, 22
DESCRIBE_CONFIGS, CREATE_PARTITIONS, ELECT_LEADERS, INCREMENTAL_ALTER_CONFIGS = 32, 37, 43, 44

NONE, OFFSET_OUT_OF_RANGE, UNKNOWN_TOPIC, TOPIC_EXISTS, ELECTION_NOT_NEEDED = 0, 1, 3, 36, 84
DUPLICATE_SEQUENCE, OUT_OF_ORDER_SEQUENCE, UNKNOWN_PRODUCER_ID = 46, 45, 59


class Malformed(Exception):
    """An answer that is not what the protocol says."""


# ---- writing ----

def i8(n):
    return struct.pack(">b", n)


def i16(n):
    return struct.pack(">h", n)


def i32(n):
    return struct.pack(">i", n)


def i64(n):
    return struct.pack(">q", n)


def string(s):
    return i16(-1) if s is None else i16(len(s)) + s.encode()


def array(items):
    return i32(len(items)) + b"".join(items)


def request(call, correlation, client="crowd"):
    """A frame of (api key, version, body), which the functions below make."""
    key, version, body = call
    frame = struct.pack(">hhi", key, version, correlation) + string(client) + body
    return i32(len(frame)) + frame


def metadata(topics):
    return METADATA, 1, array([string(t) for t in topics])


def api_versions():
    return API_VERSIONS, 0, b""


def create_topic(name, partitions, replication, configs=(), timeout_ms=20000):
    topic = string(name) + i32(partitions) + i16(replication) + array([]) + array(
        [string(k) + string(v) for k, v in configs])
    return CREATE_TOPICS, 2, array([topic]) + i32(timeout_ms) + i8(0)


def delete_topic(name, timeout_ms=20000):
    return DELETE_TOPICS, 1, array([string(name)]) + i32(timeout_ms)


def create_partitions(name, count, timeout_ms=20000):
    return CREATE_PARTITIONS, 1, array([string(name) + i32(count) + i32(-1)]) + i32(timeout_ms) + i8(0)


def delete_records(name, partition, offset, timeout_ms=20000):
    return DELETE_RECORDS, 1, array([string(name) + array([i32(partition) + i64(offset)])]) + i32(timeout_ms)


def describe_configs(name):
    return DESCRIBE_CONFIGS, 1, array([i8(2) + string(name) + i32(-1)]) + i8(1)


def set_config(name, key, value):
    return INCREMENTAL_ALTER_CONFIGS, 0, array([i8(2) + string(name) + array(
        [string(key) + i8(0) + string(value)])]) + i8(0)


def elect_leaders(name, partitions, timeout_ms=20000):
    return ELECT_LEADERS, 1, i8(0) + array([string(name) + array([i32(p) for p in partitions])]) + i32(timeout_ms)


def list_groups():
    return LIST_GROUPS, 1, b""


def describe_groups(names):
    return DESCRIBE_GROUPS, 1, array([string(n) for n in names])


def find_coordinator(group):
    return FIND_COORDINATOR, 1, string(group) + i8(0)


def init_producer_id():
    return INIT_PRODUCER_ID, 0, string(None) + i32(60000)


def produce(topic, partition, batch, acks=-1, timeout_ms=30000):
    part = i32(partition) + i32(len(batch)) + batch
    return PRODUCE, 3, string(None) + i16(acks) + i32(timeout_ms) + array([string(topic) + array([part])])


def fetch(topic, partition, offset, max_wait_ms=200, bytes_max=1 << 20, min_bytes=1):
    part = i32(partition) + i64(offset) + i32(bytes_max)
    return FETCH, 4, i32(-1) + i32(max_wait_ms) + i32(min_bytes) + i32(bytes_max) + i8(0) + array(
        [string(topic) + array([part])])


def list_offsets(topic, partition, timestamp):
    return LIST_OFFSETS, 1, i32(-1) + array([string(topic) + array([i32(partition) + i64(timestamp)])])


# ---- reading ----

class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, size):
        if size < 0 or self.at + size > len(self.data):
            raise Malformed("%d bytes wanted at %d of %d" % (size, self.at, len(self.data)))
        part = self.data[self.at:self.at + size]
        self.at += size
        return part

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def i8(self):
        return self.number(">b")

    def i16(self):
        return self.number(">h")

    def i32(self):
        return self.number(">i")

    def i64(self):
        return self.number(">q")

    def string(self):
        size = self.i16()
        return None if size < 0 else self.take(size).decode()

    def array(self, read):
        return [read() for _ in range(self.i32())]

    def varint(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7f) << shift
            if byte < 0x80:
                return (value >> 1) ^ -(value & 1)
            shift += 7


def read_metadata(body):
    """({node: (host, port)}, {topic: {partition: (error, leader, replicas, isr)}})"""
    r = Reader(body)
    brokers = {}
    for _ in range(r.i32()):
        node, host, port, _rack = r.i32(), r.string(), r.i32(), r.string()
        brokers[node] = (host, port)
    r.i32()
    topics = {}
    for _ in range(r.i32()):
        _error, name, _internal = r.i16(), r.string(), r.i8()
        topics[name] = {}
        for _ in range(r.i32()):
            error, partition, leader = r.i16(), r.i32(), r.i32()
            topics[name][partition] = (error, leader, r.array(r.i32), r.array(r.i32))
    return brokers, topics


def read_produce(body):
    """(error, base offset) of the only partition."""
    r = Reader(body)
    if r.i32() != 1:
        raise Malformed("not one topic")
    r.string()
    if r.i32() != 1:
        raise Malformed("not one partition")
    r.i32()
    return r.i16(), r.i64()


def read_fetch(body):
    """(error, high watermark, records) of the only partition."""
    r = Reader(body)
    r.i32()
    if r.i32() != 1:
        raise Malformed("not one topic")
    r.string()
    if r.i32() != 1:
        raise Malformed("not one partition")
    r.i32()
    error, high_watermark, _stable = r.i16(), r.i64(), r.i64()
    for _ in range(max(0, r.i32())):
        r.take(16)
    size = r.i32()
    return error, high_watermark, r.take(max(0, size))


def read_topic_error(body, throttled=True):
    """The error of the only topic of an answer that begins with [throttle,] [name, error]."""
    r = Reader(body)
    if throttled:
        r.i32()
    if r.i32() != 1:
        raise Malformed("not one topic")
    r.string()
    return r.i16()


# ---- record batches ----

def _crc_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ 0x82f63b78 if n & 1 else n >> 1
        table.append(n)
    return table


_CRC = _crc_table()


def crc32c(data):
    crc = 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


def varint(n):
    n = n << 1 ^ n >> 63
    out = bytearray()
    while n > 0x7f:
        out.append(n & 0x7f | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def batch(values, timestamp_ms, producer_id=-1, producer_epoch=-1, sequence=-1):
    records = bytearray()
    for index, value in enumerate(values):
        record = b"\0" + varint(0) + varint(index) + varint(-1) + varint(len(value)) + value + varint(0)
        records += varint(len(record)) + record
    covered = struct.pack(">hiqqqhii", 0, len(values) - 1, timestamp_ms, timestamp_ms, producer_id, producer_epoch,
                          sequence, len(values)) + records
    rest = struct.pack(">ibI", 0, 2, crc32c(covered)) + covered
    return struct.pack(">qi", 0, len(rest)) + rest


def values(records):
    """(offset, value) of every record in uncompressed batches; a cut batch at the end is left out."""
    at = 0
    while at + 61 <= len(records):
        base, size = struct.unpack_from(">qi", records, at)
        if at + 12 + size > len(records):
            return
        count = struct.unpack_from(">i", records, at + 57)[0]
        r = Reader(records[at + 61:at + 12 + size])
        for _ in range(count):
            r.varint()
            r.i8()
            r.varint()
            delta = r.varint()
            r.take(max(0, r.varint()))
            value = r.take(max(0, r.varint()))
            for _ in range(r.varint()):
                r.take(max(0, r.varint()))
                r.take(max(0, r.varint()))
            yield base + delta, value
        at += 12 + size
