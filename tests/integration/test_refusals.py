"""Input that pinfold must refuse. The exit code has to be right (2 usage; 3 bad configuration, kernel or image; 4
no usable KVM), and the last line of stderr has to say what is wrong."""
import fcntl
import gzip
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.images import Images
from harness.pinfold import Pinfold, kvm_problem

USAGE, BAD_INPUT, NO_KVM = 2, 3, 4
Refuses = Callable[..., None]


def run(command: list[object]) -> subprocess.CompletedProcess:
    done = subprocess.run([str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="replace", timeout=60, check=False)
    print(done.stderr)
    return done


def check_refusal(done: subprocess.CompletedProcess, codes: tuple[int, ...], pattern: str) -> None:
    if done.returncode == NO_KVM and NO_KVM not in codes and (problem := kvm_problem()):
        pytest.skip(problem)
    assert done.returncode in codes
    last = done.stderr.splitlines()[-1] if done.stderr else ""
    assert re.search(pattern, last, re.IGNORECASE), last


@pytest.fixture
def refuses(pinfold: Pinfold) -> Refuses:
    """refuses(CODES, PATTERN, OPTION...) checks that `pinfold run OPTION...` exits with one of CODES, and that the
    last line of stderr matches PATTERN."""

    def check(codes: int | tuple[int, ...], pattern: str, *options: object) -> None:
        done = run([pinfold.build.pinfold, "run", *options])
        check_refusal(done, codes if isinstance(codes, tuple) else (codes,), pattern)

    return check


@pytest.fixture
def kernel(images: Images) -> Path:
    """A kernel that would boot."""
    return images.kernel


# -- kernels made for these tests


def payload_start(bzimage: bytes) -> int:
    """The offset of the compressed kernel (setup_sects and payload_offset of the x86 boot protocol)."""
    return (bzimage[0x1F1] + 1) * 512 + struct.unpack_from("<I", bzimage, 0x248)[0]


def bzimage_around(payload: bytes, kernel: Path) -> bytes:
    """A bzImage with the boot sectors, headers and size of `kernel`, and another payload."""
    original = kernel.read_bytes()
    made = bytearray(original[:payload_start(original)] + payload)
    made.extend(bytes(len(original) - len(made)))
    struct.pack_into("<I", made, 0x24C, len(payload))
    return bytes(made)


def plain_elf(out: Path) -> Path:
    """Makes a program for this processor that is not a kernel."""
    subprocess.run([os.environ.get("CC", "cc"), "-x", "c", "-O1", "-static", "-nostdlib", "-Wl,--build-id=none", "-o", out, "-"],
                   input=b"void _start(void) { for (;;) {} }", check=True)
    return out


def made(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


# -- usage


def test_no_command_is_refused(pinfold: Pinfold) -> None:
    check_refusal(run([pinfold.build.pinfold]), (USAGE,), ".")


def test_unknown_option_is_refused(refuses: Refuses, kernel: Path) -> None:
    refuses(USAGE, ".", "--kernel", kernel, "--no-such-option")


def test_no_kernel_option_is_refused(refuses: Refuses) -> None:
    refuses(USAGE, ".", "--memory", "256M")


def test_malformed_memory_is_refused(refuses: Refuses, kernel: Path) -> None:
    refuses((USAGE, BAD_INPUT), ".", "--kernel", kernel, "--memory", "plenty")


# -- kernels


def test_missing_kernel_is_refused(refuses: Refuses, work: Path) -> None:
    refuses(BAD_INPUT, f"{work}/missing", "--kernel", work / "missing")


def test_directory_as_kernel_is_refused(refuses: Refuses, work: Path) -> None:
    refuses(BAD_INPUT, str(work), "--kernel", work)


def test_empty_kernel_is_refused(refuses: Refuses, work: Path) -> None:
    refuses(BAD_INPUT, f"{work}/empty", "--kernel", made(work / "empty", b""))


def test_text_as_kernel_is_refused(refuses: Refuses) -> None:
    refuses(BAD_INPUT, re.escape(__file__), "--kernel", __file__)


def test_pipe_as_kernel_is_refused(refuses: Refuses, work: Path) -> None:
    os.mkfifo(work / "pipe")
    refuses(BAD_INPUT, f"{work}/pipe", "--kernel", work / "pipe")


def test_endless_kernel_is_refused(refuses: Refuses) -> None:
    refuses(BAD_INPUT, "/dev/zero", "--kernel", "/dev/zero")


def test_truncated_setup_header_is_refused(refuses: Refuses, kernel: Path, work: Path) -> None:
    refuses(BAD_INPUT, f"{work}/kernel", "--kernel", made(work / "kernel", kernel.read_bytes()[:0x210]))


def test_truncated_bzimage_is_refused(refuses: Refuses, kernel: Path, work: Path) -> None:
    refuses(BAD_INPUT, f"{work}/kernel", "--kernel", made(work / "kernel", kernel.read_bytes()[:2_000_000]))


def test_damaged_payload_is_refused(refuses: Refuses, kernel: Path, work: Path) -> None:
    damaged = bytearray(kernel.read_bytes())
    damaged[500 * 4096:504 * 4096] = bytes(4 * 4096)
    refuses(BAD_INPUT, f"{work}/kernel", "--kernel", made(work / "kernel", damaged))


def test_elf_without_xen_notes_is_refused(refuses: Refuses, work: Path) -> None:
    refuses(BAD_INPUT, f"{work}/kernel.*(Xen|PV|note)", "--kernel", plain_elf(work / "kernel"))


def test_bzimage_without_xen_notes_is_refused(refuses: Refuses, kernel: Path, work: Path) -> None:
    payload = gzip.compress(plain_elf(work / "elf").read_bytes())
    refuses(BAD_INPUT, f"{work}/kernel.*(Xen|PV|note)", "--kernel", made(work / "kernel", bzimage_around(payload, kernel)))


# -- RAM disks, memory, command lines


def test_missing_initrd_is_refused(refuses: Refuses, kernel: Path, work: Path) -> None:
    refuses(BAD_INPUT, f"{work}/missing", "--kernel", kernel, "--initrd", work / "missing")


def test_directory_as_initrd_is_refused(refuses: Refuses, kernel: Path, work: Path) -> None:
    refuses(BAD_INPUT, str(work), "--kernel", kernel, "--initrd", work)


def test_initrd_larger_than_memory_is_refused(refuses: Refuses, kernel: Path, work: Path) -> None:
    os.truncate(made(work / "initrd", b""), 300 << 20)
    refuses(BAD_INPUT, "initrd|memory", "--kernel", kernel, "--initrd", work / "initrd", "--memory", "256M")


def test_too_little_memory_is_refused(refuses: Refuses, kernel: Path, images: Images) -> None:
    refuses(BAD_INPUT, "memory", "--kernel", kernel, "--initrd", images.initrd, "--memory", "16M")


def test_long_command_line_is_refused(refuses: Refuses, kernel: Path) -> None:
    refuses(BAD_INPUT, "command line", "--kernel", kernel, "--append", "x" * 1024)


# -- hosts


def without_kvm(pinfold: Pinfold, kernel: Path) -> list[str]:
    """Words to put before a command so that it can't use /dev/kvm: they mount a file over it, or change the user."""
    if not os.path.exists("/dev/kvm"):
        return []
    over_it = "mount --bind /dev/null /dev/kvm"
    other_user = ["setpriv", "--reuid=65534", "--clear-groups"]
    can_read = f'! [ -w /dev/kvm ] && [ -r "{kernel}" ] && [ -x "{pinfold.build.pinfold}" ]'
    if shutil.which("unshare") and run(["unshare", "--mount", "sh", "-c", over_it]).returncode == 0:
        return ["unshare", "--mount", "sh", "-c", f'{over_it} && exec "$@"', "-"]
    if run([*other_user, "sh", "-c", can_read]).returncode == 0:
        return other_user
    pytest.skip("no way here to hide /dev/kvm from the program")


def test_no_kvm_is_refused(pinfold: Pinfold, kernel: Path, images: Images) -> None:
    command = [pinfold.build.pinfold, "run", "--kernel", kernel, "--initrd", images.initrd]
    check_refusal(run([*without_kvm(pinfold, kernel), *command]), (NO_KVM,), "/dev/kvm")


# -- disks: one line that names the image and says what to do, before there is a guest


@pytest.fixture
def disk(refuses: Refuses, kernel: Path) -> Callable[..., None]:
    """disk(PATTERN, SPEC) checks that a guest with that --disk is refused."""

    def check(pattern: str, spec: str) -> None:
        refuses(BAD_INPUT, pattern, "--kernel", kernel, "--disk", spec)

    return check


def test_an_image_that_is_not_there_is_refused(disk: Callable[..., None], work: Path) -> None:
    disk("no.img: there is no such file; correct the path, or make an image", f"{work}/no.img,raw,xvda,rw")


def test_a_folder_as_a_disk_is_refused(disk: Callable[..., None], work: Path) -> None:
    disk("a directory; a disk is an image file or a block device", f"{work},raw,xvda,rw")


def test_an_empty_image_is_refused(disk: Callable[..., None], work: Path) -> None:
    (work / "empty.img").touch()
    disk("empty.img: it is empty; give it a size", f"{work}/empty.img,raw,xvda,rw")


def test_an_image_that_another_program_uses_is_refused(disk: Callable[..., None], work: Path) -> None:
    image = work / "disk.img"
    image.write_bytes(bytes(4096))
    with open(image, "rb") as file:
        # As QEMU does when it writes: "writes data", byte 101 (docs/decisions/disk-images.md).
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, 101, 1, 0))
        disk(rf"disk.img: locked by another program \(.*, process {os.getpid()}\): end it", f"{image},raw,xvda,rw")
