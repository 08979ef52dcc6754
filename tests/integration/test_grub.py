"""PV GRUB of Debian, which Xen hosts use as a kernel: its prompt, its clock, and a Linux kernel that it boots from its own memory."""
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.images import Images
from harness.pinfold import Pinfold
from harness.terminal import Terminal

PV_GRUB = Path("/usr/lib/grub-xen/grub-x86_64-xen.bin")
MODULES = Path("/usr/lib/grub/x86_64-xen")
PROMPT = r"grub> "


def started(host: Pinfold, kernel: Path, *options: object) -> Terminal:
    if not PV_GRUB.exists() or not MODULES.exists():
        pytest.skip("grub-xen-host is not installed: scripts/setup --tests")
    command = [host.build.pinfold, "run", "--kernel", kernel, "--memory", "256M", "--audit", *options]
    return Terminal([str(word) for word in command], host.environment)


@pytest.fixture
def prompt(host: Pinfold, work: Path) -> Iterator[Terminal]:
    disk = work / "disk.img"
    with disk.open("wb") as file:
        file.truncate(1 << 20)
    terminal = started(host, PV_GRUB, "--disk", f"{disk},raw,xvda,ro")
    try:
        terminal.wait_for(PROMPT, 120)
        yield terminal
    finally:
        terminal.close()


def said(terminal: Terminal, command: str, pattern: str) -> str:
    terminal.type(command + "\r")
    return terminal.wait_for(pattern, 60)[0]


def test_its_prompt_finds_the_disk_and_halts(prompt: Terminal) -> None:
    assert "(xen/xvda)" in said(prompt, "ls", r"\(memdisk\)[^\r\n]*|\(xen/xvda\)[^\r\n]*")
    prompt.wait_for(PROMPT)
    prompt.type("halt\r")
    prompt.wait_for("all counts and mirrors right; no reference left", 60)
    assert prompt.ends(60)


def test_its_clock_goes_on(prompt: Terminal) -> None:
    """That the time is also told to a guest that never leaves by itself is the matter of other tests."""
    dates = set()
    for _ in range(60):
        dates.add(said(prompt, "date", r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d \w+"))
        prompt.wait_for(PROMPT)
        if len(dates) > 1:
            return
        prompt.type("sleep 1\r")
        prompt.wait_for(PROMPT)
    pytest.fail(f"the time is always {dates}")


def test_boots_a_kernel_and_an_initrd_from_its_memdisk(host: Pinfold, images: Images, work: Path) -> None:
    menu = work / "grub.cfg"
    menu.write_text("insmod gcry_crc\ninsmod gcry_sha256\ninsmod xzio\nlinux (memdisk)/vmlinuz quiet console=hvc0\ninitrd (memdisk)/initrd\nboot\n")
    image = work / "grub.bin"
    if shutil.which("grub-mkstandalone") is None:
        pytest.skip("grub-common is not installed: scripts/setup --tests")
    subprocess.run(["grub-mkstandalone", "-O", "x86_64-xen", "-o", image, f"vmlinuz={images.kernel}", f"initrd={images.initrd}",
                    f"boot/grub/grub.cfg={menu}"], check=True)
    terminal = started(host, image, "--vcpus", 2)
    try:
        assert "guest" in terminal.wait_for("guest# |grub> ", 180)[0]
        terminal.type("cat /proc/cmdline; nproc; poweroff -f\r")
        terminal.wait_for(r"quiet console=hvc0\r\n2\r\n")
        terminal.wait_for("all counts and mirrors right; no reference left", 60)
        assert terminal.ends(60)
    finally:
        terminal.close()
