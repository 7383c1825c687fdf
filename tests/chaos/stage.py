"""What a row of the fault matrix plays on: a cluster under load with consumer groups, and the tools that hurt it."""
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cluster"))
import disk  # noqa: E402
import logs  # noqa: E402
import network  # noqa: E402
import proxy  # noqa: E402
import wire  # noqa: E402
from bench import Bench  # noqa: E402
from faults_crash import status  # noqa: E402
from load import Failure, expect, wait_until  # noqa: E402
from wire import Connection  # noqa: E402

GROUPS = (3, 2)  # consumer groups and members of each; the third is cooperative
INTERVAL_MS = 20
# A frozen or cut off leader closes no connection: how soon a client looks elsewhere is the client's setting. With librdkafka's
# defaults it would wait a minute for an answer. It looks for requests that are overdue once a second, and does not write to a new
# leader before all that it sent to the old one is answered or overdue: half a second keeps that within the fail-over. (Later, the
# partition moves while requests are out, and librdkafka 2.0.2 may send the second of two batches to the new leader first.)
QUICK_CLIENT = {"socket.timeout.ms": 500, "fetch.wait.max.ms": 100, "topic.metadata.refresh.interval.ms": 300, "reconnect.backoff.max.ms": 1000}
# Where brokers lose each other and the client reaches all of them, every answer comes. It may come from a broker that is cut off
# and knows no newer leader than itself; the client asks again, another one by chance, and this is how soon.
ATTACHED_CLIENT = {"topic.metadata.refresh.interval.ms": 200, "topic.metadata.refresh.fast.interval.ms": 50}
# Where all brokers go at once, again and again: librdkafka would come back only after ten seconds.
RETURNING_CLIENT = {"reconnect.backoff.max.ms": 500}
DISK_MB = 192


class Rows:
    """The rows by number: what they are called and who plays them."""

    def __init__(self):
        self.all = {}

    def row(self, number, title, times=1, long=None, exempt=None):
        """exempt says why this row may end with the topic offline: then nothing is demanded of the logs."""
        def register(function):
            self.all[number] = {"number": number, "title": title, "times": times, "long": long or times, "exempt": exempt,
                                "play": function}
            return function
        return register


class ChaosBench(Bench):
    """The bench of one row: figures for the report, and a last look at the disks."""

    def __init__(self, args):
        super().__init__(args.binary, args.judge, args.keep)
        self.groups = GROUPS
        self.shim_library = os.path.join(os.path.dirname(args.judge), "..", "chaos", "libshim.so")
        self.long = args.long
        self.old_commit = args.old
        self.build_dir = args.build
        self.hours = args.soak
        self.figures = {}
        self.settings_used = []  # of each load

    def stage(self, **options):
        return Stage(self, **options)

    def load(self, cluster, **options):
        self.settings_used.append(options.get("settings", {}))
        return super().load(cluster, **options)

    def check_disks(self):
        """All stopped, the disks are read: for each cluster that still runs."""
        looked = 0
        for cluster in self.clusters:
            if not any(b.alive() for b in cluster.brokers):
                continue
            ends = [(b.id, b.process.poll()) for b in cluster.brokers if not b.alive()]
            expect(not ends, "ended before the end: %s", ends)
            expect(cluster.stop(40), "a broker did not stop cleanly")
            looked += logs.check(cluster, "load", 256)
            logs.verify(self.binary, cluster, "load")
        expect(looked > 0 or not self.loads, "there is nothing on the disks")
        self.figures["batches_on_disk"] = self.figures.get("batches_on_disk", 0) + looked
        for other in self.others:
            if isinstance(other, network.Network):
                other.heal()
                self.figures["cuts"] = self.figures.get("cuts", 0) + other.cuts
                self.figures["packets_dropped"] = self.figures.get("packets_dropped", 0) + other.dropped
        return looked

    def close(self, failed):
        for cluster in self.clusters:
            for b in cluster.brokers:
                if b.alive():
                    b.process.send_signal(signal.SIGCONT)
        super().close(failed)


class Stage:
    def __init__(self, bench, nodes=3, network_cuts=False, disks=False, disk_mb=DISK_MB, shim=False, proxies=False,
                 partitions=6, settings=None, client=None, interval_ms=INTERVAL_MS, assignments=None, configs=None, wrap=None,
                 file=None, start=True):
        self.bench = bench
        self.network = self.proxies = None
        self.shims, self.disks = {}, {}
        self.more_wrap = wrap
        self.settings = settings or {}
        places = None
        if network_cuts:
            self.network = network.Network(nodes)
            bench.others.append(self.network)
            places = self.network.places()
        settings = {"num.partitions": partitions, **self.settings}
        if disks:
            settings.setdefault("kvorum.reserve.bytes", 8 << 20)
            self.cluster, self.disks = bench.cluster_on_volumes(range(1, nodes + 1), disk_mb, settings, nodes, wrap=self.wrap,
                                                                places=places)
        else:
            self.cluster = bench.cluster(nodes, settings, self.wrap, places)
        if shim:
            for b in self.cluster.brokers:
                self.shims[b.id] = disk.Shim(bench.shim_library, os.path.join(self.cluster.dir, "rules%d" % b.id))
        if proxies:
            self.put_proxies(settings)
        self.options = {"partitions": partitions, "interval_ms": interval_ms}
        if client:
            self.options["settings"] = client
        if file:
            self.options["file"] = file
        self.preferred = None
        self.load = None
        if start:
            self.start(assignments, configs, partitions)

    def start(self, assignments=None, configs=None, partitions=6):
        self.cluster.start()
        self.wait_healthy()
        if assignments or configs:
            with self.connect(self.cluster.brokers[0]) as c:
                error, message = c.create_topic("load", partitions, 3, configs, assignments)
                expect(error == wire.NONE, "CreateTopics: %d %s", error, message)
            wait_until("the topic has leaders", lambda: self.leader_of("load", 0) > 0, 30)
        self.load = self.bench.load(self.cluster, **self.options)
        self.load.start()
        self.preferred = self.load.wait_full()["leaders"]
        self.load.gap_ms()

    def wait_healthy(self):
        wait_until("the cluster is healthy", lambda: self.bench.healthy(self.cluster), 60)

    def wrap(self, broker):
        command = list(self.more_wrap(broker)) if self.more_wrap else []
        if broker.id in self.shims:
            command += self.shims[broker.id].wrap()
        return command

    def put_proxies(self, settings):
        """Clients reach each broker through a proxy that knows requests and responses."""
        self.proxies = {}
        for b in self.cluster.brokers:
            p = proxy.Proxy("127.0.0.1", (b.host, b.port), frames=True)
            self.bench.others.append(p)
            self.proxies[b.id] = p
            b.write_config({**self.bench.settings(settings), "advertised.listeners": "PLAINTEXT://127.0.0.1:%d" % p.port})

    def put_peer_proxies(self):
        """All links between brokers go through proxies: {(from, to): proxy}. Before the start."""
        self.peer_proxies = {}
        for a in self.cluster.brokers:
            for b in self.cluster.brokers:
                if a is not b:
                    p = proxy.Proxy(self.network.gateway, (b.host, b.controller_port))
                    self.bench.others.append(p)
                    self.peer_proxies[(a.id, b.id)] = p
                    self.network.lead_through(a.id, b.id, b.controller_port, p.port)

    # ---- looking

    def connect(self, broker, timeout=15):
        return Connection(broker.port, timeout, broker.host)

    def metadata(self, topic, broker=None, create=False):
        """What some broker, or this one, says; None when nobody answers."""
        for b in [broker] if broker else self.cluster.brokers:
            try:
                if b.alive():
                    with self.connect(b, 3) as c:
                        return c.metadata(topic, create)
            except (OSError, wire.Closed):
                continue
        return None

    def leader_of(self, topic, partition):
        found = self.metadata(topic)
        return found["partitions"].get(partition, {}).get("leader", -1) if found else -1

    def controller(self):
        return self.load.cluster()["controller"]

    def status(self):
        try:
            return status(self.bench, self.cluster)
        except subprocess.TimeoutExpired:
            return {}

    def term(self):
        return max([n.get("term") or 0 for n in self.status().get("node_list", [])] or [0])

    def ready(self, not_before=0.0, timeout=90):
        """All ISRs full, all partitions written steadily, leaders where they were at first (that waits 15 s at most)."""
        state = self.load.wait_full(timeout)
        until = max(time.monotonic() + 15, not_before)
        while time.monotonic() < not_before or (state["leaders"] != self.preferred and time.monotonic() < until):
            time.sleep(0.1)
            state = self.load.wait_full(timeout)
        return state

    def said(self, broker, *words):
        """How many lines of a broker's log, of all its lives, hold all these words."""
        with open(broker.log, errors="replace") as f:
            return sum(all(w in line for w in words) for line in f)

    def all_alive(self):
        for b in self.cluster.brokers:
            expect(b.alive(), "node %d ended with %s", b.id, b.process.poll())

    def others(self, broker):
        return [b for b in self.cluster.brokers if b is not broker]

    def pick(self):
        return random.choice(self.cluster.brokers)

    def steady(self, what, timeout=60):
        wait_until(what, lambda: self.load.cluster()["steady"], timeout, 0.1)

    def progress(self, what, timeout=30):
        """Every partition is acknowledged, if not steadily: a broker that is cut off may still tell clients who led once."""
        self.load.gap_ms()
        wait_until(what, lambda: self.load.gap_ms() < 2500, timeout, 2)

    # ---- hurting

    def watch(self, node, leaders):
        partitions = [i for i, leader in enumerate(leaders) if leader == node]
        self.load.ask("watch %d %s" % (node, ",".join(map(str, partitions))), "watching")
        return partitions

    def recovered(self, timeout=60):
        return self.load.hear("recovered", timeout)["ms"]

    def kill_leader(self, node, leaders):
        """kill -9 by the client itself, so that its clock starts with it; the samples, one per partition that was led."""
        partitions = [i for i, leader in enumerate(leaders) if leader == node]
        broker = self.cluster.broker(node)
        samples = self.load.ask("kill %d %d %s" % (broker.process.pid, node, ",".join(map(str, partitions))), "recovered")["ms"]
        broker.process.wait()
        return samples

    def kill(self, broker):
        broker.kill()

    def restart(self, broker, pause=0.0):
        broker.kill()
        time.sleep(pause)
        broker.start()

    def freeze(self, broker):
        broker.process.send_signal(signal.SIGSTOP)
        wait_until("node %d stands still" % broker.id, lambda: process_state(broker) == "T", 5, 0.001)
        figures = self.bench.figures
        figures["frozen"] = figures.get("frozen", 0) + 1

    def thaw(self, broker):
        broker.process.send_signal(signal.SIGCONT)

    def cut_power(self, nodes=None):
        nodes = nodes or list(self.disks)
        for n in nodes:
            self.disks[n].cut_power()
        for n in nodes:
            self.cluster.broker(n).kill()
        for n in nodes:
            self.disks[n].unmount()
            self.disks[n].mount()

    def verdict(self, at_least=100):
        told = self.load.verdict(at_least)
        self.bench.figures.update(self.load.figures)
        return told


def process_state(broker):
    """The letter that the kernel has for it: T is stopped."""
    with open("/proc/%d/stat" % broker.process.pid) as f:
        return f.read().rsplit(")", 1)[1].split()[0]


def alternate(leaders, last, number):
    """Who leads most; among equals, who was spared longest."""
    victim = max(sorted(set(leaders)), key=lambda n: (leaders.count(n), -last.get(n, 0)))
    last[victim] = number
    return victim


__all__ = ["ATTACHED_CLIENT", "ChaosBench", "Failure", "QUICK_CLIENT", "RETURNING_CLIENT", "Rows", "Stage", "alternate", "disk", "expect", "logs", "status", "wait_until",
           "wire"]
