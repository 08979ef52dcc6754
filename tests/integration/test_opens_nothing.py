"""Once a monitor has confined itself, before it parses anything that an image's maker or a guest wrote, it opens no path and
executes no program, whatever it is asked for (docs/decisions/process-model.md). strace(1) records every system call that
names a file."""
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.images import Images
from harness.network import initrd
from harness.pinfold import Guest, Pinfold
from test_gdb import SCRIPT, wait_for_socket

# seccomp(2) is traced because each thread calls it first: with --seccomp-bpf, a thread of which strace traces no call makes no
# progress in KVM_RUN.
TRACE = ("strace", "-f", "--seccomp-bpf", "-qq", "-e",
         "trace=%file,execve,execveat,open_by_handle_at,sendto,prctl,seccomp,clone,clone3,fork,vfork,exit", "-o")
Starter = Callable[..., Guest]


@pytest.fixture
def traced(host: Pinfold, work: Path) -> Starter:
    """traced(GUEST, OPTION...) starts a guest, a program of the tests or a path, whose monitors are traced into `work`/calls.
    Skips the test if processes can't be traced here."""
    if not shutil.which("strace"):
        pytest.skip("no strace here")
    probe = subprocess.run([*TRACE, work / "probe", "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"strace can trace nothing here: {probe.stderr}")

    def start(guest: str | Path, *options: object, memory: str = "32M") -> Guest:
        kernel = guest if isinstance(guest, Path) else host.build.guest(guest)
        words = [*TRACE, work / "calls", host.build.pinfold, "run", "--name", "one", "--kernel", kernel, "--memory", memory, *options]
        return host.start_command([str(word) for word in words], apart=True)

    return start


def map_of(work: Path) -> Path:
    (work / "map").write_text("ffffffff80100000 T _text\n")
    return work / "map"


class Life:
    """What a monitor did, from its start to its end."""

    def __init__(self) -> None:
        self.confined = self.ran = False
        self.threads = 0  # that run when it confines itself
        self.named: list[str] = []  # Calls with a file's name that it made after it had confined itself.

    def hear(self, call: str) -> None:
        if call.startswith("prctl(PR_SET_NO_NEW_PRIVS, 1"):
            self.confined = True
        elif re.match(r'sendto\(\d+, "\\0\\0", 2, ', call):
            self.ran = True
        elif not self.confined:
            self.threads += call.startswith("clone") and "CLONE_THREAD" in call and " = -1 " not in call
            self.threads -= call.startswith("exit(")
        elif re.match("[a-z_0-9]+[(]", call) and not call.startswith(("sendto", "prctl", "seccomp", "clone", "exit(")):
            self.named.append(call)


def lives_in(calls: Path) -> list[Life]:
    """The lives whose guests ran. A life has the calls of its monitor, and of all threads and processes that the monitor starts;
    not those of servers of images and of passt, which the supervisor starts."""
    lines = [line.split(maxsplit=1) for line in calls.read_text(errors="replace").splitlines()]
    # From all lines first: a thread's calls may come before the result of the call that made it.
    made = re.compile(r"(?:<\.\.\. )?(?:clone3?|v?fork)\b.* = (\d+)$")
    maker = {found[1]: process for process, call in lines if (found := made.match(call))}
    lives: dict[str, Life] = {}  # by the process of the monitor
    for process, call in lines:
        if call.startswith('execve("/proc/self/exe"') and process not in lives:
            lives[process] = Life()
            continue
        while process not in lives and process in maker:
            process = maker[process]
        if process in lives:
            lives[process].hear(call)
    return whole(list(lives.values()))


def whole(lives: list[Life]) -> list[Life]:
    """Without the last one, if a signal ended it before its guest ran."""
    if lives and not lives[-1].ran:
        lives.pop()
    assert lives and all(life.confined and life.ran for life in lives), "a monitor did not confine itself, or not report"
    # Before, one makes malloc open what it will ever want to read (cli/sandbox/allocator.hpp); another helps to hash a kernel.
    assert all(life.threads == 0 for life in lives), "threads that are not confined"
    return lives


def test_lives_with_an_audit_a_log_statistics_and_clients(host: Pinfold, work: Path, traced: Starter) -> None:
    guest = traced("boots_uuid", "--append", "reboots", "--audit", "--audit-interval", 1, "--stats", f"--trace-mmu={work}/log",
                   "--system-map", map_of(work))
    for times in range(1, 4):
        guest.wait_for("^uuid ", 60, times=times)
        for words in (("list",), ("tables", "one"), ("frame", "one", "0x110"), ("walk", "one", "0xffffffff80100000"),
                      ("pause", "one"), ("unpause", "one"), ("frame", "one", "0xffffffff")):
            host(*words)
    host("list")
    os.kill(guest.child(), signal.SIGTERM)  # strace itself does not pass it on
    guest.exit_code(30)
    lives = lives_in(work / "calls")
    assert len(lives) >= 3
    assert [life.named for life in lives] == [[]] * len(lives)


def test_a_session_with_a_debugger(host: Pinfold, work: Path, traced: Starter) -> None:
    if not shutil.which("gdb"):
        pytest.skip("no gdb here")
    guest = traced("control_is_debugged", "--vcpus", 2, "--gdb", f"unix:{work}/gdb")
    wait_for_socket(work / "gdb")
    (work / "script").write_text(SCRIPT.replace("SOCKET", str(work / "gdb")))
    gdb = subprocess.run(["gdb", "-nx", "-q", "-batch", "-x", work / "script", host.build.guest("control_is_debugged")],
                         stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    assert guest.exit_code() == 0, gdb.stdout
    [life] = lives_in(work / "calls")
    assert life.named == []
    assert not (work / "gdb").exists()  # the supervisor removed it


def test_a_crash_with_its_report(work: Path, traced: Starter) -> None:
    guest = traced("bad_shuts_down", "--append", "crash", "--system-map", map_of(work), "--early-console", "--trace-mmu",
                   "--trace-filter", "op=pin")
    assert guest.exit_code() == 5
    assert guest.messages.has("_text")
    assert [life.named for life in lives_in(work / "calls")] == [[]]


# Each wait ends with a line that the test waits for, so that no device goes before it was used.
SESSION = """
    dd if=/dev/xvda of=/dev/null bs=64k count=16 2>/dev/null
    dd if=/dev/urandom of=/dev/xvdb bs=64k count=16 conv=fsync 2>/dev/null
    ip link set eth0 up; udhcpc -q -n -t 10 -i eth0 -s /lease
    echo "used the first ones"
    until [ -b /dev/xvdd ]; do sleep 0.1; done
    dd if=/dev/urandom of=/dev/xvdd bs=64k count=16 conv=fsync 2>/dev/null
    echo "used a disk"
    until [ -e /sys/class/net/eth1 ]; do sleep 0.1; done
    ip link set eth1 up; ip address add 10.9.0.1/24 dev eth1
    (while [ -e /sys/class/net/eth1 ]; do ping -c 1 -w 1 10.9.0.2 >/dev/null 2>&1; done) &
    until [ "$(cat /sys/block/xvdb/size)" = 65536 ]; do sleep 0.1; done
    echo "saw the new size"
    until head -c 6 /dev/xvdc 2>/dev/null | grep -q medium; do sleep 0.1; done
    echo "read the medium"
    while [ -e /sys/class/net/eth0 ] || [ -e /sys/class/net/eth1 ] || [ -b /dev/xvdd ]; do sleep 0.1; done
    echo "all went"
"""


def test_disks_and_interfaces_of_the_start_and_attached_ones(host: Pinfold, images: Images, work: Path, traced: Starter) -> None:
    """Raw and qcow2 images, passt, a socket with a peer, a new size, a medium that changes, and the detaches."""
    for program in ("qemu-img", "qemu-nbd", "passt"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed: scripts/setup --tests")
    for name in ("one.qcow2", "two.qcow2"):
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", work / name, "16M"], check=True)
    for name, size in (("raw.img", 16 << 20), ("medium.iso", 1 << 20)):
        (work / name).write_bytes(b"medium".ljust(size, b"\0"))
    guest = traced(images.kernel, "--initrd", initrd(images.initrd_with("xen-blkfront", "xen-netfront"), work, SESSION),
                   "--append", "console=hvc0 quiet rdinit=/session", "--disk", f"{work}/one.qcow2,qcow2,xvda,rw",
                   "--disk", f"{work}/raw.img,raw,xvdb,rw", "--vif", "net=passt", memory="320M")

    def verb(name: str, *words: object) -> None:
        done = host(name, "one", *words)
        assert done.returncode == 0, f"{name} {words}: {done.stderr}"

    guest.wait_for("^used the first ones", 120)
    verb("block-attach", f"{work}/two.qcow2,qcow2,xvdd,rw")
    guest.wait_for("^used a disk")
    verb("network-attach", f"net=listen:unix:{work}/wire")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(60)
        peer.connect(str(work / "wire"))
        assert peer.recv(1), "the guest's frames arrive"
        verb("block-resize", "xvdb", "32M")
        guest.wait_for("^saw the new size")
        verb("cd-insert", "xvdc", work / "medium.iso")
        guest.wait_for("^read the medium")
        verb("cd-eject", "xvdc")
        verb("cd-insert", "xvdc", work / "medium.iso")
        for words in (("block-detach", "xvdd"), ("network-detach", "1"), ("network-detach", "0")):
            verb(*words)
        guest.wait_for("^all went")
    assert guest.exit_code() == 0
    [life] = lives_in(work / "calls")
    assert life.named == []
