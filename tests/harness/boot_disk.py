"""Disk images with a tree of files in them, made without privileges: file systems, partition tables, LVM."""
import os
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

SECTOR = 512
MIB = 1 << 20
UUID = "6f0e3a5c-1f2b-4d8e-9c55-0a1b2c3d4e5f"  # of each file system, as far as its tool takes one


def tool(name: str) -> str | None:
    """Where a program is; those of /usr/sbin, too, which a user's PATH may lack."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def run(name: str, *words: str | Path, text: str | None = None) -> None:
    program = tool(name)
    assert program, f"{name} is not installed: scripts/setup --tests"
    subprocess.run([program, *map(str, words)], check=True, input=text, text=True, stdout=subprocess.DEVNULL)


def blank(image: Path, size: int) -> Path:
    with image.open("wb") as file:
        file.truncate(size)
    return image


def ext4(tree: Path, image: Path, size: int = 96 * MIB) -> Path:
    run("mke2fs", "-q", "-F", "-t", "ext4", "-U", UUID, "-d", tree, blank(image, size))
    return image


def xfs(tree: Path, image: Path, size: int = 320 * MIB) -> Path:
    """mkfs.xfs fills a file system from a list of files (a prototype, mkfs.xfs(8))."""
    lines = ["/dev/null", "0 0", "d--755 0 0"]

    def add(folder: Path) -> None:
        for entry in sorted(folder.iterdir()):
            if entry.is_symlink():
                lines.append(f"{entry.name} l--777 0 0 {os.readlink(entry)}")
            elif entry.is_dir():
                lines.append(f"{entry.name} d--755 0 0")
                add(entry)
            else:
                lines.append(f"{entry.name} ---644 0 0 {entry}")
        lines.append("$")

    add(tree)
    prototype = image.with_suffix(".proto")
    prototype.write_text("\n".join(lines) + "\n", encoding="utf-8")
    run("mkfs.xfs", "-q", "-m", f"uuid={UUID}", "-p", prototype, blank(image, size))
    return image


def btrfs(tree: Path, image: Path, size: int = 128 * MIB) -> Path:
    run("mkfs.btrfs", "-q", "-U", UUID, "--rootdir", tree, blank(image, size))
    return image


def btrfs_subvolume(tree: Path, image: Path, name: str, is_default: bool, size: int = 192 * MIB) -> bool:
    """A btrfs whose only files are in a subvolume. False: this process may not mount it, as only root outside of most containers
    may."""
    run("mkfs.btrfs", "-q", "-f", "-U", UUID, blank(image, size))
    place = image.with_suffix(".mount")
    place.mkdir()
    mounted = subprocess.run(["mount", "-o", "loop", image, place], capture_output=True, check=False)
    if mounted.returncode != 0:
        return False
    try:
        run("btrfs", "subvolume", "create", place / name)
        run("cp", "-a", f"{tree}/.", place / name)
        if is_default:
            run("btrfs", "subvolume", "set-default", place / name)
    finally:
        run("umount", place)
    return True


MakeFileSystem = Callable[[Path, Path], Path]


def partitioned(make: MakeFileSystem, tree: Path, image: Path, table: str) -> Path:
    """The file system in the second partition of a disk."""
    inner = make(tree, image.with_suffix(".part"))
    size = inner.stat().st_size
    first, second = 2048, 2048 + 16384
    blank(image, (second + size // SECTOR + 4096) * SECTOR)
    run("sfdisk", "-q", image, text=f"label: {table}\nstart={first}, size=16384\nstart={second}, size={size // SECTOR}\n")
    put(inner, image, second * SECTOR)
    inner.unlink()
    return image


def gpt(tree: Path, image: Path) -> Path:
    return partitioned(ext4, tree, image, "gpt")


def mbr(tree: Path, image: Path) -> Path:
    return partitioned(ext4, tree, image, "dos")


def several(trees: list[Path], image: Path) -> Path:
    """A disk with a partition for each tree, of an ext4 each."""
    inner = [ext4(tree, image.with_suffix(f".part{n}")) for n, tree in enumerate(trees)]
    each = inner[0].stat().st_size // SECTOR
    starts = [2048 + n * each for n in range(len(trees))]
    blank(image, (starts[-1] + each) * SECTOR)
    run("sfdisk", "-q", image, text="label: dos\n" + "".join(f"start={start}, size={each}\n" for start in starts))
    for part, start in zip(inner, starts, strict=True):
        put(part, image, start * SECTOR)
        part.unlink()
    return image


def places_with_content(image: Path) -> list[int]:
    """The offsets of the bytes that are not 0."""
    found = []
    with image.open("rb") as file:
        size, at = image.stat().st_size, 0
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # only holes follow
                break
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            data = os.pread(file.fileno(), end - at, at)
            found += [at + place for place, byte in enumerate(data) if byte]
            at = end
    return found


def put(inner: Path, image: Path, offset: int) -> None:
    with inner.open("rb") as source, image.open("r+b") as target:
        target.seek(offset)
        shutil.copyfileobj(source, target, MIB)


def lvm_crc(data: bytes) -> int:
    """The checksum of LVM's headers: CRC-32 without the final inversion, from a start of its own."""
    crc = 0xF597A6CF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
    return crc


EXTENT = 4 * MIB
PV_ID, VG_ID, LV_ID = ("".join(chr(first + n % 26) for n in range(32)) for first in (ord("a"), ord("A"), ord("a")))


def dashes(name: str) -> str:
    ends = [0, 6, 10, 14, 18, 22, 26, 32]
    return "-".join(name[a:b] for a, b in zip(ends, ends[1:], strict=False))


def lvm(tree: Path, image: Path) -> Path:
    """The logical volume `root` in the volume group `vg`, on a disk that is one physical volume. LVM's own tools want a
    block device, so its label and its metadata are written here, in the form that lvm.conf(5) calls lvm2."""
    inner = ext4(tree, image.with_suffix(".lv"))
    extents = -(-inner.stat().st_size // EXTENT)
    area, area_size, data = 4096, MIB - 4096, MIB
    size = data + (extents + 1) * EXTENT
    text = f"""vg {{
id = "{dashes(VG_ID)}"
seqno = 1
format = "lvm2"
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
extent_size = {EXTENT // SECTOR}
max_lv = 0
max_pv = 0
metadata_copies = 0

physical_volumes {{

pv0 {{
id = "{dashes(PV_ID)}"
device = "/dev/xvda"

status = ["ALLOCATABLE"]
flags = []
dev_size = {size // SECTOR}
pe_start = {data // SECTOR}
pe_count = {extents + 1}
}}
}}

logical_volumes {{

root {{
id = "{dashes(LV_ID)}"
status = ["READ", "WRITE", "VISIBLE"]
flags = []
segment_count = 1

segment1 {{
start_extent = 0
extent_count = {extents}

type = "striped"
stripe_count = 1

stripes = [
"pv0", 0
]
}}
}}
}}

}}
contents = "Text Format Volume Group"
version = 1
""".encode() + b"\0"
    locations = struct.pack("<QQQQ", data, 0, 0, 0) + struct.pack("<QQQQ", area, area_size, 0, 0)
    behind = struct.pack("<I8s", 32, b"LVM2 001") + PV_ID.encode() + struct.pack("<Q", size) + locations
    behind += bytes(SECTOR - 20 - len(behind))
    label = struct.pack("<8sQI", b"LABELONE", 1, lvm_crc(behind)) + behind
    header = struct.pack("<16sIQQ", b" LVM2 x[5A%r0N*>", 1, area, area_size)
    header += struct.pack("<QQII", SECTOR, len(text), lvm_crc(text), 0)
    header += bytes(SECTOR - 4 - len(header))
    blank(image, size)
    with image.open("r+b") as file:
        file.seek(SECTOR)
        file.write(label)
        file.seek(area)
        file.write(struct.pack("<I", lvm_crc(header)) + header + text)
    put(inner, image, data)
    inner.unlink()
    return image
