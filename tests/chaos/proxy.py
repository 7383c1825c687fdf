"""A TCP proxy for connections that are slow, silent, reset, spoiled or repeated. One event loop in a thread of its own.

What it does to the bytes is read anew for each piece, so a driver changes it while connections live:
  delay_ms    (mean, spread) added to each piece
  rate        bytes a second in each direction, None = as fast as it goes
  silent      nothing is forwarded and nothing is closed: the other end has vanished
  spoil       chance that a bit of a piece is flipped
  chop        chance that a connection is closed in the middle of a piece
With frames=True the pieces are requests and responses of the Kafka protocol:
  reset_after {api key: chance} of closing with RST when its response comes back: the broker did it, the client never hears
  replay      {api key: chance} of sending the request once more, seconds later and by a connection of its own"""
import asyncio
import random
import socket
import struct
import threading
import time


class Loop:
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)


shared = None


def loop():
    global shared
    shared = shared or Loop()
    return shared


class Proxy:
    def __init__(self, host, target, frames=False):
        self.target = target
        self.frames = frames
        self.delay_ms = None
        self.rate = None
        self.silent = False
        self.spoil = 0
        self.chop = 0
        self.reset_after = {}
        self.replay = {}
        self.counts = {"connections": 0, "reset": 0, "replayed": 0, "spoiled": 0, "chopped": 0, "answers": {}}
        self.writers = set()
        self.server = loop().call(asyncio.start_server(self.serve, host, 0))
        self.port = self.server.sockets[0].getsockname()[1]

    async def serve(self, reader, writer):
        self.counts["connections"] += 1
        try:
            up_reader, up_writer = await asyncio.open_connection(*self.target)
        except OSError:
            self.reset(writer)
            return
        pair = (writer, up_writer)
        self.writers.update(pair)
        keys = {}
        try:
            await asyncio.wait([asyncio.ensure_future(self.pump(reader, up_writer, keys, True)),
                                asyncio.ensure_future(self.pump(up_reader, writer, keys, False))],
                               return_when=asyncio.FIRST_COMPLETED)
        finally:
            for w in pair:
                self.writers.discard(w)
                self.reset(w)

    @staticmethod
    def reset(writer):
        raw = writer.get_extra_info("socket")
        if raw is not None:
            try:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            except OSError:
                pass
        writer.transport.abort()

    async def piece(self, reader):
        if not self.frames:
            return await reader.read(65536)
        try:
            head = await reader.readexactly(4)
            return head + await reader.readexactly(struct.unpack(">i", head)[0])
        except asyncio.IncompleteReadError:
            return b""

    async def pump(self, reader, writer, keys, upward):
        """Pieces are read as they come and written when they are due, so that a delay does not add up."""
        line = asyncio.Queue(1000)
        sender = asyncio.ensure_future(self.send(line, writer))
        due = 0
        try:
            while not sender.done():
                data = await self.piece(reader)
                if not data:
                    break
                if self.frames and len(data) >= 8 and not self.judge_frame(data, keys, upward):
                    return
                if self.delay_ms:
                    mean, spread = self.delay_ms
                    due = max(due, time.monotonic() + max(0, random.uniform(mean - spread, mean + spread)) / 1000)
                await line.put((due, data))
            await line.put((due, None))
            await sender
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            sender.cancel()

    async def send(self, line, writer):
        try:
            while True:
                due, data = await line.get()
                await asyncio.sleep(max(0, due - time.monotonic()))
                while self.silent:
                    await asyncio.sleep(0.05)
                if data is None:
                    return
                if random.random() < self.spoil:
                    data = self.spoiled(data)
                if random.random() < self.chop:
                    self.counts["chopped"] += 1
                    writer.write(data[:random.randrange(len(data))])
                    await writer.drain()
                    return
                writer.write(data)
                await writer.drain()
                if self.rate:
                    await asyncio.sleep(len(data) / self.rate)
        except OSError:
            return

    def judge_frame(self, data, keys, upward):
        """Whether it is forwarded; if not, the connection is reset."""
        if upward:
            key, _, number = struct.unpack_from(">hhi", data, 4)
            keys[number] = key
            if random.random() < self.replay.get(key, 0):
                asyncio.ensure_future(self.send_again(data))
            return True
        key = keys.pop(struct.unpack_from(">i", data, 4)[0], None)
        self.counts["answers"][key] = self.counts["answers"].get(key, 0) + 1
        if random.random() < self.reset_after.get(key, 0):
            self.counts["reset"] += 1
            return False
        return True

    def spoiled(self, data):
        self.counts["spoiled"] += 1
        at = random.randrange(len(data))
        return data[:at] + bytes([data[at] ^ (1 << random.randrange(8))]) + data[at + 1:]

    async def send_again(self, data):
        await asyncio.sleep(random.uniform(0.05, 3))
        try:
            reader, writer = await asyncio.open_connection(*self.target)
            writer.write(data)
            await asyncio.wait_for(reader.read(4), 10)
            self.counts["replayed"] += 1
            writer.close()
        except (OSError, asyncio.TimeoutError):
            pass

    def reset_all(self):
        async def go():
            for w in list(self.writers):
                self.reset(w)
        loop().call(go())

    def remove(self):
        self.silent = False

        async def go():
            self.server.close()
            for w in list(self.writers):
                self.reset(w)
        loop().call(go())
