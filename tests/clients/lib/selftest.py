"""The driver's own judgements on made-up logs, rounds and tool outputs: each wrong one must be noticed."""
import dump
import kill
import tools
import view
from contract import Ack, Failed, Record, require


class FakeClient:
    name = "x"
    idempotent = True


def noticed(what, function, *arguments):
    try:
        function(*arguments)
    except Failed:
        return
    raise Failed("not noticed: " + what)


def log_of(*numbers):
    return {0: [Record(0, offset, "x-%d" % i, 0) for offset, i in enumerate(numbers)]}


def judge(numbers, acks):
    view.judge_log(FakeClient, "t", log_of(*numbers), [Ack(i, 0, offset, 0) for i, offset in acks])


def logs():
    judge((0, 1, 2), ((0, 0), (1, 1), (2, 2)))
    noticed("a lost record at the end", judge, (0, 1), ((0, 0), (1, 1), (2, 2)))
    noticed("another record in its place", judge, (0, 2), ((0, 0), (1, 1)))
    noticed("a duplicate", judge, (0, 1, 1), ((0, 0), (1, 1)))
    noticed("a swap", judge, (1, 0), ((1, 0), (0, 1)))


def gaps():
    load = kill.Load.__new__(kill.Load)
    load.heard = lambda kind: [(0, 90), (0, 105), (0, 800), (0, 820), (1, 90), (0, 5000)]
    require(load.longest_gaps("produce", [0, 1], 100, 1000) == {0: 695, 1: None}, "gaps between events")


def speeds():
    load = kill.Load.__new__(kill.Load)
    load.samples = [("consume", 0, 2000, False), ("consume", 1, 30000, True)]
    load.judge_speed("consume", False, 10)
    load.judge_speed("consume", True, 75)
    noticed("a slow round", load.judge_speed, "consume", True, 10)
    noticed("no round of this kind", load.judge_speed, "produce", True, 10)
    load.samples.append(("consume", 2, None, False))
    noticed("a partition never heard of again", load.judge_speed, "consume", False, 10)


BATCH = ("baseOffset: %d lastOffset: %d count: %d baseSequence: 0 lastSequence: 9 producerId: 0 producerEpoch: 0 "
         "partitionLeaderEpoch: 0 isTransactional: false isControl: false deleteHorizonMs: OptionalLong.empty position: 0 "
         "CreateTime: 1 size: 1 magic: 2 compresscodec: %s crc: 1 isvalid: %s\n")


def dumps():
    path = "t-0/00000000000000000010.log"
    good = BATCH % (10, 19, 10, "zstd", "true") + BATCH % (20, 20, 1, "none", "true")
    require(dump.judge_segment(path, good)[:2] == (10, 21), "a good segment")
    noticed("an invalid batch", dump.judge_segment, path, BATCH % (10, 19, 10, "none", "false"))
    noticed("batches that overlap", dump.judge_segment, path, BATCH % (10, 19, 10, "none", "true") * 2)
    noticed("a segment that begins before the last ended", dump.judge_segment, path, good, 15)
    noticed("index mismatches", dump.complain, "Mismatches in :/a/b.index\n  Index offset: 1, log offset: 2\n")
    noticed("a gap", dump.complain, "Non-consecutive offsets in /a/b.log\n  11 is followed by 13\n")
    dump.complain("Non-consecutive offsets in /a/b.log\n  -1 is followed by 10\n")
    noticed("a gap after the first offset", dump.complain,
            "Non-consecutive offsets in /a/b.log\n  -1 is followed by 10\n  11 is followed by 13\n")


def groups():
    """Partitions of groups, as Java's String.hashCode has them; rows of kafka-consumer-groups."""
    known = {"polygenelubricants": 0, "abc": 96354 % 50, "kill-java": 1609696463 % 50}
    require({g: view.group_partition(g) for g in known} == known, "hash of a group")
    rows = tools.group_rows("h t 3 1 2 1 - - -\ng t 3 41 50 9 - - -\ng t 4 - 7 - m /127.0.0.1 c\n", "g", "t")
    require(rows == {3: ("41", 50, "9"), 4: ("-", 7, "-")}, "rows: %s", rows)


def run():
    logs()
    gaps()
    speeds()
    dumps()
    groups()
