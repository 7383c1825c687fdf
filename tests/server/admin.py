"""Admin calls under load: topics made, changed and removed over the wire, and the admin command of the same build."""
import asyncio
import os
import random

import kafka_bytes as wire
from crowd import PARTITIONS, TOPIC, Lost

PAUSE_S = 0.2


class Admin:
    def __init__(self, crowd):
        self.crowd = crowd
        self.done = {name: 0 for name in ("create", "set config", "describe configs", "add partitions", "delete records",
                                          "elect leaders", "list groups", "find coordinator", "describe group", "delete",
                                          "list offsets", "status", "health")}

    def missing(self):
        return ", ".join(name for name, count in self.done.items() if count == 0)

    async def all_done(self):
        return not self.missing()

    def summary(self):
        return ", ".join("%s %d" % item for item in self.done.items())

    async def ask(self, name, call, good):
        """Once; while brokers come and go it may fail, but not always."""
        try:
            body = await self.crowd.ask_any(call)
        except Lost:
            return
        if good(body):
            self.done[name] += 1
        await asyncio.sleep(PAUSE_S)

    def members(self, binary, cluster, wrap):
        yield self.topics()
        yield self.groups()
        yield self.command("status", [binary, "status", "-b", cluster.bootstrap()], cluster, wrap)
        yield self.command("health", [binary, "health", "-b", cluster.bootstrap()], cluster, wrap)

    async def topics(self):
        number = 0

        def topic_ok(body):
            return wire.read_topic_error(body) == wire.NONE

        def first_ok(body):  # throttle, one entry that begins with its error
            r = wire.Reader(body)
            r.i32()
            return r.i32() == 1 and r.i16() == wire.NONE
        while not self.crowd.stopping:
            number += 1
            name = "admin-%d" % number
            await self.ask("create", wire.create_topic(name, 2, 3, [("retention.ms", "3600000")]), topic_ok)
            await self.ask("set config", wire.set_config(name, "retention.bytes", "1000000"), first_ok)
            await self.ask("describe configs", wire.describe_configs(name), first_ok)
            await self.ask("add partitions", wire.create_partitions(name, 4), topic_ok)
            await self.ask("elect leaders", wire.elect_leaders(TOPIC, range(PARTITIONS)), self.elected)
            await self.leader_calls(random.randrange(PARTITIONS))
            await self.ask("delete", wire.delete_topic(name), topic_ok)

    @staticmethod
    def elected(body):
        r = wire.Reader(body)
        r.i32()
        return r.i16() == wire.NONE

    async def leader_calls(self, partition):
        """What only a leader answers; DeleteRecords before offset 0 removes nothing."""
        for name, call in (("list offsets", wire.list_offsets(TOPIC, partition, -1)),
                           ("delete records", wire.delete_records(TOPIC, partition, 0))):
            try:
                connection = await self.crowd.to_leader(None, TOPIC, partition)
            except Lost:
                continue
            try:
                r = wire.Reader(await connection.call(call))
                if name == "delete records":
                    r.i32()
                if (r.i32(), r.string(), r.i32(), r.i32()) != (1, TOPIC, 1, partition):
                    self.crowd.violation("%s answers for another partition" % name)
                if name == "delete records":
                    r.i64()
                self.done[name] += r.i16() == wire.NONE
            except Lost:
                pass
            finally:
                connection.close()

    async def groups(self):
        def second_ok(body):  # throttle, error
            r = wire.Reader(body)
            r.i32()
            return r.i16() == wire.NONE

        def group_known(body):  # throttle, one group: error, name, state
            r = wire.Reader(body)
            r.i32()
            return r.i32() == 1 and r.i16() == wire.NONE and (r.string(), r.string())[1] in (
                "Stable", "PreparingRebalance", "CompletingRebalance")
        while not self.crowd.stopping:
            await self.ask("list groups", wire.list_groups(), second_ok)
            await self.ask("find coordinator", wire.find_coordinator("readers"), second_ok)
            await self.ask("describe group", wire.describe_groups(["readers"]), group_known)
            await asyncio.sleep(PAUSE_S)

    async def command(self, name, command, cluster, wrap):
        """The admin command, which a sanitizer watches too."""
        number = 0
        while not self.crowd.stopping:
            number += 1
            process = await asyncio.create_subprocess_exec(
                *wrap(cluster.dir, "%s%d" % (name, number)), *command, stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, env=dict(os.environ))
            status = await process.wait()
            self.done[name] += status == 0
            if status not in (0, 1, 10):
                self.crowd.violation("kvorum %s ends with status %d" % (name, status))
            await asyncio.sleep(2)
