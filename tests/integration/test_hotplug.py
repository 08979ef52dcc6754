"""Disks and network interfaces that come and go while Debian's kernel uses them, by the commands with xl's names."""
import hashlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.images import Images
from harness.pinfold import Pinfold
from harness.terminal import Terminal

MIB = 1 << 20
PROMPT = "guest# "
MOST = 8  # HotPlug::most


class Machine:
    """A guest with a shell, and the commands about it."""

    def __init__(self, host: Pinfold, images: Images, *options: object) -> None:
        self.host = host
        initrd = images.initrd_with("xen-blkfront", "xen-netfront", "ext4")
        command = [host.build.pinfold, "run", "--name", "one", "--kernel", images.kernel, "--initrd", initrd, "--memory", "320M",
                   "--audit", "--append", "console=hvc0 quiet", *options]
        self.terminal = Terminal([str(word) for word in command], host.environment)
        self.terminal.wait_for(PROMPT, 120)
        self._commands = 0

    def run(self, command: str, seconds: float = 60) -> str:
        """Runs a command in the guest's shell, and returns what it prints."""
        self._commands += 1
        n = self._commands
        after = "" if command.endswith("&") else ";"
        self.terminal.type(f"echo \"begin\"{n}; {command}{after} echo \"end\"{n}\r")
        return self.terminal.wait_for(f"(?s)begin{n}\r\n(.*?)end{n}\r", seconds)[1].replace("\r", "")

    def until(self, condition: str, seconds: float = 30) -> None:
        """Waits until a shell's condition is true in the guest."""
        said = self.run(f"for n in $(seq {int(seconds * 10)}); do {condition} && echo yes && break; sleep 0.1; done", seconds * 2)
        assert "yes" in said, f"{condition}: not within {seconds} s; the guest's kernel says:\n{self.run('dmesg | tail -n 30')}"

    def __call__(self, verb: str, *words: object) -> str:
        done = self.host(verb, "one", *words)
        assert done.returncode == 0, f"{verb} {words}: {done.stderr}"
        return done.stdout

    def refuses(self, verb: str, *words: object) -> str:
        """What a command that fails says, in one line."""
        done = self.host(verb, "one", *words)
        assert done.returncode == 3, f"{verb} {words}: {done.returncode} {done.stdout}{done.stderr}"
        assert done.stderr.count("\n") == 1 and done.stderr.startswith("pinfold: ")
        return done.stderr

    def devices(self, verb: str) -> list[dict]:
        return json.loads(self(verb, "--json"))

    def end(self) -> None:
        """The guest powers off, and nothing of it is left, as its audit says."""
        self.terminal.type("poweroff -f\r")
        self.terminal.wait_for("all counts and mirrors right; no reference left")
        assert self.terminal.ends(60)


@pytest.fixture
def machine(host: Pinfold, images: Images) -> Iterator[Machine]:
    machine = Machine(host, images, "--vcpus", 2)
    try:
        yield machine
    finally:
        machine.terminal.close()


def image(work: Path, name: str = "disk.img", size: int = 64 * MIB) -> Path:
    path = work / name
    with path.open("wb") as file:
        file.truncate(size)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_disk_comes_is_used_and_goes(machine: Machine, work: Path) -> None:
    disk = image(work)
    assert machine("block-attach", f"{disk},raw,xvdb,rw") == "one: xvdb attached\n"
    machine.until("[ -b /dev/xvdb ]")
    said = machine.run("mke2fs -q /dev/xvdb 2>&1; dd if=/dev/urandom of=/dev/xvdb bs=1M count=64 2>/dev/null; sync; sha256sum </dev/xvdb", 120)
    [row] = machine.devices("block-list")
    assert (row["vdev"], row["state"], row["mode"], row["sectors"]) == ("xvdb", "4", "w", str(64 * MIB // 512))
    columns = machine("block-list").splitlines()
    assert columns[0].split() == ["Vdev", "BE", "handle", "state", "evt-ch", "ring-ref", "BE-path"]
    assert columns[1].split()[0::6] == ["51728", "/local/domain/0/backend/vbd/1/51728"]
    assert machine("block-detach", "xvdb") == "one: xvdb detached\n"
    machine.until("[ ! -b /dev/xvdb ]")
    assert machine.devices("block-list") == []
    assert sha256(disk) in said
    machine("block-attach", disk, "raw", "xvdb", "r")
    machine.until("[ -b /dev/xvdb ]")
    assert sha256(disk) in machine.run("sha256sum </dev/xvdb")
    assert machine.run("cat /sys/block/xvdb/ro").strip() == "1"
    machine.end()


def test_disks_grow_under_load(host: Pinfold, images: Images, work: Path) -> None:
    """A disk of the configuration and an attached one, while the guest writes to one of them."""
    own, other = image(work, "own.img"), image(work, "other.img", 8 * MIB)
    machine = Machine(host, images, "--vcpus", 2, "--disk", f"{own},raw,xvda,rw")
    try:
        machine("block-attach", f"{other},raw,xvdb,rw")
        machine.until("[ -b /dev/xvdb ]")
        machine.run("(while [ ! -e /tmp/stop ]; do dd if=/dev/zero of=/dev/xvda bs=64k count=64 conv=fsync 2>/dev/null; done; echo over >/tmp/over) &")
        for device, path, mib in (("xvda", own, 100), ("xvdb", other, 200)):
            assert machine("block-resize", device, f"{mib}M") == f"one: {device} has {mib * MIB} bytes\n"
            machine.until(f"[ $(cat /sys/block/{device}/size) = {mib * MIB // 512} ]")
            assert path.stat().st_size == mib * MIB
        with other.open("r+b") as file:
            file.truncate(300 * MIB)
        machine("block-resize", "xvdb")
        machine.until(f"[ $(cat /sys/block/xvdb/size) = {300 * MIB // 512} ]")
        said = machine.run("dd if=/dev/urandom of=/dev/xvdb bs=1M seek=298 count=2 conv=fsync 2>/dev/null; sha256sum </dev/xvdb", 60)
        assert sha256(other) in said
        assert "never made shorter" in machine.refuses("block-resize", "xvdb", "1M")
        assert "multiple of 512" in machine.refuses("block-resize", "xvdb", str(300 * MIB + 1))
        assert "no such device" in machine.refuses("block-resize", "xvdc")
        assert other.stat().st_size == 300 * MIB
        machine.run("touch /tmp/stop")
        machine.until("[ -e /tmp/over ]")
        machine.end()
    finally:
        machine.terminal.close()


def test_attaching_and_detaching_under_load(machine: Machine, work: Path) -> None:
    """One disk is written without end while another one comes, is written, and goes, by the guest's leave or by force."""
    kept, other = image(work, "kept.img"), image(work, "other.img")
    machine("block-attach", f"{kept},raw,xvdb,rw")
    machine.until("[ -b /dev/xvdb ]")
    machine.run("(while [ ! -e /tmp/stop ]; do dd if=/dev/zero of=/dev/xvdb bs=64k count=64 conv=fsync 2>/dev/null; done; echo over >/tmp/over) &")
    for cycle in range(8):
        machine("block-attach", f"{other},raw,xvdc,rw")
        machine.until("[ -b /dev/xvdc ]")
        assert "1+0 records out" in machine.run("dd if=/dev/urandom of=/dev/xvdc bs=1M count=1 conv=fsync 2>&1")
        machine("block-detach", "xvdc", *(["--force"] if cycle % 2 == 1 else []))
        machine.until("[ ! -b /dev/xvdc ]")
    machine.run("touch /tmp/stop")
    machine.until("[ -e /tmp/over ]")
    machine.end()


def test_a_disk_that_is_written_through_the_page_cache_goes_and_comes_again(machine: Machine, work: Path) -> None:
    """Linux stops a disk's queues with requests in them, and waits for these when it gives the disk up: with all that
    it would do about devices later."""
    disk = image(work, size=256 * MIB)
    for _ in range(6):
        machine("block-attach", f"{disk},raw,xvdb,rw")
        machine.until("head -c 6 /dev/xvdb >/dev/null 2>&1")
        machine.run("(dd if=/dev/zero of=/dev/xvdb bs=64k count=3000 2>/dev/null) &")
        machine.run("sleep 0.2")
        machine("block-detach", "xvdb")
    machine.end()


def test_what_cant_be_attached_or_detached_is_said_in_a_line(machine: Machine, work: Path) -> None:
    disk, empty = image(work), image(work, "empty", 0)
    machine("block-attach", f"{disk},raw,xvdb,rw")
    for words, said in (((f"{disk},raw,xvdb,rw",), "the guest has a disk xvdb already"),
                        ((f"{disk},raw,xvdc,rw",), "locked by another program"),
                        ((f"{empty},raw,xvdc,rw",), "it is empty"),
                        ((f"{work}/none,raw,xvdc,rw",), "there is no such file"),
                        ((f"{work},raw,xvdc,r",), "a directory"),
                        ((f"{disk},raw,nonsense,rw",), "nonsense is not the name of a disk"),
                        ((), "no vdev specified")):
        assert said in machine.refuses("block-attach", *words)
    assert "the guest has no such device" in machine.refuses("block-detach", "xvdz")
    assert "is not the name of a disk" in machine.refuses("block-detach", "nonsense")
    for device in ("7", "00:16:3e:00:00:01", "nonsense"):
        assert f"the guest has no interface {device}" in machine.refuses("network-detach", device)
    assert "is no CD-ROM drive" in machine.refuses("cd-eject", "xvdb")
    for n in range(1, MOST):
        machine("block-attach", f"{image(work, f'disk{n}')},raw,xvd{'bcdefghijk'[n]},rw")
    assert f"{MOST} devices are attached already" in machine.refuses("block-attach", f"{image(work, 'ninth')},raw,xvdz,rw")
    machine("block-detach", "xvdb")
    machine("block-attach", f"{work}/ninth,raw,xvdz,rw")
    machine.end()


def test_a_guest_without_a_driver_does_not_keep_a_disk(host: Pinfold, work: Path) -> None:
    """A guest that looks at no store: the disk is offered, and goes at once, as nothing of it is in use."""
    guest = host.start(host.build.guest("control_keeps_calling"), "--name", "one", apart=True)
    guest.wait_for("^calling")
    disk = image(work)
    for _ in range(6):
        assert host("block-attach", "one", f"{disk},raw,xvdb,rw").returncode == 0
        assert host("block-detach", "one", "xvdb").returncode == 0
    assert host("block-list", "one").stdout.count("\n") == 1


def test_a_medium_is_changed(machine: Machine, work: Path) -> None:
    first, second = image(work, "first.iso", MIB), image(work, "second.iso", MIB)
    first.write_bytes(b"first " * 2048), second.write_bytes(b"second" * 2048)
    for medium, word in ((first, "first"), (second, "second")):
        machine("cd-insert", "xvdc", medium)
        machine.until(f"head -c 6 /dev/xvdc 2>/dev/null | grep -q {word}")  # The first one's node may still be there.
    [row] = machine.devices("block-list")
    assert (row["device_type"], row["mode"]) == ("cdrom", "r")
    assert machine("cd-eject", "xvdc") == "one: xvdc is empty\n"
    machine.until("[ ! -b /dev/xvdc ] || [ $(cat /sys/block/xvdc/size) = 0 ]")
    assert "there is no medium in xvdc" in machine.refuses("cd-eject", "xvdc")
    machine.end()


def test_interfaces_come_and_go(machine: Machine, work: Path) -> None:
    """A socket of the test's is the wire; passt, if it is there, ends with its interface."""
    place = work / "wire"
    for _ in range(3):
        said = machine("network-attach", f"net=listen:unix:{place}", "mac=00:16:3e:01:02:03")
        assert said == "one: interface 0 attached, 00:16:3e:01:02:03\n"
        machine.until("[ -e /sys/class/net/eth0 ]")
        machine.run("ip link set eth0 up; (ping -c 1000 -i 0.01 -s 1000 10.0.0.2 >/dev/null 2>&1 &); ip address add 10.0.0.1/24 dev eth0")
        [row] = machine.devices("network-list")
        assert (row["number"], row["mac"], row["state"]) == (0, "00:16:3e:01:02:03", "4")
        assert "interface 0 has the address 00:16:3e:01:02:03 already" in machine.refuses("network-attach", "net=passt,mac=00:16:3e:1:2:3")
        machine("network-detach", "0")
        machine.until("[ ! -e /sys/class/net/eth0 ]")
        assert soon(lambda: not place.exists()), "the keeper removes the socket"
    columns = machine("network-list").splitlines()
    assert columns[0].split()[:4] == ["Idx", "BE", "Mac", "Addr."] and len(columns) == 1
    if shutil.which("passt"):
        before = passts()
        machine("network-attach", "net=passt")
        machine.until("[ -e /sys/class/net/eth0 ]")
        assert len(passts()) == len(before) + 1
        [row] = machine.devices("network-list")
        machine("network-detach", row["mac"])
        assert soon(lambda: passts() == before), "passt ends with its interface"
    machine.end()


def passts() -> set[str]:
    done = subprocess.run(["pgrep", "-x", "passt|passt.avx2"], capture_output=True, text=True, check=False)
    return set(done.stdout.split())


def soon(condition: object, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


def test_list_watches(machine: Machine, work: Path) -> None:
    machine("block-attach", f"{image(work)},raw,xvdb,rw")
    machine.until("[ -b /dev/xvdb ]")
    machine.run("(dd if=/dev/zero of=/dev/xvdb bs=1M oflag=direct 2>/dev/null; while :; do dd if=/dev/xvdb of=/dev/null bs=1M iflag=direct 2>/dev/null; done) &")
    done = machine.host("list", "--watch", "1", "-n", "3")
    assert done.returncode == 0, done.stderr
    tables = done.stdout.split("\n\n")
    assert len(tables) == 3 and "\x1b" not in done.stdout
    for table in tables:
        header, row = table.splitlines()
        assert header.split()[:4] == ["NAME", "ID", "STATE", "CPU(%)"] and row.split()[0] == "one"
    assert any(float(table.splitlines()[1].split()[3]) > 1 for table in tables)
    assert any(sum(map(float, table.splitlines()[1].split()[6:8])) > 100 for table in tables), done.stdout
    assert machine.host("list", "-n", "1").returncode == 2
    watching = Terminal([str(machine.host.build.pinfold), "list", "--watch", "0.2"], machine.host.environment)
    watching.wait_for("(?s)\x1b\\[H\x1b\\[J.*one.*\x1b\\[H")
    watching.type("q")
    assert watching.ends(10)
    watching.close()
