"""A network of one's own for each broker: a namespace, a virtual cable to a bridge, and packets dropped inside.

The bridge has a namespace too, where no rules of this machine's own apply. The client stays outside and has a cable to the bridge. Rules stand in the namespaces, so a direction can be cut alone; a connection from one
broker to another can be led through a proxy on the bridge, and neither of them notices."""
import atexit
import random
import re
import subprocess

from load import expect

DROPPED = re.compile(r"^\[(\d+):\d+\] -A .*-j DROP", re.M)
networks = []


def run(command, text=None, must=True):
    done = subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if must and done.returncode != 0:
        raise RuntimeError("%s: %s" % (" ".join(command), done.stdout.strip()))
    return done.stdout


class Network:
    def __init__(self, nodes):
        self.nodes = range(1, nodes + 1)
        self.tag = "kv%05x" % random.SystemRandom().randrange(1 << 20)
        self.hub = self.tag + "h"
        self.subnet = "10.%d.%d" % (random.SystemRandom().randrange(100, 250), random.SystemRandom().randrange(1, 250))
        self.gateway = self.subnet + ".254"
        self.hurt = set()  # nodes with rules that drop packets
        self.cuts = 0      # times such rules were taken away again …
        self.dropped = 0   # … and what they had dropped until then
        networks.append(self)
        try:
            run(["ip", "netns", "add", self.hub])
            run(["ip", "-n", self.hub, "link", "add", "bridge", "type", "bridge"])
            run(["ip", "-n", self.hub, "link", "set", "bridge", "up"])
            run(["ip", "link", "add", self.tag + "c", "type", "veth", "peer", "name", "client", "netns", self.hub])
            run(["ip", "-n", self.hub, "link", "set", "client", "master", "bridge", "up"])
            run(["ip", "addr", "add", self.gateway + "/24", "dev", self.tag + "c"])
            run(["ip", "link", "set", self.tag + "c", "up"])
            for n in self.nodes:
                self.add(n)
        except (OSError, RuntimeError) as e:
            self.remove()
            raise RuntimeError("no network namespaces can be had here, and this test needs them (%s)" % e) from e

    def add(self, n):
        name, cable = self.name(n), "node%d" % n
        run(["ip", "netns", "add", name])
        run(["ip", "-n", self.hub, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", name])
        run(["ip", "-n", self.hub, "link", "set", cable, "master", "bridge", "up"])
        inside = ["ip", "-n", name]
        run(inside + ["addr", "add", self.address(n) + "/24", "dev", "eth0"])
        run(inside + ["link", "set", "eth0", "up"])
        run(inside + ["link", "set", "lo", "up"])

    def name(self, n):
        return "%sn%d" % (self.tag, n)

    def address(self, n):
        return "%s.%d" % (self.subnet, n)

    def places(self):
        return [(self.address(n), ["nsenter", "--net=/run/netns/" + self.name(n)]) for n in self.nodes]

    def rules(self, n, lines, table="filter"):
        """All of them at one moment."""
        if table == "filter":
            self.hurt.add(n)
        text = "*%s\n%s\nCOMMIT\n" % (table, "\n".join(lines))
        run(["nsenter", "--net=/run/netns/" + self.name(n), "iptables-restore", "--noflush"], text)

    def isolate(self, n):
        self.rules(n, ["-A INPUT -j DROP", "-A OUTPUT -j DROP"])

    def isolate_from(self, n, others):
        self.rules(n, ["-A INPUT -s %s -j DROP\n-A OUTPUT -d %s -j DROP" % (self.address(o), self.address(o)) for o in others])

    def drop_one_way(self, source, target):
        self.rules(target, ["-A INPUT -s %s -j DROP" % self.address(source)])

    def lose(self, n, other, probability):
        """That share of the packets between the two, in both directions."""
        chance = "-m statistic --mode random --probability %.3f -j DROP" % probability
        self.rules(n, ["-A INPUT -s %s %s" % (self.address(other), chance), "-A OUTPUT -d %s %s" % (self.address(other), chance)])

    def slow(self, n, kbit):
        """What the node sends, at most so fast; 0 takes the limit away."""
        inside = ["tc", "-n", self.name(n), "qdisc"]
        run(inside + ["del", "dev", "eth0", "root"], must=False)
        if kbit:
            run(inside + ["add", "dev", "eth0", "root", "tbf", "rate", "%dkbit" % kbit, "burst", "8kb", "latency", "400ms"])

    def lead_through(self, source, target, target_port, proxy_port):
        """New connections from one node to the port of another go to the proxy at the gateway."""
        self.rules(source, ["-A OUTPUT -p tcp -d %s --dport %d -j DNAT --to-destination %s:%d"
                            % (self.address(target), target_port, self.gateway, proxy_port)], "nat")

    def counted(self, n):
        """Packets that the rules of this node have dropped."""
        text = run(["nsenter", "--net=/run/netns/" + self.name(n), "iptables-save", "-c", "-t", "filter"])
        return sum(int(c) for c in DROPPED.findall(text))

    def heal(self, *nodes):
        """Take the rules away. That they dropped something is the evidence that there was a cut."""
        hurt = self.hurt & set(nodes or self.nodes)
        dropped = 0
        for n in hurt:
            dropped += self.counted(n)
            self.rules(n, ["-F INPUT", "-F OUTPUT"])
        self.hurt -= hurt
        self.cuts += bool(hurt)
        self.dropped += dropped
        expect(not hurt or dropped > 0, "the rules of nodes %s dropped no packet: nothing was cut", sorted(hurt))

    def remove(self):
        for n in self.nodes:
            run(["ip", "netns", "del", self.name(n)], must=False)
        run(["ip", "link", "del", self.tag + "c"], must=False)
        run(["ip", "netns", "del", self.hub], must=False)
        if self in networks:
            networks.remove(self)


def remove_all():
    for n in list(networks):
        n.remove()


atexit.register(remove_all)
