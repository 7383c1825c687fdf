"""Refusals at the start: exit status 2 and one sentence that names the thing; --check-config."""
import os
import socket
import subprocess

from brokers import free_ports
from load import expect, wait_until


def serve(bench, *arguments, check=False):
    """(exit status, what it says) of a server that is expected to end by itself."""
    command = [bench.binary, "server"] + (["--check-config"] if check else []) + list(arguments)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("KAFKA_") and k != "CLUSTER_ID"}
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=20, env=environment)
    except subprocess.TimeoutExpired:
        return None, "it started and ran for 20 s"
    return done.returncode, done.stdout


def settings(**more):
    """Flags of a sound single node; a value None drops the key."""
    client, controller = free_ports(2)
    values = {"node.id": 1, "listeners": "PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d" % (client, controller),
              "controller.quorum.voters": "1@127.0.0.1:%d" % controller}
    values.update({k.replace("__", "."): v for k, v in more.items()})
    return [part for k, v in values.items() if v is not None for part in ("--set", "%s=%s" % (k, v))]


def expect_refusal(bench, what, words, *arguments, check=False):
    status, text = serve(bench, *arguments, check=check)
    sentences = [line for line in text.splitlines() if line.startswith("kvorum server: ") and ": warning: " not in line]
    expect(status == 2, "%s: exit status %s instead of 2, saying: %s", what, status, text.strip()[-300:])
    expect(len(sentences) == 1, "%s: %d sentences instead of one: %s", what, len(sentences), sentences)
    for word in words:
        expect(word in sentences[0], "%s: the sentence does not name %s: %s", what, word, sentences[0])


def refuse_ports(bench, directory):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        port = s.getsockname()[1]
        expect_refusal(bench, "a client port that is taken", [str(port), "pid %d" % os.getpid(), "python"],
                       *settings(listeners="PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d" % (port, free_ports(1)[0]),
                                 log__dirs=os.path.join(directory, "port")))
        expect_refusal(bench, "a controller port that is taken", [str(port), "pid %d" % os.getpid()],
                       *settings(listeners="PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d" % (free_ports(1)[0], port),
                                 controller__quorum__voters="1@127.0.0.1:%d" % port, log__dirs=os.path.join(directory, "port2")))


def refuse_directories(bench, cluster):
    """Directories that are another's: of a running broker, cluster, node; and those that cannot be."""
    broker = cluster.brokers[0]
    expect_refusal(bench, "the directory of a running broker", [broker.dir, "another broker"], *settings(log__dirs=broker.dir))
    expect(cluster.stop(), "the single node did not stop cleanly")
    expect_refusal(bench, "the directory of another cluster", [broker.dir, "belongs to cluster", "another-id"],
                   *settings(log__dirs=broker.dir, cluster__id="another-id"))
    expect_refusal(bench, "the directory of another node", [broker.dir, "node 1", "node.id is 2"],
                   *settings(log__dirs=broker.dir, node__id=2, controller__quorum__voters=None))
    blocked = os.path.join(cluster.dir, "a-file")
    with open(blocked, "w"):
        pass
    expect_refusal(bench, "a file as the directory", [blocked], *settings(log__dirs=blocked))
    expect_refusal(bench, "a directory that cannot be made", ["/proc/no-such-place"], *settings(log__dirs="/proc/no-such-place"))
    # kvorum.state has a copy, so that both must be gone.
    identity = {}
    for name in ("meta.properties", "kvorum.state"):
        with open(os.path.join(broker.dir, name)) as f:
            identity[name] = f.read()
        os.unlink(os.path.join(broker.dir, name))
    status, text = serve(bench, *settings(log__dirs=broker.dir))
    expect(status == 1 and "meta.properties" in text, "logs without meta.properties: exit %s, %s", status, text[-300:])
    for name, text_before in identity.items():
        with open(os.path.join(broker.dir, name), "w") as f:
            f.write(text_before)


def refuse_configurations(bench, directory):
    data = os.path.join(directory, "unused")
    three = "1@127.0.0.1:1,2@127.0.0.1:2,3@127.0.0.1:3"
    cases = [
        ("an even voter count", ["2 voters", "even"], dict(controller__quorum__voters="1@127.0.0.1:1,2@127.0.0.1:2")),
        ("four voters", ["4 voters", "even"], dict(controller__quorum__voters=three + ",4@127.0.0.1:4")),
        ("a node that is no voter but a controller", ["node 7"],
         dict(node__id=7, controller__quorum__voters=three, process__roles="broker,controller")),
        ("a controller alone", ["process.roles"], dict(process__roles="controller")),
        ("a number that is none", ["num.partitions", "abc"], dict(num__partitions="abc")),
        ("a number out of range", ["num.partitions"], dict(num__partitions="-5")),
        ("a listener mapped to SSL", ["PLAINTEXT only", "SSL"],
         dict(listener__security__protocol__map="PLAINTEXT:SSL,CONTROLLER:PLAINTEXT")),
        ("a listener mapped to SASL", ["SASL_PLAINTEXT"],
         dict(listener__security__protocol__map="PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT")),
        ("an unknown protocol", ["NONSENSE"], dict(listener__security__protocol__map="PLAINTEXT:NONSENSE,CONTROLLER:PLAINTEXT")),
        ("a listener that is none", ["listeners", "nonsense"], dict(listeners="nonsense")),
        ("several directories", ["log.dirs"], dict(log__dirs="/a,/b")),
    ]
    for what, words, wrong in cases:
        wrong.setdefault("log__dirs", data)
        expect_refusal(bench, what, words, *settings(**wrong))
        expect_refusal(bench, what + " (--check-config)", words, *settings(**wrong), check=True)
    expect(not os.path.exists(data), "a refused configuration left %s behind", data)
    expect_refusal(bench, "a missing file", ["absent.properties"], "--config", os.path.join(directory, "absent.properties"))
    expect_refusal(bench, "an unknown flag", ["--nonsense"], "--nonsense")
    return len(cases)


def check_config(bench, directory):
    path = os.path.join(directory, "server.properties")
    data = os.path.join(directory, "data")
    with open(path, "w") as f:
        f.write("node.id=1\nlog.dirs=%s\nnum.partitons=3\n" % data)
    status, text = serve(bench, "--config", path, check=True)
    expect(status == 0 and "sound" in text, "--check-config of a good file: exit %s, %s", status, text)
    expect("num.partitons" in text and "num.partitions" in text, "--check-config proposes no name for a wrong one: %s", text)
    expect(not os.path.exists(data), "--check-config made the data directory")
    with open(path, "a") as f:
        f.write("num.partitions=many\nmin.insync.replicas=none\n")
    status, text = serve(bench, "--config", path, check=True)
    expect(status == 2, "--check-config of a bad file: exit %s", status)
    for word in ("%s:4: num.partitions" % path, "%s:5: min.insync.replicas" % path):
        expect(word in text, "--check-config does not say %s: %s", word, text)


def refusals(bench):
    cluster = bench.cluster(nodes=1)
    cluster.start()
    wait_until("the single node is healthy", lambda: bench.healthy(cluster))
    refuse_ports(bench, cluster.dir)
    refuse_directories(bench, cluster)
    count = refuse_configurations(bench, cluster.dir)
    check_config(bench, cluster.dir)
    # Nothing that was refused has harmed the directory.
    cluster.start()
    wait_until("the node starts again from its directory", lambda: bench.healthy(cluster))
    expect(cluster.stop(), "the single node did not stop cleanly")
    return "%d refused with status 2 and a sentence, with and without --check-config" % (count + 9)


TESTS = [("refusals", refusals)]
