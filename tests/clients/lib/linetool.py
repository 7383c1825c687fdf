"""Drives clients that are command line tools (kcat, Kafka's console tools) as the contract of README.md wants it.

produce: feeds lines `key:value` at the asked rate and passes acknowledgements on; consume: passes records and assignments on.
What a tool prints is turned into the contract's lines by a function of the wrapper's own; all else goes to stderr."""
import os
import signal
import subprocess
import sys
import threading
import time


def say(*words):
    print(*words, flush=True)


def now_ms():
    return int(time.time() * 1000)


def padding():
    """The codec tests ask for records of more than 1 KB."""
    return "." * int(os.environ.get("PAD", "0"))


def spawn(command, stdin):
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            errors="replace", bufsize=1)


def translate(tool, on_line):
    """Passes on what both streams say until they end; returns the number of acknowledgements. The streams are read apart: in
    one pipe a log line may come between the halves of a record."""
    lock = threading.Lock()
    acked = []

    def hear(stream):
        for line in stream:
            with lock:
                words = on_line(line.rstrip("\n"))
                if words is None:
                    sys.stderr.write(line)
                    continue
                say(*words)
                if words[0] == "ack":
                    acked.append(1)

    errors = threading.Thread(target=hear, args=(tool.stderr,))
    errors.start()
    hear(tool.stdout)
    errors.join()
    return len(acked)


class Feeder(threading.Thread):
    """Writes one line every interval until count or until asked to stop; then closes the tool's stdin."""

    def __init__(self, tool, name, count, interval_ms, sent):
        super().__init__(daemon=True)
        self.tool, self.name, self.count, self.interval, self.sent = tool, name, count, interval_ms / 1000.0, sent
        self.stop = threading.Event()

    def run(self):
        next_at = time.monotonic()
        pad = padding()
        try:
            for i in range(self.count):
                if self.stop.wait(max(0.0, next_at - time.monotonic())):
                    break
                next_at += self.interval
                self.sent(i)
                self.tool.stdin.write("%d:%s-%d%s\n" % (i, self.name, i, pad))
                self.tool.stdin.flush()
            self.tool.stdin.close()
        except BrokenPipeError:
            pass


def produce(command, name, count, interval_ms, on_line, sent=lambda i: None):
    """on_line(text) returns the contract's words for a line of the tool, or None for a line of no interest."""
    tool = spawn(command, subprocess.PIPE)
    feeder = Feeder(tool, name, count, interval_ms, sent)
    signal.signal(signal.SIGTERM, lambda *_: feeder.stop.set())
    feeder.start()
    acked = translate(tool, on_line)
    status = tool.wait()
    say("done", acked)
    sys.exit(status)


def consume(command, on_line):
    tool = spawn(command, subprocess.DEVNULL)
    asked_to_end = []

    def end(*_):
        asked_to_end.append(True)
        tool.terminate()

    signal.signal(signal.SIGTERM, end)
    translate(tool, on_line)
    status = tool.wait()
    # A JVM that was asked to end reports the signal as its status, after its shutdown hook has closed the consumer.
    sys.exit(0 if asked_to_end and status in (0, 128 + signal.SIGTERM, -signal.SIGTERM) else status or 1)
