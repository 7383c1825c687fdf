#!/usr/bin/env python3
"""Overload on real processes. Options: see README.md of this directory. Ends with "N passed, N failed"."""
import argparse
import json
import os
import random
import sys
import time
import traceback

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "cluster"))
sys.path.insert(0, HERE)
from bench import Bench  # noqa: E402
from load import Failure  # noqa: E402
import rows  # noqa: E402


class OverloadBench(Bench):
    def __init__(self, args):
        super().__init__(os.path.join(args.build, "broker/kvorum"), os.path.join(args.build, "tests/cluster/judge"), args.keep)
        self.build = args.build
        self.shim = os.path.abspath(os.path.join(args.build, "tests/chaos/libshim.so"))

    def tool(self, name, room="cluster"):
        return os.path.join(self.build, "tests", room, name)


def play(args, entry):
    bench = OverloadBench(args)
    bench.logs_kept = os.path.join(args.logs, entry["name"]) if args.logs else None
    began = time.monotonic()
    failed = detail = None
    figures = {}
    try:
        stage, detail = entry["play"](bench, args.all or args.long)
        figures = stage.figures
    except Failure as e:
        failed = str(e)
    except Exception as e:  # a row that breaks is a row that fails
        failed = "%s: %s" % (type(e).__name__, e)
        traceback.print_exc(file=sys.stdout)
    finally:
        bench.close(failed is not None)
    seconds = time.monotonic() - began
    print("%-12s %s %5.1f s  %s: %s" % (entry["name"], "ok    " if failed is None else "FAILED", seconds, entry["title"],
                                        failed or detail), flush=True)
    return {"row": entry["name"], "title": entry["title"], "passed": failed is None, "seconds": round(seconds, 1),
            "detail": failed or detail, "figures": figures}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", default="build")
    parser.add_argument("--all", action="store_true", help="every row in full, within 15 minutes")
    parser.add_argument("--long", action="store_true", help="the rows that are named in full")
    parser.add_argument("--row", action="append", help="this row; may be repeated")
    parser.add_argument("--seed", type=int, help="for what is chosen by chance")
    parser.add_argument("--json", metavar="FILE", help="write the figures")
    parser.add_argument("--logs", metavar="DIR", help="keep the brokers' logs of rows that fail")
    parser.add_argument("--keep", action="store_true", help="keep data and logs")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    args = parser.parse_args()
    if args.list:
        for entry in rows.ROWS.values():
            print("%-12s %s" % (entry["name"], entry["title"]))
        return 0
    unknown = [name for name in args.row or [] if name not in rows.ROWS]
    if unknown:
        parser.error("no such row: %s" % ", ".join(unknown))
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 32)
    random.seed(seed)
    print("seed %d" % seed, flush=True)
    names = args.row or [n for n, entry in rows.ROWS.items() if args.all or entry["share"]]
    results = [play(args, rows.ROWS[name]) for name in names]
    passed = sum(r["passed"] for r in results)
    if args.json:
        with open(args.json, "w") as f:
            json.dump({"seed": seed, "passed": passed, "failed": len(results) - passed, "rows": results}, f, indent=2)
    print("%d passed, %d failed" % (passed, len(results) - passed))
    return 0 if passed == len(results) else 1


if __name__ == "__main__":
    sys.exit(main())
