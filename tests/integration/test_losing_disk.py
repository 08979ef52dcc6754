"""The disk that the tests of durability rely on: what was flushed survives a power failure, and nothing else does."""
import contextlib
import os
from pathlib import Path

import pytest

from harness.build import Build
from harness.losing_disk import LosingDisk, losing_disk_problem

MIB = 1 << 20


@pytest.fixture
def backing(build: Build, work: Path) -> Path:
    if problem := losing_disk_problem(build):
        pytest.skip(problem)
    image = work / "backing.img"
    image.write_bytes(bytes(MIB))
    return image


def write_and_fail(build: Build, backing: Path, work: Path, seed: int | None = None) -> bytes:
    """Writes `a` and flushes, then writes `b` and does not, then lets the power fail. What is left."""
    with LosingDisk(build, backing, work / "mount", seed) as disk:
        file = os.open(disk.path, os.O_RDWR)
        os.pwrite(file, b"a" * 65536, 0)
        os.fdatasync(file)
        os.pwrite(file, b"b" * 65536, 32768)
        assert os.pread(file, 1, 32768) == b"b"
        disk.power_fails()
        with pytest.raises(OSError):
            os.pwrite(file, b"c", 0)
        with contextlib.suppress(OSError):
            os.close(file)
    return backing.read_bytes()


def test_what_was_not_flushed_is_lost(build: Build, backing: Path, work: Path) -> None:
    left = write_and_fail(build, backing, work)
    assert left[:65536] == b"a" * 65536
    assert left[65536:] == bytes(MIB - 65536)


def test_some_sectors_may_survive_whole(build: Build, backing: Path, work: Path) -> None:
    left = write_and_fail(build, backing, work, seed=7)
    sectors = [left[at:at + 512] for at in range(32768, 32768 + 65536, 512)]
    survived = sectors.count(b"b" * 512)
    assert left[:32768] == b"a" * 32768
    assert 32 < survived < 96, f"{survived} of 128 survived"
    assert survived + sectors.count(b"a" * 512) + sectors.count(bytes(512)) == 128
