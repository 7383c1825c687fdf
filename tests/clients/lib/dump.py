"""kafka-dump-log on what brokers wrote: a closed segment of a running cluster, and every file after a clean stop."""
import collections
import glob
import os
import re

import jvm
from contract import require

MAIN = "org.apache.kafka.tools.DumpLogSegments"
FILES_MAX = 400  # on one command line
BATCH = re.compile(r"^baseOffset: (\d+) lastOffset: (\d+) count: (\d+) .* magic: (\d) compresscodec: (\S+) crc: \d+ "
                   r"isvalid: (\w+)", re.M)
# What the tool prints about files that are not as they should be.
COMPLAINTS = ("Mismatch", "mismatch", "Found errors", "out of order", "Exception", "Could not", "isvalid: false",
              "is invalid", "Non-consecutive", "Error")


def dump(files, *arguments):
    status, out = jvm.run(MAIN, "--files", ",".join(files), *arguments, timeout=300)
    require(status == 0, "status %s: %s", status, out[-600:])
    return out


# Kafka 4.4's tool compares a file's first offset with -1 when it prints records.
FIRST_OFFSET = re.compile(r"^Non-consecutive offsets in \S+\n\s+-1 is followed by \d+\n(?![ \t])", re.M)


def complain(out):
    out = FIRST_OFFSET.sub("", out + "\n")
    for line in out.split("\n"):
        if line.startswith(("|", "baseOffset", "Dumping")) and "isvalid: false" not in line:
            continue  # records, batches and file names, whose text may hold anything
        for words in COMPLAINTS:
            require(words not in line, "%s", line[:300])


def parts(out):
    """file -> what was printed about it"""
    pieces = re.split(r"^Dumping (\S+)$", out, flags=re.M)
    return dict(zip(pieces[1::2], pieces[2::2]))


def judge_segment(path, text, next_offset=None):
    """A segment's batches are valid and follow one another; returns (first, next, batches by codec)."""
    batches = BATCH.findall(text)
    codecs = collections.Counter()
    base = int(os.path.basename(path)[:20])
    expected = base if next_offset is None else next_offset
    for first, last, count, magic, codec, valid in batches:
        require(valid == "true" and magic == "2", "%s: batch at %s: valid %s, magic %s", path, first, valid, magic)
        require(int(first) >= expected and int(last) - int(first) + 1 >= int(count), "%s: batch at %s comes after %d", path,
                first, expected)
        expected = int(last) + 1
        codecs[codec] += 1
    require(not text.strip() or batches or "Log starting offset" in text, "%s: not understood: %s", path, text[:200])
    return base, expected, codecs


def closed_segment(cluster, topic="tools-segments"):
    """Every file of a closed segment while its broker runs."""
    broker = cluster.brokers[0]
    segments = sorted(glob.glob(os.path.join(broker.dir, topic + "-0", "*.log")))
    require(len(segments) >= 3, "only %d segments of %s", len(segments), topic)
    log = segments[1]
    files = [log] + [log[:-4] + ending for ending in (".index", ".timeindex")]
    out = dump(files, "--deep-iteration", "--print-data-log")
    complain(out)
    found = parts(out)
    require(set(found) == set(files), "only %s", sorted(found))
    base, end, _ = judge_segment(log, found[log])
    require(end == int(os.path.basename(segments[2])[:20]), "ends at %d, but the next is %s", end, segments[2])
    records = len(re.findall(r"^\| offset: \d+ ", found[log], re.M))
    require(records == end - base, "%d records between offsets %d and %d", records, base, end)
    entries = [int(p) for p in re.findall(r"^offset: \d+ position: (\d+)$", found[files[1]], re.M)]
    require(len(entries) > 10 and entries == sorted(entries), "%d index entries", len(entries))
    return "%d records, %d index entries" % (records, len(entries))


def all_files(cluster, broker):
    """After a clean stop: .log, .index, .timeindex and .snapshot of every partition. Returns a summary, and codecs by topic."""
    files = [f for ending in ("log", "index", "timeindex", "snapshot")
             for f in sorted(glob.glob(os.path.join(broker.dir, "*-*", "*." + ending)))]
    require(files, "no files in %s", broker.dir)
    found = {}
    for at in range(0, len(files), FILES_MAX):
        out = dump(files[at:at + FILES_MAX])
        complain(out)
        found.update(parts(out))
    missing = [f for f in files if f not in found]
    require(not missing, "%d files were not dumped, first %s", len(missing), missing[:1])
    codecs = collections.defaultdict(collections.Counter)
    batches = 0
    ends = {}
    for path in (f for f in files if f.endswith(".log")):
        directory = os.path.dirname(path)
        base, end, seen = judge_segment(path, found[path], ends.get(directory))
        ends[directory] = end
        codecs[os.path.basename(directory).rsplit("-", 1)[0]] += seen
        batches += sum(seen.values())
    return "%d files, %d batches, all valid" % (len(files), batches), codecs


def offsets_topic(cluster, groups):
    """The offsets topic through Kafka's own decoder: the groups' commits are readable."""
    logs = [f for f in sorted(glob.glob(os.path.join(cluster.brokers[1].dir, "__consumer_offsets-*", "*.log")))
            if os.path.getsize(f) > 0]
    require(logs, "nothing was written to __consumer_offsets")
    out = dump(logs, "--offsets-decoder")
    complain(out)
    committed = set(re.findall(r'"group":"([^"]+)"', out))
    for group in groups:
        require(group in committed, "no commit of %s was decoded: %s", group, sorted(committed)[:20])
    records = len(re.findall(r"^\| offset: \d+ ", out, re.M))
    return "%d records of %d groups" % (records, len(committed))
