#!/usr/bin/env python3
"""Break the product on purpose, one line at a time: the simulator must notice every time.

usage: tests/sim/mutants.py WORK_FOLDER [--seeds A..B] [--only NUMBER]...

Copies the sources to WORK_FOLDER/source, builds there, and runs the seeds with each mutant. Exit
status 1 when one lives. A mutant whose text is gone from the sources is an error, too.
"""
import argparse
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]

# (what is broken, file, the text, what replaces it)
MUTANTS = [
    ("acks=all is answered like acks=1", "replication/replica/leader.c",
     "    if (acks == 1)\n        done =", "    if (acks == 1 || acks == -1)\n        done ="),
    ("followers count with what they have written", "replication/replica/leader.c",
     "rep_min(rep_max(ends.durable, 0), p->checked)",
     "rep_min(rep_max(ends.written, 0), p->checked)"),
    ("what is written is reported as durable", "replication/log/append.c",
     "        if (log->handler->on_written != NULL)",
     "        advance_durable(log, lw->generation, lw->end_offset);\n"
     "        if (log->handler->on_written != NULL)"),
    ("small files are not synced", "proto/base/env.c",
     "    if (r == 0)\n        r = kb_fs_sync(fs, fd);\n    (void)kb_fs_close(fs, fd);\n"
     "    return r;\n}\n\nint kb_fs_replace",
     "    (void)kb_fs_close(fs, fd);\n    return r;\n}\n\nint kb_fs_replace"),
    ("renames are not made durable", "proto/base/env.c",
     "        r = kb_fs_sync_dir(fs, dir);\nout:", "        r = 0;\nout:"),
    ("a batch sent again is not recognised", "replication/log/producers.c",
     "            batch_base_sequence(old) == b->base_sequence)",
     "            batch_base_sequence(old) == b->base_sequence && b == NULL)"),
    ("sequences are not checked", "replication/log/producers.c",
     "    if (!sequence_fits(s, b))", "    if (false && !sequence_fits(s, b))"),
    ("every candidate is electable", "coordinator/raft/election.c",
     "    bool granted = electable(c, p, q) && q->term == c->hard.term &&",
     "    bool granted = q->term == c->hard.term &&"),
    ("entries of older terms are counted", "coordinator/raft/leader.c",
     "    if (index <= c->commit_index || raft_terms_at(&c->log, index) != c->hard.term)",
     "    if (index <= c->commit_index)"),
    ("followers acknowledge entries before they are durable", "coordinator/raft/follower.c",
     ".match_index = min_u64(c->durable_index, c->verified_index),",
     ".match_index = c->verified_index,"),
    ("divergence is not noticed", "replication/replica/leader.c",
     "    if (known.epoch < f->last_epoch || known.end_offset < f->offset) {",
     "    if (false && known.epoch < f->last_epoch) {"),
    ("the high watermark moves below min.insync.replicas", "replication/replica/leader.c",
     "    if (rep_isr_size(r) < (size_t)r->image.min_isr)\n", "    if (false)\n"),
    ("leaders are elected out of all replicas", "coordinator/metadata/elect.c",
     "    if (ch->isr_count > 0) {\n        int32_t id = first_of(ch, plan, ch->isr, ch->isr_count);",
     "    if (ch->isr_count > 0) {\n        int32_t id = first_of(ch, plan, ch->old->replicas, "
     "ch->old->replicas_count);\n        if (id >= 0)\n            meta_change_set_isr(ch, plan, &id, 1);"),
]


def prepare(work):
    source, build = work / "source", work / "build"
    source.mkdir(parents=True, exist_ok=True)
    archive = subprocess.run(["git", "-C", ROOT, "archive", "HEAD"], check=True,
                             capture_output=True).stdout
    subprocess.run(["tar", "x", "-m", "-C", source], input=archive, check=True)
    if not build.exists():
        subprocess.run(["meson", "setup", build, source], check=True, capture_output=True)
    return source, build


def run_mutant(source, build, seeds, mutant):
    """What the simulator said first, "" when it noticed nothing, None when the mutant is no more."""
    _, name, text, broken = mutant
    path = source / name
    original = path.read_text()
    if text not in original:
        return None
    path.write_text(original.replace(text, broken, 1))
    try:
        ninja = subprocess.run(["ninja", "-C", build, "tests/sim/sim"], capture_output=True, text=True)
        if ninja.returncode != 0:
            return None
        sim = subprocess.run([build / "tests/sim/sim", "--seeds", seeds, "--replay-every", "0"],
                             capture_output=True, text=True, check=False)
    finally:
        path.write_text(original)
    failed = [line for line in sim.stdout.splitlines() if line.startswith("FAILED")]
    return failed[0] if failed else ""


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=pathlib.Path)
    parser.add_argument("--seeds", default="1..60")
    parser.add_argument("--only", type=int, action="append")
    args = parser.parse_args()
    source, build = prepare(args.work)
    bad = 0
    for number in args.only or range(len(MUTANTS)):
        said = run_mutant(source, build, args.seeds, MUTANTS[number])
        verdict = "GONE   " if said is None else "killed " if said else "LIVES  "
        bad += not said
        print(f"{verdict} {number:2} {MUTANTS[number][0]}: {(said or '')[:120]}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
