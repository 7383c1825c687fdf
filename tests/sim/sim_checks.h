#ifndef SIM_CHECKS_H
#define SIM_CHECKS_H

#include <stdbool.h>
#include <stdint.h>

/* The promises a run is judged by, each with the number of times it was looked at. Names are those
 * of the reliability rules; a run that never looked at one has not shown it. */
enum sim_check_id {
    SIM_CHECK_P1,   /* acknowledged with acks=all: there for ever */
    SIM_CHECK_P2,   /* one value per (partition, offset) */
    SIM_CHECK_P3,   /* replicas are byte-identical below the smaller high watermark */
    SIM_CHECK_P4,   /* no high watermark is above what a member of the committed ISR has durably */
    SIM_CHECK_P7,   /* the epoch a replica knows of an offset is that of its batch */
    SIM_CHECK_P9,   /* acks=all is answered when min.insync.replicas disks hold it */
    SIM_CHECK_P10,  /* what a consumer has read stays */
    SIM_CHECK_P11,  /* an idempotent producer's order is the log's order, without gaps */
    SIM_CHECK_P12,  /* (producer id, epoch, sequence) at most once; a retry gets the first offset */
    SIM_CHECK_P13,  /* who joins the ISR has all below high watermark and epoch start */
    SIM_CHECK_P21,  /* within a time of heal: leaders everywhere, ISR = replicas, and it stays so */
    SIM_CHECK_P22,  /* acks=1 is answered when the leader has it durably */
    SIM_CHECK_R1,   /* one leader per term */
    SIM_CHECK_R2,   /* durable term and vote only move forward, and before any answer */
    SIM_CHECK_R3,   /* a leader never truncates */
    SIM_CHECK_R4,   /* equal (index, term): equal bytes */
    SIM_CHECK_R5,   /* a new leader has every committed entry */
    SIM_CHECK_R6,   /* equal index: equal image */
    SIM_CHECK_R7,   /* commit is counted through an entry of the leader's own term */
    SIM_CHECK_R8,   /* commit never falls, and a majority has it durably */
    SIM_CHECK_R9,   /* no log is cut below its commit index while its process lives */
    SIM_CHECK_R10,  /* equal index: equal image, by replay or by snapshot */
    SIM_CHECK_R11,  /* who does not hear a majority does not raise its term */
    SIM_CHECK_R12,  /* a leader whose majority follows another one resigns */
    SIM_CHECK_R13,  /* a leader that a majority hears without a gap is not displaced */
    SIM_CHECK_R14,  /* within 10 election timeouts of heal: a leader, and a committed write */
    SIM_CHECK_R15,  /* only directories of the voter set vote and count; one change at a time */
    SIM_CHECK_R16,  /* partition epochs, ISR, ELR and leaders only move legally */
    SIM_CHECK_R17,  /* broker epochs rise, old ones are refused; who is fenced joins no ISR */
    SIM_CHECK_R18,  /* producer ids, topic ids and broker epochs are never given twice */
    SIM_CHECK_LIVE, /* after the faults: leaders everywhere, ISRs full, writes go through */
    SIM_CHECK_RUN,  /* the run did enough to count; no leaks, no unexpected exits */

    /* After an acked OffsetCommit, every OffsetFetch returns it or one later in coordinator log
     * order; never -1, never older, on any coordinator. */
    SIM_CHECK_G1,
    /* No answer before load completes (COORDINATOR_LOAD_IN_PROGRESS), none after resign
     * (NOT_COORDINATOR). */
    SIM_CHECK_G2,
    /* Generation / member / assignment epoch never falls, also across failover. */
    SIM_CHECK_G3,
    /* At one generation a partition has <= 1 owner; accepted commits by two members with
     * overlapping ownership = violation. */
    SIM_CHECK_G4,
    /* Stale generation, member epoch, instance id => refused. */
    SIM_CHECK_G5,
    /* All members of a generation get the assignment the leader sent. */
    SIM_CHECK_G6,
    /* Nobody is expelled before its session timeout on the monotonic clock; everybody dead is by
     * 2x. */
    SIM_CHECK_G7,
    /* Offset expiry only after the group is empty for the retention time; wall-clock jumps don't
     * trigger it. */
    SIM_CHECK_G8,
    /* After heal, group consumers deliver every acked record >= 1 (EOS: exactly 1). */
    SIM_CHECK_G10,
    /* Compaction/tombstones of the offsets topic change no answer. */
    SIM_CHECK_G11,
    /* Static member returns inside its timeout with no rebalance; a duplicate instance is fenced.
     */
    SIM_CHECK_G12,

    /* No reader ever sees HW or LSO fall; a new leader answers OFFSET_NOT_AVAILABLE, not a smaller
     * offset, until HW reaches its epoch start (records and ListOffsets; a Fetch answer's HW field
     * may trail). */
    SIM_CHECK_P5,
    /* Topics are what the answers to admin calls allow: what was answered happened, what was
     * refused did not, nothing is half-created (fault row 17). */
    SIM_CHECK_ADMIN,
    /* A leader's LEO never falls inside its epoch; a follower truncates only to the
     * epoch-divergence point, never below its HW, and before it raises HW. */
    SIM_CHECK_P6,
    SIM_CHECK_P8,  /* all batches of an epoch were appended by one broker, in one life of it */
    SIM_CHECK_P14, /* what a follower reports as durable is */
    /* A stale or unknown leader epoch, or a wrong topic id, is answered by an error that says so;
     * never with data. */
    SIM_CHECK_P15,
    SIM_CHECK_P18, /* ListOffsets: earliest, latest and times agree with the log */
    SIM_CHECK_P19, /* OffsetForLeaderEpoch agrees with the log */
    /* recover(recover(d)) = recover(d); recovery drops nothing below the durable end silently. */
    SIM_CHECK_P20,
    /* A log's start never falls, never passes the high watermark, and survives failover after an
     * acknowledged DeleteRecords. */
    SIM_CHECK_P16,
    /* Retention deletes what is old or too much, and nothing else (fault row 48). */
    SIM_CHECK_RETENTION,
    /* Compaction keeps the last value of each key and all offsets, tombstones for their time and no
     * longer, and brings nothing back. */
    SIM_CHECK_P17,
    SIM_CHECK_MAX_
};

struct sim_check {
    uint64_t checks;
    uint64_t failures;
    char first[320]; /* the first failure, in words */
};
struct sim_checks {
    struct sim_check check[SIM_CHECK_MAX_];
    bool unclean_asked; /* somebody asks for unclean elections by name */
    /* Told of each failure; NULL = nobody. */
    void (*on_failure)(void *arg, enum sim_check_id id, const char *text);
    void *arg;
};

const char *sim_check_name(enum sim_check_id id);
/* Count one look; with ok false also a failure, told by the format. Returns ok. */
bool sim_check(struct sim_checks *c, enum sim_check_id id, bool ok, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
uint64_t sim_checks_failures(const struct sim_checks *c);

#endif
