"""The admin command against three real brokers: what it prints, its exit codes and words; with a node dead, frozen, and
without a quorum. Usage: test_admin.py BUILD_DIRECTORY. Prints a line per check."""
import glob
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time

root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(root, "tests", "cluster"))
from brokers import Cluster  # noqa: E402

WAIT_S = 40
STATUS_S_MAX = 2.5  # 1.2 s is the promise; machines are busy


class Result:
    def __init__(self, args, code, out, err, seconds):
        self.args, self.code, self.out, self.err, self.seconds = args, code, out, err, seconds

    def json(self):
        return json.loads(self.out)

    def __str__(self):
        return "kvorum %s\n  exit %d\n  out: %s\n  err: %s" % (
            " ".join(self.args), self.code, self.out.strip()[:1500], self.err.strip()[:1500])


class Admin:
    def __init__(self, binary, bootstrap):
        self.binary, self.bootstrap = binary, bootstrap

    def environment(self, **more):
        env = dict(os.environ, KVORUM_BOOTSTRAP=self.bootstrap, TERM="xterm", **more)
        env.pop("NO_COLOR", None)
        env.update(more)
        return env

    def __call__(self, *args, stdin=subprocess.DEVNULL):
        begin = time.monotonic()
        p = subprocess.run([self.binary, *args], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                           env=self.environment(), timeout=60)
        return Result(args, p.returncode, p.stdout.decode(), p.stderr.decode(), time.monotonic() - begin)

    def watched(self, *args, seconds=2.5):
        """A watch on a terminal, ended by SIGINT. (exit code, all that was printed)"""
        master, slave = pty.openpty()
        p = subprocess.Popen([self.binary, *args], stdin=slave, stdout=slave, stderr=slave, env=self.environment(),
                             start_new_session=True)
        os.close(slave)
        end = time.monotonic() + seconds
        out = b""
        while time.monotonic() < end or out.count(b"\033[H") < 2:
            if select.select([master], [], [], 0.2)[0]:
                out += os.read(master, 65536)
            if time.monotonic() > end + WAIT_S:
                break
        p.send_signal(signal.SIGINT)
        code = p.wait(timeout=20)
        os.close(master)
        return code, out.decode()

    def terminal(self, *args, **env):
        """Run with stdout, stdin and stderr on a terminal; no answer is typed. (exit code, all that was printed)"""
        master, slave = pty.openpty()
        p = subprocess.Popen([self.binary, *args], stdin=slave, stdout=slave, stderr=slave,
                             env=self.environment(**env), start_new_session=True)
        os.close(slave)
        out = b""
        try:
            while True:
                piece = os.read(master, 65536)
                if not piece:
                    break
                out += piece
                if b"Type yes" in out:
                    os.write(master, b"no\n")
                    out = out.replace(b"Type yes", b"asked")
        except OSError:
            pass
        os.close(master)
        return p.wait(timeout=20), out.decode()


passed = failed = 0


def check(name, condition, detail=""):
    global passed, failed
    if condition:
        passed += 1
        print("ok %s" % name)
    else:
        failed += 1
        print("FAIL %s\n  %s" % (name, detail))
    sys.stdout.flush()


def expect(name, result, code, *words):
    """Exit code, and words (regular expressions) on either stream."""
    text = result.out + result.err
    missing = [w for w in words if not re.search(w, text)]
    check(name, result.code == code and not missing,
          "%s\n  expected exit %d and %s" % (result, code, missing or "no more words"))


def until(what, condition):
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.2)
    print("  waited %d s in vain: %s" % (WAIT_S, what))
    return False


def status(k):
    r = k("status", "-o", "json")
    return r.json() if r.code == 0 else {"verdict": "none", "nodes_up": 0, "controller_id": -1, "metadata_changes": False}


def settled(k, nodes):
    """So many nodes, a controller, every partition with a leader and all living replicas in sync."""
    def done():
        s = status(k)
        return (s["nodes_up"] == nodes and s["controller_id"] >= 0 and s["metadata_changes"]
                and s["partitions"]["leaderless"] == 0 and (nodes < 3 or s["verdict"] == "healthy"))
    return until("%d nodes" % nodes, done)


def words_without_cluster(k):
    none = Admin(k.binary, "127.0.0.1:1")
    expect("no node: exit 4", none("status"), 4, r"cannot reach any node: 127\.0\.0\.1:1 refused")
    expect("no node: topic ls", none("topic", "ls"), 4, "cannot reach any node", "Is the cluster up")
    expect("help", none("help"), 0, "topic describe", "group reset", "log dump")
    expect("without a command, not a terminal", none(), 0, "usage: kvorum COMMAND")
    expect("unknown command", none("statsu"), 2, 'Did you mean "status"')
    expect("unknown verb", none("topic", "lst"), 2, 'Did you mean "ls"', "topic create")
    expect("unknown option", none("topic", "create", "x", "--partition", "3x"), 2)
    expect("similar option", none("topic", "describe", "--under-replicted"), 2, "Did you mean --under-replicated")
    expect("missing word", none("topic", "create"), 2, "something is missing", "TOPIC")
    expect("word too many", none("status", "now"), 2, "one word too many: now")
    expect("bad value", none("topic", "create", "x", "-p", "0"), 2, '"0" is not N')
    expect("bad output", none("status", "-o", "xml"), 2, "table|json|jsonl")
    expect("bad address", Admin(k.binary, "::::")("topic", "ls"), 2, "is not HOST:PORT")
    expect("help of one command", none("topic", "rm", "--help"), 0, "usage: kvorum topic rm", "--yes")


def views(k):
    r = k("status", "-o", "json")
    s = r.json()
    check("status json", r.code == 0 and s["schema_version"] == 1 and s["verdict"] == "healthy" and s["nodes_up"] == 3
          and [n["node_id"] for n in s["node_list"]] == [1, 2, 3] and s["problems"] == [], str(r))
    check("status, all alive: %.2f s" % r.seconds, r.seconds < STATUS_S_MAX)
    expect("status table", k("status"), 0, "HEALTHY", "quorum 3/3", "NODE +STATE")
    expect("health", k("health"), 0, "^healthy")
    expect("health local", k("health", "--local", "-o", "jsonl"), 0, '"healthy":true')
    expect("health quiet", k("health", "-q"), 0, "^$")
    check("no headers", "NODE" not in k("status", "--no-headers").out)
    code, text = k.terminal()
    check("without a command, on a terminal: status", code == 0 and "HEALTHY" in text and "\033[32m" in text, text)
    code, text = k.terminal("status", NO_COLOR="1")
    check("NO_COLOR", code == 0 and "\033[" not in text, text)
    code, text = k.terminal("status", "--no-color")
    check("--no-color", code == 0 and "\033[" not in text, text)
    code, text = k.watched("status", "-w")
    check("status -w on a terminal: redrawn", code == 130 and text.startswith("\033[2J") and text.count("HEALTHY") >= 2,
          (code, text))
    q = k("quorum", "status", "-o", "json").json()
    check("quorum status json", q["leader_id"] in (1, 2, 3) and len(q["current_voters"]) == 3 and q["leader_epoch"] > 0
          and q["high_watermark"] > 0 and q["max_follower_lag"] is not None and len(q["nodes"]) == 3, q)
    check("quorum status: one leader", [n["is_leader"] for n in q["nodes"]].count(True) == 1, q)
    expect("quorum status table", k("quorum", "status"), 0, "DIRECTORY-ID", "leader: node", "max follower lag")
    q = k("quorum", "replication", "-o", "json").json()
    check("quorum replication", sorted(r["status"] for r in q["replicas"]) == ["Follower", "Follower", "Leader"], q)


def topics(k):
    expect("create", k("topic", "create", "orders", "-p", "3", "-c", "retention.ms=100000"), 0, "orders +created")
    expect("create again", k("topic", "create", "orders"), 1, "TOPIC_ALREADY_EXISTS")
    expect("create if not exists", k("topic", "create", "orders", "--if-not-exists"), 0, "exists")
    expect("too many replicas", k("topic", "create", "wide", "-r", "4"), 1, "the cluster has 3 nodes",
           "INVALID_REPLICATION_FACTOR", r"Use --replication-factor 3\.")
    expect("unknown config", k("topic", "create", "x", "-c", "retenton.ms=5"), 1, "INVALID_CONFIG",
           'Did you mean "retention.ms"')
    r = k("topic", "create", "good", "b@d", "-o", "json")
    check("some fail: exit 1", r.code == 1 and {t["topic"]: t["status"] for t in r.json()["topics"]} ==
          {"good": "created", "b@d": "failed"} and "INVALID_TOPIC_EXCEPTION" in r.err, str(r))
    r = k("topic", "ls", "-o", "json")
    check("ls json", [t["name"] for t in r.json()["topics"]] == ["good", "orders"] and
          r.json()["topics"][1]["partitions"] == 3 and r.json()["topics"][1]["replication_factor"] == 3, str(r))
    expect("ls table", k("topic", "list"), 0, r"orders +3 +3 +0 +0")
    subprocess.run(["kcat", "-P", "-b", k.bootstrap, "-t", "orders", "-p", "1"], input=b"a\nb\nc\n", check=True)
    r = k("topic", "describe", "orders", "-o", "json")
    t = r.json()["topics"][0]
    p = t["partitions"][1]
    check("describe json", r.code == 0 and p["high_watermark"] == 3 and p["log_start"] == 0 and p["min_isr"] == 2 and
          sorted(p["isr"]) == [1, 2, 3] and [e["log_end"] for e in p["log_ends"]] == [3, 3, 3] and p["offline"] == [],
          str(r))
    check("describe: configs with their source", [c["value"] for c in t["configs"] if c["name"] == "retention.ms" and
          c["source"] == "DYNAMIC_TOPIC_CONFIG"] == ["100000"], str(r))
    expect("describe table", k("topic", "describe", "orders"), 0, "retention.ms = 100000", "HIGH-WATERMARK", r" 1:3\b")
    expect("describe unknown", k("topic", "describe", "ordres"), 3, "UNKNOWN_TOPIC_OR_PARTITION", 'Did you mean "orders"')
    expect("describe: nothing is under-replicated", k("topic", "describe", "--under-replicated"), 0, "^$")
    expect("alter", k("topic", "alter", "orders", "-p", "6", "-c", "segment.bytes=2000000"), 0, "altered")
    expect("alter: only up", k("topic", "alter", "orders", "-p", "2"), 1, "INVALID_PARTITIONS", "only grow")
    expect("alter: nothing", k("topic", "alter", "orders"), 2, "nothing to change")
    expect("alter unknown", k("topic", "alter", "ordres", "-p", "9"), 3, 'Did you mean "orders"')
    t = k("topic", "describe", "orders", "-o", "json").json()["topics"][0]
    check("altered", len(t["partitions"]) == 6 and [c["value"] for c in t["configs"] if c["name"] == "segment.bytes"] ==
          ["2000000"], t)
    expect("rm asks", k("topic", "rm", "good"), 2, "add --yes")
    code, text = k.terminal("topic", "rm", "good")
    check("rm on a terminal, no typed", code == 1 and "asked" in text and "nothing was changed" in text, text)
    expect("rm unknown", k("topic", "rm", "orders", "nope", "-y"), 3, '"nope" does not exist')
    expect("rm --if-exists", k("topic", "rm", "nope", "-y", "--if-exists"), 0, "absent")
    expect("rm", k("topic", "delete", "good", "--yes"), 0, "good +deleted")
    check("gone", until("good to go", lambda: "good" not in k("topic", "ls").out))


def configs(k):
    expect("config set", k("config", "set", "topic", "orders", "retention.ms=200000", "max.message.bytes=99999"), 0,
           "set retention.ms=200000")
    r = k("config", "get", "topic", "orders", "retention.ms", "max.message.bytes", "-o", "json")
    check("config get", [(c["name"], c["value"], c["source"]) for c in r.json()["configs"]] ==
          [("max.message.bytes", "99999", "DYNAMIC_TOPIC_CONFIG"), ("retention.ms", "200000", "DYNAMIC_TOPIC_CONFIG")],
          str(r))
    expect("config get unknown", k("config", "get", "topic", "orders", "retenton.ms"), 3, 'Did you mean "retention.ms"')
    expect("config get all", k("config", "get", "topic", "orders"), 0, "KEY +VALUE +SOURCE", "cleanup.policy +delete")
    expect("config get broker", k("config", "get", "broker", "2"), 0, "min.insync.replicas")
    expect("config get no broker", k("config", "get", "broker", "9"), 3, "broker 9 is not in the cluster")
    expect("config get nonsense", k("config", "get", "planet", "mars"), 2, "topic NAME or broker ID")
    expect("config unset", k("config", "unset", "topic", "orders", "max.message.bytes"), 0, "unset")
    expect("config set bad value", k("config", "set", "topic", "orders", "retention.ms=soon"), 1, "INVALID_CONFIG")
    expect("config set unknown", k("config", "set", "topic", "orders", "retenton.ms=1"), 1, 'Did you mean "retention.ms"')
    expect("config set broker", k("config", "set", "broker", "1", "num.partitions=3"), 2, "only those of topics")
    expect("config set without value", k("config", "set", "topic", "orders", "retention.ms"), 2, "is not KEY=VALUE")
    r = k("config", "explain", "retention.ms", "topic", "orders", "-o", "json")
    e = r.json()
    check("config explain", e["value"] == "200000" and e["default"] == "604800000" and e["type"] == "long" and
          e["source"] == "DYNAMIC_TOPIC_CONFIG" and len(e["documentation"]) > 10, str(r))
    expect("config explain of a broker", k("config", "explain", "log.retention.ms"), 0, "default +604800000", "doc +")
    expect("config explain of a broker's own key", k("config", "explain", "node.id", "broker", "2"), 0, "node.id = 2",
           "STATIC_BROKER_CONFIG", "server.properties", "doc +id of the node")
    expect("config explain of a topic's key without a topic", k("config", "explain", "flush.messages"), 3,
           "kvorum config explain flush.messages topic NAME")
    expect("config explain unknown", k("config", "explain", "log.retenton.ms"), 3, 'Did you mean "log.retention.ms"')


def groups(k):
    member = subprocess.Popen(["kcat", "-b", k.bootstrap, "-G", "readers", "-X", "auto.offset.reset=earliest", "-X",
                               "auto.commit.interval.ms=200", "-u", "-q", "orders"], stdout=subprocess.PIPE)
    try:
        for _ in range(3):
            member.stdout.readline()
        check("group has committed", until("commits", lambda: [
            p for g in (k("group", "describe", "readers", "-o", "json"),) if g.code == 0
            for p in g.json()["groups"][0]["partitions"] if p["committed"] == 3]))
        g = k("group", "describe", "readers", "-o", "json").json()["groups"][0]
        check("group describe json", g["state"] == "Stable" and len(g["members"]) == 1 and g["total_lag"] == 0 and
              g["protocol_type"] == "consumer" and g["coordinator_id"] in (1, 2, 3) and
              all(p["member_id"] == g["members"][0]["member_id"] for p in g["partitions"]), g)
        code, text = k.watched("group", "describe", "readers", "-w", seconds=1)
        check("group describe -w", code == 130 and text.count("state Stable") >= 2, (code, text))
        r = k("group", "describe", "readers")
        expect("group describe table", r, 0, "state Stable", "members 1", "total lag 0", r"orders +0 +- ")
        expect("group ls", k("group", "ls"), 0, r"readers +Stable +consumer")
        expect("reset of an active group", k("group", "reset", "readers", "--to-earliest", "--yes"), 1, "NON_EMPTY_GROUP",
               "1 member", "stop them")
        expect("rm of an active group", k("group", "rm", "readers", "--yes"), 1, "NON_EMPTY_GROUP", "has members")
    finally:
        member.terminate()
        member.wait()
    check("group is empty", until("the member to go", lambda: "state Empty" in k("group", "describe", "readers").out))
    plan = k("group", "reset", "readers", "--to-earliest", "--topic", "orders:1", "-o", "json")
    check("reset plan", plan.code == 0 and not plan.json()["applied"] and "--yes" in plan.err and
          [(p["partition"], p["from"], p["to"], p["status"]) for p in plan.json()["partitions"]] ==
          [(1, 3, 0, "planned")], str(plan))

    def committed():
        g = k("group", "describe", "readers", "-o", "json").json()["groups"][0]
        return {p["partition"]: p["committed"] for p in g["partitions"]}
    check("the plan changed nothing", committed()[1] == 3)
    expect("reset --to-earliest", k("group", "reset", "readers", "--to-earliest", "--yes"), 0, r"orders +1 +3 +0 +done")
    check("lag after the reset", k("group", "describe", "readers", "-o", "json").json()["groups"][0]["total_lag"] == 3)
    k("group", "reset", "readers", "--to-offset", "2", "--topic", "orders:1", "--yes")
    check("reset --to-offset", committed()[1] == 2)
    k("group", "reset", "readers", "--shift-by", "-1", "--topic", "orders:1", "--yes")
    check("reset --shift-by", committed()[1] == 1)
    k("group", "reset", "readers", "--to-datetime", "2001-01-01T00:00:00Z", "--topic", "orders:1", "--yes")
    check("reset --to-datetime", committed()[1] == 0)
    k("group", "reset", "readers", "--to-datetime", "2101-01-01T00:00:00Z", "--topic", "orders:1", "--yes")
    check("reset --to-datetime in the future: the end", committed()[1] == 3)
    k("group", "reset", "readers", "--to-latest", "--yes")
    check("reset --to-latest", committed()[1] == 3)
    expect("reset to two places", k("group", "reset", "readers", "--to-latest", "--to-earliest"), 2, "once")
    expect("reset: no such partition", k("group", "reset", "readers", "--to-latest", "--topic", "orders:77"), 3,
           "no partition 77")
    expect("reset: bad time", k("group", "reset", "readers", "--to-datetime", "noon"), 2, "not a time")
    expect("unknown group", k("group", "describe", "raeders"), 3, "GROUP_ID_NOT_FOUND", 'Did you mean "readers"')
    expect("group rm asks", k("group", "rm", "readers"), 2, "add --yes")
    expect("group rm", k("group", "rm", "readers", "--yes"), 0, "readers +deleted")
    expect("group rm unknown", k("group", "rm", "readers", "--yes"), 3, "GROUP_ID_NOT_FOUND")


class Watch:
    """A watch whose lines are read in the background."""
    running = []

    def __init__(self, k, *args):
        self.out = tempfile.TemporaryFile()
        self.process = subprocess.Popen([k.binary, *args], stdin=subprocess.DEVNULL, stdout=self.out,
                                        stderr=subprocess.DEVNULL, env=k.environment())
        Watch.running.append(self.process)

    def text(self):
        return os.pread(self.out.fileno(), 1 << 20, 0).decode()

    def stop(self):
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout=20)


def one_dead(k, cluster):
    leads = k("topic", "describe", "orders", "-o", "json").json()["topics"][0]["partitions"]
    controller = status(k)["controller_id"]
    # One that leads something and is not the controller.
    dead = [p["leader"] for p in leads if p["leader"] != controller][0]
    lines = Watch(k, "status", "-w", "-o", "jsonl")
    tables = Watch(k, "topic", "describe", "orders", "--watch")
    until("the first picture", lambda: lines.text() and tables.text())
    cluster.broker(dead).kill()
    r = k("status", "-o", "json")
    check("status at once after the kill: %.2f s" % r.seconds, r.code == 0 and r.seconds < STATUS_S_MAX and
          r.json()["nodes_up"] == 2, str(r))
    settled(k, 2)
    times = [k("status").seconds for _ in range(3)]
    check("status with a dead node: %.2f s" % max(times), max(times) < STATUS_S_MAX)
    expect("status names the dead node", k("status"), 0, "DEGRADED", r"%d +DOWN" % dead, r"under-replicated: \d+ \(node %d\)" % dead)
    expect("health with a dead node", k("health"), 10, "degraded", "node %d is down: refused" % dead)
    r = k("topic", "describe", "--under-replicated", "-o", "json")
    check("--under-replicated", len(r.json()["topics"]) >= 1 and all(dead not in p["isr"] and dead in p["offline"]
          for t in r.json()["topics"] for p in t["partitions"]), str(r))
    check("--at-min-isr", len(k("topic", "describe", "--at-min-isr", "-o", "json").json()["topics"]) >= 1)
    expect("--unavailable", k("topic", "describe", "--unavailable"), 0, "^$")
    expect("describe shows why it left the ISR", k("topic", "describe", "orders"), 0, "OFFLINE", "LEFT-ISR", "%d: " % dead)
    mine = [p["partition"] for p in leads if p["leader"] == dead][0]
    expect("leader elect, preferred one dead", k("leader", "elect", "orders:%d" % mine), 1,
           "PREFERRED_LEADER_NOT_AVAILABLE", "orders-%d" % mine)
    check("watch has told the change", until("pictures", lambda: '"verdict":"degraded"' in lines.text()))
    seen = [json.loads(line) for line in lines.text().splitlines()]
    check("watch printed only changes", len(seen) < 25 and all(s["schema_version"] == 1 for s in seen), len(seen))
    check("watch ends by a signal: 130", lines.stop() == 130)
    check("topic describe --watch", until("a second picture", lambda: tables.text().count("PARTITION ") >= 2))
    check("its signal", tables.stop() == 130)
    cluster.broker(dead).start()
    expect("health --wait", k("health", "--wait", "--timeout", "60s"), 0, "healthy")
    r = k("leader", "elect", "orders:%d" % mine, "-o", "json")
    check("leader elect", r.code == 0 and r.json()["partitions"][0]["status"] in ("elected", "not needed"), str(r))
    check("the preferred one leads again", until("the move", lambda: k(
        "topic", "describe", "orders", "-o", "json").json()["topics"][0]["partitions"][mine]["leader"] == dead))
    expect("leader elect: nothing to do", k("leader", "elect", "orders:%d" % mine), 0, "not needed")
    expect("leader elect: unknown topic", k("leader", "elect", "ordres"), 3, 'Did you mean "orders"')


def frozen(k, cluster):
    controller = status(k)["controller_id"]
    victim = cluster.broker(controller % 3 + 1)
    victim.process.send_signal(signal.SIGSTOP)
    try:
        r = k("status", "-o", "json")
        node = r.json()["node_list"][victim.id - 1]
        check("status with a frozen node: %.2f s" % r.seconds, r.code == 0 and r.seconds < STATUS_S_MAX and
              node["state"] == "DOWN" and node["error"] == "timed out", str(r))
        check("topic ls with a frozen node", k("topic", "ls").code == 0)
    finally:
        victim.process.send_signal(signal.SIGCONT)
    expect("it thaws", k("health", "--wait", "--timeout", "60s"), 0, "healthy")


def without_quorum(k, cluster):
    expect("create a topic of two", k("topic", "create", "pair", "-p", "1", "-r", "2"), 0)
    replicas = k("topic", "describe", "pair", "-o", "json").json()["topics"][0]["partitions"][0]["replicas"]
    # The follower dies, the ISR is the leader alone; then the leader dies, too.
    leader, follower = replicas
    cluster.broker(follower).kill()
    check("ISR without the follower", until("the shrink", lambda: k(
        "topic", "describe", "pair", "-o", "json").json()["topics"][0]["partitions"][0]["isr"] == [leader]))
    cluster.broker(leader).kill()
    alone = ({1, 2, 3} - set(replicas)).pop()
    check("no controller is left", until("its end", lambda: status(k)["controller_id"] < 0))
    r = k("status")
    check("status without a quorum: %.2f s" % r.seconds, r.seconds < STATUS_S_MAX)
    expect("status in words", r, 0, "UNAVAILABLE", r"only 1 of 3 controllers is up \(node %d\), 2 are needed" % alone,
           "Start node", "have no leader|has no leader")
    expect("health without a quorum", k("health"), 10, "metadata changes are stopped")
    r = k("quorum", "status", "-o", "json")
    check("quorum status without a quorum", r.code == 0 and r.json()["leader_id"] == -1 and
          [n["up"] for n in r.json()["nodes"]].count(True) == 1 and len(r.json()["problems"]) > 0, str(r))
    expect("quorum status in words", k("quorum", "status"), 0, "no leader", "metadata changes are stopped")
    r = k("topic", "create", "late", "--timeout", "2s")
    expect("create without a quorum", r, 6, "metadata changes are stopped", "not done within 2 s")
    check("it does not take longer than asked", r.seconds < 2 + STATUS_S_MAX, r.seconds)
    expect("health --wait in vain", k("health", "--wait", "--timeout", "1s"), 10)
    expect("topic ls without a quorum", k("topic", "ls"), 0, "orders", "pair")
    # The follower alone comes back: there is a quorum, but the only in-sync replica is gone.
    cluster.broker(follower).start()
    check("a quorum again", until("a controller", lambda: status(k)["metadata_changes"]))
    check("pair has no leader", until("that", lambda: k("topic", "describe", "--unavailable", "-o", "json").json()
          ["topics"] != []))
    expect("no leader, in words", k("status"), 0, r"1 of \d+ partitions has no leader: pair-0", "Start node %d" % leader,
           "kvorum leader elect --unclean pair")
    check("the follower is back", until("it to run", lambda: status(k)["node_list"][follower - 1]["state"] == "running"))
    expect("unclean asks", k("leader", "elect", "--unclean", "pair"), 2, "may lose acknowledged records", "--yes")
    expect("unclean", k("leader", "elect", "--unclean", "pair", "--yes"), 0, "pair +0 +%d +elected" % follower)
    cluster.broker(leader).start()
    check("all back", settled(k, 3))


def offline(k, cluster):
    cluster.stop()
    folders = [b.dir for b in cluster.brokers]
    logs = [f for d in folders for f in glob.glob(d + "/*/*.log")]
    orders = [f for f in glob.glob(folders[0] + "/orders-1/*.log")]
    expect("log dump --verify of everything", k("log", "dump", "--verify", *[f for f in logs if "orders" in f or
           "__cluster_metadata" in f][:64]), 0, "problems=0")
    r = k("log", "dump", "--deep", orders[0], "-o", "json")
    lines = [json.loads(line) for line in r.out.splitlines()]
    check("log dump --deep", r.code == 0 and [x["value"] for x in lines if x["type"] == "record"] == ["a", "b", "c"] and
          all(x["crc"] == "ok" for x in lines if x["type"] == "batch"), str(r))
    metadata = sorted(glob.glob(folders[0] + "/__cluster_metadata-0/*.log"))[0]
    expect("metadata in words", k("log", "dump", "--deep", metadata), 0, "kind=cluster", "kind=topic .*name=orders",
           "kind=partition .*replicas=")
    side = [f for f in glob.glob(folders[0] + "/orders-1/*") if f.endswith((".index", ".timeindex", ".snapshot",
            "leader-epoch-checkpoint"))]
    check("side files are there", len(side) >= 3, side)
    expect("side files", k("log", "dump", *side), 0, "leader_epoch", "problems=0")
    with open(orders[0], "r+b") as f:
        f.seek(70)
        byte = f.read(1)
        f.seek(70)
        f.write(bytes([byte[0] ^ 1]))
    expect("log dump finds a changed byte", k("log", "dump", "--verify", orders[0]), 1, "CRC", "problems=1")
    expect("log dump of nothing", k("log", "dump", "/nowhere/0.log"), 3, "No such file")
    expect("log dump of something else", k("log", "dump", cluster.brokers[0].config), 2, "is no .log")


def main():
    binary = os.path.join(os.path.abspath(sys.argv[1]), "broker", "kvorum")
    cluster = Cluster(binary)
    k = Admin(binary, cluster.bootstrap())
    begin = time.monotonic()
    try:
        cluster.start()
        words_without_cluster(k)
        expect("start", k("health", "--wait", "--timeout", "60s"), 0, "healthy")
        views(k)
        topics(k)
        configs(k)
        groups(k)
        one_dead(k, cluster)
        frozen(k, cluster)
        without_quorum(k, cluster)
        offline(k, cluster)
    except (OSError, KeyError, IndexError, ValueError, TypeError, subprocess.SubprocessError) as e:
        import traceback
        traceback.print_exc(file=sys.stdout)
        check("runs to its end", False, repr(e))
        for b in cluster.brokers:
            print("-- node %d\n%s" % (b.id, "".join(open(b.log, errors="replace").readlines()[-15:])))
    finally:
        for watch in Watch.running:
            watch.kill()
        cluster.remove()
    print("admin: %d ok, %d failed in %.0f s" % (passed, failed, time.monotonic() - begin))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
