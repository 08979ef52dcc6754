"""A short session of Debian's kernel on the emulated machine, whose KVM has two-dimensional paging. The session
runs once; each test checks one property of it. scripts/demo --check runs these tests on a host without
/dev/kvm."""
import hashlib
import os
import re
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.build import Build
from harness.images import Images
from harness.rig import DISK_PARSER, NBD_LIBRARY, Rig, Run
from harness.session import MOUNTS, shell_command

# Checks that take only seconds on that machine, where a context switch takes a millisecond, and checks of what
# differs from a host with shadow paging.
CHECKS = "copy-on-write faults alternate-stack bases ldt single-step breakpoint compat-code ldt-code bad-selector"
SESSION = (f"{MOUNTS} uname -a; dmesg | grep Xen; pinfold-guest-check -m 4 {CHECKS}; "
           "echo checks exited with $?; {disk} poweroff -f")
# A disk in qcow2, which a qemu-nbd serves there: what is on it, and what the guest writes at 4 MB.
READ_BYTES = WRITTEN_BYTES = 1 << 20
DISK = ("insmod /modules/*blkfront.ko; while ! [ -b /dev/xvda ]; do sleep 0.1; done; "
        "echo read $(dd if=/dev/xvda bs=64k count=16 | md5sum); dd if=/dev/urandom of=/dev/xvda bs=64k seek=64 count=16 conv=fsync; "
        "echo wrote $(dd if=/dev/xvda bs=64k skip=64 count=16 iflag=direct | md5sum);")
# scripts/rig copies files that are words of the command, so the script gets them as arguments.
SCRIPT = """
image=$1 small=$2 own_size=$3; shift 3
md5sum <"$own_size"
for watch in '' --audit --trace-mmu=/tmp/log; do
  "$1" run --kernel "$small" --stats $watch 2>&1 | grep 'entry of an L1  ' | sed "s|^|watched by '$watch':|"
done
"$1" doctor --json && "$@"
status=$?
test -z "$image" || {
  qemu-img check -q "$image" && qemu-img convert -f qcow2 -O raw "$image" /tmp/raw &&
    echo "on disk $(dd if=/tmp/raw bs=64k skip=64 count=16 | md5sum)"
}
exit $status
"""


@dataclass(frozen=True)
class Session:
    run: Run
    content: bytes
    """Of the disk; empty: without qemu-img there was none."""
    own_size: bytes
    """A program as that of `with_a_size_of_its_own`."""


def with_a_size_of_its_own(program: Path) -> bytes:
    """A program without debugging information, whose last segment is larger than its sections, as that of Xen's image is."""
    content = bytearray(program.read_bytes())
    headers, = struct.unpack_from("<Q", content, 32)
    each, count = struct.unpack_from("<HH", content, 54)
    last = max(at for at in range(headers, headers + each * count, each) if struct.unpack_from("<I", content, at) == (1,))
    size, = struct.unpack_from("<Q", content, last + 40)
    struct.pack_into("<Q", content, last + 40, size + 4096)
    return bytes(content)


@pytest.fixture(scope="module")
def whole_session(rig: Rig, build: Build, images: Images) -> Iterator[Session]:
    """The output of `pinfold doctor`, then of the guest's session, then what is on the guest's disk."""
    with tempfile.TemporaryDirectory(prefix="test-") as folder:
        image, content, options, bring = Path(folder, "disk.qcow2"), b"", [], []
        own_size = Path(folder, "own-size")
        own_size.write_bytes(with_a_size_of_its_own(Path("/bin/true")))
        if shutil.which("qemu-img"):
            content = os.urandom(READ_BYTES)
            Path(folder, "raw").write_bytes(content.ljust(8 << 20, b"\0"))
            subprocess.run(["qemu-img", "convert", "-O", "qcow2", Path(folder, "raw"), image], check=True)
            options = ["--disk", f"{image},qcow2,xvda,rw"]
            bring = [word for file in ("qemu-img", "qemu-nbd", NBD_LIBRARY) for word in ("--bring", file)]
        guest = shell_command(build, images, SESSION.replace("{disk}", DISK if content else ""), "nr_cpus=1", "--memory", "256M",
                              "--audit", "--stats", *options, initrd=images.initrd_with("xen-blkfront") if content else None)
        yield Session(rig("-t", 1100, *bring, *DISK_PARSER, "--", "sh", "-c", SCRIPT, "sh", image if content else "",
                          build.guest("boots_updates_in_the_vm"), own_size, *guest), content, own_size.read_bytes())


@pytest.fixture(scope="module")
def session(whole_session: Session) -> Run:
    return whole_session.run


def test_the_host_has_two_dimensional_paging(session: Run) -> None:
    assert session.says('"shadow_paging": *false')


def test_page_tables_are_updated_in_the_vm(session: Run) -> None:
    assert session.says('"second_slots": *true')
    assert session.says('"resident": *true')


def test_whoever_watches_each_update_turns_that_off(session: Run) -> None:
    assert session.says(r"watched by '': +entry of an L1 +[1-9]")
    for watch in ("--audit", "--trace-mmu=/tmp/log"):
        assert session.says(rf"watched by '{watch}': +entry of an L1 +0$")


def test_files_without_debugging_information_are_brought_as_they_are(whole_session: Session) -> None:
    assert whole_session.run.says(rf"^{hashlib.md5(whole_session.own_size).hexdigest()}  -$")


def test_the_guest_booted_paravirtualized_on_xen(session: Run) -> None:
    assert session.says("Booting kernel on Xen|Booting paravirtualized kernel on Xen")
    assert session.says("^Linux .* x86_64"), "uname does not answer"


def test_all_guest_checks_hold(session: Run) -> None:
    assert not session.says("^check .*FAILED")
    assert session.says("^checks exited with 0")
    assert session.says("^check bases: ok [0-9]+ threads"), "that machine has FSGSBASE"


def test_nothing_oopsed_and_the_guest_powered_off(session: Run) -> None:
    assert not session.says("Oops|general protection fault|Call Trace")
    assert session.says("audit: .*all counts and mirrors right")
    assert session.status == 0


def test_a_qcow2_has_what_the_guest_wrote(whole_session: Session) -> None:
    if not whole_session.content:
        pytest.skip("no qemu-img here")
    assert whole_session.run.says(f"^read {hashlib.md5(whole_session.content).hexdigest()} ")
    [[wrote], [found]] = (re.findall(f"^{words} ([0-9a-f]{{32}}) ", whole_session.run.output, re.MULTILINE) for words in ("wrote", "on disk"))
    assert wrote == found != hashlib.md5(bytes(WRITTEN_BYTES)).hexdigest()
