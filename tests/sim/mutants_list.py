"""Every mutant: its name in the sources, the promises it breaks, what it does, and who has to notice. SIM: a seed of the
cluster simulator. Otherwise tests of `meson test`, and why the simulator does not, so far or for ever."""
import re

SIM = "sim"

STARTS = "the log's own start never falls, and the replica is told of no other"
COMPACTION = "the simulator has no transactions"
SOON_TOLD = "who is cut off that long is soon told of its successor; in 600 seeds nobody was told anything outdated in between"
NEWEST = "the simulator's members sync and beat for the generation they were told last"
TOLD = "its history is rare: a test tells it directly"
VOTERS = "only the controller changes the voter set, and it is none before an entry of its term is committed"
OTHERS_DO = "another voter or another event does it instead"
ONE_LINK = "a broker closes the former link when the new one says hello, and reads nothing from it any more"
BACK_IN_TIME = "a leader that hears nothing for the time a return to the lead takes is fenced, and is not elected anew"
REPORTED = "it has to find damage while it is on its way back into the ISR: no seed of 120 met that"
ONE_PROCESS = "the simulator has one process per id; a second one is told of no controller, who dials the first one's address"
LINKS = "what a former life sent arrives on a link that is replaced, and counts no more (rule 1.4)"
CHECKED_BEFORE = "another check comes first"
ALONE = "no history leads here while the other rules hold"
IN_ORDER = "positions and reports come in order, and a new link counts from its first position on: nothing here can part the two"
WIRE = "an answer that tells to cut carries no high watermark"
HARMLESS = "what it lets through is committed before anybody rests on it"

# Every promise of the reliability rules but the transactional ones.
PROMISES = ([f"R{n}" for n in range(1, 19)] + [f"P{n}" for n in range(1, 23)] + [f"G{n}" for n in range(1, 13) if n != 9])
ROOMS = ("proto", "replication", "coordinator", "broker")

MUTANTS = []


def mutant(name, promises, what, killer=SIM, why=""):
    MUTANTS.append({"name": name, "promises": promises.split(), "what": what, "killer": killer, "why": why})


# ---- the quorum
mutant("raft-vote-twice", "R1 R2", "a voter votes for whoever asks, though it has voted in this term")
mutant("raft-elected-alone", "R1 R2", "a candidate counts its own vote as a majority")
mutant("raft-answer-before-vote-durable", "R2", "answers leave before the vote and term behind them are on disk")
mutant("raft-forget-vote", "R2", "the vote of the present term is forgotten at a start")
mutant("raft-vote-not-written", "R2", "vote and term are called durable without being written")
mutant("raft-vote-kept-over-terms", "R14", "the vote of one term binds in the next")
mutant("raft-follow-old-leader", "R3 R5", "a follower takes entries from the leader of an older term")
mutant("raft-leader-cuts-its-log", "R3", "a new leader drops what it has not committed")
mutant("raft-append-without-meeting", "R4", "entries are taken without comparing what lies before them")
mutant("raft-conflict-not-cut", "R4", "a follower appends without cutting what contradicts it")
mutant("raft-vote-for-short-log", "R5", "voters do not compare logs with the candidate")
mutant("meta-replay-by-role", "R6", "the controller's own image skips some records")
mutant("raft-commit-older-term", "R7", "an entry of an older term is committed by counting")
mutant("controller-answers-before-commit", "R7 R18", "the controller answers before its records are committed")
mutant("raft-leader-counts-unsynced", "R8", "the leader counts its own entries before they are on its disk")
mutant("raft-follower-acks-unsynced", "R8", "followers acknowledge entries before they are on disk")
mutant("raft-one-is-majority", "R8 R12", "what one voter has counts as what a majority has")
mutant("raft-commit-falls", "R8", "the commit index follows a new leader's down")
mutant("raft-cut-below-commit", "R9", "followers begin by cutting below their commit index, and nobody stops it")
mutant("snapshot-not-written", "R10", "the log is pruned though the snapshot is not on disk")
mutant("snapshot-forgets-producer-ids", "R10 R18", "a snapshot leaves out which producer ids were given")
mutant("raft-no-pre-vote", "R11", "a voter that hears no leader raises its term without asking first")
mutant("raft-vote-beside-leader", "R11 R13", "voters that hear their leader let others stand")
mutant("raft-no-check-quorum", "R12", "a leader without answers from a majority leads on")
mutant("raft-candidate-waits-for-ever", "R14", "a candidate that is not elected never asks again", "raft_cluster", OTHERS_DO)
mutant("raft-observers-vote", "R15", "any linked directory counts as a voter")
mutant("raft-two-changes-at-once", "R15", "a voter is replaced in one step, and a second change does not wait for the first")
mutant("raft-change-before-own-commit", "R15", "the voter set changes before an entry of the leader's term is committed", "raft_transcripts", VOTERS)
mutant("raft-damaged-log-votes", "R5 R15", "a directory with a damaged log or vote file votes")
mutant("raft-cut-forgotten", "R5 R8", "a cut that a start made in the metadata log is forgotten by the next one", "node_damage", TOLD)

# ---- metadata
mutant("elect-out-of-replicas", "R16", "leaders are elected among all replicas")
mutant("elect-unclean", "R16 P1", "nobody eligible lives: anybody is elected, though nobody asked for it")
mutant("leader-epoch-stays", "R16 P8", "a new leader gets the leader epoch of the old one")
mutant("partition-epoch-stays", "R16", "changes of a partition do not raise its epoch")
mutant("isr-member-stays-in-elr", "R16", "who joins the ISR stays in the ELR")
mutant("elr-forgotten", "R16", "members removed below min.insync.replicas do not stay eligible")
mutant("stale-broker-alters", "R17", "a broker's former life may change ISRs")
mutant("stale-member-joins-isr", "R17 P13", "the former life of a replica is taken into the ISR (KIP-903)")
mutant("unfit-member-joins-isr", "R17 P13", "fenced, stopping or stalled replicas are taken into the ISR (KIP-841)")
mutant("stale-heartbeat-counts", "R17", "heartbeats of a broker's former life keep its new one alive", "metadata_brokers", LINKS)
mutant("second-process-displaces-first", "R17", "a second process with a living broker's id takes its place", "metadata_brokers", ONE_PROCESS)
mutant("empty-disk-stays-in-isr", "R16 P1", "a replica that lost its log stays eligible", "metadata_brokers", CHECKED_BEFORE)
mutant("producer-ids-twice", "R18 P12", "the same block of producer ids is given again and again")

# ---- replicas
mutant("acks-all-like-acks-1", "P1 P9", "acks=all is answered when the leader alone has the records")
mutant("follower-cuts-to-hw", "P1 P6", "a follower begins by cutting its log to its high watermark (KIP-101)")
mutant("lead-from-before-restart", "P2 P8", "a broker leads on after a restart by the records of its former life", "replica_roles", CHECKED_BEFORE)
mutant("append-in-former-epoch", "P8", "a leader appends in the epoch of the batch before")
mutant("divergence-unseen", "P3", "the leader does not compare epochs with a follower")
mutant("deleted-past-not-compared", "P2 P3", "a leader takes a tail that ends where its own log begins now, of an epoch it does not know there")
mutant("follower-forgets-last-epoch", "P3", "followers ask without saying which epoch their log ends in (KAFKA-15510)")
mutant("hw-without-isr", "P4", "the high watermark does not wait for the ISR")
mutant("hw-without-joiners", "P4", "the high watermark does not wait for those who join the ISR")
mutant("hw-with-one-replica", "P4 P9", "the high watermark moves below min.insync.replicas")
mutant("count-beyond-checked", "P4 P14", "durable ends beyond the position that was compared are counted (rule 2.3)", "replica_leader", IN_ORDER)
mutant("latest-before-epoch-start", "P5 P18", "a new leader tells an end from before its epoch")
mutant("cut-below-hw", "P6", "a follower cuts below its high watermark", "replica_follower", ALONE)
mutant("hw-raised-before-cut", "P6", "the high watermark rises by the answer that tells to cut (KAFKA-14704)", "replica_follower", WIRE)
mutant("cut-not-synced", "P6", "a cut is not synced")
mutant("epoch-table-not-cut", "P7", "the epoch table keeps epochs of what was cut")
mutant("epoch-not-entered", "P7", "a new leader enters its epoch with its first record only")
mutant("ack-across-epochs", "P9", "what was appended in one epoch is acknowledged in a later one", "replica_leader", HARMLESS)
mutant("append-below-min-isr", "P9", "acks=all is taken though too few members are there", "replica_leader", HARMLESS)
mutant("read-past-hw", "P10", "readers get what is not committed")
mutant("sequence-unchecked", "P11", "sequences are not checked")
mutant("duplicate-unseen", "P12", "a batch sent again is not recognised")
mutant("duplicate-gets-last-offset", "P12", "a batch sent again is answered with another offset")
mutant("producers-forgotten-at-recovery", "P12", "producers are not restored from the log after a crash")
mutant("reset-forgets-producers", "P11", "a replica that begins anew behind deleted records is not told of their producers (KIP-360)")
mutant("producers-not-rolled-back", "P11 P12", "a cut leaves the producers as they were")
mutant("sequence-kept-over-epochs", "P12", "a new producer epoch keeps the sequences of the old one")
mutant("duplicate-answered-at-once", "P9 P12", "a batch sent again is answered before it is committed")
mutant("join-below-hw", "P13", "a replica joins the ISR before it has all that is committed")
mutant("join-below-epoch-start", "P13", "a replica joins the ISR before it has reached the epoch's start")
mutant("join-by-old-report", "P13", "a replica joins the ISR by what it held before the last change", "replica_isr", REPORTED)
mutant("report-written-as-durable", "P14", "followers report what they have written as durable")
mutant("written-is-durable", "P14 P9", "the log calls durable what is only written")
mutant("follower-of-old-epoch-served", "P15", "followers of an older epoch are served")
mutant("follower-of-newer-epoch-served", "P15", "a leader serves followers that know of its successor", "replica_leader", BACK_IN_TIME)
mutant("follower-of-old-life-served", "P15 R17", "requests of a follower's former life are served")
mutant("replaced-link-served", "P15", "what comes over a replaced link counts (rule 1.4)", "replica_leader", ONE_LINK)
mutant("reader-of-old-epoch-served", "P15", "consumers with an older epoch get data")
mutant("delete-past-hw", "P16", "DeleteRecords goes past the high watermark")
mutant("delete-answered-before-replicas", "P16", "DeleteRecords is answered before the ISR has the new start")
mutant("log-start-falls", "P16", "the log's start follows a smaller one", "replica_leader", STARTS)
mutant("delete-lowers-start", "P16", "DeleteRecords of what is gone already brings it back")
mutant("retention-past-hw", "P16", "retention takes segments above the high watermark")
mutant("compaction-drops-last", "P17", "compaction drops the last value of a key")
mutant("compaction-drops-tombstones", "P17", "compaction drops tombstones at once")
mutant("tombstones-for-ever", "P17", "compaction keeps tombstones for ever (KIP-534)")
mutant("compaction-past-hw", "P17", "compaction takes what is not committed for the last value", "node_replicas",
       TOLD)
mutant("latest-is-log-end", "P18", "ListOffsets tells the log's end")
mutant("epoch-ends-at-log-end", "P19", "every epoch is said to end at the log's end")
mutant("recovery-cuts-at-mark", "P20", "recovery drops all that lies above the durable mark")
mutant("recovered-not-synced", "P20 P14", "what recovery finds counts as durable without a sync (rule 8.1)")
mutant("cut-not-remembered", "P20", "what recovery cuts off is forgotten at the next start")
mutant("damage-taken-for-torn-tail", "P20", "damage below the durable mark is cut off like a torn tail")
mutant("isr-never-grows", "P21", "nobody comes back into an ISR")
mutant("leaderless-stay-so", "P21", "a broker's return elects nobody", "metadata_brokers", OTHERS_DO)
mutant("acks-1-at-once", "P22", "acks=1 is answered before the leader has the records on disk")
mutant("small-file-not-synced", "P20 R2", "small files are renamed into place without being synced")
mutant("rename-not-synced", "P20 R2", "renames are not made durable")

# ---- groups
mutant("offsets-dropped-on-replay", "G1", "a coordinator loads no offsets")
mutant("group-answers-before-commit", "G1", "group answers leave before their records are committed")
mutant("group-reads-before-commit", "G1 G2", "offsets are told before they are committed", "node_groups",
       TOLD)
mutant("group-loaded-to-hw", "G1 G2", "a new coordinator loads only up to its high watermark")
mutant("group-loaded-before-commit", "G2", "a new coordinator serves before its epoch is committed")
mutant("group-served-while-cut-off", "G2", "a coordinator that is cut off serves its groups", "node_coordinators", SOON_TOLD)
mutant("group-served-after-resigning", "G2", "a coordinator serves on after its successor was elected")
mutant("generation-stays", "G3", "a rebalance keeps the generation")
mutant("generation-lost-at-load", "G3", "a load begins generations anew")
mutant("assignment-of-another", "G4 G6", "all members get the first assignment")
mutant("assignment-of-leader", "G4 G6", "who asks for its assignment later gets the leader's")
mutant("stale-generation-commits", "G5", "members of an older generation commit offsets")
mutant("stale-generation-syncs", "G5", "members of an older generation get assignments", "groups_transcripts", NEWEST)
mutant("stale-generation-beats", "G5", "members of an older generation are told that all is well", "groups_transcripts", NEWEST)
mutant("session-cut-short", "G7", "members are expelled after a quarter of their session")
mutant("dead-member-stays", "G7", "dead members are never expelled")
mutant("offsets-expire-in-use", "G8", "offsets of a group in use expire")
mutant("expiry-by-wall-clock", "G8", "offsets expire by a wall clock that may jump")
mutant("offset-committed-one-further", "G10", "offsets are committed one too far")
mutant("offset-tombstone-ignored", "G11", "deleted offsets come back at a load")
mutant("compaction-drops-markers", "G11", "compaction drops markers of transactions whose data stays", "log_compact", COMPACTION)
mutant("static-member-rebalances", "G12", "a static member's return starts a rebalance")
mutant("duplicate-instance-served", "G12 G5", "two members use one instance id")


def in_sources(root):
    """Name of each mutant in the sources."""
    names = set()
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.[ch]")):
            if path.name != "mutant.h":
                names |= set(re.findall(r'KB_MUTANT\("([^"]*)"\)', path.read_text(encoding="utf-8")))
    return names


def problems(root):
    """What is wrong with this list, in words."""
    names = [m["name"] for m in MUTANTS]
    sources = in_sources(root)
    broken = {p for m in MUTANTS for p in m["promises"]}
    found = [f"{n} is listed twice" for n in sorted(set(names)) if names.count(n) > 1]
    found += [f"{n} is not in the sources" for n in names if n not in sources]
    found += [f"{n} is not listed" for n in sorted(sources - set(names))]
    found += [f"no mutant breaks {p}" for p in PROMISES if p not in broken]
    found += [f"{m['name']}: there is no promise {p}" for m in MUTANTS for p in m["promises"] if p not in PROMISES]
    found += [f"{m['name']}: why does no seed kill it?" for m in MUTANTS if m["killer"] != SIM and not m["why"]]
    return found
