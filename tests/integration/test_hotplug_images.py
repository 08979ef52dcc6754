"""Images that are not raw, which a guest gets and gives back while it runs: each has a confined server of its own."""
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path

from harness.images import Images
from harness.pinfold import Pinfold
from test_formats import qemu_img
from test_hotplug import MIB, Machine, machine, sha256, soon  # noqa: F401, the fixture

SERVED = {"qcow2": "qcow2", "vhd": "vpc", "vhdx": "vhdx", "vmdk": "vmdk"}  # and QEMU's names for them


def servers_of(image: Path) -> list[int]:
    """The servers that have the image open, and those that are about to."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and (process / "comm").read_text().strip() == "qemu-nbd" and str(image).replace(",", ",,").encode() in (process / "cmdline").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def as_raw(image: Path, driver: str, work: Path) -> Path:
    qemu_img("convert", "-f", driver, "-O", "raw", image, work / "raw")
    return work / "raw"


def test_an_image_of_each_format_comes_is_used_and_goes(machine: Machine, work: Path) -> None:  # noqa: F811
    for format, driver in SERVED.items():
        image = work / f"disk,of.{format}"
        qemu_img("create", "-q", "-f", driver, image, "32M")
        words = f"format={format},vdev=xvdb,access=rw,target={image}"
        assert machine("block-attach", words) == "one: xvdb attached\n"
        assert len(servers_of(image)) == 1
        machine.until("[ -b /dev/xvdb ]")
        said = machine.run("dd if=/dev/urandom of=/dev/xvdb bs=64k seek=3 count=64 conv=fsync 2>/dev/null; sha256sum </dev/xvdb", 60)
        assert machine("block-detach", "xvdb") == "one: xvdb detached\n"
        assert soon(lambda: servers_of(image) == []), "the server ends with its disk"
        assert sha256(as_raw(image, driver, work)) in said
        machine.until("[ ! -b /dev/xvdb ]")
    qemu_img("check", work / "disk,of.qcow2")
    machine.end()


def test_servers_end_with_their_guest_and_with_force(machine: Machine, work: Path) -> None:  # noqa: F811
    image, medium = work / "disk.qcow2", work / "medium.qcow2"
    for path in (image, medium):
        qemu_img("create", "-q", "-f", "qcow2", path, "16M")
    machine("block-attach", f"{image},qcow2,xvdb,rw")
    machine("cd-insert", "xvdc", medium, "--format", "qcow2")
    machine.until("[ -b /dev/xvdb ] && [ -b /dev/xvdc ]")
    assert machine.run("cat /sys/block/xvdc/ro").strip() == "1"
    machine("cd-eject", "xvdc")
    assert soon(lambda: servers_of(medium) == [])
    machine.run("dd if=/dev/urandom of=/dev/xvdb bs=1M count=4 2>/dev/null")
    machine("block-detach", "xvdb", "--force")
    assert soon(lambda: servers_of(image) == [])
    machine("block-attach", f"{image},qcow2,xvdd,rw")
    machine.until("[ -b /dev/xvdd ]")
    machine.end()
    assert soon(lambda: servers_of(image) == [])
    qemu_img("check", image)


def test_the_end_of_a_server_is_told_and_the_disk_can_come_again(machine: Machine, work: Path) -> None:  # noqa: F811
    """Whether the guest uses the disk or not."""
    image = work / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", image, "16M")
    for _ in range(2):
        machine("block-attach", f"{image},qcow2,xvdb,rw")
        machine.until("[ -b /dev/xvdb ]")
        machine.run("dd if=/dev/urandom of=/dev/xvdb bs=1M count=1 conv=fsync 2>/dev/null")
        [server] = servers_of(image)
        os.kill(server, signal.SIGKILL)
        told = machine.terminal.wait_for(r"disk [^\r\n]*disk.qcow2: the connection to its server has ended[^\r\n]*", 60)[0]
        assert "until it is detached and attached again" in told
        assert "error" in machine.run("dd if=/dev/xvdb of=/dev/null bs=4k count=1 iflag=direct 2>&1")
        machine("block-detach", "xvdb")
        machine.until("[ ! -b /dev/xvdb ]")
    qemu_img("check", image)
    machine.end()


def test_images_that_cant_be_attached_are_said_in_a_line(machine: Machine, work: Path) -> None:  # noqa: F811
    """Headers that somebody else may have made, and names that they must not have."""
    good, other = work / "images" / "good.qcow2", work / "other.qcow2"
    good.parent.mkdir()
    for path in (good, other):
        qemu_img("create", "-q", "-f", "qcow2", path, "16M")
    at = good.parent
    (at / "bytes").write_bytes(bytes(range(256)) * 4096)
    huge = bytearray(good.read_bytes())
    huge[24:32] = (1 << 62).to_bytes(8, "big")  # Its size (docs/interop/qcow2 of QEMU: header, bytes 24 to 31).
    (at / "huge").write_bytes(huge)
    clusters = bytearray(good.read_bytes())
    clusters[20:24] = (63).to_bytes(4, "big")  # cluster_bits
    (at / "clusters").write_bytes(clusters)
    (at / "short").write_bytes(good.read_bytes()[:100])
    qemu_img("create", "-q", "-f", "qcow2", "-b", other, "-F", "qcow2", at / "based")
    for name in ("bytes", "huge", "clusters", "short"):
        assert f"{name}: " in machine.refuses("block-attach", f"{at / name},qcow2,xvdb,rw")
    assert "is not in the folder of the disk's image" in machine.refuses("block-attach", f"{at / 'based'},qcow2,xvdb,rw")
    assert "No such file" in machine.refuses("block-attach", f"{work / 'none'},qcow2,xvdb,rw")
    machine("block-attach", f"{good},qcow2,xvdb,rw")
    assert "lock" in machine.refuses("block-attach", f"{good},qcow2,xvdc,rw")
    assert "its size can't change" in machine.refuses("block-resize", "xvdb", "32M")
    machine("block-attach", f"{at / 'based'},qcow2,xvdc,rw", "--allow-image", other)
    machine.until("[ -b /dev/xvdb ] && [ -b /dev/xvdc ]")
    assert len([row for row in machine.devices("block-list") if row["state"] == "4"]) == 2
    machine.end()


def rebooted(machine: Machine) -> None:  # noqa: F811
    machine.terminal.type("reboot -f\r")
    machine.terminal.wait_for("(?s)asked for a reboot.*guest# ", 120)


def test_a_reboot_keeps_what_was_attached_and_detached(host: Pinfold, images: Images, work: Path) -> None:
    """The new life is a new monitor's: it has what commands attached, and lacks what they detached."""
    own, attached, medium, served = work / "own.img", work / "attached.img", work / "medium.iso", work / "served.qcow2"
    for path in (own, attached, medium):
        path.write_bytes(path.name.encode().ljust(MIB, b"."))
    qemu_img("convert", "-f", "raw", "-O", "qcow2", attached, served)
    machine = Machine(host, images, "--disk", f"{own},raw,xvda,rw", "--disk", "format=empty,vdev=xvdc,devtype=cdrom,access=ro",
                      "--vif", f"net=listen:unix:{work}/wire0", "--vif", f"net=listen:unix:{work}/wire1")
    try:
        machine("block-attach", f"{attached},raw,xvdb,rw")
        machine("block-attach", f"{served},qcow2,xvdd,rw")
        machine("cd-insert", "xvdc", medium)
        machine("block-detach", "xvda")
        machine("network-detach", "0")
        machine("network-attach", f"net=listen:unix:{work}/wire2")
        macs = {row["number"]: row["mac"] for row in machine.devices("network-list")}
        assert set(macs) == {1, 2}
        for _ in range(2):
            rebooted(machine)
            machine.until("[ -b /dev/xvdb ] && [ -b /dev/xvdc ] && [ -b /dev/xvdd ]")
            assert {row["vdev"]: row["device_type"] for row in machine.devices("block-list")} == {"xvdb": "disk", "xvdc": "cdrom", "xvdd": "disk"}
            assert {row["number"]: row["mac"] for row in machine.devices("network-list")} == macs
            for device, name in (("xvdb", attached.name), ("xvdc", medium.name), ("xvdd", attached.name)):
                assert name in machine.run(f"head -c {len(name)} /dev/{device}; echo")
            assert len(servers_of(served)) == 1
        machine("cd-eject", "xvdc")
        machine("block-detach", "xvdd")
        assert servers_of(served) == [], "the supervisor's server ends with its disk, too"
        rebooted(machine)
        machine.until("[ -b /dev/xvdb ]")
        assert soon(lambda: drives(machine) == [("xvdb", "disk", str(MIB // 512)), ("xvdc", "cdrom", "0")]), drives(machine)
        machine.end()
    finally:
        machine.terminal.close()


def drives(machine: Machine) -> list[tuple[str, str, str]]:  # noqa: F811
    """Their sizes are told when the guest's driver is connected."""
    return sorted((row["vdev"], row["device_type"], row["sectors"]) for row in machine.devices("block-list"))


def test_a_drive_of_the_configuration_takes_a_medium_and_is_empty_again(host: Pinfold, images: Images, work: Path) -> None:
    medium = work / "medium.iso"
    medium.write_bytes(b"medium".ljust(MIB, b"."))
    machine = Machine(host, images, "--disk", "format=empty,vdev=xvdc,devtype=cdrom,access=ro")
    try:
        assert "there is no medium in xvdc" in machine.refuses("cd-eject", "xvdc")
        for _ in range(2):
            machine("cd-insert", "xvdc", medium)
            machine.until("head -c 6 /dev/xvdc 2>/dev/null | grep -q medium")
            assert machine("cd-eject", "xvdc") == "one: xvdc is empty\n"
            assert soon(lambda: drives(machine) == [("xvdc", "cdrom", "0")]), drives(machine)
        assert "there is no such file" in machine.refuses("cd-insert", "xvdc", work / "none")
        assert soon(lambda: drives(machine) == [("xvdc", "cdrom", "0")]), "the drive is there, and empty"
        machine.end()
    finally:
        machine.terminal.close()


class Peer:
    """A server on another machine: it accepts, and then does what the test says."""

    def __init__(self, act: object) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.uri = f"nbd://127.0.0.1:{self.listener.getsockname()[1]}/"
        self._act = act
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
                self._act(client)
            except OSError:
                return


def test_remote_images_come_and_hostile_servers_do_not(machine: Machine, work: Path) -> None:  # noqa: F811
    raw = work / "remote.img"
    raw.write_bytes(bytes(MIB) + b"remote" * 1000 + bytes(512 - 6000 % 512))
    place = work / "nbd.sock"
    server = subprocess.Popen(["qemu-nbd", "--persistent", "--shared=8", "-f", "raw", "-k", place, raw])
    try:
        assert soon(place.exists)
        machine("block-attach", f"vdev=xvdb,access=rw,target=nbd+unix:///?socket={place}")
        machine.until("[ -b /dev/xvdb ]")
        assert sha256(raw) in machine.run("sha256sum </dev/xvdb")
        machine("block-detach", "xvdb")
        machine("cd-insert", "xvdc", f"nbd+unix:///?socket={place}")
        machine.until("[ -b /dev/xvdc ]")
        assert sha256(raw) in machine.run("sha256sum </dev/xvdc")
    finally:
        server.terminate()
        server.wait()
    held: list[socket.socket] = []
    silent = Peer(held.append)
    nonsense = Peer(lambda client: (client.sendall(bytes(64)), client.close()))
    assert "its server can't be used" in machine.refuses("block-attach", f"vdev=xvdd,access=rw,target={nonsense.uri}")
    # Others are served while the monitor waits for this one.
    said: list[str] = []
    waiting = threading.Thread(target=lambda: said.append(machine.refuses("block-attach", f"vdev=xvde,access=rw,target={silent.uri}")))
    waiting.start()
    assert soon(lambda: held != [])
    (work / "disk.img").write_bytes(bytes(MIB))
    machine("block-attach", f"{work / 'disk.img'},raw,xvdb,rw")
    assert said == []
    machine.until("[ -b /dev/xvdb ]")
    waiting.join(60)
    assert len(said) == 1 and "the server does not answer" in said[0]
    assert "Connection refused" in machine.refuses("block-attach", "vdev=xvdd,access=rw,target=nbd://127.0.0.1:1/")
    machine.end()


def test_a_guest_that_ends_waits_for_no_server(machine: Machine, host: Pinfold) -> None:  # noqa: F811
    held: list[socket.socket] = []
    silent = Peer(held.append)
    attaching = subprocess.Popen([host.build.pinfold, "block-attach", "one", f"vdev=xvdb,access=rw,target={silent.uri}"], env=host.environment,
                                 stderr=subprocess.PIPE, text=True)
    assert soon(lambda: held != [])
    machine.end()
    assert "pinfold: " in attaching.communicate(timeout=30)[1] and attaching.returncode == 3
