#!/usr/bin/env python3
"""Hard moments on real processes. faults.py --binary B --judge J [NAME…]: run those tests, or all; --list names them.

Each prints one line, and the last line counts: N passed, N failed."""
import argparse
import os
import random
import subprocess
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import faults_crash  # noqa: E402
import faults_disk  # noqa: E402
import faults_input  # noqa: E402
import faults_memory  # noqa: E402
import faults_start  # noqa: E402
import volumes  # noqa: E402
from brokers import Cluster  # noqa: E402
from load import PARTITIONS, Failure, Load, wait_until  # noqa: E402

TESTS = faults_crash.TESTS + faults_disk.TESTS + faults_input.TESTS + faults_memory.TESTS + faults_start.TESTS


class Bench:
    """What one test uses; everything is stopped and removed when it ends."""

    def __init__(self, args, name):
        self.binary = args.binary
        self.judge = args.judge
        self.keep = args.keep
        self.name = name
        self.clusters = []
        self.loads = []
        self.volumes = []

    def cluster(self, nodes=3, settings=None, wrap=None):
        cluster = Cluster(self.binary, nodes, self.settings(settings), self.keep, wrap)
        self.clusters.append(cluster)
        return cluster

    @staticmethod
    def settings(more):
        return {"num.partitions": PARTITIONS, **(more or {})}

    def healthy(self, cluster):
        done = subprocess.run([self.binary, "health", "--quiet", "-b", cluster.bootstrap()], timeout=30,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return done.returncode == 0

    def start(self, cluster):
        cluster.start()
        wait_until("the cluster is healthy", lambda: self.healthy(cluster))

    def tool(self, name):
        """A program built beside the judge."""
        return os.path.join(os.path.dirname(self.judge), name)

    def volume(self, name, size_mb):
        volume = volumes.Volume(name, size_mb, self.keep)
        self.volumes.append(volume)
        return volume

    def cluster_on_volumes(self, nodes_on_volumes, size_mb, settings=None):
        """A cluster some of whose nodes have a small disk of their own; {node: volume}."""
        cluster = self.cluster(settings=settings)
        disks = {}
        for node in nodes_on_volumes:
            disks[node] = self.volume("node%d" % node, size_mb)
            broker = cluster.broker(node)
            broker.dir = disks[node].path  # the root of the volume, lost+found beside the logs
            broker.write_config(self.settings(settings))
        return cluster, disks

    def load(self, cluster, **options):
        log = os.path.join(cluster.dir, "judge.log") if self.keep else None
        load = Load(self.judge, cluster.bootstrap(), log=log, **options)
        self.loads.append(load)
        return load

    def close(self, failed):
        for load in self.loads:
            load.end()
            if failed and load.errors:
                print("---- the client: " + "\n".join(load.errors[-10:]))
        for cluster in self.clusters:
            if failed:
                show_logs(cluster)
            cluster.remove()
        for volume in self.volumes:
            volume.remove()


def show_logs(cluster):
    for broker in cluster.brokers:
        if os.path.exists(broker.log):
            with open(broker.log, errors="replace") as f:
                lines = f.readlines()
            status = broker.process.poll() if broker.process is not None else None
            print("---- node %d %s; the end of its log" % (broker.id, "runs" if status is None else "ended with %s" % status))
            print("".join(lines[-15:]), end="")


def run(args, name, test):
    bench = Bench(args, name)
    began = time.monotonic()
    failed = None
    detail = None
    try:
        detail = test(bench)
    except Failure as e:
        failed = str(e)
    except Exception as e:  # a test that breaks is a test that fails
        failed = "%s: %s" % (type(e).__name__, e)
        traceback.print_exc(file=sys.stdout)
    finally:
        bench.close(failed is not None)
    seconds = time.monotonic() - began
    if failed is None:
        print("ok      %-22s %5.1f s  %s" % (name, seconds, detail or ""), flush=True)
    else:
        print("FAILED  %-22s %5.1f s  %s" % (name, seconds, failed), flush=True)
    return failed is None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="build/broker/kvorum")
    parser.add_argument("--judge", default="build/tests/cluster/judge")
    parser.add_argument("--seed", type=int, help="for what the tests choose by chance")
    parser.add_argument("--keep", action="store_true", help="keep data and logs")
    parser.add_argument("--list", action="store_true", help="name the tests and end")
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    tests = dict(TESTS)
    if args.list:
        print("\n".join(tests))
        return 0
    unknown = [n for n in args.names if n not in tests]
    if unknown:
        parser.error("no such test: %s" % ", ".join(unknown))
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 32)
    random.seed(seed)
    print("seed %d" % seed, flush=True)
    results = [run(args, name, tests[name]) for name in args.names or tests]
    print("%d passed, %d failed" % (sum(results), len(results) - sum(results)))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
