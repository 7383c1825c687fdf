"""Disks and clocks that misbehave: rules for shim.c in a broker, and bytes changed in files of a stopped one."""
import mmap
import os
import random
import struct

WRITE, SYNC, READ, RENAME, OPEN, CUT = range(1, 7)
EIO, NOSPC, SHORT, STALL, KILL_BEFORE, KILL_AFTER, SKIP = range(1, 8)
ALWAYS = 1 << 30

RULE = struct.Struct("=IIIiiIII96s")
RULES = 8
SIZE = RULES * RULE.size + 8


class Shim:
    """The rules of one broker; wrap() goes in front of its command."""

    def __init__(self, library, path):
        self.library = library
        self.path = path
        with open(path, "wb") as f:
            f.truncate(SIZE)
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), SIZE)

    def wrap(self):
        return ["env", "LD_PRELOAD=" + self.library, "CHAOS_RULES=" + self.path]

    def arm(self, call, action, words="", skip=0, times=1, stall_ms=0, slot=0):
        at = slot * RULE.size
        RULE.pack_into(self.map, at, 0, call, action, skip, times, stall_ms, 0, 0, words.encode())
        struct.pack_into("=I", self.map, at, 1)

    def disarm(self):
        self.map[:] = b"\0" * len(self.map)

    def set_clock(self, seconds):
        """The wall clock, so far from the true one. A preloaded libfaketime would bend timerfds of CLOCK_BOOTTIME too."""
        struct.pack_into("=q", self.map, RULES * RULE.size, seconds)

    def hits(self, slot=0):
        return RULE.unpack_from(self.map, slot * RULE.size)[6]


def flip_bit(path, at):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ (1 << random.randrange(8))]))
        f.flush()
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)  # read from the disk, not from memory


def cut_tail(path, count):
    os.truncate(path, os.path.getsize(path) - count)


def append(path, data):
    with open(path, "ab") as f:
        f.write(data)
