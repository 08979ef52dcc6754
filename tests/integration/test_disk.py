"""A disk of Debian's kernel: a file system that the host made is mounted and written, and the host finds the data."""
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from harness.images import Images
from harness.pinfold import Pinfold
from harness.session import AUDITED

MODULES = ("crc16", "crc32c_generic", "mbcache", "jbd2", "ext4", "xen-blkfront")
SESSION = """#!/bin/sh
mount -t proc proc /proc; mount -t devtmpfs dev /dev; mkdir -p /mnt
exec </dev/hvc0 >/dev/hvc0 2>&1
for module in {modules}; do insmod /modules/$module.ko; done
while ! [ -b /dev/xvda ]; do sleep 0.1; done
mount -t ext4 /dev/xvda /mnt
cat /mnt/from-the-host
dd if=/dev/urandom of=/mnt/random bs=1M count=16 && sync
echo "sum $(md5sum </mnt/random)"
umount /mnt
echo 3 >/proc/sys/vm/drop_caches
mount -t ext4 -o ro /dev/xvda /mnt && echo "again $(md5sum </mnt/random)"
umount /mnt
poweroff -f
"""


@pytest.fixture
def initrd(images: Images, work: Path) -> Path:
    """The small root file system, with the modules for a disk and the session as its first process."""
    tree = work / "tree"
    (tree / "modules").mkdir(parents=True)
    for module in MODULES:
        [file] = (images.kernel.parent / "lib").rglob(f"{module}.ko")
        shutil.copy(file, tree / "modules")
    (tree / "session").write_text(SESSION.format(modules=" ".join(MODULES)))
    (tree / "session").chmod(0o755)
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    more = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=tree, input=names.encode(), stdout=subprocess.PIPE, check=True)
    file = work / "initrd"
    file.write_bytes(images.initrd.read_bytes() + more.stdout)
    return file


@pytest.fixture
def image(work: Path) -> Path:
    (work / "files").mkdir()
    (work / "files/from-the-host").write_text("hello from the host\n")
    image = work / "disk.img"
    subprocess.run(["truncate", "-s", "64M", image], check=True)
    subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", work / "files", image], check=True)
    return image


@pytest.mark.parametrize("vcpus", [1, 2])
def test_a_file_system_is_written(host: Pinfold, images: Images, initrd: Path, image: Path, vcpus: int) -> None:
    guest = host.start(images.kernel, "--initrd", initrd, "--audit", "--stats=json", "--vcpus", vcpus,
                       "--disk", f"{image},raw,xvda,rw", "--append", "console=hvc0 quiet rdinit=/session", memory="256M", apart=True)
    status = guest.exit_code(300)
    print(guest.console.text(), guest.messages.text())
    assert status == 0
    said = [line.split() for line in guest.console.all()]
    sums = {words[0]: words[1] for words in said if words and words[0] in ("sum", "again")}
    assert guest.console.matching("^hello from the host")
    assert sums["sum"] == sums["again"]
    assert guest.messages.matching(AUDITED)
    [stats] = [json.loads(line) for line in guest.messages.all() if line.startswith("{")]
    counts = stats["devices"]["disk xvda"]
    assert counts["bytes_written"] >= 16 << 20 and counts["bytes_read"] >= 16 << 20 and counts["flushes"] > 0
    assert counts["failed"] == 0
    assert 0 < counts["events_sent"] <= counts["requests"] and counts["events_received"] <= counts["requests"] + vcpus
    subprocess.run(["e2fsck", "-fn", image], check=True)
    dumped = subprocess.run(["debugfs", "-R", "cat random", image], stdout=subprocess.PIPE, check=True).stdout
    md5 = subprocess.run(["md5sum"], input=dumped, stdout=subprocess.PIPE, check=True).stdout.split()[0].decode()
    assert md5 == sums["sum"]
