#!/usr/bin/env python3
"""Three brokers built with a sanitizer, 200 connections, a kill -9, a controlled stop, a consumer group and admin calls.

Exit status 0 only if no sanitizer said anything in any broker, every broker ended as it should, every acknowledged record was
read back where it was said to be, those of idempotent producers once, and no connection was treated wrongly."""
import argparse
import asyncio
import collections
import contextlib
import glob
import os
import random
import re
import signal
import subprocess
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cluster"))
import kafka_bytes as wire  # noqa: E402
from admin import Admin  # noqa: E402
from brokers import Cluster  # noqa: E402
from crowd import BULK, BULK_BATCHES, BULK_PARTITIONS, PARTITIONS, TOPIC, Crowd, Lost  # noqa: E402

REPORT_STATUS = 66  # of a process about which the sanitizer has said something
CONNECTIONS_MIN = 200
START_S, FULL_S, STOP_S, GROUP_S = 90, 120, 60, 90
STEADY_RECORDS = 300  # acknowledged while a broker is away, before it comes back
PHASE_S = 8           # each at least: all brokers up, one dead, all up, one stopped, all up
SETTINGS = {
    # A sanitizer makes everything some ten times slower; what is looked for here are races, not times.
    "broker.session.timeout.ms": "6000",
    "controller.quorum.fetch.timeout.ms": "4000",
    "offsets.topic.num.partitions": "3",
    "log.segment.bytes": str(1 << 20),
    "metadata.log.max.record.bytes.between.snapshots": "20000",
}


class Failure(Exception):
    pass


def sanitizer_wrap(directory, name):
    """The words before a command that tell its sanitizer where to report."""
    log = "log_path=%s" % os.path.join(directory, "report." + name)
    return ["env", "TSAN_OPTIONS=halt_on_error=0 exitcode=%d second_deadlock_stack=1 %s" % (REPORT_STATUS, log),
            "ASAN_OPTIONS=exitcode=%d detect_leaks=1 detect_stack_use_after_return=1 %s" % (REPORT_STATUS, log),
            "UBSAN_OPTIONS=print_stacktrace=1 %s" % log, *same_addresses()]


def same_addresses():
    """ThreadSanitizer does not start where the kernel spreads addresses too widely (vm.mmap_rnd_bits above 28)."""
    command = ["setarch", os.uname().machine, "-R"]
    works = subprocess.run([*command, "true"], stderr=subprocess.DEVNULL).returncode == 0
    return command if works else []


def reports(directory):
    return sorted(p for p in glob.glob(os.path.join(directory, "report.*")) if os.path.getsize(p) > 0)


def check_canary(canary, directory):
    """A program with a known fault must be caught, or silence means nothing."""
    r = subprocess.run(sanitizer_wrap(directory, "canary") + [canary], capture_output=True, text=True)
    found = reports(directory)
    if r.returncode != REPORT_STATUS or not found:
        raise Failure("the sanitizer does not work here (status %d): %s" % (r.returncode, r.stderr.strip()[-400:]))
    for path in found:
        os.remove(path)


class Exercise:
    def __init__(self, args):
        self.args = args
        self.cluster = Cluster(args.binary, settings=SETTINGS, keep=args.keep,
                               wrap=lambda b: sanitizer_wrap(self.cluster.dir, "node%d" % b.id))
        for b in self.cluster.brokers:
            b.up, b.starts = False, 0
        self.crowd = Crowd(self.cluster.brokers)
        self.admin = Admin(self.crowd)
        self.tasks = []
        self.members = []
        self.began = time.monotonic()

    def say(self, text):
        print("%6.1f s  %s" % (time.monotonic() - self.began, text), flush=True)

    async def until(self, condition, limit_s, what):
        """Wait until it holds; what has gone wrong meanwhile ends the exercise."""
        until = time.monotonic() + limit_s
        while not await condition():
            for b in self.cluster.brokers:
                if b.up and not b.alive():
                    raise Failure("broker %d ended by itself with status %d" % (b.id, b.process.returncode))
            for t in self.tasks:
                if t.done() and t.exception() is not None:
                    raise t.exception()
            if time.monotonic() > until:
                raise Failure("not within %d s: %s" % (limit_s, what))
            await asyncio.sleep(0.2)

    # ---- brokers ----

    def start(self, broker):
        broker.start()
        broker.starts += 1
        broker.up = True

    async def full(self):
        """Every partition has a leader and all three replicas in sync."""
        try:
            _, topics = await self.crowd.metadata()
        except Lost:
            return False
        return all(len(topics.get(name, {})) == count and all(len(p[3]) == 3 and p[1] > 0 for p in topics[name].values())
                   for name, count in ((TOPIC, PARTITIONS), (BULK, BULK_PARTITIONS)))

    async def leads_most(self):
        _, topics = await self.crowd.metadata()
        return self.cluster.broker(collections.Counter(p[1] for p in topics[TOPIC].values()).most_common(1)[0][0])

    async def goes_on(self, what):
        target = len(self.crowd.acked) + STEADY_RECORDS

        async def enough():
            return len(self.crowd.acked) >= target
        begin = time.monotonic()
        await self.until(enough, START_S, "%d records more acknowledged while %s" % (STEADY_RECORDS, what))
        self.say("%d records more in %.1f s while %s" % (STEADY_RECORDS, time.monotonic() - begin, what))
        await asyncio.sleep(max(0, PHASE_S - (time.monotonic() - begin)))

    async def stop_politely(self, broker):
        broker.up = False
        broker.process.terminate()

        async def ended():
            return not broker.alive()
        await self.until(ended, STOP_S, "broker %d stops" % broker.id)
        if broker.process.returncode != 0:
            self.crowd.violation("broker %d ends with status %d after SIGTERM" % (broker.id, broker.process.returncode))

    # ---- steps ----

    async def prepare(self):
        for b in self.cluster.brokers:
            self.start(b)
        for name, partitions in ((TOPIC, PARTITIONS), (BULK, BULK_PARTITIONS)):
            async def created(name=name, partitions=partitions):
                with contextlib.suppress(Lost):
                    call = wire.create_topic(name, partitions, 3)
                    return wire.read_topic_error(await self.crowd.ask_any(call)) in (wire.NONE, wire.TOPIC_EXISTS)
            await self.until(created, START_S, "topic %s" % name)
        await self.until(self.full, START_S, "all replicas in sync")
        batch = wire.batch([os.urandom(1000) for _ in range(64)], int(time.time() * 1000))
        for partition in range(BULK_PARTITIONS):
            await self.fill(partition, batch)
        self.say("three brokers, topics %s and %s (%d MB for slow readers)"
                 % (TOPIC, BULK, BULK_PARTITIONS * BULK_BATCHES * len(batch) >> 20))

    async def fill(self, partition, batch):
        connection = None
        written = 0
        while written < BULK_BATCHES:
            try:
                connection = await self.crowd.to_leader(connection, BULK, partition)
                error, _ = wire.read_produce(await connection.call(wire.produce(BULK, partition, batch)))
                written += error == wire.NONE
            except Lost:
                await self.crowd.refresh()
        connection.close()

    def join_group(self, number):
        out = open(os.path.join(self.cluster.dir, "member%d" % number), "wb")
        self.members.append(subprocess.Popen(
            ["kcat", "-b", self.cluster.bootstrap(), "-G", "readers", "-q", "-u", "-f", "%p %o\n", "-X",
             "auto.offset.reset=earliest", "-X", "auto.commit.interval.ms=500", "-X", "session.timeout.ms=10000", TOPIC],
            stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.DEVNULL))
        out.close()

    async def trouble(self):
        async def crowded():
            return len(self.crowd.connections) >= CONNECTIONS_MIN and len(self.crowd.acked) >= STEADY_RECORDS
        self.join_group(1)
        self.join_group(2)
        await self.until(crowded, START_S, "%d connections at work" % CONNECTIONS_MIN)
        self.say("%d connections, %d records acknowledged" % (len(self.crowd.connections), len(self.crowd.acked)))
        await self.goes_on("all three are up")
        victim = await self.leads_most()
        victim.up = False
        victim.kill(signal.SIGKILL)
        await self.goes_on("broker %d is dead by -9" % victim.id)
        self.join_group(3)
        self.start(victim)
        await self.until(self.full, FULL_S, "all replicas in sync again after the kill")
        await self.goes_on("broker %d is back" % victim.id)
        # Not politely: kcat drops the record it holds when it is asked to end, and commits it all the same.
        self.members[0].kill()
        other = random.choice([b for b in self.cluster.brokers if b is not victim])
        await self.stop_politely(other)
        await self.goes_on("broker %d is stopped" % other.id)
        self.start(other)
        await self.until(self.full, FULL_S, "all replicas in sync again after the stop")
        await self.goes_on("broker %d is back" % other.id)
        await self.until(self.admin.all_done, START_S, "each admin call succeeds once")
        self.say("admin calls: %s" % self.admin.summary())

    async def finish(self):
        self.crowd.stopping = True
        _, late = await asyncio.wait(self.tasks, timeout=60)
        if late:
            raise Failure("%d connections do not come to an end" % len(late))
        for t in self.tasks:
            t.result()
        await self.judge()
        await self.judge_group()
        for m in self.members:
            m.terminate()
        for b in self.cluster.brokers:
            await self.stop_politely(b)

    # ---- verdicts ----

    async def read_all(self, partition):
        """{offset: value} of everything below the high watermark."""
        found, position, connection = {}, 0, None
        while True:
            try:
                connection = await self.crowd.to_leader(connection, TOPIC, partition)
                body = await connection.call(wire.fetch(TOPIC, partition, position, 100))
                error, high_watermark, records = wire.read_fetch(body)
            except Lost:
                error = -1
            if error != wire.NONE:
                await self.crowd.refresh()
                continue
            for offset, value in wire.values(records):
                if offset >= position:
                    found[offset] = value
                    position = offset + 1
            if position >= high_watermark:
                connection.close()
                return found

    async def judge(self):
        seen = collections.Counter()
        lost = read = 0
        for partition in range(PARTITIONS):
            found = await asyncio.wait_for(self.read_all(partition), START_S)
            seen.update(found.values())
            read += len(found)
            wanted = {offset: value for (p, offset), value in self.crowd.acked.items() if p == partition}
            lost += sum(found.get(offset) != value for offset, value in wanted.items())
        twice = sum(seen[value] != 1 for value in self.crowd.once)
        self.say("%d records acknowledged, %d read, %d lost; %d of idempotent producers, %d not exactly once"
                 % (len(self.crowd.acked), read, lost, len(self.crowd.once), twice))
        if lost or twice:
            self.crowd.violation("records were lost or written twice")

    def unseen(self):
        """What was acknowledged and no member of the group has seen."""
        seen = set()
        for path in glob.glob(os.path.join(self.cluster.dir, "member*")):
            with open(path) as f:
                seen.update(tuple(map(int, line.split())) for line in f if line.endswith("\n"))
        return set(self.crowd.acked) - seen

    async def judge_group(self):
        async def complete():
            return not self.unseen()
        try:
            await self.until(complete, GROUP_S, "the consumer group has seen every acknowledged record")
        except Failure:
            per_partition = collections.defaultdict(list)
            for partition, offset in self.unseen():
                per_partition[partition].append(offset)
            for partition, offsets in sorted(per_partition.items()):
                self.say("the group has not seen %d records of partition %d, from %d to %d"
                         % (len(offsets), partition, min(offsets), max(offsets)))
            raise
        self.say("the consumer group of %d members, one of which was killed, has seen them all" % len(self.members))

    def findings(self):
        """What sanitizers and brokers have left behind."""
        for path in reports(self.cluster.dir):
            with open(path, errors="replace") as f:
                text = f.read()
            kinds = collections.Counter(re.findall(r"^SUMMARY: .*$|runtime error: .*$", text, re.M))
            yield "%s: %s\n%s" % (os.path.basename(path), dict(kinds), text[:6000])
        for b in self.cluster.brokers:
            with open(b.log, errors="replace") as f:
                for line in f:
                    if "Sanitizer" in line or "runtime error:" in line or "KB_ASSERT" in line or "assert" in line:
                        yield "broker %d: %s" % (b.id, line.rstrip())

    async def run(self):
        await self.prepare()
        self.tasks = [asyncio.create_task(m) for m in self.crowd.members()]
        self.tasks += [asyncio.create_task(m) for m in self.admin.members(self.args.command, self.cluster, sanitizer_wrap)]
        await self.trouble()
        await self.finish()


def check_done(counts):
    """Each kind of connection has done at least something."""
    for what in ("records acknowledged", "records read", "bytes read slowly", "half frames", "requests byte by byte",
                 "nonsense hung up on", "strangers hung up on", "resets", "idle answered at the end"):
        if not counts.get(what):
            yield "no connection has: %s" % what


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--canary", required=True, help="a program with a fault this sanitizer reports")
    parser.add_argument("--command", required=True, help="the admin command: this binary or that of another build")
    parser.add_argument("--keep", action="store_true")
    args = parser.parse_args()
    exercise = Exercise(args)
    problems = []
    try:
        check_canary(args.canary, exercise.cluster.dir)
        # Not asyncio.run: after a failure it would wait for every connection to end.
        asyncio.new_event_loop().run_until_complete(exercise.run())
        problems += check_done(exercise.crowd.counts)
    except Failure as failure:
        problems.append(str(failure))
        if exercise.admin.missing():
            problems.append("admin calls that never succeeded: %s" % exercise.admin.missing())
    except Exception:
        problems.append(traceback.format_exc())
    for process in exercise.members:
        if process.poll() is None:
            process.kill()
        process.wait()
    exercise.cluster.stop(STOP_S)
    problems += exercise.crowd.violations
    problems += exercise.findings()
    print("        ", ", ".join("%s %d" % c for c in sorted(exercise.crowd.counts.items())))
    for p in problems:
        print("FAILED  ", p)
    exercise.cluster.remove()
    sys.stdout.flush()
    os._exit(1 if problems else 0)  # connections of a failed exercise are left as they are


if __name__ == "__main__":
    main()
