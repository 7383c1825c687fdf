#!/usr/bin/env python3
"""A build without -Dmutants=true has nothing of them: no text, no symbol, and code that is byte for byte what the sources give
with every KB_MUTANT struck out by hand.

usage: mutants_absent.py SOURCE BUILD FILE...   (the programs and libraries to look into)"""
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import mutants_list

M = r'KB_MUTANT\("[^"]*"\)'
# The shapes a mutant may have, and what is left without it. One expression at the line it breaks, never more.
SHAPES = [
    (rf"\s*&&\s*!{M}", ""),                                   # a && !M
    (rf"!{M}\s*&&\s*", ""),                                   # !M && a
    (rf"\s*\|\|\s*{M}", ""),                                  # a || M
    (rf"{M}\s*&&[^;?]*?\?[^;?:]*?:\s*", ""),                  # M && a ? b : c
    (rf"{M}\s*\?[^;?:]*?:\s*", ""),                           # M ? a : b
    (rf"\bif \(!{M}\)", ""),                                  # if (!M) a;
    (rf"\bif \({M}[^;{{}}]*?\)\n\s*[^;{{}}]*;", ""),          # if (M && a) b;
]


def struck(text, path):
    """The text without mutants; lines stay where they are."""
    for pattern, left in SHAPES:
        text = re.sub(pattern, lambda m, left=left: left + "\n" * m.group(0).count("\n"), text)
    rest = re.search(r"^.*KB_MUTANT.*$", text, re.M)
    if rest is not None:
        raise ValueError(f"{path}: a mutant of another shape: {rest.group(0).strip()}")
    return text


def compiled(command, text, into):
    """The object file the build's command makes of this text, without line numbers."""
    words = shlex.split(command["command"])
    while not re.search(r"(cc|gcc|clang)$", os.path.basename(words[0])) or os.path.basename(words[0]) == "ccache":
        words.pop(0)
    at = words.index("-c")
    words = [w for i, w in enumerate(words) if i not in (at, at + 1) and w not in ("-MD", "-g")]
    for flag in ("-MQ", "-MF", "-o"):
        i = words.index(flag)
        del words[i:i + 2]
    text = f'#line 1 "{command["file"]}"\n{text}'
    subprocess.run([*words, "-g0", "-frandom-seed=1", "-w", "-x", "c", "-c", "-o", into, "-"], input=text.encode(), check=True,
                   cwd=command["directory"])
    return pathlib.Path(into).read_bytes()


def differs(command, source):
    path = source / os.path.relpath(os.path.join(command["directory"], command["file"]), source)
    text = path.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        one = compiled(command, text, os.path.join(folder, "a.o"))
        try:
            other = compiled(command, struck(text, path), os.path.join(folder, "b.o"))
        except ValueError as e:
            return str(e)
    return f"{path}: its code is not what it is without mutants" if one != other else None


def traces(path, names):
    """Texts and symbols of mutants in a built file."""
    data = path.read_bytes()
    for word in sorted(names) + ["KB_MUTANT", "kb_mutant"]:
        text = word.encode()  # most are nowhere, which is soon known
        if text in data and re.search(rb"(?<![\w-])" + text + rb"(?![a-z-])", data):
            yield f"{path}: has the text {word}"
    symbols = subprocess.run(["nm", "-a", path], capture_output=True, text=True, check=True).stdout
    if "mutant" in symbols:
        yield f"{path}: has symbols of mutants"


def main():
    source, build = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    names = mutants_list.in_sources(source)
    found = [t for f in sys.argv[3:] for t in traces(build / f, names)]
    commands = {}
    for c in json.loads((build / "compile_commands.json").read_text(encoding="utf-8")):
        path = pathlib.Path(c["directory"], c["file"])
        if path.suffix == ".c" and path.exists() and "KB_MUTANT(" in path.read_text(encoding="utf-8"):
            commands.setdefault(path, c)
    if len(names) < 60 or len(commands) < 20:
        found.append(f"only {len(names)} mutants in {len(commands)} files were found")
    with ThreadPoolExecutor(2) as pool:
        found += filter(None, pool.map(lambda c: differs(c, source), commands.values()))
    print("\n".join(found) or f"{len(names)} mutants in {len(commands)} files: nothing of them is in the build")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
