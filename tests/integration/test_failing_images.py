"""Disks of Debian's kernel whose images shrink, grow, lose their name, have no room, or are gone while the guest runs: the
guest sees I/O errors and reads what is still there, the user sees a line for each, and the guest goes on."""
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.build import Build
from harness.images import Images
from harness.losing_disk import LosingDisk, losing_disk_problem
from harness.pinfold import Pinfold

MIB = 1 << 20
SIZE = 16 * MIB
ROOM = 4 * MIB  # of the file system that becomes full
SESSION = """#!/bin/sh
mount -t proc proc /proc; mount -t devtmpfs dev /dev; mount -t sysfs sys /sys
exec </dev/hvc0 >/dev/hvc0 2>&1
insmod /modules/xen-blkfront.ko
while ! [ -b /dev/xvde ]; do sleep 0.1; done
echo ready
of() { name=$1; shift; if "$@" >/dev/null 2>&1; then echo "$name works"; else echo "$name fails"; fi; }
start() { dd if=/dev/$1 of=/dev/null bs=64k count=1 iflag=direct; }
end() { dd if=/dev/$1 of=/dev/null bs=64k skip=255 count=1 iflag=direct; }
write() { dd if=/dev/zero of=/dev/$1 bs=64k count=256 oflag=direct conv=fsync; }
while end xvda >/dev/null 2>&1; do sleep 0.2; done
of 'shrunk, start' start xvda
of 'shrunk, end' end xvda
of 'full, write' write xvdb
of 'full, start' start xvdb
of 'gone, start' start xvdc
of 'gone, write' write xvdc
of 'unlinked, write' write xvdd
of 'unlinked, start' start xvdd
echo "grown: $(cat /sys/block/xvde/size) sectors"
of 'grown, write' write xvde
poweroff -f
"""
EXPECTED = {"shrunk, start": "works", "shrunk, end": "fails", "full, write": "fails", "full, start": "works",
            "gone, start": "fails", "gone, write": "fails", "unlinked, write": "works", "unlinked, start": "works",
            "grown, write": "works"}


@dataclass
class Disks:
    """Their images, in the order of xvda, xvdb, ...; and what happens to them while the guest runs."""

    images: list[Path]
    dead: LosingDisk

    def fail(self) -> None:
        shrunk, _, _, unlinked, grown = self.images
        self.dead.power_fails()
        unlinked.unlink()
        os.truncate(grown, 2 * SIZE)
        os.truncate(shrunk, SIZE // 2)  # last: the guest waits for it


def image(path: Path) -> Path:
    with open(path, "wb") as file:
        file.truncate(SIZE)
    return path


@pytest.fixture
def disks(build: Build, work: Path) -> Iterator[Disks]:
    if problem := losing_disk_problem(build):
        pytest.skip(problem)
    small = work / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", small], check=True)
    try:
        with LosingDisk(build, image(work / "backing.img"), work / "mount") as dead:
            yield Disks([image(work / "shrunk.img"), image(small / "full.img"), dead.path, image(work / "unlinked.img"),
                         image(work / "grown.img")], dead)
    finally:
        subprocess.run(["umount", "--lazy", small], check=True)


@pytest.fixture
def initrd(images: Images, work: Path) -> Path:
    tree = work / "tree"
    (tree / "modules").mkdir(parents=True)
    [module] = (images.kernel.parent / "lib").rglob("xen-blkfront.ko")
    shutil.copy(module, tree / "modules")
    (tree / "session").write_text(SESSION)
    (tree / "session").chmod(0o755)
    more = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=tree, input=b"modules\nmodules/xen-blkfront.ko\nsession",
                          stdout=subprocess.PIPE, check=True)
    file = work / "initrd"
    file.write_bytes(images.initrd.read_bytes() + more.stdout)
    return file


def test_the_guest_sees_errors_and_the_user_a_line(host: Pinfold, images: Images, initrd: Path, disks: Disks) -> None:
    words = [word for letter, path in zip("abcde", disks.images) for word in ("--disk", f"{path},raw,xvd{letter},rw")]
    guest = host.start(images.kernel, "--initrd", initrd, *words, "--append", "console=hvc0 quiet rdinit=/session",
                       memory="128M", apart=True)
    guest.wait_for("^ready", 240)
    disks.fail()
    status = guest.exit_code(300)
    print(guest.console.text(), guest.messages.text())
    assert status == 0
    found = {match[1]: match[2] for match in guest.console.matching(r"^([a-z]+, [a-z]+) (works|fails)$")}
    assert found == EXPECTED
    assert guest.console.matching(f"^grown: {SIZE // 512} sectors$")
    for pattern in (r"disk \S*shrunk.img: can't read .*; the guest gets an I/O error",
                    r"disk \S*full.img: can't write .*: No space left on device; the guest gets",
                    r"disk \S*/mount/disk: can't read ", r"disk \S*/mount/disk: can't write "):
        assert len(guest.messages.matching(pattern)) == 1, pattern
    assert not guest.messages.matching("unlinked|grown")
    assert disks.images[4].stat().st_size == 2 * SIZE
