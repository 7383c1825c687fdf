#!/usr/bin/env python3
"""Hard moments on real processes. faults.py --binary B --judge J [NAME…]: run those tests, or all; --list names them.

Each prints one line, and the last line counts: N passed, N failed."""
import argparse
import os
import random
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import faults_crash  # noqa: E402
import faults_disk  # noqa: E402
import faults_input  # noqa: E402
import faults_memory  # noqa: E402
import faults_start  # noqa: E402
from bench import Bench  # noqa: E402
from load import Failure  # noqa: E402

TESTS = faults_crash.TESTS + faults_disk.TESTS + faults_input.TESTS + faults_memory.TESTS + faults_start.TESTS


def run(args, name, test):
    bench = Bench(args.binary, args.judge, args.keep)
    began = time.monotonic()
    failed = None
    detail = None
    try:
        detail = test(bench)
    except Failure as e:
        failed = str(e)
    except Exception as e:  # a test that breaks is a test that fails
        failed = "%s: %s" % (type(e).__name__, e)
        traceback.print_exc(file=sys.stdout)
    finally:
        bench.close(failed is not None)
    seconds = time.monotonic() - began
    if failed is None:
        print("ok      %-22s %5.1f s  %s" % (name, seconds, detail or ""), flush=True)
    else:
        print("FAILED  %-22s %5.1f s  %s" % (name, seconds, failed), flush=True)
    return failed is None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="build/broker/kvorum")
    parser.add_argument("--judge", default="build/tests/cluster/judge")
    parser.add_argument("--seed", type=int, help="for what the tests choose by chance")
    parser.add_argument("--keep", action="store_true", help="keep data and logs")
    parser.add_argument("--list", action="store_true", help="name the tests and end")
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    tests = dict(TESTS)
    if args.list:
        print("\n".join(tests))
        return 0
    unknown = [n for n in args.names if n not in tests]
    if unknown:
        parser.error("no such test: %s" % ", ".join(unknown))
    seed = args.seed if args.seed is not None else random.SystemRandom().randrange(1 << 32)
    random.seed(seed)
    print("seed %d" % seed, flush=True)
    results = [run(args, name, tests[name]) for name in args.names or tests]
    print("%d passed, %d failed" % (sum(results), len(results) - sum(results)))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
