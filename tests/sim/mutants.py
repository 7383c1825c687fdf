#!/usr/bin/env python3
"""Break the product on purpose, one mutant at a time: somebody must notice every time.

usage: tests/sim/run --mutants [--seeds A..B] [--jobs N] [--json FILE] [--seeds-for-all] [--share COUNT,PLACE] [NAME]...

The mutants are named by KB_MUTANT in the sources and told in mutants_list.py, with who has to notice each: a seed of the
simulator, or a test of `meson test`. BUILD_MUTANTS names their build folder (default: build-mutants, made when missing). Prints
who noticed; exit status 1 when a mutant lives, 2 when list and sources differ or a test fails without any mutant.
--seeds-for-all lets the simulator try those of the other tests, too; they need not die there.
--share takes COUNT of them, spread over the list, another choice for each PLACE: what time allows on every commit."""
import argparse
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import mutants_list

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD_MUTANTS", ROOT / "build-mutants"))
SIM = mutants_list.SIM
SEEDS = "1..2000"
SEEDS_SOUND = "1..20"
TEST_LIMIT_S = 600
TEST_CPU_S = 120  # of any of its processes; none is left spinning when its test is given up


def build(tests):
    if not BUILD.exists():
        subprocess.run(["meson", "setup", BUILD, ROOT, "-Dmutants=true"], check=True, capture_output=True)
    targets = ["tests/sim/sim"] + sorted({os.path.relpath(c[0], BUILD) for c in tests.values()})
    built = subprocess.run(["ninja", "-C", BUILD, *targets], capture_output=True, text=True, check=False)
    if built.returncode != 0:
        sys.exit(built.stdout[-2000:])


def known_tests():
    """Name of each unit test -> its command."""
    if not BUILD.exists():
        subprocess.run(["meson", "setup", BUILD, ROOT, "-Dmutants=true"], check=True, capture_output=True)
    told = subprocess.run(["meson", "introspect", "--tests", BUILD], capture_output=True, text=True, check=True)
    return {t["name"]: t["cmd"] for t in json.loads(told.stdout) if "kvorum:unit" in t["suite"] or "unit" in t["suite"]}


def limit_cpu():
    resource.setrlimit(resource.RLIMIT_CPU, (TEST_CPU_S, TEST_CPU_S))


def run(command, name, limit_s=None):
    environ = dict(os.environ)
    environ.pop("KB_MUTANT", None)
    if name is not None:
        environ["KB_MUTANT"] = name
    try:
        return subprocess.run(command, capture_output=True, text=True, env=environ, cwd=ROOT, timeout=limit_s, check=False,
                              errors="replace", preexec_fn=limit_cpu if limit_s is not None else None)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 124, "it does not end", "")


def by_seeds(name, seeds):
    """(seeds run, what failed or None)"""
    r = run([BUILD / "tests/sim/sim", "--seeds", seeds, "--jobs", "1", "--replay-every", "0", "--until-failure"], name)
    count = re.search(r"^seeds: (\d+) run", r.stdout, re.M)
    failed = re.search(r"^FAILED seed \d+: (.*)$", r.stdout, re.M)
    said = failed.group(1) if failed else None
    bug = re.search(r"assertion_failed at=(?:\.\./)*(\S+) what=(.*)$", r.stderr, re.M)
    if said is not None and bug is not None and "died" in said:
        said = f"assert: {bug.group(1)} {bug.group(2)}"
    if said is not None:
        broken = re.findall(r"(\S+)=\d+\(!\)", r.stdout)
        others = [b for b in broken if not said.startswith(b + ":")]
        said += f" [also {' '.join(others)}]" if others else ""
    if r.returncode != 0 and said is None:
        said = "run: " + (r.stdout + r.stderr)[-200:].strip()
    return (int(count.group(1)) if count else 0), said


def test_failure(r):
    """The line of a test's output that says most."""
    lines = (r.stdout + "\n" + r.stderr).splitlines()
    for pattern in (r":[FE]:", r"assertion_failed", r"differs|expected|story"):
        for line in lines:
            if re.search(pattern, line):
                return re.sub(r"^.*?([\w-]+\.\w+:\d+:)", r"\1", line.strip())
    return lines[-1].strip() if lines and lines[-1].strip() else f"exit status {r.returncode}"


def by_tests(name, names, tests):
    for test in names:
        r = run(tests[test], name, TEST_LIMIT_S)
        if r.returncode != 0:
            return f"{test}: {test_failure(r)}"
    return None


def judge(m, args, tests):
    started = time.monotonic()
    result = {"mutant": m["name"], "promises": m["promises"], "what": m["what"], "expected": m["killer"], "why": m["why"],
              "seeds": None, "caught_by": None, "message": None}
    said = None
    if m["killer"] == SIM or args.seeds_for_all:
        result["seeds"], said = by_seeds(m["name"], args.seeds)
        result["caught_by"] = SIM if said else None
    if said is None and m["killer"] != SIM:
        said = by_tests(m["name"], m["killer"].split(), tests)
        result["caught_by"] = said.split(":")[0] if said else None
    result["message"] = said
    result["noticed"] = promise(said)
    result["seconds"] = round(time.monotonic() - started, 1)
    return result


def show(r):
    seeds = "-" if r["seeds"] is None else str(r["seeds"])
    said = r["message"] if r["message"] is not None else "ALIVE" + (f" ({r['why']})" if r["why"] else "")
    also = said.rfind(" [also ")
    said = said[:130] + (said[also:] if also >= 130 else "")
    print(f"{r['mutant']:33} {' '.join(r['promises']):9} {seeds:>5}  {r['noticed']:16} {said}", flush=True)


def check_sound(mutants, tests, args):
    """Without a mutant nobody may complain: a test that fails anyway notices nothing."""
    bad = []
    if by_seeds(None, SEEDS_SOUND)[1] is not None:
        bad.append("sim")
    names = sorted({t for m in mutants if m["killer"] != SIM for t in m["killer"].split()})
    with ThreadPoolExecutor(args.jobs) as pool:
        fails = pool.map(lambda t: by_tests(None, [t], tests), names)
        bad += [f for f in fails if f is not None]
    return bad


def chosen(args, tests):
    problems = mutants_list.problems(ROOT)
    unknown = sorted(set(args.names) - {m["name"] for m in mutants_list.MUTANTS})
    problems += [f"no mutant is called {n}" for n in unknown]
    problems += [f"{m['name']}: no test is called {t}" for m in mutants_list.MUTANTS if m["killer"] != SIM
                 for t in m["killer"].split() if t not in tests]
    if problems:
        print("\n".join(problems))
        sys.exit(2)
    mutants = [m for m in mutants_list.MUTANTS if not args.names or m["name"] in args.names]
    if args.share is not None:
        count, place = (int(part) for part in args.share.split(","))
        every = max(1, -(-len(mutants) // count))
        mutants = mutants[place % every::every]
    return mutants


def promise(said):
    """The promise whose checker spoke, or what else noticed: died, assert, run, the name of a test."""
    if said is None:
        return "-"
    word = said.split(":")[0].split()[0]
    return word if re.fullmatch(r"[A-Za-z0-9_-]+", word) else "run"


def main():
    parser = argparse.ArgumentParser(prog="tests/sim/run --mutants")
    parser.add_argument("--seeds", default=SEEDS)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--json")
    parser.add_argument("--seeds-for-all", action="store_true")
    parser.add_argument("--share", help="COUNT,PLACE: COUNT of them, which ones depends on the number PLACE")
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    tests = known_tests()
    mutants = chosen(args, tests)
    started = time.monotonic()
    build({t: tests[t] for m in mutants if m["killer"] != SIM for t in m["killer"].split()})
    bad = check_sound(mutants, tests, args)
    if bad:
        print("fails without a mutant:\n" + "\n".join(bad))
        return 2
    results = []
    print(f"{'mutant':33} {'promises':9} seeds  {'noticed by':16} in words")
    with ThreadPoolExecutor(args.jobs) as pool:
        for r in pool.map(lambda m: judge(m, args, tests), mutants):
            results.append(r)
            show(r)
    alive = sum(r["message"] is None for r in results)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump({"killed": len(results) - alive, "alive": alive, "seconds": round(time.monotonic() - started, 1),
                       "mutants": results}, f, indent=1)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{round(time.monotonic() - started)} s, {round(used.ru_utime + used.ru_stime)} s of CPU")
    by_seeds_killed = sum(r["caught_by"] == SIM for r in results)
    print(f"killed by seeds: {by_seeds_killed}, by a test that tells it directly: {len(results) - alive - by_seeds_killed}")
    print(f"{len(results) - alive} killed, {alive} alive")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
