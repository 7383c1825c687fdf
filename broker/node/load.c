#include "broker/node/node_internal.h"

static void load_more(struct node_load *load);

static void finish(struct node_load *load, int result)
{
    kb_chain_release(&load->chain_);
    load->done(load, result);
}

static void on_read(struct kb_read *r, int64_t result)
{
    struct node_load *load = (struct node_load *)((char *)r - offsetof(struct node_load, read_));
    load->reading_ = false;
    if (result != (int64_t)r->size) {
        finish(load, result < 0 ? (int)result : -KB_EIO);
        return;
    }
    load->bytes.size += r->size;
    load->next_++;
    load_more(load);
}

static void load_more(struct node_load *load)
{
    while (load->next_ < load->chain_.count) {
        struct kb_slice *s = &load->chain_.slices[load->next_];
        if (s->block != NULL) {
            kb_buf_append(&load->bytes, s->block->data + s->position, (size_t)s->size);
            load->next_++;
            continue;
        }
        kb_buf_reserve(&load->bytes, (size_t)s->size);
        void *to = load->bytes.data + load->bytes.size;
        int64_t n = kb_env_read_now(load->node_->env, s->file, s->position, to, (size_t)s->size);
        if (n == (int64_t)s->size) {
            load->bytes.size += (size_t)s->size;
            load->next_++;
            continue;
        }
        if (n < 0 && n != -KB_EAGAIN) {
            finish(load, (int)n);
            return;
        }
        load->read_ = (struct kb_read){
            .file = s->file,
            .position = s->position,
            .buffer = to,
            .size = (size_t)s->size,
            .done = on_read,
        };
        load->reading_ = true;
        kb_env_read(load->node_->env, &load->read_);
        return;
    }
    finish(load, 0);
}

void node_load_start(struct node *n, struct node_load *load, struct kb_chain *chain)
{
    load->node_ = n;
    load->bytes = (struct kb_buf){0};
    load->chain_ = *chain;
    load->next_ = 0;
    load->reading_ = false;
    *chain = (struct kb_chain){0};
    load_more(load);
}

void node_load_release(struct node_load *load)
{
    kb_chain_release(&load->chain_);
    kb_buf_release(&load->bytes);
}
