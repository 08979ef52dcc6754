"""What a guest was told is on its disk is there after the monitor was killed, or the disk's power failed, at any
moment; and the guest's file system is sound after its journal was replayed. $PINFOLD_DURABILITY_ROUNDS says how many
moments each series has, $PINFOLD_SEED chooses them."""
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.build import Build
from harness.durable import REPORT, complaints_about, last_report, make_file_system
from harness.images import Images
from harness.losing_disk import LosingDisk, losing_disk_problem
from harness.pinfold import DEATH, Guest, Pinfold

ROUNDS = int(os.environ.get("PINFOLD_DURABILITY_ROUNDS", "2"))
SEED = int(os.environ.get("PINFOLD_SEED", "0")) or random.randrange(1, 1 << 32)
BOOT = 240  # seconds, on a host that is busy with other tests
MODULES = ("xen-blkfront", "crc32c_generic", "ext4")

Fail = Callable[[], None]  # lets the power fail


def start(host: Pinfold, images: Images, disk: Path, first: int, format: str = "raw") -> Guest:
    words = f"console=hvc0 quiet pinfold.run=pinfold-guest-durable,/dev/xvda,{first}"
    return host.start(images.kernel, "--initrd", images.initrd_with(*MODULES), "--disk", f"{disk},{format},xvda,rw",
                      "--append", words, memory="128M", apart=True)


def kill_all(guest: Guest) -> None:
    """Kills the monitor, and the supervisor that started it; returns when nothing writes the image any more."""
    guest.end_all()
    end = time.monotonic() + DEATH
    while guest.processes():
        assert time.monotonic() < end, "a process of the guest's lives on"
        time.sleep(0.02)
    guest.console.finish()


def as_qcow2(raw: Path) -> Path:
    """A qcow2 image with that content. The clusters that a guest's writes allocate are in the file from the start, as a losing
    disk does not grow."""
    image = raw.with_suffix(".qcow2")
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", raw, image], check=True)
    with image.open("r+b") as file:
        file.truncate(raw.stat().st_size + (8 << 20))
    return image


def update_raw(raw: Path, image: Path) -> None:
    """Repeats the content of the qcow2 image in `raw`. The image may have leaks, and no other errors."""
    subprocess.run(["qemu-img", "check", "-q", "-r", "leaks", image], check=True)
    subprocess.run(["qemu-img", "convert", "-O", "raw", image, raw], check=True)


def series(host: Pinfold, images: Images, work: Path, power: Callable[[Path], Iterator[tuple[Path, Fail]]], format: str = "raw") -> None:
    """Lives of a guest on one disk. Each ends at a random moment while the guest writes."""
    chance = random.Random(SEED)
    print(f"PINFOLD_SEED={SEED}")
    raw = work / "disk.img"
    make_file_system(raw, 64)
    image = as_qcow2(raw) if format == "qcow2" else raw
    last = None
    for life in range(ROUNDS):
        with power(image) as (disk, fail):
            guest = start(host, images, disk, 0 if last is None else last + 1, format)
            guest.wait_for(REPORT, BOOT)
            time.sleep(chance.uniform(0, 1.5))
            fail()
            kill_all(guest)
        reported = last_report(guest.console)
        print(f"life {life}: {reported} is the last record that the guest reported")
        assert reported is not None and (last is None or reported > last)
        last = reported
        if format == "qcow2":
            update_raw(raw, image)
        wrong = complaints_about(raw, work, last)
        assert not wrong, f"life {life}, {last} reported: " + "\n".join(wrong[:10])


def kill_servers(guest: Guest) -> None:
    """Kills those that serve the guest's images. The guest goes on."""
    for pid in guest.processes():
        if Path(f"/proc/{pid}/comm").read_text().strip() == "qemu-nbd":
            os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("victim", ["all", "server"])
def test_what_serves_a_qcow2_image_is_killed(host: Pinfold, images: Images, work: Path, victim: str) -> None:
    """As a series, with the image's content in a qcow2 file, and its server among the victims."""
    if not shutil.which("qemu-img"):
        pytest.skip("no qemu-img here")
    chance = random.Random(SEED)
    print(f"PINFOLD_SEED={SEED}")
    raw = work / "disk.img"
    make_file_system(raw, 64)
    image = as_qcow2(raw)
    last = None
    for life in range(ROUNDS):
        guest = start(host, images, image, 0 if last is None else last + 1, "qcow2")
        guest.wait_for(REPORT, BOOT)
        time.sleep(chance.uniform(0, 1.5))
        if victim == "server":
            kill_servers(guest)
            end = time.monotonic() + DEATH
            while not guest.messages.has("qemu-nbd, was killed"):
                assert time.monotonic() < end, f"nobody says that the server has died:\n{guest.messages.text()}"
                time.sleep(0.02)
        kill_all(guest)
        reported = last_report(guest.console)
        print(f"life {life}: {reported} is the last record that the guest reported")
        assert reported is not None and (last is None or reported > last)
        last = reported
        update_raw(raw, image)
        wrong = complaints_about(raw, work, last)
        assert not wrong, f"life {life}, {last} reported: " + "\n".join(wrong[:10])


def test_the_monitor_is_killed(host: Pinfold, images: Images, work: Path) -> None:
    @contextmanager
    def no_failure(image: Path) -> Iterator[tuple[Path, Fail]]:
        yield image, lambda: None

    series(host, images, work, no_failure)


@pytest.mark.parametrize("some_survive", [False, True], ids=["all_is_lost", "some_sectors_survive"])
@pytest.mark.parametrize("format", ["raw", "qcow2"])
def test_the_power_fails(host: Pinfold, build: Build, images: Images, work: Path, format: str, some_survive: bool) -> None:
    if format == "qcow2" and not shutil.which("qemu-img"):
        pytest.skip("no qemu-img here")
    if problem := losing_disk_problem(build):
        pytest.skip(problem)

    @contextmanager
    def failing(image: Path) -> Iterator[tuple[Path, Fail]]:
        with LosingDisk(build, image, work / "mount", SEED if some_survive else None) as disk:
            yield disk.path, disk.power_fails

    series(host, images, work, failing, format)
