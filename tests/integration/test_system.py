"""A Debian system boots from an xl.cfg to its login prompt, uses its disk, and powers off. scripts/demo --system
--check runs these tests. The system boots once; each test checks one property."""
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.build import SCRIPTS, Build
from harness.rig import Rig
from harness.system import Console, file_system_errors, files_of, make_system
from harness.terminal import Terminal

# The time limits of each step, such as the boot.
KVM_SECONDS, RIG_SECONDS = 1200, 2400
# How much the guest writes to its disk and verifies.
MEGABYTES = int(os.environ.get("PINFOLD_SYSTEM_MEGABYTES", "64"))
FIO = ("fio --name=verify --filename=/var/tmp/fio --size={}m --rw=randwrite --bsrange=4k-128k --ioengine=libaio --iodepth=16 "
       "--direct=1 --verify=crc32c --verify_fatal=1 --do_verify=1 --end_fsync=1 --output=/tmp/fio")


@dataclass(frozen=True)
class Session:
    """What a session found out."""

    running: str
    failed: str
    root: str
    vcpus: int
    sums: list[str]
    fio: int
    complaints: str
    status: int
    image: Path


def a_session(command: list[object], environment: dict[str, str], folder: Path, seconds: float) -> Session:
    terminal = Terminal([str(word) for word in command], environment)
    try:
        console = Console(terminal, seconds)
        _, running = console.run("systemctl is-system-running --wait")
        failed = console.says("systemctl --failed --no-legend --plain --no-pager")
        root = console.says("findmnt --noheadings --output SOURCE,FSTYPE,OPTIONS /")
        vcpus = int(console.says("nproc"))
        sums = [console.says(f"head -c {MEGABYTES}M /dev/urandom >/var/tmp/random && sha256sum </var/tmp/random"),
                console.says("sync; echo 3 >/proc/sys/vm/drop_caches && sha256sum </var/tmp/random"),
                console.says("dd if=/var/tmp/random bs=64k iflag=direct status=none | sha256sum")]
        console.says("rm /var/tmp/random")
        fio, _ = console.run(FIO.format(MEGABYTES))
        console.run("cat /tmp/fio; rm /var/tmp/fio")
        _, complaints = console.run("dmesg | grep -E 'Oops|BUG:|Call Trace|I/O error|lockup|EXT4-fs (error|warning)'")
        console.power_off()
        assert terminal.ends(seconds), "it does not power off"
        return Session(running, failed, root, vcpus, sums, fio, complaints, terminal.process.returncode, folder / "disk.img")
    finally:
        terminal.close()


@pytest.fixture(scope="module")
def kvm_session(kvm: None, build: Build) -> Iterator[Session]:
    with tempfile.TemporaryDirectory(prefix="test-") as name:
        folder = Path(name)
        command = [build.pinfold, "run", make_system(folder)]
        yield a_session(command, {**os.environ, "XDG_RUNTIME_DIR": name}, folder, KVM_SECONDS)


@pytest.fixture(scope="module")
def rig_session(rig: Rig, build: Build) -> Iterator[Session]:
    """The machine's clock counts instructions, so that no time limit of systemd's depends on this machine's load."""
    with tempfile.TemporaryDirectory(prefix="test-") as name:
        folder = Path(name)
        configuration = make_system(folder)
        options = ["--count", "-t", 3 * RIG_SECONDS, "--disk", folder / "disk.img"]
        for file in (*files_of(configuration), xl_library()):
            options += ["--bring", file]
        command = [SCRIPTS / "rig", *options, "--", build.pinfold, "run", configuration]
        yield a_session(command, dict(os.environ), folder, RIG_SECONDS)


@pytest.fixture(params=[pytest.param("kvm_session", id="kvm", marks=pytest.mark.slow),
                        pytest.param("rig_session", id="rig", marks=pytest.mark.slow)])
def session(request: pytest.FixtureRequest) -> Session:
    return request.getfixturevalue(request.param)


def xl_library() -> Path:
    """The parser of xl.cfg, which pinfold loads while it runs."""
    return next(Path("/usr/lib/x86_64-linux-gnu").glob("libxlutil.so.4.[0-9]*"))


def test_everything_that_the_system_starts_runs(session: Session) -> None:
    assert session.failed == ""
    assert session.running == "running"


def test_its_root_is_its_disk(session: Session) -> None:
    assert re.match(r"/dev/xvda +ext4 +rw", session.root)


def test_it_has_the_vcpus_of_its_configuration(session: Session) -> None:
    assert session.vcpus == 2


def test_its_disk_has_what_it_wrote(session: Session) -> None:
    """After the page cache was dropped, and past it."""
    assert session.sums == [session.sums[0]] * 3
    assert session.fio == 0


def test_its_kernel_has_no_complaints(session: Session) -> None:
    assert session.complaints == ""


def test_it_powers_off_and_leaves_a_clean_file_system(session: Session) -> None:
    assert session.status == 0
    assert file_system_errors(session.image) == ""
