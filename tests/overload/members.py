"""Members of consumer groups by the thousand on one thread: they join, sync, send heartbeats, and tell what the coordinator
said to them. One that was expelled without having left is what must not be."""
import collections
import selectors
import socket
import struct
import threading
import time

import wire
from wire import Connection

JOIN, HEARTBEAT, LEAVE, SYNC = 11, 12, 13, 14
REBALANCE_IN_PROGRESS, UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION = 27, 25, 22
COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR = 14, 15, 16
AGAIN = (COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR)
SESSION_MS, REBALANCE_MS, HEARTBEAT_S = 10000, 60000, 2.0
SUBSCRIPTION = struct.pack(">h", 0) + wire.array([wire.string("load")]) + struct.pack(">i", -1)


def data(value):
    return struct.pack(">i", len(value)) + value


class Member:
    def __init__(self, group, port):
        self.group, self.port = group, port
        self.id, self.generation, self.leader = "", -1, False
        self.socket = None
        self.waits, self.buffer, self.asked = None, b"", 0
        self.next = 0.0  # when it does its next thing
        self.state = "join"
        self.others = []

    def request(self):
        start = wire.string(self.group)
        if self.state == "join":
            return JOIN, 2, start + struct.pack(">ii", SESSION_MS, REBALANCE_MS) + wire.string(self.id) + wire.string(
                "consumer") + wire.array([wire.string("range") + data(SUBSCRIPTION)])
        where = start + struct.pack(">i", self.generation) + wire.string(self.id)
        if self.state == "sync":
            given = [wire.string(m) + data(b"plan of " + m.encode()) for m in self.others] if self.leader else []
            return SYNC, 1, where + wire.array(given)
        return HEARTBEAT, 1, where


class Members(threading.Thread):
    """groups: {group: (port of its coordinator, members)}"""

    def __init__(self, groups):
        super().__init__(daemon=True)
        self.members = [Member(group, port) for group, (port, count) in groups.items() for _ in range(count)]
        self.selector = selectors.DefaultSelector()
        self.errors = collections.Counter()
        self.expelled = []
        self.closed = 0
        self.slowest = 0.0  # heartbeat, seconds
        self.heartbeats = 0
        self.ending = False

    def stable(self):
        return sum(m.state == "heartbeat" for m in self.members)

    def run(self):
        while not self.ending:
            now = time.monotonic()
            for m in self.members:
                if m.waits is None and now >= m.next:
                    self.send(m, now)
            for key, _ in self.selector.select(0.02):
                self.receive(key.data)
        for m in self.members:
            if m.socket is not None:
                m.socket.close()
        self.selector.close()

    def send(self, m, now):
        try:
            if m.socket is None:
                m.socket = socket.create_connection(("127.0.0.1", m.port), 20)
                m.socket.setblocking(False)
                self.selector.register(m.socket, selectors.EVENT_READ, m)
            key, version, body = m.request()
            whole = struct.pack(">hhi", key, version, 1) + wire.string("member") + body
            m.socket.send(struct.pack(">i", len(whole)) + whole)
            m.waits, m.asked = m.state, now
        except OSError:
            self.drop(m)

    def drop(self, m):
        self.closed += 1
        if m.socket is not None:
            try:
                self.selector.unregister(m.socket)
            except KeyError:
                pass
            m.socket.close()
        m.socket, m.waits, m.buffer = None, None, b""
        m.next = time.monotonic() + 0.2

    def receive(self, m):
        try:
            part = m.socket.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            part = b""
        if not part:
            self.drop(m)
            return
        m.buffer += part
        if len(m.buffer) < 4 or len(m.buffer) < 4 + struct.unpack_from(">i", m.buffer)[0]:
            return
        reader = wire.Reader(m.buffer[4:])
        m.buffer = b""
        reader.bytes(8)  # correlation, throttle
        self.answer(m, reader, time.monotonic())

    def answer(self, m, reader, now):
        error = reader.take(">h")
        asked, m.waits = m.waits, None
        m.next = now
        if asked == "heartbeat":
            self.heartbeats += 1
            self.slowest = max(self.slowest, now - m.asked)
        if error in AGAIN:
            self.errors[error] += 1
            m.next = now + 0.1
        elif error == REBALANCE_IN_PROGRESS or (error == ILLEGAL_GENERATION and asked != "join"):
            m.state = "join"
        elif error == UNKNOWN_MEMBER_ID and m.id:
            self.expelled.append((m.group, m.id, asked))
            m.state, m.id = "join", ""
        elif error != 0:
            self.errors[error] += 1
            m.next = now + 0.5
        elif asked == "join":
            m.generation = reader.take(">i")
            reader.string()
            leader = reader.string()
            m.id = reader.string()
            m.leader = leader == m.id
            m.others = reader.array(lambda: (reader.string(), reader.bytes(reader.take(">i")))[0])
            m.state = "sync"
        else:
            m.state = "heartbeat"
            m.next = now + HEARTBEAT_S


def coordinators(cluster, names):
    """{group: port of its coordinator}"""
    ports = {}
    with Connection(cluster.brokers[0].port, 30) as c:
        for name in names:
            until = time.monotonic() + 30
            while True:
                error, node = c.find_coordinator(name)
                if error == 0:
                    ports[name] = cluster.broker(node).port
                    break
                if time.monotonic() > until:
                    raise RuntimeError("no coordinator of %s: %d" % (name, error))
                time.sleep(0.1)
    return ports
