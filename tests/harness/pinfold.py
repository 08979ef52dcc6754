"""Runs pinfold's commands, and guests in the background."""
import contextlib
import fcntl
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from harness.build import Build

DEATH = 10.0  # seconds that a killed process may take to disappear
ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL")  # so that no guest outlives a killed test


KVM_GET_API_VERSION = 0xAE00  # linux/kvm.h


def kvm_problem(device: str = "/dev/kvm") -> str:
    """The reason why KVM can't be used here, or an empty string."""
    try:
        with open(device, "r+b", buffering=0) as kvm:
            fcntl.ioctl(kvm, KVM_GET_API_VERSION)
    except OSError as error:
        return f"{device} is not there or can't be used: {error.strerror}"
    return ""


class Lines:
    """Reads lines from a pipe in a thread, and notes the host's time (in seconds) at which each line arrived."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._stamped: list[tuple[float, str]] = []
        self._thread = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._thread.start()

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            for line in pipe:
                self._stamped.append((time.time(), line.decode(errors="replace").replace("\r", "").rstrip("\n")))

    def stamped(self) -> list[tuple[float, str]]:
        return list(self._stamped)

    def all(self) -> list[str]:
        return [line for _, line in self.stamped()]

    def matching(self, pattern: str) -> list[re.Match]:
        """The first match in each line that has one."""
        found = (re.search(pattern, line) for line in self.all())
        return [match for match in found if match]

    def has(self, pattern: str) -> bool:
        return bool(self.matching(pattern))

    def text(self) -> str:
        return "\n".join(self.all())

    def finish(self, seconds: float = DEATH) -> None:
        """Waits until the other end of the pipe is closed."""
        self._thread.join(seconds)


class Guest:
    """A `pinfold run` in the background, in a process session of its own. `pid` is the supervisor's, and `child()` the
    pid of its monitor, the process that runs the guest. `console` has the lines of stdout and `messages` those of stderr.
    Unless `apart` is set, both have the lines of both."""

    def __init__(self, command: list[str], environment: dict[str, str], folder: Path, apart: bool = False) -> None:
        self.process = subprocess.Popen(
            [*ENDS_WITH_US, *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if apart else subprocess.STDOUT, env=environment, cwd=folder, start_new_session=True)
        self.console = Lines(self.process.stdout)
        self.messages = Lines(self.process.stderr) if apart else self.console

    @property
    def pid(self) -> int:
        return self.process.pid

    def child(self) -> int:
        """The only child of the process that was started: of a supervisor, the monitor of the guest's present life.
        Fails if there is none."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        assert len(children) == 1, f"its children: {children}"
        return int(children[0])

    def runs(self) -> bool:
        return self.process.poll() is None

    def wait_for(self, pattern: str, seconds: float = 30, times: int = 1) -> re.Match:
        """Waits until `times` lines of the console match, and returns the last match. Fails at the time limit, or
        if the guest ends before."""
        end = time.monotonic() + seconds
        while len(found := self.console.matching(pattern)) < times:
            over = time.monotonic() > end or not self.runs()
            if over:
                self.console.finish(1)
                found = self.console.matching(pattern)
                assert len(found) >= times, f"no {pattern!r} came, but:\n{self.console.text()}\n{self.messages.text()}"
                break
            time.sleep(0.02)
        return found[times - 1]

    def exit_code(self, seconds: float = 60) -> int:
        """Waits until the guest ends by itself, and returns its exit code. Fails at the time limit."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"it did not end within {seconds} s, but said:\n{self.console.text()}") from None
        self.console.finish()
        self.messages.finish()
        return status

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        """Kills the guest if it still runs, and waits until the monitor is gone, too."""
        if self.runs():
            self.process.kill()
        self.process.wait(DEATH)
        assert self.all_end(), "a process is left"

    def all_end(self, seconds: float = DEATH) -> bool:
        """Whether all processes of the guest's session end within the time."""
        end = time.monotonic() + seconds
        while self.processes() and time.monotonic() < end:
            time.sleep(0.01)
        return self.processes() == []

    def processes(self) -> list[int]:
        """The processes of the guest's session: pinfold, and anything that it left behind."""
        return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit() and session_of(entry) == self.pid]

    def end_all(self) -> None:
        for process in self.processes():
            if process != self.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        self.kill()


def stop(process: int) -> None:
    """Stops it, and returns when none of its threads runs: a thread on another processor may still be at work when kill()
    returns."""
    os.kill(process, signal.SIGSTOP)
    end = time.monotonic() + 30
    while not all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in Path(f"/proc/{process}/task").glob("*/stat")):
        assert time.monotonic() < end, "the process does not stop"
        time.sleep(0.01)


def session_of(process: Path) -> int | None:
    """The session of the process that this folder of /proc describes; None if it has ended, reaped or not."""
    try:
        state, _, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return None
    return None if state == "Z" else int(session)


class Pinfold:
    """Runs the program with a runtime folder of its own, so that its commands see no other guests."""

    def __init__(self, build: Build, folder: Path) -> None:
        self.build = build
        self.folder = folder
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": str(folder)}
        self._guests: list[Guest] = []

    def __call__(self, *words: object, seconds: float = 60) -> subprocess.CompletedProcess:
        """Runs a command to its end and captures its output as text."""
        return subprocess.run([str(self.build.pinfold), *map(str, words)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", env=self.environment, timeout=seconds, check=False)

    def start(self, kernel: Path, *options: object, memory: str = "32M", apart: bool = False, folder: Path | None = None,
              **environment: str) -> Guest:
        """Starts a guest in the background. It is killed at the end of the test."""
        words = [str(self.build.pinfold), "run", "--kernel", str(kernel), "--memory", memory, *map(str, options)]
        return self.start_command(words, apart, folder, **environment)

    def start_command(self, words: Sequence[str], apart: bool = False, folder: Path | None = None, **environment: str) -> Guest:
        """The same with a complete command."""
        guest = Guest(list(words), {**self.environment, **environment}, folder or self.folder, apart)
        self._guests.append(guest)
        return guest

    def close(self) -> None:
        for guest in self._guests:
            guest.end_all()
