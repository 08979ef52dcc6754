"""Records that a guest was told are on its disk (tests/guest-tools/pinfold-guest-durable), and whether they are."""
import os
import shutil
import subprocess
from pathlib import Path

from harness.pinfold import Lines

RECORD_BYTES = 256
FILE_EVERY = 4
REPORT = r"^durable (\d+)$"


def record(number: int) -> bytes:
    """What the guest writes as record `number`."""
    head = b"record %010d " % number
    return head + bytes([ord("a") + number % 26]) * (RECORD_BYTES - len(head) - 1) + b"\n"


def last_report(console: Lines) -> int | None:
    """The number of the last record that the guest reported to be on the disk."""
    reports = console.matching(REPORT)
    return int(reports[-1][1]) if reports else None


def make_file_system(image: Path, megabytes: int) -> None:
    with open(image, "wb") as file:
        file.truncate(megabytes << 20)
    e2fsprogs("mke2fs", "-q", "-t", "ext4", image).check_returncode()


def e2fsprogs(*words: object) -> subprocess.CompletedProcess:
    # They are in /sbin, which a user's PATH lacks.
    environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"}
    return subprocess.run(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, check=False)


def complaints_about(image: Path, work: Path, last: int | None) -> list[str]:
    """What is wrong with the file system after its journal was replayed (in a copy: the guest will replay it
    itself), and which of the records 0 to `last` are missing."""
    copy = work / "copy.img"
    subprocess.run(["cp", "--sparse=always", image, copy], check=True)
    replayed = e2fsprogs("e2fsck", "-E", "journal_only", "-y", copy)
    checked = e2fsprogs("e2fsck", "-fn", copy)
    wrong = []
    if replayed.returncode > 1 or checked.returncode != 0:
        wrong.append("\n".join(done.stdout.decode(errors="replace") for done in (replayed, checked)))
    if last is not None:
        wrong += missing_records(copy, last) + missing_files(copy, work / "files", last)
    return wrong


def missing_records(image: Path, last: int) -> list[str]:
    content = e2fsprogs("debugfs", "-R", "cat /records", image).stdout
    found = (content[number * RECORD_BYTES:(number + 1) * RECORD_BYTES] for number in range(last + 1))
    return [f"record {number} is {is_there[:40]!r}" for number, is_there in enumerate(found) if is_there != record(number)]


def missing_files(image: Path, folder: Path, last: int) -> list[str]:
    shutil.rmtree(folder, ignore_errors=True)
    e2fsprogs("debugfs", "-R", f"rdump /files {folder.parent}", image)
    numbers = [str(number) for number in range(0, last + 1, FILE_EVERY)]
    return [f"file {name} is missing or wrong" for name in numbers
            if not (folder / name).exists() or (folder / name).read_text() != name]
