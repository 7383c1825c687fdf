#!/usr/bin/env python3
"""House rules that a compiler does not check. Each rule is one test; prints what breaks it and a line of counts.

    lint.py BUILD [--tidy]

--tidy adds the clang analyzer, on what has changed since LINT_BASE; not given: since the branch left main, on main itself in the
last commit."""
import json
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
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 900
TIDY_FILES_MAX = 40
BANNED = r"\b(strcpy|strcat|sprintf|vsprintf|gets|strtok|system|rand|srand|atoi|alloca|setjmp|longjmp)\s*\("
WORLD = (r"\b(time|gettimeofday|clock_gettime|clock|localtime\w*|gmtime\w*|socket|bind|listen|connect|accept4?|send|sendto|"
         r"sendmsg|recv|recvfrom|recvmsg|setsockopt|getaddrinfo\w*|select|poll|epoll_\w+|open|openat|fopen|close|read|pread|"
         r"write|pwrite|fread|fwrite|ftruncate|rename|unlink|mkdir|stat|fstat|fsync|fdatasync|fork|exec[vl]\w*|exit|_exit|"
         r"signal|sigaction|pthread_create|pthread_mutex_\w+|nanosleep|usleep|sleep|getenv|random|rand_r|drand48|getrandom|"
         r"RAND_\w+)\s*\(")
# Other rooms see the world only through env.h, so they have no use for its headers.
TAME_HEADERS = re.compile(r"(std(arg|bool|def|int|io|lib)|strings?|inttypes|limits|errno|endian|ctype|math|sys/queue)\.h$|"
                          r"(protobuf-c|openssl|uthash|zstd|lz4|zlib|snappy)")
HEADERS_TOO = {"proto/base/crc32c.c": {"pthread.h", "nmmintrin.h"}, "proto/base/log.c": {"stdatomic.h"}}
# Static variables that change: the log sink, and tables filled once.
GLOBALS = {"libsrv.a": {"sink"}, "libkb.a": {"sink", "table", "table_once", "lane_shift", "lane_once"}}
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
                if room == "broker/cli" and not other.startswith(("proto/", "replication/log")):  # log dump reads files
                    yield "%s:%d: the admin command knows brokers by their protocol and their logs" % (path, number)


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


def world_headers():
    """Rooms behind env.h include nothing of the system but plain C."""
    for path in files(".c", ".h"):
        if room_of(path) is None or path.startswith(WORLDLY):
            continue
        with open(path, encoding="utf-8") as f:
            for number, line in enumerate(f, 1):
                m = re.match(r"\s*#\s*include\s+<([^>]+)>", line)
                if m and not TAME_HEADERS.match(m.group(1)) and m.group(1) not in HEADERS_TOO.get(path, ()):
                    yield "%s:%d: <%s> belongs to the world" % (path, number, m.group(1))


def types():
    """No typedefs of structs, unions and enums."""
    for path in files(".c", ".h"):
        for number, line in enumerate(code_of(path).split("\n"), 1):
            if room_of(path) and re.search(r"\btypedef\s+(struct|union|enum)\b", line):
                yield "%s:%d: %s" % (path, number, line.strip()[:80])


def variables(build):
    """Rooms hold no state of their own: two brokers fit into one process."""
    for room in ROOMS:
        if room == "broker/cli" or not os.path.isdir(os.path.join(build, room)):
            continue
        for library in sorted(os.listdir(os.path.join(build, room))):
            if not library.endswith(".a"):
                continue
            table = subprocess.run(["objdump", "-t", os.path.join(build, room, library)], capture_output=True, text=True,
                                   check=True).stdout
            for line in table.split("\n"):
                m = re.search(r" O (\.bss|\.data|\*COM\*)\s+\S+\s+(\w+)", line)
                if m and m.group(2) not in GLOBALS.get(library, ()) and not m.group(2).startswith("__"):
                    yield "%s/%s: the variable %s" % (room, library, m.group(2))


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


def tidy_base():
    """The commit from which on files count as changed; None when there is none."""
    def git(*words):
        r = subprocess.run(["git", *words], capture_output=True, text=True)
        return r.stdout.strip() if r.returncode == 0 else ""
    head = git("rev-parse", "HEAD")
    for base in (os.environ.get("LINT_BASE") or "", git("merge-base", "HEAD", "origin/main"), git("merge-base", "HEAD", "main")):
        if base and git("rev-parse", base + "^{commit}") not in ("", head):
            return base
    return git("rev-parse", "HEAD~1") or None


def tidy(build):
    """The clang analyzer has nothing to say about the files that have changed."""
    base = tidy_base()
    if base is None:
        print("tidy: no older commit to compare with, nothing has changed")
        return
    changed = set(subprocess.run(["git", "diff", "--name-only", base], capture_output=True, text=True,
                                 check=True).stdout.split("\n"))
    changed |= set(subprocess.run(["git", "ls-files", "-o", "--exclude-standard"], capture_output=True, text=True,
                                  check=True).stdout.split("\n"))
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as f:
        known = {os.path.relpath(os.path.join(c["directory"], c["file"])) for c in json.load(f)}
    # What runs in a broker first.
    chosen = sorted((f for f in changed & known if os.path.exists(f)), key=lambda f: (f.startswith("tests/"), f))
    print("tidy: %d files changed since %s%s" % (len(chosen), base[:12], "" if len(chosen) <= TIDY_FILES_MAX else
                                                 "; not looked at: " + " ".join(chosen[TIDY_FILES_MAX:])))

    def check(path):
        r = subprocess.run(["clang-tidy", "-p", build, "--quiet", "--extra-arg=-Wno-unknown-warning-option", path],
                           capture_output=True, text=True)
        found = [line.replace(os.getcwd() + "/", "") for line in r.stdout.split("\n")
                 if re.search(r": (error|warning): ", line)]
        # One that cannot run has not found the file good.
        return found or ([] if r.returncode == 0 else ["%s: %s" % (path, (r.stderr or r.stdout).strip()[-200:])])

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for found in pool.map(check, chosen[:TIDY_FILES_MAX]):
            yield from found


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
    words = [w for w in sys.argv[1:] if w != "--tidy"]
    build = words[0] if words else "build"
    rules = [("layers", layers()), ("banned", banned()), ("world", world_headers()), ("types", types()),
             ("variables", variables(build)), ("headers", headers(build)), ("sizes", sizes()), ("format", formatted()),
             ("unfinished", unfinished())]
    if "--tidy" in sys.argv:
        rules.append(("tidy", tidy(build)))
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
