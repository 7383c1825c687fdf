"""Generates messages_table.c: every message behind void pointers, with a JSON dump."""
from kw_schema import NUMBERS, camel


def put_element(c, f, x, nullable):
    if f.is_struct:
        c.add(f'dump_{f.struct.stem}(out, version, {x if f.pointer else "&" + x});')
    elif f.base in NUMBERS or f.base == 'bool':
        c.add(f'kw_dump_{"bool" if f.base == "bool" else "number"}(out, {x});')
    elif f.base == 'uuid':
        c.add(f'kw_dump_uuid(out, &{x});')
    elif f.base == 'string':
        c.add(f'kw_dump_str(out, {x}, {nullable});')
    else:
        c.add(f'kw_dump_bytes(out, {x}, {nullable});')


def dump_field(c, f):
    x, name = f'm->{f.name}', camel(f.name)
    nullable = 'false'
    if f.null:
        nullable = f.null.condition(f.versions) or 'true'
    if f.base == 'records':
        c.add(f'kw_dump_records(out, "{name}", {x});')
        return
    c.add(f'kw_dump_name(out, "{name}");')
    if f.array:
        c.open(f'if ({x}_count < 0 && ({nullable})) {{')
        c.add('kb_buf_append_str(out, "null");')
        c.depth -= 1
        c.open('} else {')
        c.add('kb_buf_append_str(out, "[");')
        c.open(f'for (int32_t i = 0; i < {x}_count; i++) {{')
        c.add('kw_dump_comma(out);')
        put_element(c, f, f'{x}[i]', 'false')
        c.close()
        c.add('kb_buf_append_str(out, "]");')
        c.close()
    elif f.pointer:
        c.open(f'if ({x} == NULL)')
        c.add('kb_buf_append_str(out, "null");')
        c.depth -= 1
        c.open('else')
        put_element(c, f, x, 'true')
        c.depth -= 1
    else:
        put_element(c, f, x, nullable)


def define_dump(c, s, is_set):
    c.open(f'static void dump_{s.stem}(struct kb_buf *out, int16_t version, '
           f'const struct {s.c_name} *m)\n{{')
    c.add('kb_buf_append_str(out, "{");')
    for f in s.fields:
        conditions = [f.versions.condition(s.versions)]
        if f.tag is not None:
            conditions.append(is_set(f))
        condition = ' && '.join(x for x in conditions if x)
        if condition:
            c.open(f'if ({condition}) {{')
        dump_field(c, f)
        if condition:
            c.close()
    c.add('kb_buf_append_str(out, "}");')
    c.close()
    c.add()


def define_wrappers(c, m):
    root = m.root.c_name
    c.add(f'''static void any_{m.stem}_init(void *m)
{{
    {root}_init(m);
}}

static int any_{m.stem}_read(struct kw_reader *rd, int16_t version, struct kb_arena *arena,
                             void *ret)
{{
    return {root}_read(rd, version, arena, ret);
}}

static void any_{m.stem}_write(struct kw_writer *w, int16_t version, const void *m)
{{
    {root}_write(w, version, m);
}}

static void any_{m.stem}_dump(struct kb_buf *out, int16_t version, const void *m)
{{
    dump_{m.stem}(out, version, m);
}}
''')


def make_messages_table(schemas, code, is_set, needs_is_default, define_is_default):
    c = code
    c.add('#include "proto/kafka/messages.h"')
    c.add('#include "proto/kafka/dump.h"')
    c.add('#include "proto/kafka/messages_table.h"\n')
    rows = []
    for schema in schemas:
        for m in schema.messages:
            for s in m.structs:
                if needs_is_default(s):
                    define_is_default(c, s)
            for s in m.structs:
                define_dump(c, s, is_set)
            define_wrappers(c, m)
            kind = {'request': 'KW_MESSAGE_REQUEST', 'response': 'KW_MESSAGE_RESPONSE',
                    None: 'KW_MESSAGE_DATA'}[m.direction]
            key = schema.api['key'] if schema.api else -1
            rows.append(f'{{"{m.name}", {key}, {kind}, {m.versions.low}, {m.versions.high}, '
                        f'sizeof(struct {m.root.c_name}), any_{m.stem}_init, any_{m.stem}_read, '
                        f'any_{m.stem}_write, any_{m.stem}_dump}},')
    c.open('static const struct kw_message messages[] = {')
    for row in rows:
        c.add(row)
    c.close('};')
    c.add('''
const struct kw_message *kw_message_table(size_t *ret_count)
{
    *ret_count = sizeof(messages) / sizeof(messages[0]);
    return messages;
}''')
    return c.text()
