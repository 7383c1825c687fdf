/* A partition log in ordinary life: created, appended to, read through cache and files, rolled,
 * closed and opened again. */

#include <string.h>

#include "proto/base/err.h"
#include "tests/unit/log/log_world.h"
#include "tests/unit/unit.h"

START_TEST(create__is_durable_and_empty)
{
    struct lw l;
    lw_init(&l, 1);
    lw_create(&l, 1);
    ck_assert(l.opened);
    ck_assert_int_eq(l.open_result, 0);
    ck_assert_int_eq(log_end_offset(l.log), 1);
    lw_power_cut(&l, SIM_CRASH_DROP);
    lw_open(&l, false, 1);
    ck_assert_int_eq(l.found.state, LOG_WHOLE);
    ck_assert_int_eq(l.found.end_offset, 1);
    ck_assert(kb_uuid_equal(&l.found.topic_id, &l.options.topic_id));
    lw_release(&l);
}
END_TEST

START_TEST(create__refuses_a_log_with_bytes)
{
    struct lw l;
    lw_init(&l, 1);
    lw_create(&l, 0);
    ck_assert_int_eq(lw_append(&l, 0, 1, 10, 1000), 0);
    lw_settle(&l);
    lw_kill(&l);
    lw_create(&l, 0);
    ck_assert_int_eq(l.open_result, -KB_EEXIST);
    lw_release(&l);
}
END_TEST

START_TEST(open__without_directory_is_missing)
{
    struct lw l;
    lw_init(&l, 1);
    lw_open(&l, false, 0);
    ck_assert_int_eq(l.open_result, 0);
    ck_assert_int_eq(l.found.state, LOG_MISSING);
    lw_release(&l);
}
END_TEST

START_TEST(append__is_written_then_durable)
{
    struct lw l;
    lw_init(&l, 2);
    lw_create(&l, 0);
    ck_assert_int_eq(lw_append(&l, 3, 5, 100, 1000), 0);
    ck_assert_int_eq(log_end_offset(l.log), 5);
    ck_assert_int_eq(log_written_offset(l.log), 0);
    struct log_read r;
    ck_assert_int_eq(lw_read(&l, &r, 0, 5, 1000, true), LOG_READ_OK);
    ck_assert_uint_eq(r.records.size, 0); /* not written yet */
    lw_settle(&l);
    ck_assert_int_eq(l.written, 5);
    ck_assert_int_eq(l.durable, 5);
    ck_assert_int_eq(log_last_epoch(l.log), 3);
    lw_check_all(&l);
    ck_assert_int_eq(lw_read(&l, &r, 6, 9, 10, true), LOG_READ_OUT_OF_RANGE);
    lw_release(&l);
}
END_TEST

static void fill(struct lw *l, int batches, int64_t timestamp)
{
    int32_t epoch = log_last_epoch(l->log) + 1;
    for (int i = 0; i < batches; i++) {
        int r = lw_append(l, epoch + i / 7, 1 + i % 4, (size_t)(30 + (i * 37) % 400),
                          timestamp + 10L * i);
        ck_assert_int_eq(r, 0);
        if (i % 5 == 0)
            lw_settle(l);
    }
    lw_settle(l);
}

START_TEST(read__cache_and_files_agree)
{
    for (int cached = 0; cached < 3; cached++) {
        struct lw l;
        lw_init(&l, 3);
        sim_disk_settings(sim_host_disk(l.host))->cold_ppm = cached == 1 ? 300000 : 0;
        l.options.config.segment_bytes = 8000;
        l.options.config.index_interval_bytes = 500;
        if (cached == 2)
            l.cache = log_cache_new(20000);
        lw_create(&l, 0);
        fill(&l, 100, 1000);
        ck_assert_uint_gt(log_segment_count(l.log), 2);
        lw_check_all(&l);
        int64_t end = log_end_offset(l.log);
        lw_close(&l);
        lw_open(&l, true, end);
        lw_check_all(&l);
        fill(&l, 20, 5000);
        lw_check_all(&l);
        lw_release(&l);
    }
}
END_TEST

START_TEST(read__large_ranges_come_as_file_ranges)
{
    struct lw l;
    lw_init(&l, 4);
    lw_create(&l, 0);
    for (int i = 0; i < 40; i++)
        ck_assert_int_eq(lw_append(&l, 1, 10, 3000, 1000 + i), 0);
    lw_settle(&l);
    struct log_read r;
    ck_assert_int_eq(lw_read(&l, &r, 0, 400, 1 << 20, true), LOG_READ_OK);
    ck_assert_uint_eq(r.records.count, 1);
    ck_assert_ptr_nonnull(r.records.slices[0].file);
    kb_chain_release(&r.records);
    lw_check_all(&l);
    lw_release(&l);
}
END_TEST

START_TEST(read__a_batch_larger_than_the_limit_comes_whole)
{
    struct lw l;
    lw_init(&l, 4);
    sim_disk_settings(sim_host_disk(l.host))->cold_ppm = 1000000;
    lw_create(&l, 0);
    ck_assert_int_eq(lw_append(&l, 1, 1, 3 << 20, 1000), 0);
    ck_assert_int_eq(lw_append(&l, 1, 1, 10, 1001), 0);
    lw_settle(&l);
    struct log_read r;
    ck_assert_int_eq(lw_read(&l, &r, 0, 2, 100, false), LOG_READ_OK);
    ck_assert_uint_eq(r.records.size, 0);
    ck_assert_int_eq(lw_read(&l, &r, 0, 2, 100, true), LOG_READ_OK);
    ck_assert_uint_gt(r.records.size, 3 << 20);
    kb_chain_release(&r.records);
    lw_check_all(&l);
    lw_release(&l);
}
END_TEST

START_TEST(read__a_flipped_bit_is_not_served_cold)
{
    struct lw l;
    lw_init(&l, 4);
    l.options.config.segment_bytes = 4000;
    lw_create(&l, 0);
    fill(&l, 40, 1000);
    sim_disk_settings(sim_host_disk(l.host))->cold_ppm = 1000000;
    ck_assert_int_eq(
        sim_disk_flip_bit(sim_host_disk(l.host), LW_DIR "/00000000000000000000.log", 70, 3), 0);
    struct log_read r;
    ck_assert_int_eq(lw_read(&l, &r, 0, 10, 5000, true), -KB_ECORRUPT);
    kb_chain_release(&r.records);
    lw_release(&l);
}
END_TEST

/* After a restart all lies in memory, put there by somebody who did not look at it: readahead, or
 * the read before this one, which ended at the damage. */
START_TEST(read__a_flipped_bit_is_not_served_because_it_is_resident)
{
    struct lw l;
    struct log_read r;
    lw_init(&l, 4);
    l.options.config.segment_bytes = 4000;
    lw_create(&l, 0);
    fill(&l, 40, 1000);
    int64_t end = log_end_offset(l.log);
    int64_t bad = l.batches[2].base_offset;
    lw_close(&l);
    ck_assert_int_eq(sim_disk_flip_bit(sim_host_disk(l.host), LW_DIR "/00000000000000000000.log",
                                       l.batches[2].position + 70, 3),
                     0);
    lw_open(&l, true, end);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(lw_read(&l, &r, 0, end, 100000, true), LOG_READ_OK);
        ck_assert_int_eq(r.next_offset, bad);
        kb_chain_release(&r.records);
        ck_assert_int_eq(lw_read(&l, &r, bad, end, 100000, true), -KB_ECORRUPT);
        kb_chain_release(&r.records);
    }
    /* What was found sound once is given out at once. */
    r = (struct log_read){.offset = 0, .bound_offset = bad, .max_bytes = 100000, .min_one = true};
    ck_assert_int_eq(log_read(l.log, &r), LOG_READ_OK);
    kb_chain_release(&r.records);
    lw_release(&l);
}
END_TEST

START_TEST(append__follower_takes_whole_batches_in_place)
{
    struct lw l;
    lw_init(&l, 5);
    lw_create(&l, 0);
    fill(&l, 30, 1000);
    /* The answer of a leader: its bytes as they are, to a second log. */
    struct lw f;
    lw_init(&f, 6);
    lw_create(&f, 0);
    struct kb_block *block = kb_block_copy(l.bytes.data, l.bytes.size);
    struct log_appended a;
    size_t at = 0;
    ck_assert_int_eq(log_append_follower(f.log, block, l.batches[1].position, l.batches[1].size, 9,
                                         LOG_APPEND_CHECK_CRC, &a),
                     LOG_APPEND_REFUSED);
    ck_assert_int_eq(log_append_follower(f.log, block, 0, 20, 9, LOG_APPEND_CHECK_CRC, &a),
                     LOG_APPEND_REFUSED);
    while (at < block->size) {
        int r = log_append_follower(f.log, block, at, block->size - at, 9, LOG_APPEND_CHECK_CRC,
                                    &a);
        if (r == LOG_APPEND_BUSY) {
            lw_run(&f, 5);
            continue;
        }
        ck_assert_int_eq(r, 0);
        at += a.size_taken;
    }
    lw_settle(&f);
    ck_assert_int_eq(log_end_offset(f.log), log_end_offset(l.log));
    kb_buf_append(&f.bytes, l.bytes.data, l.bytes.size);
    f.batches = kb_memdup(l.batches, l.batch_count * sizeof(*l.batches));
    f.batch_count = f.batch_capacity = l.batch_count;
    lw_check_all(&f);
    ck_assert_int_eq(log_last_epoch(f.log), log_last_epoch(l.log));
    block->data[l.batches[29].position + 80] ^= 1;
    (void)kb_block_unref(block);
    lw_release(&f);
    lw_release(&l);
}
END_TEST

/* A leader's answer that reaches beyond the end of a segment: what fits is written before the
 * segment is sealed. */
START_TEST(append__follower_rolls_between_two_batches_of_one_answer)
{
    struct lw l, f;
    struct log_appended a;
    lw_init(&l, 5);
    lw_create(&l, 0);
    fill(&l, 30, 1000);
    lw_init(&f, 6);
    f.options.config.segment_bytes = 3 * l.batches[29].size;
    lw_create(&f, 0);
    struct kb_block *block = kb_block_copy(l.bytes.data, l.bytes.size);
    for (size_t at = 0; at < block->size;) {
        int r = log_append_follower(f.log, block, at, block->size - at, 9, LOG_APPEND_CHECK_CRC,
                                    &a);
        ck_assert(r == LOG_APPEND_BUSY || r == LOG_APPEND_OK);
        at += r == LOG_APPEND_OK ? a.size_taken : 0;
        lw_run(&f, 5);
    }
    lw_settle(&f);
    ck_assert_uint_eq(f.failures, 0);
    ck_assert_uint_gt(log_segment_count(f.log), 5);
    kb_buf_append(&f.bytes, l.bytes.data, l.bytes.size);
    f.batches = kb_memdup(l.batches, l.batch_count * sizeof(*l.batches));
    f.batch_count = f.batch_capacity = l.batch_count;
    lw_check_all(&f);
    (void)kb_block_unref(block);
    lw_release(&f);
    lw_release(&l);
}
END_TEST

START_TEST(append__epoch_led_without_a_record_does_not_bind_the_follower)
{
    /* It led in epoch 5 and wrote nothing; the next leader's log goes on in epoch 3. */
    struct lw f;
    struct log_appended a;
    lw_init(&f, 6);
    lw_create(&f, 0);
    struct kb_block *b = lw_make_batch(2, 50, 1000);
    log_epoch_assign(f.log, 5);
    kb_put_be32(b->data + 12, 3);
    ck_assert_int_eq(log_append_follower(f.log, b, 0, b->size, 6, 0, &a), LOG_APPEND_OK);
    ck_assert_int_eq(log_last_epoch(f.log), 3);
    ck_assert_int_eq(log_epoch_end_offset(f.log, 3).end_offset, 2);
    lw_settle(&f);
    (void)kb_block_unref(b);
    lw_release(&f);
}
END_TEST

START_TEST(append__follower_refuses_bad_crc_old_and_future_epochs)
{
    struct lw f;
    lw_init(&f, 6);
    lw_create(&f, 0);
    struct kb_block *b = lw_make_batch(2, 50, 1000);
    struct log_appended a;
    kb_put_be32(b->data + 12, 4);
    ck_assert_int_eq(log_append_follower(f.log, b, 0, b->size, 3, 0, &a), LOG_APPEND_REFUSED);
    kb_put_be32(b->data + 12, 5);
    b->data[b->size - 1] ^= 1;
    ck_assert_int_eq(log_append_follower(f.log, b, 0, b->size, 9, LOG_APPEND_CHECK_CRC, &a),
                     LOG_APPEND_REFUSED);
    b->data[b->size - 1] ^= 1;
    kb_put_be64(b->data, 7);
    ck_assert_int_eq(log_append_follower(f.log, b, 0, b->size, 9, LOG_APPEND_CHECK_CRC, &a),
                     LOG_APPEND_REFUSED);
    /* First the disk says that offsets may be left out. */
    unsigned events = f.space_events;
    ck_assert_int_eq(log_gaps_below(f.log), 0);
    ck_assert_int_eq(
        log_append_follower(f.log, b, 0, b->size, 9, LOG_APPEND_CHECK_CRC | LOG_APPEND_GAPS, &a),
        LOG_APPEND_BUSY);
    lw_run(&f, 100);
    ck_assert_uint_gt(f.space_events, events);
    ck_assert_int_gt(log_gaps_below(f.log), 7);
    ck_assert_int_eq(
        log_append_follower(f.log, b, 0, b->size, 9, LOG_APPEND_CHECK_CRC | LOG_APPEND_GAPS, &a),
        LOG_APPEND_OK);
    ck_assert_int_eq(a.first_offset, 7);
    ck_assert_int_eq(log_end_offset(f.log), 9);
    lw_settle(&f);
    lw_kill(&f);
    lw_open(&f, false, 9);
    ck_assert_int_eq(f.found.end_offset, 9);
    ck_assert_int_eq(f.found.last_epoch, 5);
    ck_assert_int_gt(log_gaps_below(f.log), 7);
    kb_put_be64(b->data, 9);
    kb_put_be32(b->data + 12, 4); /* older than the batch before it */
    ck_assert_int_eq(log_append_follower(f.log, b, 0, b->size, 9, 0, &a), LOG_APPEND_REFUSED);
    (void)kb_block_unref(b);
    lw_release(&f);
}
END_TEST

START_TEST(close__reopens_with_the_same_answers)
{
    struct lw l;
    lw_init(&l, 7);
    l.options.config.segment_bytes = 6000;
    l.options.config.index_interval_bytes = 300;
    lw_create(&l, 0);
    for (int life = 0; life < 4; life++) {
        for (int i = 0; i < 25; i++)
            ck_assert_int_eq(lw_append(&l, life * 3 + i / 10, 2, 200, 1000 * life + i), 0);
        lw_settle(&l);
        int64_t end = log_end_offset(l.log);
        int32_t epoch = log_last_epoch(l.log);
        lw_close(&l);
        lw_open(&l, true, end);
        ck_assert_int_eq(l.found.state, LOG_WHOLE);
        ck_assert_int_eq(l.found.end_offset, end);
        ck_assert_int_eq(l.found.last_epoch, epoch);
        lw_check_all(&l);
    }
    lw_release(&l);
}
END_TEST

START_TEST(weak__flushes_by_count_and_time)
{
    struct lw l;
    lw_init(&l, 8);
    l.options.config.flush_messages = 10;
    l.options.config.flush_ms = 500;
    lw_create(&l, 0);
    ck_assert_int_eq(lw_append(&l, 1, 4, 50, 1000), 0);
    lw_run(&l, 100);
    ck_assert_int_eq(log_written_offset(l.log), 4);
    ck_assert_int_eq(log_durable_offset(l.log), 0);
    ck_assert_int_eq(lw_append(&l, 1, 6, 50, 1000), 0);
    lw_run(&l, 100);
    ck_assert_int_eq(log_durable_offset(l.log), 10);
    ck_assert_int_eq(lw_append(&l, 1, 1, 50, 1000), 0);
    lw_run(&l, 100);
    ck_assert_int_eq(log_durable_offset(l.log), 10);
    lw_run(&l, 600);
    ck_assert_int_eq(log_durable_offset(l.log), 11);
    ck_assert_int_eq(lw_append(&l, 1, 1, 50, 1000), 0);
    struct log_config strong = l.options.config;
    strong.flush_messages = 1;
    log_set_config(l.log, &strong);
    lw_run(&l, 100);
    ck_assert_int_eq(log_durable_offset(l.log), 12);
    lw_release(&l);
}
END_TEST

START_TEST(append__full_disk_is_a_state_not_a_failure)
{
    struct lw l;
    lw_init(&l, 9);
    struct sim_disk *d = sim_host_disk(l.host);
    lw_create(&l, 0);
    ck_assert_int_eq(lw_append(&l, 1, 1, 1000, 1000), 0);
    lw_settle(&l);
    sim_disk_settings(d)->capacity_bytes = sim_disk_used_bytes(d) + 100000;
    int r = 0;
    int appended = 0;
    while ((r = lw_append(&l, 1, 1, 5000, 1000)) == 0 && appended < 1000)
        appended++;
    ck_assert_int_eq(r, LOG_APPEND_NO_SPACE);
    ck_assert_int_gt(appended, 10);
    lw_settle(&l);
    ck_assert_uint_eq(l.failures, 0);
    lw_check_all(&l);
    lw_run(&l, 3000);
    ck_assert_int_eq(lw_append(&l, 1, 1, 5000, 1000), LOG_APPEND_NO_SPACE);
    unsigned before = l.space_events;
    sim_disk_settings(d)->capacity_bytes = 0;
    lw_run(&l, 3000);
    ck_assert_uint_gt(l.space_events, before);
    ck_assert_int_eq(lw_append(&l, 1, 1, 5000, 1000), 0);
    lw_settle(&l);
    lw_check_all(&l);
    lw_release(&l);
}
END_TEST

/* Who waits for space hears at once that there is none; it must not wait until somebody asks again.
 */
START_TEST(append__who_waits_hears_that_the_disk_is_full)
{
    struct lw l;
    lw_init(&l, 9);
    lw_create(&l, 0);
    ck_assert_int_eq(lw_append(&l, 1, 1, 1000, 1000), 0);
    lw_settle(&l);
    lw_run(&l, 100);
    sim_disk_settings(sim_host_disk(l.host))->capacity_bytes = 1;
    ck_assert_int_eq(lw_append_once(&l, 1, 1, 200000, 1000), LOG_APPEND_BUSY);
    ck_assert(!log_is_full(l.log));
    unsigned before = l.space_events;
    lw_run(&l, 100);
    ck_assert_uint_gt(l.space_events, before);
    ck_assert_int_eq(lw_append(&l, 1, 1, 200000, 1000), LOG_APPEND_NO_SPACE);
    ck_assert(log_is_full(l.log));
    sim_disk_settings(sim_host_disk(l.host))->capacity_bytes = 0;
    lw_run(&l, 2500);
    ck_assert(!log_is_full(l.log));
    ck_assert_int_eq(lw_append(&l, 1, 1, 200000, 1000), 0);
    lw_settle(&l);
    lw_check_all(&l);
    lw_release(&l);
}
END_TEST

START_TEST(roll__full_disk_leaves_the_old_segment_in_use)
{
    struct lw l;
    lw_init(&l, 9);
    struct sim_disk *d = sim_host_disk(l.host);
    l.options.config.segment_bytes = 20000;
    lw_create(&l, 0);
    while (log_size_bytes(l.log) + 1200 < 20000)
        ck_assert_int_eq(lw_append(&l, 1, 1, 1000, 1000), 0);
    lw_settle(&l);
    lw_run(&l, 100);
    sim_disk_settings(d)->capacity_bytes = 1;
    ck_assert_int_eq(lw_append(&l, 1, 1, 1000, 1000), LOG_APPEND_NO_SPACE);
    ck_assert_uint_eq(l.failures, 0);
    ck_assert_uint_eq(log_segment_count(l.log), 1);
    lw_run(&l, 2500);
    sim_disk_settings(d)->capacity_bytes = 0;
    lw_run(&l, 2500);
    ck_assert_int_eq(lw_append(&l, 1, 1, 1000, 1000), 0);
    ck_assert_uint_eq(log_segment_count(l.log), 2);
    lw_settle(&l);
    lw_check_all(&l);
    lw_kill(&l);
    lw_open(&l, false, 0);
    ck_assert_int_eq(l.found.state, LOG_WHOLE);
    lw_check_all(&l);
    lw_release(&l);
}
END_TEST

START_TEST(append__a_failed_write_or_sync_is_final)
{
    for (int kind = 0; kind < 2; kind++) {
        struct lw l;
        lw_init(&l, 10);
        lw_create(&l, 0);
        ck_assert_int_eq(lw_append(&l, 1, 1, 100, 1000), 0);
        lw_settle(&l);
        lw_run(&l, 100);
        if (kind == 0)
            sim_disk_settings(sim_host_disk(l.host))->write_fail_next = 1;
        else
            sim_disk_settings(sim_host_disk(l.host))->sync_fail_next = 1;
        ck_assert_int_eq(lw_append(&l, 1, 1, 100, 1000), 0);
        (void)lw_append_once(&l, 1, 1, 100, 1000);
        lw_run(&l, 100);
        ck_assert_uint_eq(l.failures, 1);
        ck_assert_int_eq(log_durable_offset(l.log), 1);
        ck_assert_int_eq(lw_append_once(&l, 1, 1, 100, 1000), -KB_EIO);
        l.done = false;
        log_close(l.log, lw_on_done, &l);
        ck_assert_int_lt(lw_wait_done(&l), 0);
        lw_release(&l);
    }
}
END_TEST

UNIT_MAIN("log", create__is_durable_and_empty, create__refuses_a_log_with_bytes,
          open__without_directory_is_missing, append__is_written_then_durable,
          read__cache_and_files_agree, read__large_ranges_come_as_file_ranges,
          read__a_batch_larger_than_the_limit_comes_whole, read__a_flipped_bit_is_not_served_cold,
          read__a_flipped_bit_is_not_served_because_it_is_resident,
          append__follower_takes_whole_batches_in_place,
          append__follower_rolls_between_two_batches_of_one_answer,
          append__epoch_led_without_a_record_does_not_bind_the_follower,
          append__follower_refuses_bad_crc_old_and_future_epochs,
          close__reopens_with_the_same_answers, weak__flushes_by_count_and_time,
          append__full_disk_is_a_state_not_a_failure, append__who_waits_hears_that_the_disk_is_full,
          roll__full_disk_leaves_the_old_segment_in_use, append__a_failed_write_or_sync_is_final)
