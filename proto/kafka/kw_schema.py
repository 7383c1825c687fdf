"""Reads schema/*.kw, the notation described in README.md, into plain objects."""
import os
import re

PRIMITIVES = {  # type: (C type, smallest size on the wire)
    'bool': ('bool', 1), 'int8': ('int8_t', 1), 'int16': ('int16_t', 2), 'uint16': ('uint16_t', 2),
    'int32': ('int32_t', 4), 'int64': ('int64_t', 8), 'float64': ('double', 8),
    'uuid': ('struct kb_uuid', 16), 'string': ('struct kw_str', 1),
    'bytes': ('struct kw_bytes', 1), 'records': ('struct kw_bytes', 1)}
NUMBERS = ('int8', 'int16', 'uint16', 'int32', 'int64', 'float64')


class SchemaError(Exception):
    """A schema file that cannot be understood; the text names file and line."""


def snake(name):
    return re.sub(r'(?<=[a-z0-9])([A-Z])', r'_\1', name).lower()


def camel(name):
    head, *rest = name.split('_')
    return head + ''.join(part.capitalize() for part in rest)


class Versions:
    """An inclusive range of versions, cut to that of whatever it lies in."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    @staticmethod
    def parse(text, outer):
        m = re.fullmatch(r'(\d+)(?:(\+)|-(\d+))?', text)
        if not m:
            raise SchemaError(f'bad versions "{text}"')
        low = int(m[1])
        high = outer.high if m[2] else int(m[3] or low)
        if not outer.low <= low <= high <= outer.high:
            raise SchemaError(f'versions {text} do not fit into {outer}')
        return Versions(low, high)

    def covers(self, outer):
        return self.low <= outer.low and self.high >= outer.high

    def condition(self, outer):
        """C condition for being in this range when version is in outer; None if always."""
        parts = []
        if self.low > outer.low:
            parts.append(f'version >= {self.low}')
        if self.high < outer.high:
            parts.append(f'version <= {self.high}')
        return ' && '.join(parts) or None

    def __str__(self):
        return f'{self.low}' if self.low == self.high else f'{self.low}-{self.high}'


class Field:
    """One line of a schema: name, type and when it is there."""

    def __init__(self, words, outer, flexible):
        self.name, text = words[0], words[1]
        self.array = text.lstrip('?').startswith('[]')
        self.base = text.lstrip('?[]')
        self.is_struct = self.base not in PRIMITIVES
        self.struct = None  # found by the parser when is_struct
        self.versions, self.null, self.tag = outer, None, None
        self.default, self.ignorable = None, False
        self.parse_options(words[2:], outer)
        if text.startswith('?'):
            self.null = self.versions
        # A nullable struct is a pointer.
        self.pointer = self.is_struct and not self.array and self.null is not None
        if self.tag is not None and (flexible is None or self.versions.low < flexible):
            raise SchemaError(f'{self.name}: tagged in a version that has no tags')
        if self.tag is not None and self.pointer:
            raise SchemaError(f'{self.name}: tagged nullable structs are not supported')

    def parse_options(self, words, outer):
        words = list(words)
        while words:
            word = words.pop(0)
            if word == 'ignorable':
                self.ignorable = True
            elif word == 'tag':
                self.tag = int(words.pop(0))
            elif word == 'null':
                self.null = Versions.parse(words.pop(0), self.versions)
            elif word == '=':
                self.default = words.pop(0)
            else:
                self.versions = Versions.parse(word, outer)

    def element_type(self):
        return f'struct {self.struct.c_name}' if self.is_struct else PRIMITIVES[self.base][0]

    def element_size_min(self):
        """Smallest wire size of one element in any version."""
        return max(1, self.struct.size_min()) if self.is_struct else PRIMITIVES[self.base][1]


class Struct:
    """A struct of a message, or the message itself (name None)."""

    def __init__(self, message, name, versions):
        self.message, self.name, self.versions = message, name, versions
        self.fields = []
        self.stem = message.stem + (f'_{name}' if name else '')
        self.c_name = f'kw_{self.stem}'

    def tagged(self):
        return sorted((f for f in self.fields if f.tag is not None), key=lambda f: f.tag)

    def untagged(self):
        return [f for f in self.fields if f.tag is None]

    def size_min(self):
        return sum(1 if f.array or f.pointer else f.element_size_min()
                   for f in self.untagged() if f.versions.covers(self.versions))


class Message:
    """A request, a response (direction says which) or a data message (direction None)."""

    def __init__(self, name, stem, versions, flexible, direction):
        self.name, self.stem, self.versions = name, stem, versions
        self.flexible, self.direction = flexible, direction
        self.structs = []  # inner ones before those that use them, the root last
        self.root = Struct(self, None, versions)

    def flexible_condition(self):
        if self.flexible is None or self.flexible > self.versions.high:
            return 'false'
        return 'true' if self.flexible <= self.versions.low else f'version >= {self.flexible}'


class Schema:
    """One .kw file: an API with its request and response, or some data messages."""

    def __init__(self, path):
        self.stem = os.path.splitext(os.path.basename(path))[0]
        self.api, self.messages = None, []
        self.message, self.open = None, []  # message being read; its open structs by depth
        with open(path, encoding='utf-8') as lines:
            for number, line in enumerate(lines, 1):
                try:
                    self.parse_line(line.rstrip())
                except (SchemaError, IndexError, ValueError) as e:
                    raise SchemaError(f'{path}:{number}: {e}') from e
        self.close_structs(0)

    def parse_line(self, line):
        words = line.split('#')[0].split()
        if not words:
            return
        if re.match(r'api \w+ key ', line):
            versions, flexible = self.parse_range(words[5], words[7])
            self.api = {'name': words[1], 'key': int(words[3]), 'versions': versions,
                        'flexible': flexible}
        elif words in (['request'], ['response']):
            a = self.api
            self.start(Message(a['name'] + words[0].capitalize(), f'{snake(a["name"])}_{words[0]}',
                               a['versions'], a['flexible'], words[0]))
        elif re.match(r'message \w+ versions ', line):
            versions, flexible = self.parse_range(words[3], words[5])
            self.start(Message(words[1], snake(words[1]), versions, flexible, None))
        else:
            self.parse_field(len(line) - len(line.lstrip()), words)

    @staticmethod
    def parse_range(versions, flexible):
        low, high = versions.split('-')
        return (Versions(int(low), int(high)),
                None if flexible == 'none' else int(flexible.rstrip('+')))

    def start(self, message):
        self.close_structs(0)
        self.message, self.open = message, [message.root]
        self.messages.append(message)

    def close_structs(self, depth):
        """Structs at depth and below are complete."""
        while len(self.open) > depth:
            self.message.structs.append(self.open.pop())

    def parse_field(self, indent, words):
        depth = indent // 2
        if indent % 2 or depth >= len(self.open):
            raise SchemaError('a field without a struct to be in')
        self.close_structs(depth + 1)
        outer = self.open[-1]
        f = Field(words, outer.versions, self.message.flexible)
        outer.fields.append(f)
        if not f.is_struct:
            return
        f.struct = next((s for s in self.message.structs if s.name == f.base), None)
        if f.struct is None:
            f.struct = Struct(self.message, f.base, f.versions)
            self.open.append(f.struct)
