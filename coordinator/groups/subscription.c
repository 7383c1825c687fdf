/* What consumers subscribe to, read from the metadata of the consumer protocol. */
#include "coordinator/groups/internal.h"

enum { SUBSCRIPTION_ARENA_MAX = 16 << 20 };

struct group_subscribed_topic {
    UT_hash_handle hh;
    struct kw_str name; /* borrows from the image */
};

bool group_is_consumer(const struct group *g)
{
    return kw_str_is(g->protocol_type, "consumer");
}

static void add_topic(struct group_subscriptions *subs, struct kw_str name)
{
    struct group_subscribed_topic *t = NULL;
    HASH_FIND(hh, subs->topics, name.data, (size_t)name.size, t);
    if (t != NULL)
        return;
    t = kb_new(struct group_subscribed_topic);
    t->name = name;
    HASH_ADD_KEYPTR(hh, subs->topics, t->name.data, (size_t)t->name.size, t);
}

static bool add_member(struct group_subscriptions *subs, const struct group_image_member *m)
{
    struct kw_consumer_protocol_subscription s;
    struct kw_reader rd;
    struct kb_arena arena;
    kw_reader_init(&rd, m->subscription.data, (size_t)m->subscription.size);
    int16_t version = kw_get_int16(&rd);
    if (!kw_reader_ok(&rd) || version < 0)
        return false;
    kb_arena_init(&arena, SUBSCRIPTION_ARENA_MAX);
    /* Later versions only add fields, and topics are asked for: as Kafka, nothing else is read. */
    bool ok = kw_consumer_protocol_subscription_read(&rd, 0, &arena, &s) == 0;
    for (int32_t i = 0; ok && i < s.topics_count; i++)
        add_topic(subs, s.topics[i]);
    kb_arena_release(&arena);
    return ok;
}

void group_subscriptions_init(struct group_subscriptions *subs, const struct group *g)
{
    const struct group_image_member *m = g->image != NULL ? g->image->members : NULL;
    *subs = (struct group_subscriptions){.known = true, .assume = group_is_consumer(g)};
    if (m == NULL) {
        subs->known = g->members == NULL; /* its first generation is being made */
        return;
    }
    subs->known = group_is_consumer(g);
    for (; m != NULL && subs->known; m = m->hh.next)
        subs->known = add_member(subs, m);
}

bool group_subscriptions_have(const struct group_subscriptions *subs, struct kw_str topic)
{
    struct group_subscribed_topic *t = NULL;
    if (!subs->known)
        return subs->assume;
    if (topic.data != NULL)
        HASH_FIND(hh, subs->topics, topic.data, (size_t)topic.size, t);
    return t != NULL;
}

void group_subscriptions_release(struct group_subscriptions *subs)
{
    struct group_subscribed_topic *t = NULL;
    struct group_subscribed_topic *next = NULL;
    HASH_ITER(hh, subs->topics, t, next)
    {
        HASH_DEL(subs->topics, t);
        (void)kb_free(t);
    }
}
