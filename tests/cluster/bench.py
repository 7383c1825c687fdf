"""The bench of one test on real processes: its clusters, volumes and loads, all removed when it ends."""
import os
import re
import shutil
import subprocess

import volumes
from brokers import Cluster
from load import PARTITIONS, Load, wait_until


IDLE_ROLE = re.compile(r"tp=__consumer_offsets-\d+ .*(end=0|state=follower)")  # fifty at each change


class Bench:
    """What one test uses; everything is stopped and removed when it ends."""

    def __init__(self, binary, judge, keep=False):
        self.binary = binary
        self.judge = judge
        self.keep = keep
        self.logs_kept = None  # a directory
        self.groups = None  # (groups, members of each) that every load has
        self.others = []  # what else is to be removed at the end: remove()
        self.clusters = []
        self.loads = []
        self.volumes = []

    def cluster(self, nodes=3, settings=None, wrap=None, places=None):
        cluster = Cluster(self.binary, nodes, self.settings(settings), self.keep, wrap, places)
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

    def cluster_on_volumes(self, nodes_on_volumes, size_mb, settings=None, nodes=3, **options):
        """A cluster some of whose nodes have a small disk of their own; {node: volume}."""
        cluster = self.cluster(nodes, settings, **options)
        disks = {}
        for node in nodes_on_volumes:
            disks[node] = self.volume("node%d" % node, size_mb)
            broker = cluster.broker(node)
            broker.dir = disks[node].path  # the root of the volume, lost+found beside the logs
            broker.write_config(self.settings(settings))
        return cluster, disks

    def load(self, cluster, **options):
        load = Load(self.judge, cluster.bootstrap(), **{"groups": self.groups, **options})
        self.loads.append(load)
        return load

    def keep_logs(self, cluster):
        """The whole logs of a test that failed, where they are wanted."""
        if self.logs_kept:
            os.makedirs(self.logs_kept, exist_ok=True)
            for b in cluster.brokers:
                if os.path.exists(b.log):
                    shutil.copy(b.log, self.logs_kept)
            for number, load in enumerate(self.loads):
                with open(os.path.join(self.logs_kept, "client%d.log" % number), "w") as f:
                    f.write("\n".join(load.errors) + "\n")

    def retire(self):
        """Put away what was used so far, to go on with a new cluster."""
        self.close(False)
        self.loads, self.clusters, self.volumes, self.others = [], [], [], []

    def close(self, failed):
        for load in self.loads:
            load.end()
            if failed and load.errors:
                print("---- the client: " + "\n".join(load.errors[-10:]))
        for cluster in self.clusters:
            if failed:
                self.keep_logs(cluster)
                show_logs(cluster)
            cluster.remove()
        for volume in self.volumes:
            volume.remove()
        for other in self.others:
            other.remove()


def show_logs(cluster):
    for broker in cluster.brokers:
        if os.path.exists(broker.log):
            with open(broker.log, errors="replace") as f:
                lines = [line for line in f if not IDLE_ROLE.search(line)]
            status = broker.process.poll() if broker.process is not None else None
            print("---- node %d %s; the end of its log" % (broker.id, "runs" if status is None else "ended with %s" % status))
            print("".join(lines[-15:]), end="")
