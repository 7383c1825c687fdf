"""Small ext4 volumes in loop files: filled to the brim, or cut off from power."""
import atexit
import errno
import fcntl
import os
import shutil
import struct
import subprocess
import tempfile

EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
GOING_FLAGS_NOLOGFLUSH = 2      # nothing that lies in memory reaches the disk any more, not even the journal

volumes = []


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError("%s: %s" % (" ".join(command), done.stdout.strip()))


class Volume:
    def __init__(self, name, size_mb, keep=False):
        self.keep = keep
        self.base = tempfile.mkdtemp(prefix="kvorum-volume-%s-" % name)
        self.image = os.path.join(self.base, "image")
        self.path = os.path.join(self.base, "mount")
        self.ballast = os.path.join(self.path, "ballast")
        self.mounted = False
        volumes.append(self)
        try:
            os.mkdir(self.path)
            with open(self.image, "wb") as f:
                f.truncate(size_mb << 20)
            run("mkfs.ext4", "-q", "-F", "-m", "0", self.image)
            self.mount()
        except (OSError, RuntimeError) as e:
            self.remove()
            raise RuntimeError("no ext4 volume in a loop file can be had here, and this test needs one (%s)" % e) from e

    def mount(self):
        run("mount", "-o", "loop", self.image, self.path)
        self.mounted = True

    def unmount(self):
        if self.mounted:
            run("umount", self.path)
            self.mounted = False

    def cut_power(self):
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, struct.pack("I", GOING_FLAGS_NOLOGFLUSH))
        finally:
            os.close(fd)

    def fill(self):
        """Take every free block."""
        piece = 1 << 20
        with open(self.ballast, "ab", buffering=0) as f:
            size = os.fstat(f.fileno()).st_size
            while piece >= 1024:
                try:
                    os.posix_fallocate(f.fileno(), size, piece)
                    size += piece
                except OSError as e:
                    if e.errno != errno.ENOSPC:
                        raise
                    piece //= 2

    def relieve(self):
        os.unlink(self.ballast)

    def remove(self):
        if self.mounted:
            if subprocess.run(["umount", self.path], stderr=subprocess.DEVNULL).returncode != 0:
                subprocess.run(["umount", "-l", self.path], stderr=subprocess.DEVNULL)
            self.mounted = False
        if self.keep:
            print("kept: %s" % self.image)
        else:
            shutil.rmtree(self.base, ignore_errors=True)
        if self in volumes:
            volumes.remove(self)


def remove_all():
    for v in list(volumes):
        v.remove()


atexit.register(remove_all)
