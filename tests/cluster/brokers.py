"""Brokers as local processes for scripts: start, kill, restart, stop; everything on loopback and free ports."""
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time


def free_ports(count):
    """Ports nobody listens on, outside the range the kernel gives to outgoing connections."""
    ports = []
    while len(ports) < count:
        port = random.randint(15000, 31999)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in ports:
            ports.append(port)
    return ports


class Broker:
    def __init__(self, cluster, node_id, place, port, controller_port):
        self.cluster = cluster
        self.host, self.enter = place
        self.id = node_id
        self.port = port
        self.controller_port = controller_port
        self.dir = os.path.join(cluster.dir, "node%d" % node_id)
        self.log = os.path.join(cluster.dir, "node%d.log" % node_id)
        self.config = os.path.join(cluster.dir, "node%d.properties" % node_id)
        self.process = None
        self.binary = cluster.binary

    def write_config(self, extra):
        settings = {
            "node.id": self.id,
            "process.roles": "broker,controller",
            "listeners": "PLAINTEXT://%s:%d,CONTROLLER://%s:%d"
            % (self.host, self.port, self.host, self.controller_port),
            "controller.quorum.voters": self.cluster.voters(),
            "log.dirs": self.dir,
        }
        settings.update(extra)
        with open(self.config, "w") as f:
            for key, value in settings.items():
                f.write("%s=%s\n" % (key, value))

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.enter + self.cluster.wrap(self) + [self.binary, "server", "--config", self.config],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self, sig=signal.SIGKILL):
        if self.alive():
            self.process.send_signal(sig)
        self.process.wait()

    def rss_bytes(self):
        with open("/proc/%d/status" % self.process.pid) as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0


class Cluster:
    """places gives for each node its address and a command that enters the network where it lives."""

    def __init__(self, binary, nodes=3, settings=None, keep=False, wrap=None, places=None):
        self.binary = binary
        self.keep = keep
        self.dir = tempfile.mkdtemp(prefix="kvorum-")
        self.wrap = wrap or (lambda broker: [])
        ports = free_ports(nodes * 2)
        places = places or [("127.0.0.1", [])] * nodes
        self.brokers = [Broker(self, i + 1, places[i], ports[2 * i], ports[2 * i + 1]) for i in range(nodes)]
        for b in self.brokers:
            b.write_config(settings or {})

    def voters(self):
        return ",".join("%d@%s:%d" % (b.id, b.host, b.controller_port) for b in self.brokers)

    def bootstrap(self):
        return ",".join("%s:%d" % (b.host, b.port) for b in self.brokers)

    def broker(self, node_id):
        return self.brokers[node_id - 1]

    def start(self):
        for b in self.brokers:
            b.start()

    def stop(self, timeout=15):
        """A controlled stop; what does not end in time is killed. Returns whether all ended with status 0."""
        alive = [b for b in self.brokers if b.alive()]
        for b in alive:
            b.process.terminate()
        until = time.monotonic() + timeout
        clean = True
        for b in alive:
            try:
                clean = b.process.wait(max(0.1, until - time.monotonic())) == 0 and clean
            except subprocess.TimeoutExpired:
                b.process.kill()
                b.process.wait()
                clean = False
        return clean

    def remove(self):
        for b in self.brokers:
            if b.alive():
                b.process.kill()
                b.process.wait()
        if self.keep:
            print("kept: %s" % self.dir)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)
