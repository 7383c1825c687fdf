#!/usr/bin/env python3
"""The fault matrix on real processes. Options: see README.md of this directory. Ends with "N passed, N failed"."""
import argparse
import atexit
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import stage  # noqa: E402
import rows_disk  # noqa: E402
import rows_network  # noqa: E402
import rows_process  # noqa: E402
import rows_state  # noqa: E402

SHARE = {6: 1, 20: 1, 25: 1, 39: 2}  # what continuous integration runs, and how often: under two minutes
TIMED = [1, 12, 16, 2, 3, 20]  # rows that judge milliseconds have the machine for themselves, before others go side by side
OLD = "bee7e3a"  # row 53: what closed the milestone before this one
SOAK = 54
SOAK_HOURS = 1 / 3  # with --all


def all_rows():
    rows = {}
    for module in (rows_process, rows_network, rows_disk, rows_state):
        rows.update(module.rows.all)
    return dict(sorted(rows.items()))


def play(args, entry, times):
    """One row; what it came to, for the report."""
    bench = stage.ChaosBench(args)
    bench.logs_kept = os.path.join(args.logs, "row-%d" % entry["number"]) if args.logs else None
    began = time.monotonic()
    failed = detail = None
    try:
        detail = entry["play"](bench, times)
        if not entry["exempt"]:
            bench.check_disks()
    except stage.Failure as e:
        failed = str(e)
    except Exception as e:  # a row that breaks is a row that fails
        failed = "%s: %s" % (type(e).__name__, e)
        traceback.print_exc(file=sys.stdout)
    finally:
        bench.close(failed is not None)
    seconds = time.monotonic() - began
    print("row %2d  %s  %5.1f s  %s, %d times: %s" % (entry["number"], "ok    " if failed is None else "FAILED", seconds,
                                                      entry["title"], times, failed or detail), flush=True)
    if entry["exempt"]:
        print("        exempt from lost = reordered = 0: %s" % entry["exempt"], flush=True)
    return {"row": entry["number"], "title": entry["title"], "times": times, "passed": failed is None, "seconds": round(seconds, 1),
            "detail": failed or detail, "exempt": entry["exempt"], "client_settings": bench.settings_used, "figures": bench.figures}


class Lane:
    """Some rows in a process of their own, beside others: none of them judges latency."""

    def __init__(self, args, seed, numbers):
        self.directory = tempfile.mkdtemp(prefix="kvorum-lane-")
        self.numbers = numbers
        self.report = os.path.join(self.directory, "report.json")
        command = [sys.executable, os.path.abspath(__file__), "--build", args.build, "--seed", str(seed), "--old", args.old,
                   "--soak", str(args.soak or SOAK_HOURS), "--json", self.report]
        command += [word for n in numbers for word in ("--row", str(n))]
        command += ["--logs", args.logs] if args.logs else []
        command += ["--times", str(args.times)] if args.times else []
        command += [word for word, wanted in (("--keep", args.keep), ("--long", args.long)) if wanted]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.reader = threading.Thread(target=self.pass_on)
        self.reader.start()
        atexit.register(self.end)

    def pass_on(self):
        """What it prints, but for its settings and its own count."""
        for line in self.process.stdout:
            if not line.startswith(("seed ", "load: ", "client settings")) and " passed, " not in line and not line.endswith(" minutes\n"):
                print(line, end="", flush=True)

    def results(self):
        self.process.wait()
        self.reader.join()
        if self.process.returncode in (0, 1) and os.path.exists(self.report):
            with open(self.report) as f:
                return json.load(f)["rows"]
        return [{"row": n, "passed": False, "seconds": 0, "detail": "the process that played it ended without a report"} for n in self.numbers]

    def end(self):
        if self.process.poll() is None:
            self.process.terminate()  # it removes what it made
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def in_turn(args, rows, wanted, seed):
    """Play them. With --all three lanes go side by side once the rows that judge latency are through; one is the soak."""
    results, lanes = [], []
    if args.all:
        rest = [n for n in wanted if n not in TIMED + [SOAK]]
        wanted = TIMED + rest[::2]
    for number in wanted:
        random.seed("%d-%d" % (seed, number))
        entry = rows[number]
        if args.all and number not in TIMED and not lanes:
            lanes = [Lane(args, seed, [SOAK]), Lane(args, seed, rest[1::2])]
        times = entry["long"] if args.long else entry["times"] if args.all or args.row or args.soak else SHARE[number]
        results.append(play(args, entry, args.times or times))
    for lane in lanes:
        results += lane.results()
    return sorted(results, key=lambda r: r["row"])


def git(*arguments):
    done = subprocess.run(["git", *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("--all", action="store_true", help="every row, within 50 minutes")
    parser.add_argument("--long", action="store_true", help="more rounds of each")
    parser.add_argument("--row", type=int, action="append", help="this row; may be repeated")
    parser.add_argument("--times", type=int, help="rounds instead of the row's own number")
    parser.add_argument("--soak", type=float, metavar="HOURS", help="row 54 for so long (20 minutes with --all)")
    parser.add_argument("--old", metavar="COMMIT", default=OLD, help="row 53: the other build is of this commit")
    parser.add_argument("--seed", type=int, help="for what is chosen by chance")
    parser.add_argument("--json", help="write figures to this file")
    parser.add_argument("--logs", metavar="DIR", help="copy the brokers' logs of rows that fail there")
    parser.add_argument("--keep", action="store_true", help="keep data and logs")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    args = parser.parse_args()
    args.binary = os.path.join(args.build, "broker", "kvorum")
    args.judge = os.path.join(args.build, "tests", "cluster", "judge")
    rows = all_rows()
    if args.list:
        for r in rows.values():
            print("%2d  %s (%d times, %d with --long)" % (r["number"], r["title"], r["times"], r["long"]))
        return 0
    wanted = list(rows) if args.all else args.row or ([SOAK] if args.soak else list(SHARE))
    unknown = [n for n in wanted if n not in rows]
    if unknown:
        parser.error("no such row: %s" % ", ".join(map(str, unknown)))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 32)
    print("seed %d; commit %s" % (seed, git("rev-parse", "--short", "HEAD") or "unknown"))
    print("load: idempotent librdkafka producer, acks=all, a record each %d ms to each of 6 partitions (12 in rows 1, 12 and 16); "
          "%d consumer groups of %d, commits each 200 ms" % (stage.INTERVAL_MS, *stage.GROUPS))
    for where, settings in (("leaders fall silent to it", stage.QUICK_CLIENT), ("brokers lose each other", stage.ATTACHED_CLIENT),
                            ("all brokers lose power", stage.RETURNING_CLIENT)):
        print("client settings where %s: %s" % (where, ", ".join("%s=%s" % s for s in settings.items())))
    print("client settings elsewhere: librdkafka's own", flush=True)
    began = time.monotonic()
    results = in_turn(args, rows, wanted, seed)
    minutes = (time.monotonic() - began) / 60
    passed = sum(r["passed"] for r in results)
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"seed": seed, "commit": git("rev-parse", "HEAD"), "long": args.long, "quick_client": stage.QUICK_CLIENT,
                       "attached_client": stage.ATTACHED_CLIENT, "groups": stage.GROUPS, "interval_ms": stage.INTERVAL_MS, "rows": results,
                       "minutes": round(minutes, 1), "passed": passed, "failed": len(results) - passed}, f, indent=1)
            f.write("\n")
    print("%.1f minutes" % minutes)
    print("%d passed, %d failed" % (passed, len(results) - passed))
    return 0 if passed == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
