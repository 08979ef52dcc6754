"""Runs a program on a pseudo terminal, types text, and waits for output."""
import os
import pty
import re
import select
import subprocess
import termios
import time

from harness.pinfold import DEATH, ENDS_WITH_US


class Terminal:
    def __init__(self, command: list[str], environment: dict[str, str]) -> None:
        self._end, program_end = pty.openpty()
        self.process = subprocess.Popen([*ENDS_WITH_US, "setsid", "--ctty", *command], stdin=program_end, stdout=program_end,
                                        stderr=program_end, env=environment)
        os.close(program_end)
        self._seen = ""  # the output after the last match

    @property
    def pid(self) -> int:
        return self.process.pid

    def modes(self) -> list:
        """As tcgetattr(3) gives them."""
        return termios.tcgetattr(self._end)

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def wait_for(self, pattern: str, seconds: float = 60) -> re.Match:
        """Waits until the output after the last match has the pattern."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self._seen)):
            assert self._read(deadline), f"no {pattern!r} came; the terminal's end:\n{self._seen[-1500:]}"
        self._seen = self._seen[found.end():]
        return found

    def _read(self, deadline: float) -> bool:
        """Reads more output. False at the program's end, and when the time is over."""
        ready, _, _ = select.select([self._end], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._end, 65536) if ready else b""
        except OSError:  # the program has closed its end
            return False
        self._seen += data.decode(errors="replace")
        return bool(data)

    def ends(self, seconds: float) -> bool:
        """Whether the program ends by itself within the time."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEATH)
        os.close(self._end)
