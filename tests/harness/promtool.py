"""Prometheus's own checker of what a program exposes."""
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.build import SCRIPTS


@dataclass(frozen=True)
class Promtool:
    program: Path

    @classmethod
    def fetched(cls) -> "Promtool":
        """Skips the test if scripts/fetch-promtool can't download it."""
        done = subprocess.run([SCRIPTS / "fetch-promtool"], stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            pytest.skip("scripts/fetch-promtool can't download Debian's package prometheus")
        return cls(Path(done.stdout.strip()))

    def complaints(self, page: str) -> str:
        """What it says of a page of metrics; empty if it finds nothing wrong."""
        done = subprocess.run([self.program, "check", "metrics"], input=page, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, check=False)
        assert done.returncode in (0, 1, 3), done.stdout
        return done.stdout if done.stdout or done.returncode == 0 else f"exit code {done.returncode}"

    def checks_rules(self, file: Path) -> str:
        """What it says of a file of rules; empty if it finds nothing wrong."""
        done = subprocess.run([self.program, "check", "rules", file], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              check=False)
        return "" if done.returncode == 0 else done.stdout
