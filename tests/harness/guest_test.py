"""The types of the guest test table (tests/guest/table.py), and how a run is judged."""
import enum
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from harness.build import ROOT, Build

GUEST_FOLDER = ROOT / "tests/guest"
MEMORY = ("--memory", "32M")  # unless a row has --memory


class Host(enum.Flag):
    """A kind of machine that tests run on."""

    KVM = enum.auto()  # /dev/kvm of this machine
    RIG = enum.auto()  # the emulated machine (scripts/rig): nested paging, one processor
    RIG_SMP = enum.auto()  # the same with two processors and QEMU 10, in scripts/nightly
    RIG_EPT = enum.auto()  # the one with EPT, which bochs emulates; it also runs some of the rows for RIG


@dataclass(frozen=True)
class Check:
    """A command and the conditions that its run has to meet."""

    name: str
    command: tuple[str, ...]
    exit: int = 0
    says: tuple[str, ...] = ()  # extended regular expressions; each has to match a line of the output
    quiet: bool = False  # the monitor may log nothing above debug level
    exits_at_most: int | None = None  # the total that --stats prints

    def complaints(self, status: int | None, output: str) -> list[str]:
        """Lists the conditions that a run broke. tests/guest/judge.sh applies the same rules on machines without
        Python."""
        lines = output.replace("\r", "").split("\n")
        wrong = [] if status == self.exit else [f"exit code {status}, not {self.exit}"]
        wrong += [f"no match: {pattern}" for pattern in self.says if not matches(pattern, lines)]
        if matches("FAILED", lines):
            wrong.append("a check of the guest's failed")
        if self.quiet and matches(r"\[(info|warning|error|critical)\]", lines):
            wrong.append("the monitor wrote into its log")
        if self.exits_at_most is not None and not total_exits(lines) <= self.exits_at_most:
            wrong.append(f"{total_exits(lines)} exits, where {self.exits_at_most} are allowed")
        return wrong


def matches(pattern: str, lines: list[str]) -> bool:
    return any(re.search(pattern, line) for line in lines)


def total_exits(lines: list[str]) -> float:
    """The total in the `exits` section that --stats prints, or infinity if there is none."""
    section = False
    for line in lines:
        section = section or line.startswith("exits")
        found = re.match("  total +([0-9]+)", line)
        if section and found:
            return int(found[1])
    return float("inf")


@dataclass(frozen=True)
class GuestTest:
    """Runs a test guest to its end."""

    name: str
    guest: str
    options: str = "--audit"  # for `pinfold run`, with shell quoting; {kernel} stands for the guest's file
    exit: int = 0
    says: tuple[str, ...] = ()
    monitor: str = "pinfold"
    quiet: bool = False
    exits_at_most: int | None = None  # on the emulated machine, where the gate finishes system calls in the VM
    on: Host = Host.KVM | Host.RIG
    limit: int = 180  # CTest's timeout in seconds
    breaks_under: str = ""  # the sanitizer under which this test can't run

    @property
    def targets(self) -> tuple[str, ...]:
        """The CMake targets to build before this test can run."""
        return (self.monitor, f"guest_{self.guest}")

    def check(self, build: Build, host: Host) -> Check:
        kernel = str(build.guest(self.guest))
        words = [word.replace("{kernel}", kernel) for word in shlex.split(self.options)]
        fast = host != Host.KVM
        # There the gate updates page tables itself. An audit alone would turn that off, so guests run both ways.
        if fast and "--audit" in words and "--resident" not in words:
            words += ["--resident", "on"]
        memory = () if "--memory" in words else MEMORY
        command = (str(build.program(self.monitor)), "run", "--kernel", kernel, *memory, *words)
        return Check(self.name, command, self.exit, self.says, self.quiet, self.exits_at_most if fast else None)


@dataclass(frozen=True)
class ScriptTest:
    """Runs a POSIX shell script that does its own checks."""

    name: str
    script: str  # in tests/guest
    arguments: tuple[str, ...]  # CMake targets among them are replaced by their files
    rig_options: tuple[str, ...] = ()  # put before the arguments on the emulated machine
    on: Host = Host.KVM | Host.RIG
    limit: int = 180
    breaks_under: str = ""

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(word for word in self.arguments if is_target(word)))

    def check(self, build: Build, host: Host) -> Check:
        options = () if host == Host.KVM else self.rig_options
        arguments = (str(build.program(word)) if is_target(word) else word for word in self.arguments)
        return Check(self.name, ("sh", str(GUEST_FOLDER / self.script), *options, *arguments))


@dataclass(frozen=True)
class NextDoorTest:
    """Runs a test guest in one machine with a neighbour whose memory it attacks, to the end of both."""

    name: str
    guest: str
    words: str  # of the guest's command line; one of them names the neighbour's frame (tests/guest/kit/neighbour.hpp)
    neighbours_words: str = ""
    options: tuple[str, ...] = ()
    exit: int = 0
    says: tuple[str, ...] = ()
    monitor: str = "pinfold"
    neighbour: str = "machine_keeps_a_secret"
    on: Host = Host.KVM | Host.RIG
    limit: int = 300
    breaks_under: str = ""

    @property
    def targets(self) -> tuple[str, ...]:
        return (self.monitor, f"guest_{self.neighbour}", f"guest_{self.guest}")

    def check(self, build: Build, host: Host) -> Check:
        del host
        script = str(GUEST_FOLDER / "next_door")
        command = ("sh", script, str(build.program(self.monitor)), str(build.guest(self.neighbour)), self.neighbours_words,
                   str(build.guest(self.guest)), self.words, *self.options)
        return Check(self.name, command, self.exit, self.says)


def is_target(word: str) -> bool:
    return word.startswith(("guest_", "pinfold"))


Row = GuestTest | ScriptTest | NextDoorTest


def shell_program(checks: list[Check], seconds: int) -> str:
    """A POSIX shell program that runs the checks: tests/guest/judge.sh, then a few lines for each check. Each
    check may take `seconds`."""
    parts = [(GUEST_FOLDER / "judge.sh").read_text(encoding="utf-8"), f"limit={seconds}\n"]
    for check in checks:
        parts.append("\n" + shlex.join(["run", check.name, str(check.exit), *check.command]))
        parts += ["says " + shlex.quote(pattern) for pattern in check.says]
        if check.quiet:
            parts.append("logs_nothing")
        if check.exits_at_most is not None:
            parts.append(f"leaves_at_most {check.exits_at_most}")
        parts.append("verdict")
    return "\n".join(parts) + "\n\nsummary\n"


def files(checks: list[Check]) -> list[Path]:
    """The files that the commands name. scripts/rig has to copy them to the emulated machine."""
    words = {word for check in checks for word in check.command if word.startswith("/")}
    return [Path(word) for word in sorted(words)]
