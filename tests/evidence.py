#!/usr/bin/env python3
"""Whether tests/evidence.md and tests/classic-bugs.md tell the truth: every test, transcript, chaos row, fault of the simulator,
checker and mutant that they name exists, and what exists and has to be named is named.

usage: evidence.py [--write] [SOURCE]   (--write: make the columns that come from the sources anew)"""
import pathlib
import re
import sys

NAME = re.compile(r"`([^`]+)`")
UNIT = re.compile(r"(\w+)/(\w+) (\w+)$")
TRANSCRIPT = re.compile(r"(raft|groups)/[\w.-]+\.txt$")


class Sources:
    """What there is. A test of tests/unit/ROOM or tests/ROOM is named ROOM/PROGRAM NAME."""

    def __init__(self, root):
        self.tests = pathlib.Path(root) / "tests"
        sys.path.insert(0, str(self.tests / "sim"))
        import mutants_list  # pylint: disable=import-outside-toplevel
        self.mutants = {m["name"]: m for m in mutants_list.MUTANTS}
        self.promises = mutants_list.PROMISES
        self.faults = set(re.findall(r'\[SIM_FAULT_\w+\] = \{"(\w+)"', self.read("sim/sim_faults.c")))
        self.checks = set(re.findall(r'\[SIM_CHECK_\w+\] = "(\w+)"', self.read("sim/sim_checks.c")))
        self.chaos = {int(n) for p in self.tests.glob("chaos/rows_*.py") for n in re.findall(r"^@row\((\d+),", p.read_text(), re.M)}
        self.cluster = {n for p in self.tests.glob("cluster/faults_*.py") for n in re.findall(r'[(\[]\("([a-z-]+)", \w+\)', p.read_text())}
        self.cluster |= {n for p in self.tests.glob("cluster/faults_*.py") for n in re.findall(r'^    \("([a-z-]+)", \w+\),', p.read_text(), re.M)}

    def read(self, path):
        return (self.tests / path).read_text(encoding="utf-8")

    def has_unit_test(self, room, program, name):
        """Defined there, and in the list of those that run."""
        paths = [self.tests / "unit" / room / f"test_{program}.c", self.tests / room / f"test_{program}.c"]
        text = "".join(p.read_text(encoding="utf-8") for p in paths if p.exists())
        return f"START_TEST({name})" in text and len(re.findall(rf"\b{name}\b", text)) > 1

    def missing(self, name):
        """Why there is no such test, or None."""
        unit = UNIT.match(name)
        if unit:
            return None if self.has_unit_test(*unit.groups()) else "no such test"
        if TRANSCRIPT.match(name):
            return None if (self.tests / "transcript" / name).exists() else "no such transcript"
        kind, _, which = name.partition(" ")
        if kind == "chaos":
            return None if which.isdigit() and int(which) in self.chaos else "no such row of tests/chaos"
        if kind == "cluster":
            return None if which in self.cluster else "no such test of tests/cluster"
        return "what is that?"

    def bug_tests(self):
        """Tests of the files that are about bugs, as the pages name them."""
        return {f"{p.parent.name}/{p.stem[len('test_'):]} {name}" for p in sorted(self.tests.glob("unit/*/test_bugs*.c"))
                for name in re.findall(r"START_TEST\((\w+)\)", p.read_text(encoding="utf-8"))}


def tables(text):
    """(header cells, [row cells]) of each table."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        lines = [[c.strip() for c in line.strip().strip("|").split("|")] for line in block.splitlines()]
        found.append((lines[0], lines[2:]))
    return found


def check_names(src, where, cells):
    return [f"{where}: `{n}`: {src.missing(n)}" for cell in cells for n in NAME.findall(cell) if src.missing(n)]


def check_mutants(src, where, cell):
    return [f"{where}: no mutant {n}" for n in NAME.findall(cell) if n not in src.mutants]


def bug_problems(src, text):
    found = []
    named = set()
    for header, rows in tables(text):
        for row in rows:
            where = f"classic-bugs.md, {row[0]}"
            if len(row) != len(header):
                found.append(f"{where}: {len(row)} cells instead of {len(header)}")
                continue
            if len(header) == 3:  # exempt
                found += check_names(src, where, row[2:])
                found += [] if row[2] else [f"{where}: why is it exempt?"]
                continue
            named |= set(NAME.findall(row[2]))
            found += check_names(src, where, row[2:3]) + check_mutants(src, where, row[3])
            found += [] if NAME.findall(row[2]) else [f"{where}: no test"]
            found += [] if row[3] else [f"{where}: broken by nothing"]
    return found + [f"classic-bugs.md does not name {t}" for t in sorted(src.bug_tests() - named)]


def fault_problems(src, rows):
    found = [] if [r[0] for r in rows] == [str(n) for n in range(1, 55)] else ["evidence.md: the rows are not 1 to 54"]
    faults = set()
    for row in rows:
        where = f"evidence.md, row {row[0]}"
        here = set(NAME.findall(row[2]))
        faults |= here
        found += [f"{where}: the simulator has no fault {f}" for f in sorted(here - src.faults)]
        found += check_names(src, where, row[3:5])
        found += [] if NAME.findall(" ".join(row[2:5])) else [f"{where}: shown nowhere"]
        found += [] if row[5] else [f"{where}: no ending"]
        if row[0].isdigit() and int(row[0]) in src.chaos and f"`chaos {row[0]}`" not in row[3]:
            found.append(f"{where}: tests/chaos has this row")
    return found + [f"evidence.md: fault {f} of the simulator stands in no row" for f in sorted(src.faults - faults)]


def promise_cells(src, promise):
    """The columns made from the sources."""
    mutants = [m for m in src.mutants.values() if promise in m["promises"]]
    return [f"`{promise}`" if promise in src.checks else "none",
            " ".join(f"`{m['name']}`" + ("" if m["killer"] == "sim" else f" ({m['killer'].replace(' ', ', ')})") for m in mutants)]


def promise_problems(src, rows):
    found = [] if [r[0] for r in rows] == src.promises else ["evidence.md: the promises are not those of mutants_list.py"]
    for row in rows:
        where = f"evidence.md, {row[0]}"
        if row[2:4] != promise_cells(src, row[0]):
            found.append(f"{where}: checker and mutants are not those of the sources: run tests/evidence.py --write")
        found += check_names(src, where, row[4:5])
        found += [] if NAME.findall(row[4]) or row[2] != "none" else [f"{where}: neither checker nor test"]
    return found


def problems(src, bugs, evidence):
    found = bug_problems(src, bugs)
    by_header = {header[0]: (header, rows) for header, rows in tables(evidence)}
    for name, check, width in (("row", fault_problems, 6), ("promise", promise_problems, 5)):
        header, rows = by_header.get(name, ([], []))
        bad = [r for r in rows if len(r) != width]
        found += [f"evidence.md, {r[0]}: {len(r)} cells instead of {width}" for r in bad]
        found += check(src, rows) if header and not bad else [f"evidence.md: no table of {name}s"] if not header else []
    return found


def check_refusals(src, bugs, evidence):
    """What this program is for: each of these must be found."""
    spoiled = [
        (bugs.replace("nats_2025__", "nats_2026__"), evidence), (bugs.replace("raft/deaf-leader", "raft/deaf-reader"), evidence),
        (bugs.replace("`chaos 52`", "`chaos 55`"), evidence), (bugs.replace("`elect-unclean`", "`elect-cleanly`"), evidence),
        (re.sub(r"^\| NATS.*\n", "", bugs, flags=re.M), evidence), (bugs, evidence.replace("`disk_death`", "`disk_deaf`")),
        (bugs, evidence.replace("`disk_death`", "")), (bugs, evidence.replace("`cluster kill-all`", "`cluster kill-some`")),
        (bugs, re.sub(r"^\| 31 .*\n", "", evidence, flags=re.M)), (bugs, evidence.replace("`raft-vote-twice`", "")),
        (bugs, evidence.replace("`chaos 7`", "")),
    ]
    return [f"evidence.py does not notice spoiling {n}" for n, s in enumerate(spoiled) if not problems(src, *s)]


def written(src, text):
    """evidence.md with the columns from the sources."""
    def line(match):
        cells = [c.strip() for c in match.group(0).strip().strip("|").split("|")]
        if len(cells) == 5 and cells[0] in src.promises:
            cells[2:4] = promise_cells(src, cells[0])
            return "| " + " | ".join(cells) + " |"
        return match.group(0)
    return re.sub(r"^\|.*\|$", line, text, flags=re.M)


def main():
    arguments = [a for a in sys.argv[1:] if a != "--write"]
    src = Sources(arguments[0] if arguments else pathlib.Path(__file__).resolve().parent.parent)
    bugs, evidence = src.read("classic-bugs.md"), src.read("evidence.md")
    if "--write" in sys.argv[1:]:
        evidence = written(src, evidence)
        (src.tests / "evidence.md").write_text(evidence, encoding="utf-8")
    found = problems(src, bugs, evidence) or check_refusals(src, bugs, evidence)
    for p in found:
        print(p)
    print(f"{len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
