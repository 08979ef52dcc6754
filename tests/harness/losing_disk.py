"""A disk that loses what was not flushed when its power fails (tests/durability/losing_disk.c)."""
import os
import signal
import subprocess
from pathlib import Path

from harness.build import Build
from harness.pinfold import DEATH, ENDS_WITH_US


def losing_disk_problem(build: Build) -> str:
    """The reason why there can't be such a disk here, or an empty string."""
    if not build.program("losing_disk").exists():
        return "losing_disk is not built (Debian's libfuse3-dev)"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"/dev/fuse can't be used: {error.strerror}"
    if os.geteuid() != 0:
        return "only root can mount the losing disk"
    return ""


class LosingDisk:
    """Serves the image `backing` as the file `path`, until the power fails or close(). With a seed, some of the
    sectors that were not flushed survive the failure; without, none does."""

    def __init__(self, build: Build, backing: Path, folder: Path, seed: int | None = None) -> None:
        self.folder = folder
        self.path = folder / "disk"
        self._some_survive = seed is not None
        folder.mkdir(exist_ok=True)
        words = [build.program("losing_disk"), *(["-s", str(seed)] if self._some_survive else []), backing, folder]
        self._process = subprocess.Popen([*ENDS_WITH_US, *map(str, words)], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout.readline() == "ready\n", "the losing disk did not start"

    def power_fails(self) -> None:
        self._process.send_signal(signal.SIGUSR1 if self._some_survive else signal.SIGKILL)
        self._process.wait(DEATH)

    def close(self) -> None:
        subprocess.run(["umount", "--lazy", self.folder], stderr=subprocess.DEVNULL, check=False)
        self._process.kill()
        self._process.wait(DEATH)
        self._process.stdout.close()

    def __enter__(self) -> "LosingDisk":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
