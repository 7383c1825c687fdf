"""A program on a terminal of its own: what it draws is collected, keys are typed."""
import os
import pty
import re
import select
import signal
import struct
import termios
import fcntl
import time


class Terminal:
    def __init__(self, args, env, rows=50, columns=180):
        self.raw = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                os.execve(args[0], args, env)
            finally:
                os._exit(127)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds):
        """False: it has ended."""
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.raw += data.decode(errors="replace")
        return data != b""

    @property
    def text(self):
        return re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", self.raw).replace("\r", "")

    def screen(self):
        """The last picture that is complete."""
        pictures = self.raw.split("\x1b[H")
        done = [p for p in pictures if "\x1b[J" in p]
        return re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", done[-1]).replace("\r", "") if done else ""

    def type(self, keys):
        os.write(self.fd, keys.encode())

    def wait(self, pattern, seconds):
        """Until the screen shows it."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if re.search(pattern, self.screen(), re.S):
                return
            if not self.read(0.1):
                break
        raise TimeoutError("the screen does not show %s" % pattern)

    def end(self, seconds):
        """Exit code; negative: the signal."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.read(0.1):
            pass
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        while pid == 0 and time.monotonic() < until:  # the terminal is closed, the process not quite over
            time.sleep(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid == 0:
            self.kill()
            return -signal.SIGKILL
        return os.waitstatus_to_exitcode(status)

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
