"""produce, consume and demo against real brokers, crossed with kcat in both directions: codecs, keys, offsets, groups that
rebalance, leaders killed and frozen in mid-stream, the demo by script and at a terminal.
Usage: test_data.py BUILD_DIRECTORY. Prints a line per check."""
import collections
import glob
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(root, "tests", "cluster"))
sys.path.insert(0, os.path.join(root, "tests", "cli"))
from brokers import Cluster  # noqa: E402
from terminal import Terminal  # noqa: E402

WAIT_S = 60
failed = 0


def check(name, condition, detail=""):
    global failed
    failed += not condition
    print("ok %s" % name if condition else "FAIL %s\n  %s" % (name, str(detail)[:1500]))
    sys.stdout.flush()


def wait_for(what, condition, seconds=WAIT_S):
    """Poll; a test that waits in vain fails with the reason."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise TimeoutError("in vain for %d s: %s" % (seconds, what))


class Kvorum:
    """The command, and kcat beside it, for one cluster."""

    def __init__(self, binary, bootstrap):
        self.binary, self.bootstrap = binary, bootstrap
        self.env = dict(os.environ, KVORUM_BOOTSTRAP=bootstrap)

    def __call__(self, *args, stdin="", code=0, timeout=90):
        p = subprocess.run([self.binary, *args], input=stdin.encode(), capture_output=True, env=self.env, timeout=timeout)
        self.err = p.stderr.decode(errors="replace")
        if code is not None and p.returncode != code:
            raise AssertionError("kvorum %s: exit %d instead of %d: %s" % (" ".join(args), p.returncode, code, self.err))
        self.code = p.returncode
        return p.stdout.decode(errors="replace")

    def start(self, *args, **more):
        return subprocess.Popen([self.binary, *args], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)

    def kcat(self, *args, stdin=None):
        p = subprocess.run(["kcat", "-b", self.bootstrap, *args], input=stdin.encode() if stdin is not None else None,
                           stdin=subprocess.DEVNULL if stdin is None else None, capture_output=True, timeout=60)
        if p.returncode != 0:
            raise AssertionError("kcat %s: %s" % (" ".join(args), p.stderr.decode(errors="replace")))
        return p.stdout.decode(errors="replace")

    def leader(self, topic, partition=0):
        t = json.loads(self("topic", "describe", topic, "-o", "json"))["topics"][0]
        return t["partitions"][partition]["leader"]

    def whole(self):
        return self("health", code=None) == "healthy\n"


def feed(process, lines, seconds):
    """Write lines to a process evenly over that time, in a thread; join it."""
    def run():
        for line in lines:
            process.stdin.write(line.encode())
            process.stdin.flush()
            time.sleep(seconds / len(lines))
        process.stdin.close()
    thread = threading.Thread(target=run)
    thread.start()
    return thread


def restart(cluster, k, node):
    cluster.broker(node).process.wait()
    cluster.broker(node).start()
    wait_for("the cluster to be whole again", k.whole)


# ---- without faults ----

def codecs(cluster, k):
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        topic = "codec-" + codec
        k("topic", "create", topic, "-p", "3", "-r", "3")
        lines = ["k%d:value %d of %s" % (i % 50, i, codec * 3) for i in range(3000)]
        k("produce", topic, "-K", ":", "--codec", codec, stdin="\n".join(lines) + "\n")
        got = k.kcat("-C", "-t", topic, "-e", "-q", "-f", "%k:%s\n").splitlines()
        check("codec %s: kcat reads what produce wrote" % codec, sorted(got) == sorted(lines), len(got))
        where = collections.defaultdict(set)
        for line in k.kcat("-C", "-t", topic, "-e", "-q", "-f", "%k %p\n").splitlines():
            where[line.split()[0]].add(line.split()[1])
        check("codec %s: a key has one partition" % codec, len(where) == 50 and all(len(p) == 1 for p in where.values()))
        dumped = k("log", "dump", *glob.glob(cluster.broker(1).dir + "/%s-?/*.log" % topic))
        check("codec %s: the batches have it" % codec, re.search(r"\b%s\b" % codec, dumped) is not None, dumped)
        k.kcat("-P", "-t", topic, "-z", codec, "-K", "#", stdin="\n".join("c%d#more %d" % (i, i) for i in range(1000)) + "\n")
        got = k("consume", topic, "-e", "-f", "%k:%v\n").splitlines()
        wanted = lines + ["c%d:more %d" % (i, i) for i in range(1000)]
        check("codec %s: consume reads what kcat and produce wrote" % codec, sorted(got) == sorted(wanted), len(got))


def acks(k):
    k("topic", "create", "acks", "-p", "12", "-r", "3")
    out = [json.loads(line) for line in k("produce", "acks", "-p", "4", "-o", "json", stdin="a\nb\nc").splitlines()]
    check("produce -o json: a line per record", [(o["line"], o["partition"], o["offset"]) for o in out] ==
          [(1, 4, 0), (2, 4, 1), (3, 4, 2)] and all(o["schema_version"] == 1 for o in out), out)
    out = json.loads(k("produce", "acks", "-K", "=", "-o", "json", stdin="foobar=x\n"))
    check("produce: the partition of Kafka's Java client", out["partition"] == (-790332482 & 0x7fffffff) % 12, out)
    k("produce", "acks", "-p", "5", "-H", "a=1", "-H", "b=", stdin="x\n")
    check("produce -H: kcat sees the headers", k.kcat("-C", "-t", "acks", "-p", "5", "-e", "-q", "-f", "%h") == "a=1,b=")
    check("consume %h", k("consume", "acks", "-P", "5", "-e", "-f", "%h") == "a=1,b=")
    for a in ("0", "1", "all"):
        k("produce", "acks", "-p", "7", "-a", a, stdin="acks %s\n" % a)
    got = wait_for("records without acknowledgement", lambda: (lambda s: len(s) == 3 and s)(
        k("consume", "acks", "-P", "7", "-e").splitlines()))
    check("produce -a 0, 1, all", sorted(got) == ["acks 0", "acks 1", "acks all"], got)
    k("produce", "acks", "-p", "12", stdin="x\n", code=3)
    check("produce: a partition that is not there", "0 to 11" in k.err, k.err)
    k("produce", "bad topic", stdin="x\n", code=1)
    check("produce: an impossible topic name", "INVALID_TOPIC_EXCEPTION" in k.err, k.err)
    k("produce", "acks", stdin="x" * 2000000 + "\n", code=1)
    check("produce: a record that is too large", "MESSAGE_TOO_LARGE" in k.err or "RECORD_LIST_TOO_LARGE" in k.err, k.err)
    k("produce", "acks", "-b", "127.0.0.1:1", stdin="x\n", code=4)
    check("produce: nobody is there", "cannot reach any node: 127.0.0.1:1 refused" in k.err, k.err)


def offsets(k):
    k("topic", "create", "offsets", "-p", "2", "-r", "3")
    k("produce", "offsets", "-p", "0", stdin="".join("%d\n" % i for i in range(100)))
    time.sleep(0.05)
    middle = int(time.time() * 1000)
    k("produce", "offsets", "-p", "0", stdin="".join("%d\n" % i for i in range(100, 110)))

    def read(*args):
        return [int(v) for v in k("consume", "offsets", "-P", "0", "-e", *args).split()]
    check("consume from the beginning", read() == list(range(110)))
    check("consume -O beginning -n", read("-O", "beginning", "-n", "5") == list(range(5)))
    check("consume -O N", read("-O", "107") == [107, 108, 109])
    check("consume -O -N", read("-O", "-3") == [107, 108, 109])
    check("consume -O -N, more than there are", read("-O", "-5000") == list(range(110)))
    check("consume -O end", read("-O", "end") == [])
    check("consume --from-timestamp", read("--from-timestamp", str(middle)) == list(range(100, 110)))
    check("consume --from-timestamp of the future", read("--from-timestamp", "2199-01-01T00:00:00Z") == [])
    out = json.loads(k("consume", "offsets", "-n", "1", "-P", "0", "-O", "9", "-o", "json"))
    check("consume -o json", out["offset"] == 9 and out["value"] == "9" and out["key"] is None and out["headers"] == [] and
          abs(out["timestamp"] - middle) < 60000, out)
    k("consume", "offsets", "-P", "0", "-O", "5000", "-e", code=1)
    check("consume: an offset that is not there", "OFFSET_OUT_OF_RANGE" in k.err, k.err)
    k("consume", "ofsets", code=3)
    check("consume: a topic that is not there", 'Did you mean "offsets"?' in k.err, k.err)
    p = k.start("consume", "offsets")
    first = p.stdout.readline()
    p.send_signal(signal.SIGINT)
    check("consume ends with 130 on Ctrl-C", p.wait(20) == 130 and first != b"", p.returncode)
    p = k.start("consume", "offsets", "-O", "end", "-n", "1")
    time.sleep(1)
    k("produce", "offsets", stdin="news\n")
    check("consume -O end waits for what comes", p.communicate(timeout=30)[0] == b"news\n")


class Member:
    """A group's member that runs on; its lines are collected."""

    def __init__(self, k, group, topic):
        self.lines, self.log = [], []
        self.process = k.start("consume", topic, "-G", group)
        self.threads = [threading.Thread(target=self.read, args=a) for a in
                        ((self.process.stdout, self.lines), (self.process.stderr, self.log))]
        for t in self.threads:
            t.start()

    def read(self, stream, into):
        for line in stream:
            into.append(line.decode().strip())

    def share(self):
        """Partitions of its newest assignment, 0 before."""
        found = re.findall(r"generation \d+, (\d+) partition", "\n".join(self.log))
        return int(found[-1]) if found else 0

    def end(self):
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(30)
        for t in self.threads:
            t.join()
        return code


def groups(k):
    k("topic", "create", "shared", "-p", "4", "-r", "3")

    def write(first, count):
        k("produce", "shared", "-K", "=", stdin="".join("k%d=%d\n" % (i, i) for i in range(first, first + count)))
        return first + count
    end = write(0, 400)
    a = Member(k, "g", "shared")
    wait_for("the first member to read all", lambda: len(a.lines) == end)
    check("group: one member has all partitions", a.share() == 4, a.log)
    b = Member(k, "g", "shared")
    wait_for("two members to share", lambda: a.share() == 2 and b.share() == 2)
    end = write(end, 400)
    wait_for("both to read", lambda: len(a.lines) + len(b.lines) >= end)
    check("group: both members read", len(b.lines) > 0 and len(a.lines) > 400, (len(a.lines), len(b.lines)))
    code = b.end()
    wait_for("the first to take over", lambda: a.share() == 4)
    end = write(end, 400)
    wait_for("the first to read the rest", lambda: len(a.lines) + len(b.lines) >= end)
    code_a = a.end()
    check("group: members end with 130 on Ctrl-C", code == 130 and code_a == 130, (code, code_a))
    both = sorted(int(v) for v in a.lines + b.lines)
    check("group: every record once over two rebalances", both == list(range(end)), len(both))
    check("group: a later member begins where it left off", k("consume", "shared", "-G", "g", "-e") == "")
    lag = json.loads(k("group", "describe", "g", "-o", "json"))
    check("group: everything is committed", "total_lag\": 0" in json.dumps(lag) or '"lag": 0' in json.dumps(lag), lag)
    got = k.kcat("-G", "g2", "shared", "-e", "-q", "-X", "auto.offset.reset=earliest").split()
    write(end, 10)
    got = k("consume", "shared", "-G", "g2", "-e").split()
    check("group: goes on where kcat's member left off", sorted(map(int, got)) == list(range(end, end + 10)), got)


# ---- with faults ----

def killed_leader(cluster, k):
    k("topic", "create", "killed", "-p", "3", "-r", "3")
    lines = ["%d\n" % i for i in range(4000)]
    reader = k.start("consume", "killed", "-P", "0", "-n", str(len(lines)))
    p = k.start("produce", "killed", "-p", "0", "-o", "json", stdin=subprocess.PIPE)
    thread = feed(p, lines, 5)
    time.sleep(2)
    victim = k.leader("killed")
    cluster.broker(victim).kill()
    out, err = p.communicate() if not thread.is_alive() else (p.stdout.read(), p.stderr.read())
    thread.join()
    check("killed leader: produce ends well", p.wait(60) == 0, err)
    acked = [json.loads(line) for line in out.splitlines()]
    check("killed leader: every line is acknowledged once, in order",
          [a["line"] for a in acked] == list(range(1, len(lines) + 1)), len(acked))
    got = k.kcat("-C", "-t", "killed", "-p", "0", "-e", "-q").splitlines()
    check("killed leader: nothing lost, nothing twice", got == [line.strip() for line in lines], len(got))
    read = reader.communicate(timeout=60)[0].decode().splitlines()
    check("killed leader: a consumer goes on, in order", read == got, len(read))
    line = re.search(r"last failover: node (\d+) lost \d\d:\d\d:\d\d\.\d{3} → detected \+\d", k("status"))
    check("status tells of the failover", line is not None and int(line.group(1)) == victim, k("status"))
    events = json.loads(k("status", "-o", "json"))
    kinds = [e["kind"] for e in events["events"] if e.get("node_id") == victim]
    check("status -o json has the events", {"link_lost", "peer_dead", "fenced", "leaders_moved", "isr_left"} <= set(kinds) and
          events["last_failover"]["leaders_moved"] >= 1, kinds)
    check("status tells why replicas left", any(e["node_id"] == victim for e in events["isr_left"]), events["isr_left"])
    restart(cluster, k, victim)


def frozen_leader(cluster, k):
    k("topic", "create", "frozen", "-p", "1", "-r", "3")
    p = k.start("produce", "frozen", stdin=subprocess.PIPE)
    thread = feed(p, ["%d\n" % i for i in range(1000)], 4)
    time.sleep(1)
    victim = k.leader("frozen")
    cluster.broker(victim).process.send_signal(signal.SIGSTOP)
    thread.join()
    code = p.wait(60)
    cluster.broker(victim).process.send_signal(signal.SIGCONT)
    check("frozen leader: produce ends well", code == 0, p.stderr.read())
    wait_for("the cluster to be whole again", k.whole)
    got = k("consume", "frozen", "-e").split()
    check("frozen leader: nothing lost, nothing twice", got == [str(i) for i in range(1000)], len(got))


def too_few_replicas(cluster, k):
    k("topic", "create", "strict", "-p", "1", "-r", "3", "-c", "min.insync.replicas=3")
    k("produce", "strict", stdin="x\n")
    victim = next(n for n in (1, 2, 3) if n != k.leader("strict"))
    cluster.broker(victim).kill()
    wait_for("the ISR to shrink", lambda: len(json.loads(
        k("topic", "describe", "strict", "-o", "json"))["topics"][0]["partitions"][0]["isr"]) == 2)
    k("produce", "strict", "--timeout", "2s", stdin="y\n", code=1)
    wanted = (r"write to strict-0 not acknowledged: 2 in-sync replicas, 3 required \(NOT_ENOUGH_REPLICAS\)\. "
              r"Node %d left the ISR \d+\.\d s ago \(\w+\)\. The record is not committed; it is safe to retry\." % victim)
    check("too few replicas: the sentence", re.search(wanted, k.err) is not None, k.err)
    p = k.start("produce", "strict", stdin=subprocess.PIPE)
    p.stdin.write(b"z\n")
    p.stdin.close()
    time.sleep(1)
    restart(cluster, k, victim)
    check("too few replicas: written when they are back", p.wait(60) == 0, p.stderr.read())
    check("too few replicas: what was refused is not there", k("consume", "strict", "-e").split() == ["x", "z"])


# ---- demo ----

def children(pid):
    with open("/proc/%d/task/%d/children" % (pid, pid)) as f:
        return [int(c) for c in f.read().split()]


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def demo_script(binary, tmp):
    env = dict(os.environ, TMPDIR=tmp)
    p = subprocess.run([binary, "demo", "--script", "kill-leader", "--rounds", "2", "-o", "json", "--max-failover-ms", "5000"],
                       env=env, capture_output=True, timeout=240)
    check("demo --script: exit 0", p.returncode == 0, p.stderr.decode())
    out = json.loads(p.stdout or b"{}")
    check("demo --script: nothing lost, nothing twice", out.get("lost") == 0 and out.get("duplicated") == 0 and
          out.get("records_acked", 0) > 100 and out.get("records_read") == out.get("records_acked"), out)
    check("demo --script: the fields", out.get("schema_version") == 1 and len(out.get("rounds", [])) == 2 and all(
        set(r) == {"killed", "controller", "partitions", "failover_ms"} and r["partitions"] >= 4 and
        0 <= r["failover_ms"]["p50"] <= r["failover_ms"]["max"] for r in out["rounds"]), out)
    f = out.get("failover_ms", {})
    check("demo --script: the figures", 0 < f.get("p50", 0) <= f.get("p99", 0) <= f.get("max", 0) < 5000 and
          f.get("samples") == sum(r["partitions"] for r in out["rounds"]), f)
    check("demo --script: no files are left", os.listdir(tmp) == [], os.listdir(tmp))
    p = subprocess.run([binary, "demo", "--script", "kill-leader", "--rounds", "1", "--max-failover-ms", "1"],
                       env=env, capture_output=True, timeout=240)
    check("demo --script: too slow a recovery is exit 1", p.returncode == 1 and b"1 are the limit" in p.stderr, p.stderr)


def demo_killed(binary, tmp):
    p = subprocess.Popen([binary, "demo", "--script", "kill-leader", "--rounds", "1000"], env=dict(os.environ, TMPDIR=tmp),
                         stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    first = ""
    while "round 1" not in first:
        first = p.stderr.readline().decode()
        if first == "":
            break
    family = children(p.pid)
    p.kill()
    p.wait()
    check("demo killed: it had nodes, a load and a janitor", len(family) >= 4, family)
    try:
        wait_for("its processes and files to go", lambda: not any(map(alive, family)) and os.listdir(tmp) == [], 20)
        gone = True
    except TimeoutError:
        gone = False
    check("demo killed: nothing is left of it", gone, (list(filter(alive, family)), os.listdir(tmp)))


def demo_kept(binary, tmp):
    keep = os.path.join(tmp, "kept")
    p = subprocess.run([binary, "demo", "--script", "kill-leader", "--rounds", "1", "--max-failover-ms", "5000", "--keep", keep],
                       capture_output=True, timeout=240)
    logs = glob.glob(keep + "/node?.log")
    ends = [open(f).read().strip().splitlines()[-1] for f in logs]
    check("demo --keep: data stays, nodes stopped in order", p.returncode == 0 and len(logs) == 3 and
          all("event=stopped" in e for e in ends), (p.returncode, ends))
    p = subprocess.run([binary, "demo", "--script", "kill-leader", "--keep", keep], capture_output=True, timeout=60)
    check("demo --keep: not into a directory that is in use", p.returncode == 2, p.stderr)
    subprocess.run(["rm", "-rf", keep], check=True)


def demo_terminal(binary, tmp):
    t = Terminal([binary, "demo"], dict(os.environ, TMPDIR=tmp, TERM="xterm"))
    try:
        t.wait(r"HEALTHY.*3 of 3 nodes.*acknowledged.*KVORUM_BOOTSTRAP=127", WAIT_S)
        family = children(t.pid)
        t.type("1")
        t.wait(r"node 1: killed.*node 1 killed: (\d+) of \1 partitions", WAIT_S)
        t.wait(r"DEGRADED.*last failover: node 1 lost", WAIT_S)
        check("demo: key 1 kills node 1, and the screen tells", True)
        t.type("1")
        t.wait(r"HEALTHY.*node 1: running", WAIT_S)
        check("demo: key 1 again restarts it", True)
        t.type("p")
        t.wait(r"pause or revive which one", WAIT_S)
        t.type("p")
        t.wait(r"node (\d): paused.*node \1 paused: (\d+) of \2 partitions", WAIT_S)
        check("demo: p p pauses the leader of most, its partitions move", True)
        t.type("pp")
        t.wait(r"HEALTHY.*node \d revived", WAIT_S)
        check("demo: p p again revives it", True)
        t.type("q")
        code = t.end(30)
        check("demo: q quits", code == 0 and re.search(r"\b0 lost, 0 duplicated", t.text), t.text[-500:])
    except TimeoutError as e:
        check("demo at a terminal", False, "%s; the screen: %s" % (e, t.screen()))
        t.kill()
        return
    check("demo: nothing is left of it", not any(map(alive, family)) and os.listdir(tmp) == [], os.listdir(tmp))


def main(build):
    binary = os.path.join(os.path.abspath(build), "broker", "kvorum")
    cluster = Cluster(binary)
    k = Kvorum(binary, cluster.bootstrap())
    try:
        cluster.start()
        wait_for("the cluster to be up", k.whole)
        codecs(cluster, k)
        for part in (acks, offsets, groups):
            part(k)
        for part in (killed_leader, frozen_leader, too_few_replicas):
            part(cluster, k)
    finally:
        cluster.remove()
    for part in (demo_script, demo_killed, demo_kept, demo_terminal):
        with tempfile.TemporaryDirectory(prefix="kvorum-test-") as tmp:
            part(binary, tmp)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
