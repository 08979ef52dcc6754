"""Disks whose images are not raw: a confined qemu-nbd serves them to the monitor. What such images, their servers and servers
on other machines may do wrong."""
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.images import Images
from harness.pinfold import DEATH, Guest, Pinfold

MIB = 1 << 20
FORMATS = {"qcow2": "qcow2", "vhd": "vpc", "vhdx": "vhdx", "vmdk": "vmdk"}  # and QEMU's names for them
MODULES = ("xen-blkfront", "crc32c_generic", "ext4")
SESSION = """#!/bin/sh
mount -t proc proc /proc; mount -t devtmpfs dev /dev; mount -t sysfs sys /sys
exec </dev/hvc0 >/dev/hvc0 2>&1
insmod /modules/xen-blkfront.ko
while ! [ -b /dev/xvdd ]; do sleep 0.1; done
for disk in xvda xvdb xvdc xvdd; do
  echo "size $disk $(cat /sys/block/$disk/size)"
  echo "old $disk $(dd if=/dev/$disk bs=1M count=2 2>/dev/null | md5sum)"
  dd if=/dev/urandom of=/dev/$disk bs=64k seek=64 count=64 conv=fsync 2>/dev/null && echo "wrote $disk"
  blkdiscard -o 0 -l 65536 /dev/$disk 2>/dev/null
  echo "new $disk $(dd if=/dev/$disk bs=64k skip=64 count=64 iflag=direct 2>/dev/null | md5sum)"
done
{more}
poweroff -f
"""


def qemu_img(*words: object) -> str:
    if not shutil.which("qemu-img"):
        pytest.skip("no qemu-img here")
    return subprocess.run(["qemu-img", *map(str, words)], check=True, capture_output=True, text=True).stdout


def md5_of(content: bytes) -> str:
    return subprocess.run(["md5sum"], input=content, stdout=subprocess.PIPE, check=True).stdout.split()[0].decode()


def initrd_with(images: Images, work: Path, session: str, *modules: str) -> Path:
    """The small root file system, with modules and a session as its first process."""
    tree = work / "tree"
    (tree / "modules").mkdir(parents=True)
    for module in modules:
        [file] = (images.kernel.parent / "lib").rglob(f"{module}.ko")
        shutil.copy(file, tree / "modules")
    (tree / "session").write_text(session)
    (tree / "session").chmod(0o755)
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    more = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=tree, input=names.encode(), stdout=subprocess.PIPE, check=True)
    file = work / "initrd"
    file.write_bytes(images.initrd.read_bytes() + more.stdout)
    return file


def server_of(guest: Guest) -> int:
    """The pid of the guest's qemu-nbd."""
    [pid] = [pid for pid in guest.processes() if Path(f"/proc/{pid}/comm").read_text().strip() == "qemu-nbd"]
    return pid


def wait_until(holds: Callable[[], object], what: str, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def words_of(said: list[str], first: str) -> dict[str, str]:
    return {words[1]: words[2] for words in map(str.split, said) if len(words) > 2 and words[0] == first}


def test_every_format_is_read_and_written(host: Pinfold, images: Images, work: Path) -> None:
    start = os.urandom(2 * MIB)
    (work / "start").write_bytes(start)
    disks = {}
    for (format, driver), vdev in zip(FORMATS.items(), ("xvda", "xvdb", "xvdc", "xvdd"), strict=True):
        disks[vdev] = (work / f"disk,of.{format}", driver)
        qemu_img("convert", "-O", driver, work / "start", disks[vdev][0])
        qemu_img("resize", "-f", driver, disks[vdev][0], "16M") if driver == "qcow2" else None
    # The other formats can't be made larger by qemu-img.
    os.truncate(work / "start", 16 * MIB)
    for vdev, (image, driver) in disks.items():
        if driver != "qcow2":
            qemu_img("convert", "-O", driver, work / "start", image)
    specs = [f"format={format}, vdev={vdev}, access=rw, target={disks[vdev][0]}" for format, vdev in zip(FORMATS, disks, strict=True)]
    guest = host.start(images.kernel, "--initrd", initrd_with(images, work, SESSION.replace("{more}", ""), "xen-blkfront"), "--audit", "--stats=json",
                       "--vcpus", 2, *(word for spec in specs for word in ("--disk", spec)),
                       "--append", "console=hvc0 quiet rdinit=/session", memory="256M", apart=True)
    guest.wait_for("^size")
    status = guest.exit_code(300)
    print(guest.console.text(), guest.messages.text())
    assert status == 0
    said = guest.console.all()
    assert set(words_of(said, "old").values()) == {md5_of(start)}
    [stats] = [json.loads(line) for line in guest.messages.all() if line.startswith("{")]
    for vdev, (image, driver) in disks.items():
        assert f"wrote {vdev}" in said
        qemu_img("convert", "-f", driver, "-O", "raw", image, work / "raw")
        assert md5_of((work / "raw").read_bytes()[4 * MIB:8 * MIB]) == words_of(said, "new")[vdev]
        assert stats["devices"][f"disk {vdev}"]["flushes"] > 0
        assert stats["devices"][f"disk {vdev}"]["failed"] == 0
    qemu_img("check", disks["xvda"][0])
    assert guest.processes() == []


KILLED = """#!/bin/sh
mount -t proc proc /proc; mount -t devtmpfs dev /dev
exec </dev/hvc0 >/dev/hvc0 2>&1
insmod /modules/xen-blkfront.ko
while ! [ -b /dev/xvdb ]; do sleep 0.1; done
n=0
while echo "record $n" | dd of=/dev/xvda bs=4096 seek=$n conv=fsync,sync 2>/dev/null; do echo "flushed $n"; n=$((n + 1)); done
echo "the disk is gone"
dd if=/dev/zero of=/dev/xvdb bs=64k count=16 conv=fsync 2>/dev/null && echo "the other one works"
sleep 600
"""


@pytest.mark.parametrize("how, said", [(signal.SIGKILL, "was killed by signal 9 (Killed)"), (signal.SIGTERM, "as signal 15 (Terminated) ends it")],
                         ids=["SIGKILL", "SIGTERM"])
def test_a_server_that_is_killed_is_an_io_error(host: Pinfold, images: Images, work: Path, how: signal.Signals, said: str) -> None:
    image, other = work / "disk.qcow2", work / "other.img"
    qemu_img("create", "-q", "-f", "qcow2", image, "1G")
    other.write_bytes(bytes(MIB))
    guest = host.start(images.kernel, "--initrd", initrd_with(images, work, KILLED, "xen-blkfront"), "--disk", f"{image},qcow2,xvda,rw",
                       "--disk", f"{other},raw,xvdb,rw", "--append", "console=hvc0 quiet rdinit=/session", memory="128M", apart=True)
    guest.wait_for("^flushed 20$", 120)
    os.kill(server_of(guest), how)
    guest.wait_for("the other one works", 60)
    wait_until(lambda: guest.messages.has("qemu-nbd"), "the server's end is told")
    guest.signal(signal.SIGTERM)
    assert guest.exit_code() == 0
    told = guest.messages.matching("qemu-nbd")
    assert len(told) == 1 and "disk xvda" in told[0].string and said in told[0].string and "started anew" in told[0].string
    last = int(guest.console.matching(r"^flushed (\d+)")[-1][1])
    qemu_img("convert", "-f", "qcow2", "-O", "raw", image, work / "raw")
    with open(work / "raw", "rb") as raw:
        for n in range(last + 1):
            raw.seek(4096 * n)
            assert raw.read(32).split(b"\n")[0] == f"record {n}".encode()


def test_helpers_that_end_with_their_devices_are_no_trouble(host: Pinfold, work: Path) -> None:
    image = work / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", image, "16M")
    network = ["--vif", "net=passt"] if shutil.which("passt") else []
    guest = host.start(host.build.guest("control_keeps_calling"), "--name", "one", "--disk", f"{image},qcow2,xvda,rw", *network, apart=True)
    guest.wait_for("^calling")
    assert host("block-detach", "one", "xvda").returncode == 0
    assert not network or host("network-detach", "one", "0").returncode == 0
    wait_until(lambda: len(guest.processes()) == 2, "supervisor and monitor are alone")
    time.sleep(2)  # A message would come within a second.
    guest.signal(signal.SIGTERM)
    assert guest.exit_code() == 0
    assert not guest.messages.has("qemu-nbd|passt"), guest.messages.text()


def test_no_server_outlives_pinfold(host: Pinfold, images: Images, work: Path) -> None:
    image = work / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", image, "16M")
    guest = host.start(images.kernel, "--initrd", images.initrd, "--disk", f"{image},qcow2,xvda,rw", memory="128M")
    guest.wait_for("guest#|Linux version", 120)
    server = server_of(guest)
    status = Path(f"/proc/{server}/status").read_text()
    assert re.search(r"^NoNewPrivs:\s*1$", status, re.M) and re.search(r"^Seccomp:\s*2$", status, re.M)
    assert re.search(r"^CapEff:\s*0+$", status, re.M)
    again = host("run", "--kernel", images.kernel, "--disk", f"{image},qcow2,xvda,rw")
    assert again.returncode == 3 and "lock" in again.stderr, again.stderr
    os.kill(guest.pid, signal.SIGKILL)
    assert guest.all_end(DEATH)


DRIVES = """#!/bin/sh
mount -t proc proc /proc; mount -t devtmpfs dev /dev; mount -t sysfs sys /sys
exec </dev/hvc0 >/dev/hvc0 2>&1
insmod /modules/xen-blkfront.ko
while ! [ -b /dev/xvdd ]; do sleep 0.1; done
for disk in xvda xvdb xvdc xvdd; do [ -b /dev/$disk ] && echo "disk $disk $(cat /sys/block/$disk/ro) $(cat /sys/block/$disk/removable) $(cat /sys/block/$disk/size)"; done
dd if=/dev/zero of=/dev/xvdb bs=4096 count=1 2>/dev/null && echo "xvdb was written"
echo "read $(dd if=/dev/xvdc bs=1M 2>/dev/null | md5sum)"
poweroff -f
"""


def test_drives_and_read_only_disks(host: Pinfold, images: Images, work: Path) -> None:
    content = os.urandom(MIB)
    (work / "cd.iso").write_bytes(content)
    qemu_img("convert", "-O", "qcow2", work / "cd.iso", work / "disk.qcow2")
    before = (work / "disk.qcow2").read_bytes()
    guest = host.start(images.kernel, "--initrd", initrd_with(images, work, DRIVES, "xen-blkfront"),
                       "--disk", f"{work}/disk.qcow2,qcow2,xvda,ro", "--disk", f"{work}/disk.qcow2,qcow2,xvdb,ro",
                       "--disk", f"{work}/cd.iso,,xvdc,cdrom", "--disk", ",,xvdd,cdrom",
                       "--append", "console=hvc0 quiet rdinit=/session", memory="128M", apart=True)
    assert guest.exit_code(120) == 0
    said = guest.console.all()
    print(guest.console.text(), guest.messages.text())
    assert [line for line in said if line.startswith("disk ")] == ["disk xvda 1 0 2048", "disk xvdb 1 0 2048", "disk xvdc 1 1 2048", "disk xvdd 1 1 0"]
    assert "xvdb was written" not in said and (work / "disk.qcow2").read_bytes() == before
    assert f"read {md5_of(content)}" in guest.console.text()


# -- Images that name what they must not.

def make_qcow2(path: Path, backing: str = "", backing_format: str = "", data_file: str = "") -> None:
    """A qcow2 image that names other files, as qemu-img would not make it."""
    qemu_img("create", "-q", "-f", "qcow2", path, "1M")
    content = bytearray(path.read_bytes())
    [header_length] = struct.unpack_from(">I", content, 100)
    extensions = b""
    if backing_format:
        extensions += struct.pack(">II", 0xE2792ACA, len(backing_format)) + backing_format.encode().ljust(-len(backing_format) % 8 + len(backing_format), b"\0")
    if data_file:
        extensions += struct.pack(">II", 0x44415441, len(data_file)) + data_file.encode().ljust(-len(data_file) % 8 + len(data_file), b"\0")
        [features] = struct.unpack_from(">Q", content, 72)
        struct.pack_into(">Q", content, 72, features | 4)
    extensions += struct.pack(">II", 0, 0)
    content[header_length:header_length + len(extensions)] = extensions
    if backing:
        place = header_length + len(extensions)
        content[place:place + len(backing)] = backing.encode()
        struct.pack_into(">QI", content, 8, place, len(backing))
    path.write_bytes(content)


JSON = 'json:{"driver":"raw","file":{"driver":"file","filename":"/etc/passwd"}}'
HOSTILE: dict[str, tuple[dict, str]] = {
    "backing_file": ({"backing": "/etc/passwd", "backing_format": "raw"}, "/etc/passwd: it is not in the folder"),
    "backing_above": ({"backing": "../../../../etc/passwd", "backing_format": "raw"}, "it is not in the folder"),
    "backing_json": ({"backing": JSON, "backing_format": "raw"}, "only files can be used"),
    "backing_nbd": ({"backing": "nbd:127.0.0.1:10809", "backing_format": "raw"}, "only files can be used"),
    "backing_format_unsaid": ({"backing": "base.img"}, "does not say of what format"),
    "backing_format_json": ({"backing": "base.img", "backing_format": "nbd"}, "format nbd"),
    "backing_link": ({"backing": "link.img", "backing_format": "raw"}, "it is not in the folder"),
    "backing_pipe": ({"backing": "pipe", "backing_format": "raw"}, "neither a file nor a block device"),
    "itself": ({"backing": "disk.qcow2", "backing_format": "qcow2"}, "part of the same disk"),
    "data_file": ({"data_file": "/etc/passwd"}, "it is not in the folder"),
    "data_file_json": ({"data_file": JSON}, "only files can be used"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_an_image_names_nothing_else(host: Pinfold, images: Images, work: Path, case: str) -> None:
    options, complaint = HOSTILE[case]
    (work / "base.img").write_bytes(bytes(MIB))
    (work / "link.img").symlink_to("/etc/passwd")
    os.mkfifo(work / "pipe")
    make_qcow2(work / "disk.qcow2", **options)
    done = host("run", "--kernel", images.kernel, "--disk", f"{work}/disk.qcow2,qcow2,xvda,rw")
    assert done.returncode == 3, done.stderr
    assert complaint in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_a_loop_of_images_ends(host: Pinfold, images: Images, work: Path) -> None:
    make_qcow2(work / "disk.qcow2", "b.qcow2", "qcow2")
    make_qcow2(work / "b.qcow2", "c.qcow2", "qcow2")
    make_qcow2(work / "c.qcow2", "b.qcow2", "qcow2")
    done = host("run", "--kernel", images.kernel, "--disk", f"{work}/disk.qcow2,qcow2,xvda,rw")
    assert done.returncode == 3 and "part of the same disk" in done.stderr, done.stderr


@pytest.mark.parametrize(("place", "form", "value"), [(24, ">Q", (1 << 63) - 512), (24, ">Q", 1 << 62), (36, ">I", (1 << 32) - 1),
                                                      (20, ">I", 31), (56, ">I", (1 << 32) - 1), (60, ">I", 1 << 31)])
def test_absurd_sizes_are_refused(host: Pinfold, images: Images, work: Path, place: int, form: str, value: int) -> None:
    """The header's size, L1 entries, cluster bits, clusters of the refcount table, snapshots."""
    make_qcow2(work / "disk.qcow2")
    content = bytearray((work / "disk.qcow2").read_bytes())
    struct.pack_into(form, content, place, value)
    (work / "disk.qcow2").write_bytes(content)
    done = host("run", "--kernel", images.kernel, "--disk", f"{work}/disk.qcow2,qcow2,xvda,rw")
    assert done.returncode == 3 and "disk xvda" in done.stderr, done.stderr


def test_a_vmdk_names_nothing_else(host: Pinfold, images: Images, work: Path) -> None:
    (work / "disk.vmdk").write_text('# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n'
                                    'RW 2048 FLAT "/etc/passwd" 0\n')
    done = host("run", "--kernel", images.kernel, "--disk", f"{work}/disk.vmdk,vmdk,xvda,rw")
    assert done.returncode == 3 and "/etc/passwd: it is not in the folder" in done.stderr, done.stderr


def test_nothing_is_opened_that_is_not_named(host: Pinfold, images: Images, work: Path) -> None:
    """What the programs open, strace sees, whatever pinfold believes."""
    if not shutil.which("strace"):
        pytest.skip("no strace here")
    make_qcow2(work / "disk.qcow2", "/etc/passwd", "raw")
    calls = work / "calls"
    subprocess.run(["strace", "-f", "-o", calls, "-e", "trace=open,openat,socket,connect", str(host.build.pinfold), "run", "--kernel", str(images.kernel),
                    "--disk", f"{work}/disk.qcow2,qcow2,xvda,rw"], env=host.environment, capture_output=True, check=False, timeout=60)
    opened = [line for line in calls.read_text().splitlines() if "/etc/passwd" in line and "O_PATH" not in line]
    assert opened == []


def test_what_the_user_names_is_allowed(host: Pinfold, images: Images, work: Path) -> None:
    (work / "elsewhere").mkdir()
    (work / "here").mkdir()
    (work / "elsewhere/base.img").write_bytes(os.urandom(MIB))
    make_qcow2(work / "here/disk.qcow2", "../elsewhere/base.img", "raw")
    words = ("run", "--kernel", "/dev/null", "--disk", f"{work}/here/disk.qcow2,qcow2,xvda,rw")
    assert "not in the folder" in host(*words).stderr
    for allowed in (work / "elsewhere/base.img", f"{work}/elsewhere/"):
        done = host(*words, "--allow-image", allowed)
        assert "disk xvda" not in done.stderr, done.stderr
    (work / "guest.cfg").write_text(f'name = "a"\nkernel = "/dev/null"\ndisk = ["{work}/here/disk.qcow2,qcow2,xvda,rw"]\n'
                                    f'allow_images = ["{work}/elsewhere/base.img"]\n')
    done = host("run", work / "guest.cfg")
    assert "disk xvda" not in done.stderr, done.stderr


def test_without_qemu_there_is_a_hint(host: Pinfold, images: Images, work: Path) -> None:
    (work / "disk.qcow2").write_bytes(bytes(MIB))
    host.environment["PATH"] = str(work)
    done = host("run", "--kernel", images.kernel, "--disk", f"{work}/disk.qcow2,qcow2,xvda,rw")
    assert done.returncode == 3 and "apt-get install qemu-utils" in done.stderr, done.stderr


# -- Servers on other machines.

MAGIC = b"NBDMAGICIHAVEOPT"


def greet(connection: socket.socket, size: int, flags: int = 0b101) -> None:
    """Negotiates with NBD_OPT_EXPORT_NAME, after refusing all other options."""
    connection.sendall(MAGIC + struct.pack(">H", 1))
    connection.recv(4)
    while True:
        _, option, length = struct.unpack(">QII", connection.recv(16, socket.MSG_WAITALL))
        connection.recv(length, socket.MSG_WAITALL) if length else b""
        if option == 1:
            connection.sendall(struct.pack(">QH", size, flags) + bytes(124))
            connection.recv(1)
            return
        connection.sendall(struct.pack(">QIII", 0x3E889045565A9, option, (1 << 31) + 1, 0))


BAD_SERVERS: dict[str, tuple[Callable[[socket.socket], None], str]] = {
    "no_nbd": (lambda c: c.sendall(b"SSH-2.0-OpenSSH_9.2\r\n" * 20), "its server can't be used"),
    "closes": (lambda c: c.close(), "its server can't be used"),
    "is_cut": (lambda c: c.sendall(MAGIC[:9]), "its server can't be used"),
    "too_large": (lambda c: greet(c, (1 << 63) + 512), "disk xvda"),
    "is_empty": (lambda c: greet(c, 0), "it is empty"),
    "is_no_disk": (lambda c: greet(c, 1000), "blocks of a size"),
    "is_read_only": (lambda c: greet(c, MIB, 0b111), "read-only"),
}


@pytest.fixture
def serve(work: Path) -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """serve(FUNCTION) is the URI of a server that calls the function for each client, and then closes."""
    listener = socket.socket(socket.AF_UNIX)
    place = work / "nbd"
    listener.bind(str(place))
    listener.listen(8)

    def run(function: Callable[[socket.socket], None]) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            try:
                function(connection)
                connection.shutdown(socket.SHUT_WR)
                connection.close()
            except (OSError, struct.error):
                pass

    def start(function: Callable[[socket.socket], None]) -> str:
        threading.Thread(target=run, args=(function,), daemon=True).start()
        return f"nbd+unix:///?socket={place}"

    yield start
    listener.close()


@pytest.mark.parametrize("case", BAD_SERVERS)
def test_a_server_that_lies_is_refused(host: Pinfold, images: Images, serve: Callable, case: str) -> None:
    function, complaint = BAD_SERVERS[case]
    before = time.monotonic()
    done = host("run", "--kernel", images.kernel, "--disk", f"format=raw, vdev=xvda, access=rw, target={serve(function)}")
    assert done.returncode == 3, done.stderr
    assert complaint in done.stderr and len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert time.monotonic() - before < 30


REMOTE = """#!/bin/sh
mount -t proc proc /proc; mount -t devtmpfs dev /dev
exec </dev/hvc0 >/dev/hvc0 2>&1
insmod /modules/xen-blkfront.ko
while ! [ -b /dev/xvda ]; do sleep 0.1; done
echo "read $(dd if=/dev/xvda bs=1M count=1 2>/dev/null | md5sum)"
dd if=/dev/zero of=/dev/xvda bs=64k seek=16 count=16 conv=fsync 2>/dev/null && echo wrote
poweroff -f
"""


def test_an_image_of_another_machine(host: Pinfold, images: Images, work: Path) -> None:
    if not shutil.which("qemu-nbd"):
        pytest.skip("no qemu-nbd here")
    content = os.urandom(2 * MIB)
    (work / "disk.img").write_bytes(content)
    place = work / "nbd"
    with subprocess.Popen(["qemu-nbd", "--persistent", "--shared=4", "-f", "raw", "-x", "a disk", "-k", str(place), str(work / "disk.img")]) as server:
        try:
            while not place.exists():
                time.sleep(0.05)
            guest = host.start(images.kernel, "--initrd", initrd_with(images, work, REMOTE, "xen-blkfront"), "--vcpus", 2,
                               "--disk", f"format=raw, vdev=xvda, access=rw, target=nbd+unix:///a%20disk?socket={place}",
                               "--append", "console=hvc0 quiet rdinit=/session", memory="128M")
            assert guest.exit_code(120) == 0
            assert guest.console.has(f"^read {md5_of(content[:MIB])}") and guest.console.has("^wrote$")
        finally:
            server.terminate()
    assert (work / "disk.img").read_bytes() == content[:MIB] + bytes(MIB)
