"""Clients under test: how they are found, set up and run, and what their programs say (the contract is in README.md)."""
import collections
import os
import signal
import subprocess
import threading
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SETUP_S = 900
END_S = 30
RESUME_S = 10

Ack = collections.namedtuple("Ack", "i partition offset ms")
Record = collections.namedtuple("Record", "partition offset value ms")


class Failed(Exception):
    """A test's verdict: what was expected and what was seen."""


def require(condition, text, *arguments):
    if not condition:
        raise Failed(text % arguments if arguments else text)


def wait_for(seconds, condition, what):
    """Poll until condition() is true; what may be a text or a function that makes one, for the moment of failure."""
    until = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() >= until:
            raise Failed("within %d s: %s" % (seconds, what() if callable(what) else what))
        time.sleep(0.1)


class Client:
    def __init__(self, name, logs):
        self.name = name
        self.dir = os.path.join(HERE, name)
        self.logs = logs
        self.version = "-"
        self.idempotent = not os.path.exists(os.path.join(self.dir, "not-idempotent"))
        self.may_give_up = os.path.exists(os.path.join(self.dir, "may-give-up"))
        self.coordinator_resume_s = self.slowness()

    def slowness(self):
        """Seconds in which its group must read again after its coordinator was killed."""
        path = os.path.join(self.dir, "slow-to-resume")
        if not os.path.exists(path):
            return RESUME_S
        with open(path, encoding="utf-8") as f:
            return int(f.read().split()[0])

    def setup(self):
        log = os.path.join(self.logs, self.name + "-setup.log")
        with open(log, "wb") as out:
            try:
                p = subprocess.run([os.path.join(self.dir, "setup")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=out, timeout=SETUP_S, check=False)
            except (subprocess.TimeoutExpired, OSError) as e:
                raise Failed("setup: %s" % e) from e
        lines = p.stdout.decode(errors="replace").split("\n")
        words = [line.strip() for line in lines if line.strip()]
        require(p.returncode == 0, "setup ended with status %s: %s", p.returncode, tail(log))
        require(words, "setup printed no version")
        self.version = words[-1]

    def produce(self, cluster, topic, count, interval_ms, codec="none", pad=0):
        return Producer(self, "produce-" + topic + "-" + codec,
                        [cluster.bootstrap(), topic, str(count), str(interval_ms), codec], {"PAD": str(pad)})

    def consume(self, cluster, topic, group):
        return Consumer(self, "consume-" + topic, [cluster.bootstrap(), topic, group], {})

    def extra(self):
        path = os.path.join(self.dir, "extra")
        return path if os.access(path, os.X_OK) else None


def discover(logs, wanted):
    names = sorted(n for n in os.listdir(HERE) if os.access(os.path.join(HERE, n, "client"), os.X_OK))
    for name in wanted:
        require(name in names, "no such client: %s (there are: %s)", name, ", ".join(names))
    return [Client(n, logs) for n in names if not wanted or n in wanted]


def tail(path, size=600):
    with open(path, "rb") as f:
        return f.read().decode(errors="replace")[-size:].strip()


class Program:
    """One run of a client: its lines are understood as they come, on a thread of its own."""
    count = 0

    def __init__(self, client, job, arguments, environment):
        Program.count += 1
        self.client = client
        self.what = "%s %s" % (client.name, job)
        self.log = os.path.join(client.logs, "%s-%s-%d.log" % (client.name, job, Program.count))
        self.lock = threading.Lock()
        with open(self.log, "wb") as err:
            self.process = subprocess.Popen([os.path.join(client.dir, "client"), job.split("-")[0], *arguments],
                                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err,
                                            env={**os.environ, **environment}, text=True, errors="replace",
                                            start_new_session=True)
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()
        programs.append(self)

    def listen(self):
        with open(self.log + ".out", "w", encoding="utf-8") as copy:
            for line in self.process.stdout:
                copy.write(line)
                copy.flush()
                words = line.split()
                with self.lock:
                    if words:
                        self.hear(words, line.strip())

    def hear(self, words, line):
        raise NotImplementedError

    def running(self):
        return self.process.poll() is None

    def say_why(self):
        return tail(self.log)

    def ask_to_end(self):
        if self.running():
            self.process.terminate()

    def wait_end(self, seconds=END_S):
        """Its exit status must be 0."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed("%s did not end within %d s" % (self.what, seconds)) from None
        self.thread.join(END_S)
        require(status == 0, "%s ended with status %s: %s", self.what, status, self.say_why())

    def kill(self):
        """Ends the client and what it started: a wrapper has a program below it."""
        if self.running():
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Producer(Program):
    def __init__(self, *arguments):
        self.acks, self.errors, self.done, self.unsupported = [], [], None, False
        super().__init__(*arguments)

    def hear(self, words, line):
        if words[0] == "ack" and len(words) == 5:
            self.acks.append(Ack(*map(int, words[1:])))
        elif words[0] == "error":
            self.errors.append(line)
        elif words[0] == "done":
            self.done = int(words[1])
        elif words[0] == "unsupported":
            self.unsupported = True

    def heard(self):
        with self.lock:
            return list(self.acks)

    def last_ack_ms(self):
        """partition -> time of its last acknowledgement"""
        return {a.partition: a.ms for a in self.heard()}

    def wait_end(self, seconds=END_S, given_up_max=0):
        super().wait_end(seconds)
        require(len(self.errors) <= given_up_max, "%s: %d records failed, first: %s", self.what, len(self.errors),
                self.errors[:1])
        require(self.done == len(self.acks), "%s: done %s, but %d acknowledgements", self.what, self.done, len(self.acks))
        numbers = [a.i for a in self.acks]
        require(len(set(numbers)) == len(numbers), "%s: a record was acknowledged twice", self.what)


class Consumer(Program):
    def __init__(self, *arguments):
        self.records, self.assigned, self.assigned_count = [], frozenset(), 0
        super().__init__(*arguments)

    def hear(self, words, line):
        if words[0] == "assigned":
            self.assigned = frozenset(int(p) for p in words[1].split(",")) if len(words) > 1 else frozenset()
            self.assigned_count += 1
        elif words[0] == "record" and len(words) == 5:
            self.records.append(Record(int(words[1]), int(words[2]), words[3], int(words[4])))

    def heard(self):
        with self.lock:
            return list(self.records)

    def last_record_ms(self):
        return {r.partition: r.ms for r in self.heard()}


programs = []


def kill_programs():
    for p in programs:
        p.kill()
