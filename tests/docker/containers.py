"""The compose file as an object: containers of a project of their own, on free ports, and what the tests ask about them."""
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "cluster"))
from brokers import free_ports  # noqa: E402

IMAGE = "kvorum:test"
COMMAND_S = 120


def run(command, timeout=COMMAND_S, env=None):
    """Exit status, stdout, stderr."""
    p = subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)
    return p.returncode, p.stdout, p.stderr


class Death(threading.Thread):
    """The moment (CLOCK_MONOTONIC) in which a process ends."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.fd = os.pidfd_open(pid)
        self.at = None
        self.start()

    def run(self):
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        if poll.poll(COMMAND_S * 1000):
            self.at = time.monotonic()
        os.close(self.fd)


class Compose:
    def __init__(self, project):
        self.project = project
        self.ports = free_ports(3)
        self.env = dict(os.environ, KVORUM_IMAGE=IMAGE, COMPOSE_ANSI="never")
        for i, port in enumerate(self.ports):
            self.env["KVORUM_PORT_%d" % (i + 1)] = str(port)

    def __call__(self, *words, timeout=COMMAND_S):
        return run(["docker-compose", "-p", self.project, "-f", "deploy/docker-compose.yml"] + list(words),
                   timeout=timeout, env=self.env)

    def must(self, *words, timeout=COMMAND_S):
        status, out, err = self(*words, timeout=timeout)
        if status != 0:
            raise RuntimeError("docker-compose %s: exit status %d\n%s%s" % (" ".join(words), status, out, err))
        return out

    def cli(self, *words):
        return self("run", "--rm", "-T", "cli", *words)

    def name(self, node):
        return "%s_kvorum-%d_1" % (self.project, node)

    def network(self):
        return self.project + "_default"

    def bootstrap(self):
        return ",".join("localhost:%d" % port for port in self.ports)

    def inspect(self, node):
        return json.loads(run(["docker", "inspect", self.name(node)])[1])[0]

    def state(self, node):
        return self.inspect(node)["State"]

    def health(self, node):
        return self.state(node).get("Health", {}).get("Status", "none")

    def wait_healthy(self, nodes, timeout):
        """Seconds it took, or None."""
        begin = time.monotonic()
        while time.monotonic() < begin + timeout:
            if all(self.health(n) == "healthy" for n in nodes):
                return time.monotonic() - begin
            time.sleep(0.2)
        return None

    def logs(self, node):
        status, out, err = run(["docker", "logs", self.name(node)])
        return out + err


class Portable:
    """The judge and its file with the libraries it needs, for a container that has none of them."""

    def __init__(self, judge, file):
        self.dir = tempfile.mkdtemp(prefix="kvorum-judge-")
        os.chmod(self.dir, 0o755)
        self.loader = None
        for line in subprocess.run(["ldd", judge], capture_output=True, text=True, check=True).stdout.split("\n"):
            for word in line.split():
                if word.startswith("/"):
                    shutil.copy(word, self.dir)
                    if os.path.basename(word).startswith("ld-linux"):
                        self.loader = os.path.basename(word)
        shutil.copy(judge, os.path.join(self.dir, "judge"))
        shutil.copy(file, os.path.join(self.dir, "words"))

    def command(self, network, user="10002"):
        return ["docker", "run", "--rm", "-i", "--network", network, "--user", user, "-v", self.dir + ":/judge:ro",
                "--no-healthcheck", "--entrypoint", "/judge/" + self.loader, IMAGE, "--library-path", "/judge",
                "/judge/judge", "-f", "/judge/words"]

    def remove(self):
        shutil.rmtree(self.dir, ignore_errors=True)
