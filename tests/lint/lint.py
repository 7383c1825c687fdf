#!/usr/bin/env python3
"""House rules that a compiler does not check. Each rule is one test; prints what breaks it and a line of counts."""
import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

ROOMS = ["proto/base", "proto/kafka", "proto/cluster", "replication/log", "replication/replica",
         "coordinator/raft", "coordinator/metadata", "coordinator/groups", "broker/node", "broker/api",
         "broker/server", "broker/cli"]
# Rooms of one of these never include the other.
APART = ("replication/", "coordinator/")
PURE = ["coordinator/", "replication/replica"]
FUNCTION_LINES_MAX = 100
FILE_LINES_MAX = 1000
BANNED = r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|system|rand|srand|atoi|alloca)\s*\("
WORLD = (r"\b(time|gettimeofday|clock_gettime|socket|connect|accept|open|openat|fopen|read|pread|write|pwrite|"
         r"fsync|fdatasync|pthread_create|usleep|sleep|getenv|random)\s*\(")
# The command line and the world's own room may touch the world; so may programs that stand outside the broker.
WORLDLY = ("broker/server/", "broker/cli/", "broker/main.c", "tests/")
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\])*\"", re.S)


def files(*endings):
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True,
                         check=True).stdout.split("\n")
    return [f for f in out if f.endswith(endings) and os.path.exists(f)]


def code_of(path):
    with open(path, encoding="utf-8") as f:
        return COMMENT.sub(lambda m: "\n" * m.group(0).count("\n"), f.read())


def room_of(path):
    for room in ROOMS:
        if path.startswith(room + "/"):
            return room
    return None


def layers():
    """A room includes only rooms above it; replication and coordinator never each other."""
    for path in files(".c", ".h"):
        room = room_of(path)
        if room is None:
            continue
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                m = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
                other = room_of(m.group(1)) if m else None
                if m and other is None and not m.group(1).startswith("proto/"):
                    yield "%s:%d: \"%s\" is not a path from the root" % (path, number, m.group(1))
                if other is None or other == room:
                    continue
                if ROOMS.index(other) > ROOMS.index(room):
                    yield "%s:%d: %s includes %s, which is below it" % (path, number, room, other)
                if any(room.startswith(a) and other.startswith(b) for a in APART for b in APART if a != b):
                    yield "%s:%d: %s includes %s" % (path, number, room, other)
                if any(room.startswith(p) for p in PURE) and m.group(1) == "proto/base/env.h":
                    yield "%s:%d: a pure room includes env.h" % (path, number)


def banned():
    """Calls that are never right, and calls to the world outside the rooms that may."""
    for path in files(".c", ".h"):
        code = code_of(path)
        for number, line in enumerate(code.split("\n"), 1):
            m = re.search(BANNED, line)
            if m and not path.startswith("tests/"):
                yield "%s:%d: %s" % (path, number, m.group(1))
            m = re.search(r"(?<![\w>.])" + WORLD[2:], line)
            if m and room_of(path) and not path.startswith(WORLDLY) and "->" not in line[:m.end()][-20:]:
                yield "%s:%d: %s belongs to the world" % (path, number, m.group(1))


def headers(build):
    """Each header compiles alone."""
    includes = ["-I.", "-I" + build, "-I" + build + "/proto/kafka"]

    def check(path):
        with tempfile.NamedTemporaryFile("w", suffix=".c") as f:
            f.write('#include "%s"\n' % path)
            f.flush()
            r = subprocess.run(["cc", "-std=gnu11", "-D_GNU_SOURCE", "-fsyntax-only", *includes, f.name],
                               capture_output=True, text=True)
        return None if r.returncode == 0 else "%s: %s" % (path, r.stderr.split("\n")[0])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from filter(None, pool.map(check, files(".h")))


def sizes():
    """Functions and files stay readable."""
    for path in files(".c"):
        lines = code_of(path).split("\n")
        if len(lines) > FILE_LINES_MAX:
            yield "%s: %d lines" % (path, len(lines))
        start = None
        for number, line in enumerate(lines, 1):
            if line == "{":
                start = number
            elif line.startswith("}") and start is not None:
                if number - start > FUNCTION_LINES_MAX:
                    yield "%s:%d: a function of %d lines" % (path, start, number - start)
                start = None


def formatted():
    """clang-format has nothing to say."""
    def check(path):
        r = subprocess.run(["clang-format", "--dry-run", "-Werror", path], capture_output=True, text=True)
        return None if r.returncode == 0 else "%s: not as clang-format would have it" % path

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from filter(None, pool.map(check, files(".c", ".h")))


def unfinished():
    """Nothing is left for later without saying so."""
    for path in files(".c", ".h", ".py", ".sh"):
        if path == "tests/lint/lint.py":
            continue
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                if re.search(r"\b(TODO|FIXME|XXX|HACK)\b", line):
                    yield "%s:%d: %s" % (path, number, line.strip()[:80])


def main():
    build = sys.argv[1] if len(sys.argv) > 1 else "build"
    rules = [("layers", layers()), ("banned", banned()), ("headers", headers(build)), ("sizes", sizes()),
             ("format", formatted()), ("unfinished", unfinished())]
    passed = failed = 0
    for name, findings in rules:
        findings = list(findings)
        for f in findings[:40]:
            print("%s: %s" % (name, f))
        print("%s: %s" % (name, "ok" if not findings else "%d findings" % len(findings)))
        passed, failed = (passed + 1, failed) if not findings else (passed, failed + 1)
    print("%d passed, %d failed" % (passed, failed))
    sys.exit(0 if failed == 0 else 1)


if __name__ == "__main__":
    main()
