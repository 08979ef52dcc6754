"""Runs commands on the emulated machine (scripts/rig)."""
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.build import SCRIPTS
from harness.guest_test import Check, files, shell_program

# pinfold loads the parser of --disk and xl.cfg while it runs. ldd does not see it, so tests with disks bring it along.
DISK_PARSER = tuple(word for file in Path("/usr/lib/x86_64-linux-gnu").glob("libxlutil.so.4.[0-9]*") for word in ("--bring", file))
# So is this one loaded, for disks that have a server.
NBD_LIBRARY = Path("/usr/lib/x86_64-linux-gnu/libnbd.so.0")
MARGIN = 120  # seconds that scripts/rig may take beyond its own limit


@dataclass(frozen=True)
class Run:
    """The result of a command on the machine: its exit code, and stdout and stderr together."""

    status: int
    output: str

    def says(self, pattern: str) -> bool:
        return self.count(pattern) > 0

    def count(self, pattern: str) -> int:
        """The number of lines that match."""
        return sum(re.search(pattern, line) is not None for line in self.output.split("\n"))


class Rig:
    """Runs commands on an emulated machine."""

    @classmethod
    def with_packages(cls, program: str, packages: str) -> "Rig":
        """Skips the test if the emulator is missing and `scripts/setup PACKAGES` can't install it."""
        if not shutil.which(program) and subprocess.run([SCRIPTS / "setup", packages], check=False).returncode != 0:
            pytest.skip(f"{program} is not here, and scripts/setup {packages} can't install it")
        return cls()

    def __call__(self, *words: object, limit: int = 1100, **environment: str) -> Run:
        """Runs scripts/rig with these words: options, then the command. `limit` has to be the time limit in
        seconds that the words set (-t, else 900); scripts/rig is killed if it runs much longer."""
        command = [str(SCRIPTS / "rig"), *map(str, words)]
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT,
                                       env={**os.environ, **environment}, start_new_session=True)
            try:
                process.wait(limit + MARGIN)
            except subprocess.TimeoutExpired:
                pass
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)  # the emulator, too
                status = process.wait()
            said.seek(0)
            output = said.read().decode(errors="replace").replace("\r", "")
        print(f"$ {shlex.join(command)}\n{output}")
        return Run(status, output)

    def run_checks(self, checks: list[Check], *options: str, limit: int = 1100, each: int = 400) -> Run:
        """Runs guest tests there with tests/guest/judge.sh. Each test may take `each` seconds, all of them
        `limit`."""
        with tempfile.TemporaryDirectory(prefix="test-") as folder:
            program = Path(folder, "guests")
            program.write_text(shell_program(checks, each), encoding="utf-8")
            return self(*options, "-t", limit, "--", "sh", program, *files(checks), limit=limit)
