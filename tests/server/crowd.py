"""200 connections of every temper over one asyncio loop: idle ones, busy producers and readers, slow readers, half frames,
bytes one at a time, nonsense, resets, and strangers on the peer listener. What was acknowledged is remembered for the judge."""
import asyncio
import contextlib
import os
import random
import socket
import struct
import time

import kafka_bytes as wire

TOPIC, PARTITIONS = "load", 12
BULK, BULK_PARTITIONS, BULK_BATCHES = "bulk", 3, 64
CALL_S = 45       # an answer that takes longer is a violation while its broker is up
SLOW_REQUESTS = 3  # each for megabytes, sent at once
CLOSED_S = 20     # nonsense is hung up on within this time
SENTENCE = b" the quick brown fox jumps over the lazy dog" * 3
# How many of each; together more than 200.
IDLE, PRODUCERS, READERS, SLOW, HALF, DRIBBLE, NONSENSE, CHURN, STRANGERS = 68, 48, 44, 24, 12, 8, 4, 4, 4


class Lost(Exception):
    """The connection ended, or there is nobody to talk to now."""


class Connection:
    """One socket, one request at a time."""

    def __init__(self, crowd, broker, port=None):
        self.crowd = crowd
        self.broker = broker
        self.port = port or broker.port
        self.starts = broker.starts
        self.socket = None
        self.correlation = 0

    async def open(self, receive_bytes=None):
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.crowd.connections.add(self)
        try:
            loop = asyncio.get_running_loop()
            await asyncio.wait_for(loop.sock_connect(self.socket, ("127.0.0.1", self.port)), CALL_S)
        except (OSError, asyncio.TimeoutError) as error:
            self.close()
            raise Lost(str(error)) from error
        return self

    def close(self, reset=False):
        if self.socket is None:
            return
        if reset:
            with contextlib.suppress(OSError):
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
        self.socket = None
        self.crowd.connections.discard(self)

    def undisturbed(self):
        """Nobody has ended or is ending the broker since this connection was opened."""
        return self.broker.up and self.starts == self.broker.starts

    async def send(self, data):
        try:
            await asyncio.get_running_loop().sock_sendall(self.socket, data)
        except OSError as error:
            raise Lost(str(error)) from error

    async def some(self, size):
        try:
            return await asyncio.get_running_loop().sock_recv(self.socket, size)
        except OSError as error:
            raise Lost(str(error)) from error

    async def exactly(self, size):
        parts = []
        while size > 0:
            part = await self.some(min(size, 1 << 18))
            if not part:
                raise Lost("end of the stream")
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    async def answer(self):
        size, correlation = struct.unpack(">ii", await self.exactly(8))
        body = await self.exactly(size - 4)
        if correlation != self.correlation:
            self.crowd.violation("answer %d to request %d" % (correlation, self.correlation))
        return body

    async def call(self, call):
        self.correlation += 1
        try:
            await self.send(wire.request(call, self.correlation))
            return await asyncio.wait_for(self.answer(), CALL_S)
        except asyncio.TimeoutError as error:
            if self.undisturbed():
                self.crowd.violation("no answer to api %d from broker %d in %d s" % (call[0], self.broker.id, CALL_S))
            raise Lost("timeout") from error

    def bytes_underway(self):
        """What the broker's end has given to the kernel and this end has not acknowledged."""
        local = "%04X" % self.socket.getsockname()[1]
        with open("/proc/net/tcp") as f:
            for line in f:
                words = line.split()
                if words[1].endswith(":%04X" % self.port) and words[2].endswith(":" + local):
                    return int(words[4].split(":")[0], 16)
        return 0

    async def closed_within(self, seconds, what):
        """Read until the other side hangs up."""
        async def drain():
            while await self.some(4096):
                pass
        try:
            await asyncio.wait_for(drain(), seconds)
        except Lost:
            pass
        except asyncio.TimeoutError:
            if self.undisturbed():
                self.crowd.violation("broker %d keeps a connection after %s" % (self.broker.id, what))


class Answers:
    """Counts the frames that have come to their end, whatever the pieces they come in."""

    def __init__(self):
        self.head = b""
        self.missing = 0
        self.whole = 0

    def take(self, part):
        while part:
            if self.missing == 0:
                more = 4 - len(self.head)
                self.head, part = self.head + part[:more], part[more:]
                if len(self.head) == 4:
                    self.missing = struct.unpack(">i", self.head)[0]
                    self.head = b""
            else:
                n = min(self.missing, len(part))
                self.missing -= n
                self.whole += self.missing == 0
                part = part[n:]


class Crowd:
    def __init__(self, brokers):
        self.brokers = brokers
        self.leaders = {}
        self.connections = set()
        self.violations = []
        self.acked = {}       # (partition, offset) -> value
        self.once = set()     # values of idempotent producers
        self.counts = {}
        self.stopping = False
        self.refreshed = 0.0

    def violation(self, text):
        if len(self.violations) < 50:
            self.violations.append(text)

    def count(self, what, n=1):
        self.counts[what] = self.counts.get(what, 0) + n

    async def ask_any(self, call):
        """Ask whichever broker is up; Lost if it does not answer."""
        up = [b for b in self.brokers if b.up]
        if not up:
            raise Lost("no broker is up")
        connection = await Connection(self, random.choice(up)).open()
        try:
            return await connection.call(call)
        finally:
            connection.close()

    async def metadata(self):
        return wire.read_metadata(await self.ask_any(wire.metadata([TOPIC, BULK])))

    async def refresh(self):
        """Learn who leads, at most a few times a second for the whole crowd."""
        if time.monotonic() - self.refreshed > 0.3:
            self.refreshed = time.monotonic()
            with contextlib.suppress(Lost):
                _, topics = await self.metadata()
                for topic, partitions in topics.items():
                    for partition, (_, leader, _, _) in partitions.items():
                        self.leaders[topic, partition] = leader
        await asyncio.sleep(random.uniform(0.1, 0.4))

    async def to_leader(self, connection, topic, partition, receive_bytes=None):
        """The same connection if it leads there, else a new one."""
        leader = self.leaders.get((topic, partition), -1)
        if leader < 0:
            raise Lost("no leader")
        broker = self.brokers[leader - 1]
        if connection is not None and connection.socket is not None and connection.broker is broker:
            return connection
        if connection is not None:
            connection.close()
        return await Connection(self, broker).open(receive_bytes)

    def members(self):
        """All coroutines, one connection each."""
        yield from (self.idle(n) for n in range(IDLE))
        yield from (self.producer(n, n % PARTITIONS, n % 2 == 0) for n in range(PRODUCERS))
        yield from (self.reader(n % PARTITIONS) for n in range(READERS))
        yield from (self.slow(n % BULK_PARTITIONS) for n in range(SLOW))
        yield from (self.half(n) for n in range(HALF))
        yield from (self.dribble(n) for n in range(DRIBBLE))
        yield from (self.nonsense(n) for n in range(NONSENSE))
        yield from (self.churn(n) for n in range(CHURN))
        yield from (self.stranger(n) for n in range(STRANGERS))

    async def again(self, once, *args):
        """Run one connection's life again and again; its end is not an error."""
        while not self.stopping:
            try:
                await once(*args)
            except Lost:
                self.count("reconnects")
            await asyncio.sleep(random.uniform(0.1, 0.5))

    def node(self, number):
        return self.brokers[number % len(self.brokers)]

    # ---- the kinds ----

    async def idle(self, number):
        async def once():
            connection = await Connection(self, self.node(number)).open()
            try:
                await connection.call(wire.api_versions())
                ended = asyncio.create_task(connection.some(1))
                while not self.stopping and not ended.done():
                    await asyncio.wait([ended], timeout=0.5)
                if ended.done():
                    ended.exception()
                    if connection.undisturbed():
                        await asyncio.sleep(2)  # the kill may be seen here before it is noted there
                        if connection.undisturbed():
                            self.violation("broker %d hung up on an idle connection" % connection.broker.id)
                    raise Lost("ended")
                ended.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await ended
                await connection.call(wire.api_versions())
                self.count("idle answered at the end")
            finally:
                connection.close()
        await self.again(once)

    async def producer_id(self):
        while True:
            with contextlib.suppress(Lost):
                r = wire.Reader(await self.ask_any(wire.init_producer_id()))
                r.i32()
                if r.i16() == wire.NONE:
                    return r.i64(), r.i16()
            await asyncio.sleep(0.3)

    async def producer(self, number, partition, idempotent):
        connection, sequence, round_number = None, 0, 0
        identity = await self.producer_id() if idempotent else (-1, -1)
        while not self.stopping:
            values = [b"%d-%d-%d" % (number, round_number, i) + SENTENCE for i in range(random.randint(1, 4))]
            batch = wire.batch(values, int(time.time() * 1000), *identity, sequence if idempotent else -1)
            connection = await self.produce(connection, partition, batch, values, idempotent)
            sequence += len(values)
            round_number += 1
            await asyncio.sleep(random.uniform(0.02, 0.2))
        if connection is not None:
            connection.close()

    async def produce(self, connection, partition, batch, values, idempotent):
        """Until it is acknowledged. Keeps what for the judge."""
        while True:
            try:
                connection = await self.to_leader(connection, TOPIC, partition)
                error, base = wire.read_produce(await connection.call(wire.produce(TOPIC, partition, batch)))
            except Lost:
                if connection is not None:
                    connection.close()
                await self.refresh()
                continue
            if error == wire.NONE:
                for i, value in enumerate(values):
                    self.acked[partition, base + i] = value
                    if idempotent:
                        self.once.add(value)
                self.count("records acknowledged", len(values))
                return connection
            self.count("produce error %d" % error)
            if error in (wire.OUT_OF_ORDER_SEQUENCE, wire.DUPLICATE_SEQUENCE, wire.UNKNOWN_PRODUCER_ID):
                self.violation("error %d to a producer with one batch in flight" % error)
                return connection
            await self.refresh()

    async def reader(self, partition):
        connection, position = None, 0
        while not self.stopping:
            try:
                connection = await self.to_leader(connection, TOPIC, partition)
                body = await connection.call(wire.fetch(TOPIC, partition, position, 500, 256 << 10))
            except Lost:
                if connection is not None:
                    connection.close()
                await self.refresh()
                continue
            error, _, records = wire.read_fetch(body)
            if error != wire.NONE:
                self.count("fetch error %d" % error)
                if error == wire.OFFSET_OUT_OF_RANGE:
                    self.violation("a reader at %d of partition %d is out of range" % (position, partition))
                await self.refresh()
                continue
            for offset, _ in wire.values(records):
                if offset > position:
                    self.violation("partition %d: offset %d after %d" % (partition, offset, position - 1))
                position = max(position, offset + 1)
                self.count("records read")
        if connection is not None:
            connection.close()

    async def slow(self, partition):
        """Megabytes asked for at once, some bytes read now and then; every other one ends with a reset."""
        async def once():
            connection = await self.to_leader(None, BULK, partition, receive_bytes=4096)
            answers = Answers()
            try:
                for correlation in range(SLOW_REQUESTS):
                    await connection.send(wire.request(wire.fetch(BULK, partition, 0, 100, 4 << 20), correlation))
                for _ in range(random.randint(50, 400)):
                    if self.stopping or answers.whole == SLOW_REQUESTS:
                        break  # they are short when the leader has moved
                    part = await asyncio.wait_for(connection.some(random.randint(1, 4096)), CALL_S)
                    if not part:
                        raise Lost("ended")
                    answers.take(part)
                    self.count("bytes read slowly", len(part))
                    await asyncio.sleep(random.uniform(0.01, 0.08))
            except asyncio.TimeoutError as error:
                # With so small a window the kernel may probe it only every minute or two.
                if connection.undisturbed() and connection.bytes_underway() == 0:
                    self.violation("nothing more for a slow reader of broker %d" % connection.broker.id)
                raise Lost("timeout") from error
            finally:
                connection.close(reset=random.random() < 0.5)
        while (BULK, partition) not in self.leaders:
            await self.refresh()
        await self.again(self._refreshing(once))

    def _refreshing(self, once):
        async def wrapped():
            try:
                await once()
            except Lost:
                await self.refresh()
                raise
        return wrapped

    async def half(self, number):
        """A frame that never ends: nothing but the size, or part of a big produce request."""
        async def once():
            connection = await Connection(self, self.node(number)).open()
            try:
                whole = wire.request(wire.produce(TOPIC, 0, os.urandom(50000)), 1)
                await connection.send(whole[:random.randint(1, 4) if number % 2 else random.randint(5, len(whole) - 1)])
                for _ in range(random.randint(4, 40)):
                    if self.stopping:
                        break
                    await asyncio.sleep(0.5)
                self.count("half frames")
            finally:
                connection.close(reset=random.random() < 0.5)
        await self.again(once)

    async def dribble(self, number):
        """Whole requests, a byte at a time: slow, but right."""
        async def once():
            connection = await Connection(self, self.node(number)).open()
            try:
                while not self.stopping:
                    connection.correlation += 1
                    for byte in wire.request(wire.api_versions(), connection.correlation):
                        await connection.send(bytes([byte]))
                        await asyncio.sleep(0.03)
                    await asyncio.wait_for(connection.answer(), CALL_S)
                    self.count("requests byte by byte")
            except asyncio.TimeoutError as error:
                if connection.undisturbed():
                    self.violation("no answer to a request sent byte by byte")
                raise Lost("timeout") from error
            finally:
                connection.close()
        await self.again(once)

    async def nonsense(self, number):
        """Frames that are none: the broker hangs up."""
        async def once():
            what, data = random.choice((
                ("a negative size", struct.pack(">i", -5)), ("a size of 2 GB", struct.pack(">i", 0x7fffffff)),
                ("an unknown api", wire.request((9999, 0, b""), 1)), ("a frame too short for a header", wire.i32(3) + b"abc"),
                ("a cut request", wire.request((wire.PRODUCE, 3, b"\xff\xff\0"), 1))))
            connection = await Connection(self, self.node(number)).open()
            try:
                await connection.send(data)
                await connection.closed_within(CLOSED_S, what)
                self.count("nonsense hung up on")
            finally:
                connection.close()
        await self.again(once)

    async def churn(self, number):
        """Asks and is gone before the answer."""
        async def once():
            connection = await Connection(self, self.node(number)).open()
            try:
                await connection.send(wire.request(wire.fetch(BULK, number % BULK_PARTITIONS, 0, 1000, 4 << 20), 1))
                await asyncio.sleep(random.uniform(0, 0.02))
                self.count("resets")
            finally:
                connection.close(reset=True)
        await self.again(once)

    async def stranger(self, number):
        """Somebody who is no broker on the listener of the brokers."""
        async def once():
            what, data = random.choice((
                ("no hello at all", b""), ("half a hello", struct.pack(">ii", 40, 36) + b"\x1a"),
                ("a hello of noise", struct.pack(">ii", 44, 40) + os.urandom(40)),
                ("a header beyond its frame", struct.pack(">ii", 8, 1 << 30) + b"abcd"),
                ("a Kafka request", wire.request(wire.api_versions(), 1))))
            broker = self.node(number)
            connection = await Connection(self, broker, broker.controller_port).open()
            try:
                await connection.send(data)
                await connection.closed_within(CLOSED_S, what)
                self.count("strangers hung up on")
            finally:
                connection.close()
        await self.again(once)
