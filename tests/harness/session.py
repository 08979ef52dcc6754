"""Runs sessions in Debian guests: the scripted one (tests/guest-tools/rootfs/session), and short ones that a test
contains."""
import re
from dataclasses import dataclass
from pathlib import Path

from harness.build import Build
from harness.images import Images
from harness.pinfold import Pinfold

POWERED_OFF = "reboot: (Power down|System halted)"
AUDITED = "audit: .*no reference left"


@dataclass(frozen=True)
class Session:
    """The guest's console lines, each with the host's time of its arrival; pinfold's messages; its exit code."""

    stamped: list[tuple[float, str]]
    messages: list[str]
    status: int

    @property
    def console(self) -> list[str]:
        return [line for _, line in self.stamped]

    def says(self, pattern: str) -> bool:
        return any(re.search(pattern, line) for line in self.console)

    def said(self, start: str) -> list[str]:
        """For each line that begins with the pattern, the rest of the line."""
        found = (re.match(f"{start}(.*)", line) for line in self.console)
        return [match[match.re.groups] for match in found if match]

    def first(self, start: str) -> str:
        return (self.said(start) or [""])[0]

    def audited(self) -> bool:
        return any(re.search(AUDITED, line) for line in self.messages)

    def powered_off(self) -> bool:
        return self.says(POWERED_OFF) and self.status == 0


def run_session(pinfold: Pinfold, images: Images, words: str, *options: object, memory: str, kernel: Path | None = None,
                seconds: float = 600) -> Session:
    """Boots a guest with `words` on its command line, waits for its end, and prints all output."""
    guest = pinfold.start(kernel or images.kernel, "--initrd", images.initrd, *options, "--append", f"console=hvc0 quiet {words}",
                          memory=memory, apart=True)
    try:
        status = guest.exit_code(seconds)
    finally:
        print(f"{guest.console.text()}\n--- what pinfold said\n{guest.messages.text()}")
    return Session(guest.console.stamped(), guest.messages.all(), status)


MOUNTS = "mount -t proc proc /proc; mount -t devtmpfs dev /dev; mount -t tmpfs tmp /tmp;"


def shell_command(build: Build, images: Images, session: str, words: str, *options: object, initrd: Path | None = None) -> list[str]:
    """A `pinfold run` command whose guest runs `session` in a shell, with `words` on the kernel's command line.
    The shell is the first process, so that the guest starts nothing that the session does not need: it loads no modules."""
    append = f'console=hvc0 quiet nowatchdog {words} rdinit=/bin/sh -- -c "{session}"'
    return [str(word) for word in (build.pinfold, "run", "--kernel", images.kernel, "--initrd", initrd or images.initrd, *options,
                                   "--append", append)]
