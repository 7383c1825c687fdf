#include "coordinator/metadata/records.h"

#include <stdlib.h>

#include "coordinator/metadata/topic_config.h"
#include "proto/base/assert.h"
#include "proto/base/mem.h"
#include "proto/cluster/unpack.h"

struct kb_view meta_records_at(const struct meta_records *r, size_t i)
{
    KB_ASSERT(i < r->count);
    return kb_view_of(r->bytes.data + r->spans[i].position, r->spans[i].size);
}

void meta_records_clear(struct meta_records *r)
{
    meta_records_truncate(r, 0);
}

void meta_records_release(struct meta_records *r)
{
    kb_buf_release(&r->bytes);
    free(r->spans);
    *r = (struct meta_records){0};
}

void meta_records_truncate(struct meta_records *r, size_t count)
{
    KB_ASSERT(count <= r->count);
    if (count == r->count)
        return;
    r->bytes.size = r->spans[count].position;
    r->count = count;
}

void meta_records_add(struct meta_records *r, const Kc__Record *record)
{
    kb_array_reserve(r->spans, r->count, r->capacity);
    uint32_t position = (uint32_t)r->bytes.size;
    uint32_t size = (uint32_t)kc_pack(&r->bytes, &record->base);
    r->spans[r->count++] = (struct meta_span){.position = position, .size = size};
}

void meta_records_add_no_op(struct meta_records *r)
{
    Kc__NoOpRecord no_op = KC__NO_OP_RECORD__INIT;
    Kc__Record record = KC__RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_NO_OP;
    record.no_op = &no_op;
    meta_records_add(r, &record);
}

static Kc__Voter **voter_list(const struct meta_voter *voters, size_t count)
{
    Kc__Voter **list = kb_new_array(Kc__Voter *, count);
    for (size_t i = 0; i < count; i++) {
        Kc__Voter *v = list[i] = kb_new(Kc__Voter);
        kc__voter__init(v);
        v->has_node_id = 1;
        v->node_id = voters[i].id;
        v->has_directory_id = 1;
        v->directory_id = kc_uuid_field(&voters[i].directory);
        v->host = voters[i].host;
        v->has_port = voters[i].host != NULL;
        v->port = voters[i].port;
    }
    return list;
}

static void voter_list_free(Kc__Voter **list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        (void)kb_free(list[i]);
    free(list);
}

void meta_records_add_voters(struct meta_records *r, const struct meta_voter *voters, size_t count,
                             const struct meta_voter *retired, size_t retired_count)
{
    Kc__VotersRecord set = KC__VOTERS_RECORD__INIT;
    set.n_voters = count;
    set.voters = voter_list(voters, count);
    set.n_retired = retired_count;
    set.retired = voter_list(retired, retired_count);
    Kc__Record record = KC__RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_VOTERS;
    record.voters = &set;
    meta_records_add(r, &record);
    voter_list_free(set.voters, count);
    voter_list_free(set.retired, retired_count);
}

static void add_defaults(struct meta_records *r, const struct meta_founding *f)
{
    Kc__ConfigEntry *items = kb_new_array(Kc__ConfigEntry, f->topic_configs_count);
    Kc__ConfigEntry **pointers = kb_new_array(Kc__ConfigEntry *, f->topic_configs_count);
    size_t count = 0;
    for (size_t i = 0; i < f->topic_configs_count; i++) {
        if (meta_topic_key_find(f->topic_configs[i].name) < 0)
            continue;
        kc__config_entry__init(&items[count]);
        items[count].name = f->topic_configs[i].name;
        items[count].value = f->topic_configs[i].value;
        pointers[count] = &items[count];
        count++;
    }
    Kc__DefaultsRecord defaults = KC__DEFAULTS_RECORD__INIT;
    defaults.has_voter_count = 1;
    defaults.voter_count = (int32_t)f->voters_count;
    defaults.n_topic_configs = count;
    defaults.topic_configs = pointers;
    Kc__Record record = KC__RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_DEFAULTS;
    record.defaults = &defaults;
    meta_records_add(r, &record);
    free(pointers);
    free(items);
}

void meta_records_add_founding(struct meta_records *r, const struct meta_founding *f)
{
    Kc__ClusterRecord cluster = KC__CLUSTER_RECORD__INIT;
    cluster.cluster_id = kc_str(f->cluster_id);
    Kc__Record record = KC__RECORD__INIT;
    record.kind_case = KC__RECORD__KIND_CLUSTER;
    record.cluster = &cluster;
    meta_records_add(r, &record);
    meta_records_add_voters(r, f->voters, f->voters_count, NULL, 0);
    add_defaults(r, f);
}
