"""What scripts/rig offers to a command: a root that sandboxes can leave, files and modules that the command names, a
loopback interface, and disks that keep what was written to them. The machine boots once; each test checks one
property."""
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.rig import Rig, Run

MEGABYTE = 1 << 20
GCONV = Path("/usr/lib/x86_64-linux-gnu/gconv")

SCRIPT = r"""
files=$1 raw=$2 locked=$3 name=$4
unshare -m sh -c 'mount -t tmpfs new /mnt && mkdir /mnt/old && cp -a /bin /usr /lib /lib64 /mnt/ &&
    pivot_root /mnt /mnt/old && umount -l /old && ls /' | tr '\n' ' ' | sed 's/^/pivoted to: /'; echo
unshare -U -r id -u | sed 's/^/in a namespace of its own: user /'
echo "the module's parameter: $(cat /sys/module/loop/parameters/max_loop)"
printf 'ab' | iconv -f UTF-8 -t UTF-16BE | xxd -p | sed 's/^/converted by a library loaded at run time: /'
getent passwd nobody
echo hello >/tmp/hello; cd /tmp; httpd -p 127.0.0.1:80; wget -q -O - http://localhost/hello | sed 's/^/over lo: /'; cd - >/dev/null
sh -c ': </dev/pts/ptmx' && echo "a pseudo terminal: yes"
echo "processors: $(nproc)"
for disk in "$files" "$raw" "$locked" "$name"; do echo "disk: $(test -b "$disk" && blockdev --getsize64 "$disk")"; done
mkdir /mnt/files; mount "$files" /mnt/files || exit
echo written >/mnt/files/written
dd if=/dev/zero bs=1M count=6 2>/dev/null | tr '\0' z >/mnt/files/many
cat /mnt/files/given
sleep 1000 >/mnt/files/held &
# In pieces that are no whole sectors or pages, and nobody asks for a flush.
yes 0123456789abcde | head -c 3000016 | dd of="$raw" bs=4096 conv=notrunc 2>/dev/null
head -c 9 "$locked"; echo
dd if=/dev/zero of="$locked" bs=512 count=1 2>&1 | grep -o 'Operation not permitted\|Read-only.*\|Permission denied'
cd "$(dirname "$name")" && head -c 4 disk,3.img; echo
exit 7
"""


@dataclass(frozen=True)
class Session:
    run: Run
    folder: Path


@pytest.fixture(scope="module")
def session(rig: Rig) -> Iterator[Session]:
    yield from a_session(rig)


@pytest.fixture(scope="module")
def session_with_two_processors(rig: Rig) -> Iterator[Session]:
    yield from a_session(rig, "--smp", "2")


def a_session(rig: Rig, *options: str) -> Iterator[Session]:
    with tempfile.TemporaryDirectory(prefix="test-") as name:
        folder = Path(name)
        disks = make_disks(folder)
        bring = ("--bring", "iconv", "--bring", "getent", "--bring", GCONV / "UTF-16.so", "--bring", GCONV / "gconv-modules")
        modules = ("--module", "ext4", "--module", "loop max_loop=3")
        attach = ("--disk", disks[0], "--disk", disks[1], "--disk", f"{disks[2]},ro", "--disk", disks[3])
        yield Session(rig(*options, "-t", 300, *bring, *modules, *attach, "--", "sh", "-c", SCRIPT, "sh", *disks, limit=300), folder)


def make_disks(folder: Path) -> list[Path]:
    disks = [folder / name for name in ("files.img", "raw.img", "locked.img", "disk,3.img")]
    (folder / "tree").mkdir()
    (folder / "tree/given").write_text("given by the host\n", encoding="utf-8")
    e2fsprogs("mke2fs", "-q", "-t", "ext4", "-d", folder / "tree", disks[0], "32M")
    disks[1].write_bytes(b"." * 4 * MEGABYTE)
    disks[2].write_bytes(b"locked up".ljust(MEGABYTE, b"!"))
    disks[3].write_bytes(b"name".ljust(2 * MEGABYTE, b"!"))
    return disks


def e2fsprogs(*command: object) -> bytes:
    """The output of a program that only root has in its PATH."""
    environment = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return done.stdout


def check_disks_keep_what_was_written(session: Session) -> None:
    """Also what was not flushed, and what a process that outlived the command had open."""
    image = session.folder / "files.img"
    found = e2fsprogs("e2fsck", "-n", "-f", image)
    assert b"journal" not in found, "it was not unmounted"
    assert e2fsprogs("debugfs", "-R", "cat written", image) == b"written\n"
    assert e2fsprogs("debugfs", "-R", "cat many", image) == b"z" * 6 * MEGABYTE
    written = (b"0123456789abcde\n" * 187501).ljust(4 * MEGABYTE, b".")
    assert (session.folder / "raw.img").read_bytes() == written


def test_its_root_can_be_left(session: Session) -> None:
    assert session.run.says("^pivoted to: .* old")
    assert session.run.says("^in a namespace of its own: user 0$")


def test_it_has_the_files_and_modules_that_the_command_names(session: Session) -> None:
    assert session.run.says("^converted by a library loaded at run time: 00610062$")
    assert session.run.says("^the module's parameter: 3$")
    assert session.run.says("^nobody:x:65534:")


def test_it_has_a_loopback_interface_and_pseudo_terminals(session: Session) -> None:
    assert session.run.says("^over lo: hello$")
    assert session.run.says("^a pseudo terminal: yes$")


def test_a_disk_is_at_the_path_of_its_image(session: Session) -> None:
    sizes = [int(line.split()[1]) // MEGABYTE for line in session.run.output.split("\n") if line.startswith("disk: ")]
    assert sizes == [32, 4, 1, 2]
    assert session.run.says("^given by the host$")
    assert session.run.says("^locked up$")
    assert session.run.says("^name$")


def test_a_disk_for_reading_is_not_written(session: Session) -> None:
    assert session.run.says("Operation not permitted|Read-only|Permission denied")
    assert (session.folder / "locked.img").read_bytes() == b"locked up".ljust(MEGABYTE, b"!")


def test_disks_keep_what_was_written(session: Session) -> None:
    check_disks_keep_what_was_written(session)


def test_the_commands_exit_code_is_the_scripts(session: Session) -> None:
    assert session.run.status == 7


@pytest.mark.slow
def test_disks_keep_what_two_processors_wrote(session_with_two_processors: Session) -> None:
    assert session_with_two_processors.run.says("^processors: 2$")
    check_disks_keep_what_was_written(session_with_two_processors)
