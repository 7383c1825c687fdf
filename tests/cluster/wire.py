"""The Kafka protocol by hand, as far as the fault tests need it: requests with exact bytes, right ones and wrong ones."""
import socket
import struct
import time

PRODUCE, FETCH, LIST_OFFSETS, METADATA, OFFSET_COMMIT, FIND_COORDINATOR, API_VERSIONS = 0, 1, 2, 3, 8, 10, 18
CREATE_TOPICS, DELETE_TOPICS, INIT_PRODUCER_ID, HEARTBEAT, SYNC_GROUP = 19, 20, 22, 12, 14

NONE = 0
CORRUPT_MESSAGE = 2
UNKNOWN_TOPIC_OR_PARTITION = 3
LEADER_NOT_AVAILABLE = 5
NOT_LEADER_OR_FOLLOWER = 6
REQUEST_TIMED_OUT = 7
MESSAGE_TOO_LARGE = 10
NOT_ENOUGH_REPLICAS = 19
NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20
UNSUPPORTED_VERSION = 35
TOPIC_ALREADY_EXISTS = 36
OUT_OF_ORDER_SEQUENCE_NUMBER = 45
KAFKA_STORAGE_ERROR = 56
INVALID_RECORD = 87


def crc32c_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    return table


CRC_TABLE = crc32c_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def varint(value):
    value = (value << 1) ^ (value >> 63)
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def string(text):
    if text is None:
        return struct.pack(">h", -1)
    data = text.encode()
    return struct.pack(">h", len(data)) + data


def array(items):
    return struct.pack(">i", len(items)) + b"".join(items)


def batch(values, producer=(-1, -1, -1), magic=2, spoil_crc=False, key=None):
    """A record batch v2; producer is id, epoch, first sequence."""
    records = b""
    for delta, value in enumerate(values):
        body = b"\0" + varint(0) + varint(delta) + (varint(-1) if key is None else varint(len(key)) + key) + varint(len(value)) + value + varint(0)
        records += varint(len(body)) + body
    now = int(time.time() * 1000)
    tail = struct.pack(">hiqqqhii", 0, len(values) - 1, now, now, producer[0], producer[1], producer[2], len(values)) + records
    crc = crc32c(tail) ^ (1 if spoil_crc else 0)
    return struct.pack(">qiibI", 0, 9 + len(tail), -1, magic, crc) + tail


class Closed(Exception):
    """The broker closed the connection."""


class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, form):
        size = struct.calcsize(form)
        value = struct.unpack_from(form, self.data, self.at)
        self.at += size
        return value[0]

    def bytes(self, size):
        self.at += size
        return self.data[self.at - size:self.at]

    def string(self):
        size = self.take(">h")
        return None if size < 0 else self.bytes(size).decode()

    def array(self, read):
        return [read() for _ in range(max(0, self.take(">i")))]


class Connection:
    def __init__(self, port, timeout=15, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout)
        self.number = 0

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send_raw(self, data):
        self.socket.sendall(data)

    def send(self, key, version, body):
        self.number += 1
        frame = struct.pack(">hhi", key, version, self.number) + string("faults") + body
        self.socket.sendall(struct.pack(">i", len(frame)) + frame)

    def receive_exactly(self, size):
        data = b""
        while len(data) < size:
            try:
                part = self.socket.recv(size - len(data))
            except ConnectionResetError:
                part = b""
            if not part:
                raise Closed()
            data += part
        return data

    def receive(self):
        size = struct.unpack(">i", self.receive_exactly(4))[0]
        reader = Reader(self.receive_exactly(size))
        number = reader.take(">i")
        if number != self.number:
            raise AssertionError("answer %d to request %d" % (number, self.number))
        return reader

    def call(self, key, version, body):
        self.send(key, version, body)
        return self.receive()

    def closed(self, timeout):
        """Whether the broker closes this connection within the time; what it says before counts as an answer."""
        self.socket.settimeout(timeout)
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except socket.timeout:
            return False

    def api_versions(self):
        r = self.call(API_VERSIONS, 0, b"")
        error = r.take(">h")
        return error, r.array(lambda: (r.take(">h"), r.take(">h"), r.take(">h")))

    def find_coordinator(self, group):
        """(error, node)"""
        r = self.call(FIND_COORDINATOR, 0, string(group))
        return r.take(">h"), r.take(">i")

    def delete_topic(self, topic, timeout_ms=10000):
        r = self.call(DELETE_TOPICS, 1, array([string(topic)]) + struct.pack(">i", timeout_ms))
        r.take(">i")
        return r.array(lambda: (r.string(), r.take(">h")))[0][1]

    def metadata(self, topic, create=True):
        """{"controller", "partitions": {index: {"leader", "replicas", "isr", "error"}}}"""
        r = self.call(METADATA, 4, array([string(topic)]) + struct.pack(">b", create))
        r.take(">i")
        r.array(lambda: (r.take(">i"), r.string(), r.take(">i"), r.string()))
        r.string()
        result = {"controller": r.take(">i"), "error": NONE, "partitions": {}}

        def partition():
            error, index, leader = r.take(">h"), r.take(">i"), r.take(">i")
            replicas = r.array(lambda: r.take(">i"))
            isr = r.array(lambda: r.take(">i"))
            result["partitions"][index] = {"leader": leader, "replicas": replicas, "isr": isr, "error": error}

        def one():
            result["error"] = r.take(">h")
            r.string()
            r.take(">b")
            r.array(partition)
        r.array(one)
        return result

    def create_topic(self, topic, partitions=-1, factor=-1, configs=None, assignments=None, timeout_ms=10000):
        """(error, message)"""
        self.send_create_topic(topic, partitions, factor, configs, assignments, timeout_ms)
        return self.receive_create_topic()

    def send_create_topic(self, topic, partitions=-1, factor=-1, configs=None, assignments=None, timeout_ms=10000):
        replicas = [struct.pack(">i", i) + array([struct.pack(">i", n) for n in nodes])
                    for i, nodes in enumerate(assignments or [])]
        settings = [string(k) + string(v) for k, v in (configs or {}).items()]
        if assignments:
            partitions = factor = -1
        body = array([string(topic) + struct.pack(">ih", partitions, factor) + array(replicas) + array(settings)])
        self.send(CREATE_TOPICS, 2, body + struct.pack(">ib", timeout_ms, 0))

    def receive_create_topic(self):
        r = self.receive()
        r.take(">i")
        return r.array(lambda: (r.string(), r.take(">h"), r.string()))[0][1:]

    def send_produce(self, topic, partition, records, acks=-1, timeout_ms=5000):
        body = string(None) + struct.pack(">hi", acks, timeout_ms)
        body += array([string(topic) + array([struct.pack(">ii", partition, len(records)) + records])])
        self.send(PRODUCE, 3, body)

    def receive_produce(self):
        """(error, base offset)"""
        r = self.receive()
        return r.array(lambda: (r.string(), r.array(lambda: (r.take(">i"), r.take(">h"), r.take(">q"), r.take(">q")))))[0][1][0][1:3]

    def produce(self, topic, partition, records, acks=-1, timeout_ms=5000):
        self.send_produce(topic, partition, records, acks, timeout_ms)
        return self.receive_produce()

    def fetch(self, topic, partition, offset, size=1 << 20):
        """(error, high watermark, bytes)"""
        body = struct.pack(">iiiib", -1, 100, 0, size, 0)
        body += array([string(topic) + array([struct.pack(">iqi", partition, offset, size)])])
        r = self.call(FETCH, 4, body)
        r.take(">i")

        def one():
            r.take(">i")
            error, high, _ = r.take(">h"), r.take(">q"), r.take(">q")
            r.array(lambda: (r.take(">q"), r.take(">q")))
            records = r.bytes(max(0, r.take(">i")))
            return error, high, records
        return r.array(lambda: (r.string(), r.array(one)))[0][1][0]

    def end_offset(self, topic, partition):
        """(error, offset)"""
        r = self.call(LIST_OFFSETS, 1, struct.pack(">i", -1) + array([string(topic) + array([struct.pack(">iq", partition, -1)])]))
        return r.array(lambda: (r.string(), r.array(lambda: (r.take(">i"), r.take(">h"), r.take(">q"), r.take(">q")))))[0][1][0][1::2]

    def init_producer_id(self):
        """(error, id, epoch)"""
        r = self.call(INIT_PRODUCER_ID, 0, string(None) + struct.pack(">i", 60000))
        r.take(">i")
        return r.take(">h"), r.take(">q"), r.take(">h")
