#ifndef SIM_FAULTS_H
#define SIM_FAULTS_H

#include "tests/sim/sim_cluster.h"

/* What goes wrong in a run, drawn from the world's seed: episodes of one fault each, that start,
 * last and end; two may overlap. Each plan has at least one power cut with loss of unsynced data,
 * one cut and one episode of loss or delay. */
struct sim_faults;

enum sim_fault {
    SIM_FAULT_POWER,      /* one node loses power, and what it had not synced */
    SIM_FAULT_POWER_ALL,  /* all nodes at once */
    SIM_FAULT_KILL,       /* kill -9: the page cache stays */
    SIM_FAULT_KILL_ALL,   /* one after the other, within 100 ms */
    SIM_FAULT_FILE_CALL,  /* a node dies at its n-th file call from now */
    SIM_FAULT_KILL_CHASE, /* whoever controls is killed, several times */
    SIM_FAULT_FREEZE,     /* SIGSTOP, SIGCONT */
    SIM_FAULT_CUT,        /* a pair of nodes, both ways or one way */
    SIM_FAULT_BRIDGE,     /* two halves do not reach each other, one node between reaches both */
    SIM_FAULT_ISOLATE,    /* a node from the other nodes; clients still reach it */
    SIM_FAULT_VANISH,     /* a node from everybody */
    SIM_FAULT_LOSS,       /* segments late by retransmissions, everywhere */
    SIM_FAULT_DELAY,      /* slow links everywhere */
    SIM_FAULT_REORDER,    /* connections of the same two hosts are late by different times */
    SIM_FAULT_CLOG,       /* links of a node take nothing for a while, then all of it comes */
    SIM_FAULT_RESET,      /* connections between two hosts are reset, again and again */
    SIM_FAULT_REPEAT,     /* resets right behind what was delivered: clients send it again */
    SIM_FAULT_HALF_OPEN,  /* connections are gone at one end, the other end does not hear of it */
    SIM_FAULT_STALL,      /* a disk stands still */
    SIM_FAULT_CLOCK,      /* a wall clock jumps */
    SIM_FAULT_FULL,       /* a disk has hardly any space left, for a while */
    SIM_FAULT_FULL_HARD,  /* ... and giving up the reserve does not help */
    SIM_FAULT_WRITE_EIO,  /* writes fail, once or more often */
    SIM_FAULT_SYNC_EIO,   /* syncs fail: what they were for may be lost behind the page cache */
    SIM_FAULT_DEATH,      /* a disk answers no more, then all nodes lose power */
    /* One of these in a run, at one node: */
    SIM_FAULT_WIPE,     /* it loses power and returns with an empty disk */
    SIM_FAULT_LOST,     /* as death, and it returns with an empty disk */
    SIM_FAULT_ROT,      /* it loses power, and bits in files of partitions turn meanwhile */
    SIM_FAULT_ROLLBACK, /* it loses power and returns with an older copy of its disk */
    /* Or one of these at one voter, whose bits turn while it has no power (fault row 42): */
    SIM_FAULT_VOTE_ROT,     /* in its vote */
    SIM_FAULT_RAFT_ROT,     /* in its metadata log */
    SIM_FAULT_SNAPSHOT_ROT, /* in its snapshot of the metadata */
    SIM_FAULT_IDENTITY_ROT, /* in meta.properties */
    /* A replica dies while its leader's wish to take it into the ISR is late on its way. */
    SIM_FAULT_JOIN_RACE,
    SIM_FAULT_OLD_LIFE, /* what a follower asked for arrives when its next life has registered */
    SIM_FAULT_OLD_NEWS, /* a leader loses the lead and gets it back; it, or a follower, is not told
                         */
    SIM_FAULT_MAX_
};
const char *sim_fault_name(enum sim_fault fault);

/* Episodes begin now + start_ms at the earliest and have ended by now + end_ms. */
struct sim_faults *sim_faults_new(struct sim_world *w, struct sim_cluster *c, uint64_t start_ms,
                                  uint64_t end_ms);
struct sim_faults *sim_faults_free(struct sim_faults *f);
/* End every episode now: nodes run, links are whole, disks and clocks sound. */
void sim_faults_heal(struct sim_faults *f);
/* Episodes begun so far, by kind. */
uint64_t sim_faults_count(const struct sim_faults *f, enum sim_fault fault);
uint64_t sim_faults_total(const struct sim_faults *f);

#endif
