"""A Debian system boots from an xl.cfg to its login prompt, uses its disk and network, and powers off. scripts/demo --system
--check runs these tests. The system boots once; each test checks one property."""
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.build import ROOT, SCRIPTS, Build
from harness.images import script
from harness.rig import Rig
from harness.system import Console, file_system_errors, files_of, make_qcow2_system, make_system, system_folder
from harness.terminal import Terminal

# The time limits of each step, such as the boot.
KVM_SECONDS, RIG_SECONDS = 1200, 2400
# How much the guest writes to its disk and verifies.
MEGABYTES = int(os.environ.get("PINFOLD_SYSTEM_MEGABYTES", "64"))
FIO = ("fio --name=verify --filename=/var/tmp/fio --size={}m --rw=randwrite --bsrange=4k-128k --ioengine=libaio --iodepth=16 "
       "--direct=1 --verify=crc32c --verify_fatal=1 --do_verify=1 --end_fsync=1 --output=/tmp/fio")

# Starts the guest, and writes into the file NODES what xenstore-ls on the host says of the guest once the guest has asked
# for it. The arguments: NODES, the runtime folder, then the command that starts the guest.
START = """
export XDG_RUNTIME_DIR=/run XENSTORED_PATH=/run/pinfold/debian.xenstore
test -z "$2" || export XDG_RUNTIME_DIR="$2" XENSTORED_PATH="$2/pinfold/debian.xenstore"
own() { xenstore-list /local/domain 2>/dev/null | grep -vx 0; }
{
  until xenstore-exists "/local/domain/$(own)/data/compare" 2>/dev/null; do sleep 1; done
  xenstore-ls "/local/domain/$(own)" >"$1"
  xenstore-write "/local/domain/$(own)/data/compare" compared
} </dev/null &
shift 2
exec "$@"
"""
XENSTORE = ("xenstore-exists", "xenstore-list", "xenstore-ls", "xenstore-write")


@dataclass(frozen=True)
class Network:
    """What the system did with the packages that its host serves."""

    address: str
    before: int
    update: int
    install: int
    fetched: str
    """The sha256 of the list of packages, fetched by the program that was installed."""


@dataclass(frozen=True)
class Session:
    """What a session found out."""

    guest_nodes: list[str]
    host_nodes: list[str]
    running: str
    failed: str
    root: str
    vcpus: int
    sums: list[str]
    fio: int
    network: "Network | None"
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
        console.says("xenstore-write data/compare now")
        console.says("until [ $(xenstore-read data/compare) = compared ]; do sleep 1; done")
        guest_nodes = nodes(console.says("xenstore-ls /local/domain/$(xenstore-read domid)"))
        sums = [console.says(f"head -c {MEGABYTES}M /dev/urandom >/var/tmp/random && sha256sum </var/tmp/random"),
                console.says("sync; echo 3 >/proc/sys/vm/drop_caches && sha256sum </var/tmp/random"),
                console.says("dd if=/var/tmp/random bs=64k iflag=direct status=none | sha256sum")]
        console.says("rm /var/tmp/random")
        fio, _ = console.run(FIO.format(MEGABYTES))
        console.run("cat /tmp/fio; rm /var/tmp/fio")
        network = use_network(console)
        _, complaints = console.run("dmesg | grep -E 'Oops|BUG:|Call Trace|I/O error|lockup|EXT4-fs (error|warning)'")
        console.power_off()
        assert terminal.ends(seconds), "it does not power off"
        host_nodes = nodes((folder / "nodes").read_text(encoding="utf-8").strip("\0"))
        return Session(guest_nodes, host_nodes, running, failed, root, vcpus, sums, fio, network, complaints,
                       terminal.process.returncode, folder / "disk.img")
    finally:
        terminal.close()


def use_network(console: Console) -> Network | None:
    """None if the host serves no packages."""
    status, url = console.run("sed -n 's/.* packages=//p' /proc/cmdline | grep .")
    if status != 0:
        return None
    _, address = console.run("for i in $(seq 300); do ip -4 address show dev enX0 | grep inet && break; sleep 1; done")
    before, _ = console.run("command -v curl")
    update, _ = console.run("use-host-packages")
    install, _ = console.run("DEBIAN_FRONTEND=noninteractive apt-get install -qy curl")
    _, fetched = console.run(f"curl -sS --max-time 60 {url}/Packages | sha256sum")
    return Network(address, before, update, install, fetched)


def nodes(listing: str) -> list[str]:
    """Without the node by which the host was asked."""
    return [line for line in listing.replace("\r", "").split("\n") if line and " compare = " not in line]


def session_on_kvm(build: Build, folder: Path, configuration: Path) -> Session:
    command = ["sh", "-c", START, "sh", folder / "nodes", folder, SCRIPTS / "system-parts/run", build.pinfold, busybox(),
               system_folder(), configuration]
    return a_session(command, dict(os.environ), folder, KVM_SECONDS)


@pytest.fixture(scope="module")
def kvm_session(kvm: None, build: Build) -> Iterator[Session]:
    with tempfile.TemporaryDirectory(prefix="test-") as name:
        yield session_on_kvm(build, Path(name), make_system(Path(name)))


@pytest.fixture(scope="module")
def qcow2_session(kvm: None, build: Build) -> Iterator[Session]:
    """The disk is in qcow2, and the kernel comes from it, by a boot loader."""
    for program in ("qemu-img", "qemu-nbd", "grub-fstest"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: scripts/setup --tests")
    with tempfile.TemporaryDirectory(prefix="test-") as name:
        folder = Path(name)
        session = session_on_kvm(build, folder, make_qcow2_system(folder))
        subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", folder / "disk.qcow2"], check=True)
        subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", folder / "disk.qcow2", session.image], check=True)
        yield session


@pytest.fixture(scope="module")
def rig_session(rig: Rig, build: Build) -> Iterator[Session]:
    """The machine's clock counts instructions, so that no time limit of systemd's depends on this machine's load."""
    """What xenstore-ls prints there is written onto a disk."""
    with tempfile.TemporaryDirectory(prefix="test-") as name:
        folder = Path(name)
        configuration = make_system(folder)
        (folder / "nodes").write_bytes(bytes(1 << 20))
        options = ["--count", "-t", 3 * RIG_SECONDS, "--disk", folder / "disk.img", "--disk", folder / "nodes"]
        options += ["--module", "dummy"]
        for file in (*files_of(configuration), xl_library(), *XENSTORE, "passt", "passt.avx2", system_folder() / "packages"):
            options += ["--bring", file]
        command = [SCRIPTS / "rig", *options, "--", "sh", "-c", START, "sh", folder / "nodes", "", SCRIPTS / "system-parts/run",
                   build.pinfold, "busybox", system_folder(), configuration]
        yield a_session(command, dict(os.environ), folder, RIG_SECONDS)


@pytest.fixture(params=[pytest.param("kvm_session", id="kvm", marks=pytest.mark.slow),
                        pytest.param("qcow2_session", id="qcow2", marks=pytest.mark.slow),
                        pytest.param("rig_session", id="rig", marks=pytest.mark.slow)])
def session(request: pytest.FixtureRequest) -> Session:
    return request.getfixturevalue(request.param)


def busybox() -> Path:
    """It serves the packages."""
    script("make-initramfs")
    return ROOT / "build/images/busybox/bin/busybox"


def xl_library() -> Path:
    """The parser of xl.cfg, which pinfold loads while it runs: by the shortest of its names, its soname."""
    return min(Path("/usr/lib/x86_64-linux-gnu").glob("libxlutil.so.4.[0-9]*"), key=lambda path: len(path.name))


def test_everything_that_the_system_starts_runs(session: Session) -> None:
    assert session.failed == ""
    assert session.running == "running"


def test_guest_and_host_see_the_same_nodes_of_the_store(session: Session) -> None:
    assert any("device" in line for line in session.guest_nodes)
    assert session.guest_nodes == session.host_nodes


def test_its_root_is_its_disk(session: Session) -> None:
    assert re.match(r"/dev/xvda +ext4 +rw", session.root)


def test_it_has_the_vcpus_of_its_configuration(session: Session) -> None:
    assert session.vcpus == 2


def test_its_disk_has_what_it_wrote(session: Session) -> None:
    """After the page cache was dropped, and past it."""
    assert session.sums == [session.sums[0]] * 3
    assert session.fio == 0


def test_it_installs_a_package_from_its_host(session: Session) -> None:
    if session.network is None:
        pytest.skip("this host has no default route, and so no address that its guest could reach")
    assert "10.0.2.15" in session.network.address
    assert session.network.before != 0, "it must not have the package already"
    assert (session.network.update, session.network.install) == (0, 0)
    packages = (system_folder() / "packages/Packages").read_bytes()
    assert session.network.fetched.split()[0] == hashlib.sha256(packages).hexdigest()


def test_its_kernel_has_no_complaints(session: Session) -> None:
    assert session.complaints == ""


def test_it_powers_off_and_leaves_a_clean_file_system(session: Session) -> None:
    assert session.status == 0
    assert file_system_errors(session.image) == ""
