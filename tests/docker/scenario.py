#!/usr/bin/env python3
"""deploy/docker-compose.yml as its users meet it: built, started, a container killed under load, brought back, stopped,
restarted on the data that was kept. Judged by librdkafka through the published ports and inside the network."""
import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

from containers import IMAGE, ROOT, Compose, Death, Portable, run
sys.path.insert(0, os.path.join(ROOT, "tests", "cluster"))
from quickstart import INTERVAL_MS, PARTITIONS, Judge, percentile, wait_full, wait_ready  # noqa: E402

WORDS = "/usr/share/common-licenses/GPL-3"
IMAGE_BYTES_MAX = 60 << 20
BUILD_S = 1200     # with Debian's packages to fetch
HEALTHY_S = 60
GRACE_S = 30       # stop_grace_period of the compose file
STOP_S = 15        # of a broker, also when all stop at once; it would give up waiting after 25 s
RESUME_MS = 10000  # of a client at defaults
COMMAND_GRACE_S = 4 * GRACE_S
ANSWER_S = 180     # for the judge to answer a question
NODES = [1, 2, 3]


class Load(Judge):
    """The judge; command names binary, file and bootstrap list."""

    def __init__(self, command, topic):
        self.log = tempfile.TemporaryFile("w+")  # librdkafka tells of every broken connection
        self.process = subprocess.Popen(command + ["-t", topic, "-p", str(PARTITIONS), "-i", str(INTERVAL_MS)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, bufsize=1)

    def hear(self, event):
        patience = threading.Timer(ANSWER_S, self.process.kill)
        patience.start()
        try:
            return super().hear(event)
        except SystemExit:
            self.log.seek(0)
            print(self.log.read()[-4000:])
            raise
        finally:
            patience.cancel()


class Checks:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    def __call__(self, what, ok, detail=""):
        self.passed += bool(ok)
        self.failed += not ok
        print("%s  %s%s" % ("ok  " if ok else "FAIL", what, " (%s)" % detail if detail != "" else ""), flush=True)
        return ok


# ---- the image ----

def check_image(check):
    image = json.loads(run(["docker", "image", "inspect", IMAGE])[1])[0]
    check("the image is small", image["Size"] < IMAGE_BYTES_MAX, "%.1f MB" % (image["Size"] / 1e6))
    check("its user is not root", image["Config"]["User"] == "10001:10001", image["Config"]["User"])
    status, out, _ = run(["docker", "run", "--rm", "--entrypoint", "/bin/sh", IMAGE, "-c", "true"])
    check("there is no shell in it", status == 127, "status %d" % status)
    status, out, err = run(["docker", "run", "--rm", IMAGE, "version"])
    check("it runs the admin command", status == 0 and out.startswith("kvorum "), out.strip() or err.strip())


# What Apache Kafka's compose example for one node sets.
KAFKAS_EXAMPLE = {
    "KAFKA_NODE_ID": "1",
    "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT",
    "KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT_HOST://localhost:9092,PLAINTEXT://broker:19092",
    "KAFKA_PROCESS_ROLES": "broker,controller",
    "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@broker:29093",
    "KAFKA_LISTENERS": "CONTROLLER://:29093,PLAINTEXT_HOST://:9092,PLAINTEXT://:19092",
    "KAFKA_INTER_BROKER_LISTENER_NAME": "PLAINTEXT",
    "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
    "CLUSTER_ID": "4L6g3nShT-eMCtK--X86sw",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
    "KAFKA_GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
    "KAFKA_LOG_DIRS": "/tmp/kraft-combined-logs",
}


def alone(check, project, what, env, texts, flags=(), cluster=None):
    """One broker alone: its health check must find whatever listener it has, its log must have the texts."""
    name = "%s_alone" % project
    words = ["docker", "run", "-d", "--name", name] + list(flags)
    for key, value in env.items():
        words += ["-e", "%s=%s" % (key, value)]
    run(words + [IMAGE])
    until = time.monotonic() + HEALTHY_S
    health, logs = "", ""
    while time.monotonic() < until and (health != "healthy" or not all(t in logs for t in texts)):
        health = run(["docker", "inspect", "-f", "{{.State.Health.Status}}", name])[1].strip()
        logs = "".join(run(["docker", "logs", name])[1:])
        time.sleep(0.2)
    missing = [t for t in texts if t not in logs]
    check("healthy: " + what, health == "healthy" and not missing, "; ".join(missing) if missing else health)
    if cluster is not None:
        status, out, err = run(["docker", "exec", name, "kvorum", "status", "-o", "json"])
        check("… with the CLUSTER_ID it was given", status == 0 and json.loads(out)["cluster_id"] == cluster, err.strip())
    run(["docker", "rm", "-f", "-v", name])


def check_environment(check, project):
    alone(check, project, "listeners of any name and port", {"KAFKA_LISTENERS": "CONTROLLER://:7001,CLIENTS://:7002"},
          ["CLIENTS://"], ["--read-only"])
    alone(check, project, "listeners that follow from the advertised ones; wrong settings are told",
          {"KAFKA_ADVERTISED_LISTENERS": "PLAINTEXT://no-such-host.invalid:7003", "KAFKA_NUM_PARTITION": "3",
           "KAFKA_LOG_RETENTION___X": "1"},
          ["KAFKA_NUM_PARTITION: unknown key num.partition is ignored. Did you mean num.partitions?",
           "KAFKA_LOG_RETENTION___X: unknown key log.retention-x is ignored",
           "listener PLAINTEXT advertises no-such-host.invalid:7003, which this host cannot resolve",
           "set KAFKA_ADVERTISED_LISTENERS=…,PLAINTEXT://HOST:7003"])
    alone(check, project, "the environment of Kafka's own example", KAFKAS_EXAMPLE, [], ["--hostname", "broker"],
          KAFKAS_EXAMPLE["CLUSTER_ID"])


def refusal(check, what, words, flags, text):
    status, out, err = run(["docker", "run", "--rm"] + flags + [IMAGE, "server"] + words)
    lines = [line for line in err.split("\n") if line != ""]
    plain = [line for line in lines if line.startswith("kvorum server: ")]
    check("refused with status 2 and one sentence: " + what,
          status == 2 and len(plain) == 1 and text in plain[0] and "start_failed" not in err,
          plain[0] if plain else "status %d: %s" % (status, err.strip()[-200:]))


def check_refusals(check, compose):
    volume = "%s_kvorum-1" % compose.project
    refusal(check, "an even number of voters", ["--node-id", "1", "--voters", "1@a:1,2@b:2"], [], "an even number")
    refusal(check, "a directory of another cluster", ["--node-id", "1", "--cluster-id", "4L6g3nShT-eMCtK--X86sw"],
            ["-v", volume + ":/var/lib/kvorum"], "belongs to cluster MkU3OEVBNTcwNTJENDM2Qk, but cluster.id (CLUSTER_ID) is")
    refusal(check, "a directory of another node", ["--node-id", "5"], ["-v", volume + ":/var/lib/kvorum"],
            "belongs to node 1, but node.id is 5")
    refusal(check, "a directory it may not write", ["--data", "/data"], ["--tmpfs", "/data:uid=0,mode=755"],
            "This process is user 10001")
    refusal(check, "a directory on a read-only file system", ["--data", "/data"], ["--read-only"],
            "/data: the data directory cannot be made")


def check_port_taken(check, compose):
    refusal(check, "a port that is taken", ["--listeners", "PLAINTEXT://:9092"],
            ["--network", "container:" + compose.name(1)], "cannot listen on :9092 for PLAINTEXT: address in use. Stop what uses")


# ---- the cluster ----

def status_json(compose):
    status, out, err = compose.cli("status", "-o", "json")
    return json.loads(out) if status == 0 else {"node_list": [], "error": err}


def check_defaults(check):
    """Without a word of the user: the documented ports and image, each port told to clients as it is published."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("KVORUM_")}
    status, out, err = run(["docker-compose", "-f", "deploy/docker-compose.yml", "config"], env=env)
    missing = [text for port in (19092, 29092, 39092) for text in
               ("published: %d" % port, "EXTERNAL://localhost:%d" % port) if text not in out]
    check("the compose file's defaults are as documented", status == 0 and "image: kvorum:latest" in out and not missing,
          missing or err.strip())


def check_up(check, compose):
    compose.must("up", "-d", "--build", timeout=BUILD_S)
    took = compose.wait_healthy(NODES, HEALTHY_S)
    check("three containers are up and healthy", took is not None,
          "after %.1f s" % took if took is not None else [compose.health(n) for n in NODES])
    if took is None:
        for n in NODES:
            print(compose.logs(n))
        raise SystemExit(1)
    for n in NODES:
        i = compose.inspect(n)
        if n == 1:
            status, out, _ = run(["docker", "top", compose.name(n), "-eo", "uid,pid,args"])
            lines = [line.split() for line in out.strip().split("\n")[1:]]
            check("one process, not root, is the container", len(lines) == 1 and lines[0][0] == "10001",
                  "user %s" % lines[0][0] if lines else "")
        check("node %d: file system read-only but for its volume, never restarted by itself" % n,
              i["HostConfig"]["ReadonlyRootfs"] and i["HostConfig"]["RestartPolicy"]["Name"] in ("no", ""))
    logs = "".join(compose.logs(n) for n in NODES)
    check("no warning about the configuration", "config_warning" not in logs and "advertised_unresolvable" not in logs)


def leaders_of(state, node):
    return [i for i, leader in enumerate(state["leaders"]) if leader == node]


def check_kill(check, compose, judge):
    """The container that leads most partitions dies; returns it."""
    state = wait_ready(judge, time.monotonic() + 1)
    victim = max(NODES, key=lambda n: (state["leaders"].count(n), n == state["controller"]))
    partitions = leaders_of(state, victim)
    death = Death(compose.state(victim)["Pid"])
    watching = judge.ask("watch %d %s" % (victim, ",".join(map(str, partitions))), "watching")
    compose.must("kill", "kvorum-%d" % victim)
    death.join()
    times = [watching["at"] + ms - death.at * 1000 for ms in judge.hear("recovered")["ms"]]
    check("traffic goes on after docker-compose kill kvorum-%d, leader of %d of %d partitions"
          % (victim, len(partitions), PARTITIONS), max(times) < RESUME_MS,
          "resumed after %.0f ms, slowest partition %.0f ms" % (percentile(times, 50), max(times)))
    return victim, partitions


def check_status(check, compose, victim, partitions):
    status, out, err = compose.cli("status")
    print(out, flush=True)
    line = [text for text in out.split("\n") if text.split()[:1] == [str(victim)]]
    check("kvorum status names the dead node", status == 0 and "2 of 3 nodes up" in out and line and "DOWN" in line[0],
          line[0].strip() if line else err)
    s = status_json(compose)
    nodes = {n["node_id"]: n for n in s["node_list"]}
    dead = nodes.get(victim, {})
    check("… and in JSON", s.get("verdict") == "degraded" and s.get("nodes_up") == 2 and dead.get("up") is False and
          dead.get("state") == "DOWN" and dead.get("leaders") == 0, json.dumps(dead))
    others = [n for n in NODES if n != victim]
    led = {n: nodes.get(n, {}).get("leaders", 0) for n in others}
    check("… and the new leaders", sum(led.values()) == s["partitions"]["total"] >= PARTITIONS and
          s["partitions"]["leaderless"] == 0 and s["controller_id"] in others, "partitions led: %s" % led)
    status, out, err = compose.cli("topic", "describe", "orders", "-o", "json")
    described = json.loads(out)["topics"][0]["partitions"] if status == 0 else []
    leaders = {p["partition"]: p["leader"] for p in described}
    check("kvorum topic describe has a living leader for each of the dead node's partitions",
          len(leaders) == PARTITIONS and all(leaders[p] in others for p in partitions),
          {p: leaders.get(p) for p in partitions} if status == 0 else err)
    status, _, _ = compose.cli("health", "-q")
    check("kvorum health says so by its exit code", status == 10, status)
    check("the dead container stays dead", compose.state(victim)["Status"] == "exited")


def check_return(check, compose, judge, victim):
    begin = time.monotonic()
    compose.must("start", "kvorum-%d" % victim)
    check("the node comes back healthy", compose.wait_healthy([victim], HEALTHY_S) is not None)
    wait_full(judge)
    check("… and catches up: every ISR is full", True, "%.1f s after its start" % (time.monotonic() - begin))
    status, out, _ = compose.cli("health")
    check("kvorum health is healthy again", status == 0, out.strip())


def check_inside(check, compose, judge_binary):
    """A client in a container of the network, through INTERNAL: it writes and reads a topic of its own."""
    inner = Portable(judge_binary, WORDS)
    try:
        judge = Load(inner.command(compose.network()) + ["-b", "kvorum-1:9092,kvorum-2:9092,kvorum-3:9092", "-c", "3"],
                     "inside")
        made = judge.hear("created")
        judge.say("start")
        judge.hear("first_ack")
        time.sleep(2)
        stopped = judge.ask("stop", "stopped")
        verified = judge.ask("verify", "verified")
        judge.end()
        check("a client inside the network writes and reads through INTERNAL",
              made["error"] is None and stopped["acked"] > 0 and all_read(stopped, verified),
              "%d records" % verified["read"])
    finally:
        inner.remove()


def check_foreign(check, compose):
    """A blank broker that was told another cluster id does not join."""
    name = "%s_foreign" % compose.project
    run(["docker", "run", "-d", "--name", name, "--network", compose.network(), "-e", "CLUSTER_ID=another", "-e",
         "KAFKA_NODE_ID=4", "-e", "KAFKA_CONTROLLER_QUORUM_VOTERS=1@kvorum-1:9093,2@kvorum-2:9093,3@kvorum-3:9093",
         IMAGE])
    until = time.monotonic() + HEALTHY_S
    text = ""
    while time.monotonic() < until and "another cluster id" not in text:
        time.sleep(0.2)
        text = "".join(run(["docker", "logs", name])[1:])
    nodes = [n["node_id"] for n in status_json(compose)["node_list"]]
    check("a blank broker with another CLUSTER_ID does not join", "another cluster id" in text and nodes == NODES, nodes)
    run(["docker", "rm", "-f", "-v", name])


def seconds_to_stop(logs):
    """From the signal to the end, by the broker's own log; None when the stop was not to its end."""
    times = []
    for event in ("event=stopping why=SIGTERM", "event=stopped"):
        line = [text for text in logs.split("\n") if event in text][-1:]
        if not line:
            return None
        times.append(datetime.datetime.strptime(line[0].split()[0], "%Y-%m-%dT%H:%M:%S.%fZ"))
    return (times[1] - times[0]).total_seconds() if times[1] >= times[0] else None


def stop(check, compose, nodes):
    """docker-compose stop: SIGTERM, and SIGKILL after the grace."""
    compose.must("stop", *["kvorum-%d" % n for n in nodes], timeout=COMMAND_GRACE_S)
    for n in nodes:
        status = compose.state(n)["ExitCode"]
        took = seconds_to_stop(compose.logs(n))
        check("node %d ends by SIGTERM, with status 0, after a controlled stop" % n,
              status == 0 and took is not None and took < STOP_S, "status %d, %s s" % (status, took))


def check_stop_one(check, compose, judge):
    """Under load: the leaders move first, so that writers hardly notice."""
    state = wait_ready(judge, time.monotonic() + 1)
    victim = max(NODES, key=lambda n: state["leaders"].count(n))
    partitions = leaders_of(state, victim)
    judge.ask("watch %d %s" % (victim, ",".join(map(str, partitions))), "watching")
    stop(check, compose, [victim])
    judge.hear("recovered")
    state = judge.ask("cluster", "cluster")
    check("its %d partitions are led by others, without a failed record" % len(partitions),
          state["leaders"] and victim not in state["leaders"])
    compose.must("start", "kvorum-%d" % victim)
    wait_full(judge)


def all_read(stopped, verified):
    return (verified["complete"] and stopped["failed"] == stopped["outstanding"] == 0 and
            verified["read"] >= stopped["acked"] and
            verified["lost"] == verified["duplicated"] == verified["reordered"] == 0)


def check_records(check, what, stopped, verified):
    check(what, stopped["acked"] > 0 and all_read(stopped, verified),
          "acknowledged %d, read %d, lost %d, duplicated %d, reordered %d" %
          (stopped["acked"], verified["read"], verified["lost"], verified["duplicated"], verified["reordered"]))


def check_restart(check, compose, judge, stopped):
    """All containers go, the volumes stay."""
    stop(check, compose, NODES)
    compose.must("down")
    check_refusals(check, compose)
    compose.must("up", "-d")
    check("after down and up all are healthy again", compose.wait_healthy(NODES, HEALTHY_S) is not None)
    wait_full(judge)
    check_records(check, "… with everything that was acknowledged", stopped, judge.ask("verify", "verified"))


def play(check, compose, judge_binary):
    check_defaults(check)
    check_up(check, compose)
    check_image(check)
    status, out, err = compose.cli("topic", "create", "orders", "-p", str(PARTITIONS), "-r", "3")
    check("a topic of %d partitions and 3 replicas is made" % PARTITIONS, status == 0, "" if status == 0 else err)
    judge = Load([judge_binary, "-f", WORDS, "-b", compose.bootstrap()], "orders")
    judge.hear("ready")
    judge.say("start")
    judge.hear("first_ack")
    victim, partitions = check_kill(check, compose, judge)
    check_status(check, compose, victim, partitions)
    check_return(check, compose, judge, victim)
    check_stop_one(check, compose, judge)
    stopped = judge.ask("stop", "stopped")
    check_records(check, "every acknowledged record is read once and in order", stopped,
                  judge.ask("verify", "verified"))
    check_inside(check, compose, judge_binary)
    check_foreign(check, compose)
    check_port_taken(check, compose)
    check_restart(check, compose, judge, stopped)
    judge.end()
    check_environment(check, compose.project)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", required=True)
    parser.add_argument("--judge", required=True)
    args = parser.parse_args()
    check = Checks()
    compose = Compose(args.project)
    try:
        play(check, compose, args.judge)
    except Exception as e:  # whatever breaks is a failure, and the containers still have to go
        check("the story to its end", False, "%s: %s" % (type(e).__name__, e))
    except SystemExit as e:
        check("the story to its end", False, e)
    finally:
        compose("down", "-v", "-t", "1")
    print("%d passed, %d failed" % (check.passed, check.failed))
    sys.exit(0 if check.failed == 0 and check.passed > 0 else 1)


if __name__ == "__main__":
    main()
