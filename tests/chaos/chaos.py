#!/usr/bin/env python3
"""The fault matrix on real processes. Options: see README.md of this directory. Ends with "N passed, N failed"."""
import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import stage  # noqa: E402
import rows_disk  # noqa: E402
import rows_network  # noqa: E402
import rows_process  # noqa: E402
import rows_state  # noqa: E402

SHARE = {6: 1, 20: 1, 25: 1, 39: 2}  # what continuous integration runs, and how often: under three minutes


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
    parser.add_argument("--soak", type=float, metavar="HOURS", help="row 54 for so long")
    parser.add_argument("--old", metavar="COMMIT", default="HEAD~1", help="row 53: the other build is of this commit")
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
    wanted = list(rows) if args.all else args.row or ([54] if args.soak else list(SHARE))
    unknown = [n for n in wanted if n not in rows]
    if unknown:
        parser.error("no such row: %s" % ", ".join(map(str, unknown)))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 32)
    print("seed %d; commit %s" % (seed, git("rev-parse", "--short", "HEAD") or "unknown"))
    print("load: idempotent librdkafka producer, acks=all, a record each %d ms to each of 6 partitions (12 in rows 1, 12 and 16); "
          "%d consumer groups of %d, commits each 200 ms" % (stage.INTERVAL_MS, *stage.GROUPS))
    print("client settings: librdkafka's own; where leaders fall silent instead of dying: %s"
          % ", ".join("%s=%s" % s for s in stage.QUICK_CLIENT.items()), flush=True)
    results = []
    for number in wanted:
        random.seed("%d-%d" % (seed, number))
        entry = rows[number]
        times = entry["long"] if args.long else entry["times"] if args.all or args.row or args.soak else SHARE[number]
        results.append(play(args, entry, args.times or times))
    passed = sum(r["passed"] for r in results)
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"seed": seed, "commit": git("rev-parse", "HEAD"), "long": args.long, "quick_client": stage.QUICK_CLIENT,
                       "groups": stage.GROUPS, "interval_ms": stage.INTERVAL_MS, "rows": results,
                       "passed": passed, "failed": len(results) - passed}, f, indent=1)
            f.write("\n")
    print("%d passed, %d failed" % (passed, len(results) - passed))
    return 0 if passed == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
