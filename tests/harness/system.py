"""A Debian system that boots from a disk with systemd (scripts/make-system), and a session of root's on its console."""
import re
import shlex
import shutil
import subprocess
from pathlib import Path

from harness.images import script
from harness.terminal import Terminal

PROMPT = r"root@debian:~# $"


def system_folder() -> Path:
    """What scripts/make-system made."""
    return script("make-system").parent


# As pv-grub-menu and update-grub write it, shortened.
MENU = """set default=0
menuentry 'Debian GNU/Linux' {
	search --no-floppy --label --set=root root
	linux /vmlinuz root=/dev/xvda ro
	initrd /initrd.img
}
"""


def make_system(folder: Path) -> Path:
    """A copy of the system's disk in the folder, and a configuration beside it, which is returned. All else in it
    is as scripts/make-system wrote it."""
    made = script("make-system")
    image, text = made.parent / "disk.img", made.read_text(encoding="utf-8")
    subprocess.run(["cp", "--sparse=always", "--reflink=auto", image, folder / "disk.img"], check=True)
    assert str(image) in text
    copy = folder / "guest.cfg"
    copy.write_text(text.replace(str(image), str(folder / "disk.img")), encoding="utf-8")
    return copy


def make_qcow2_system(folder: Path) -> Path:
    """The same with a disk in qcow2, from which a boot loader takes the kernel: a menu is added to it."""
    copy = make_system(folder)
    raw, image, menu = folder / "disk.img", folder / "disk.qcow2", folder / "grub.cfg"
    menu.write_text(MENU, encoding="utf-8")
    for command in ("mkdir /boot/grub", f"write {menu} /boot/grub/grub.cfg"):
        subprocess.run([shutil.which("debugfs") or "/usr/sbin/debugfs", "-w", "-R", command, raw], check=True, capture_output=True)
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image], check=True)
    raw.unlink()
    text = copy.read_text(encoding="utf-8").replace(f"{raw},raw,", f"{image},qcow2,")
    text = re.sub("^(kernel|ramdisk|root) .*\n", "", text, flags=re.MULTILINE)
    copy.write_text('bootloader = "pygrub"\n' + text, encoding="utf-8")
    return copy


def files_of(configuration: Path) -> list[Path]:
    """The kernel and the initrd, which the emulated machine needs a copy of."""
    return [Path(path) for path in re.findall(r'^(?:kernel|ramdisk) *= *"(.*)"', configuration.read_text(encoding="utf-8"),
                                              re.MULTILINE)]


def file_system_errors(image: Path) -> str:
    """What e2fsck finds in the image; an empty string if it is clean and needs no journal."""
    e2fsck = shutil.which("e2fsck") or "/usr/sbin/e2fsck"
    done = subprocess.run([e2fsck, "-n", "-f", image], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout if done.returncode != 0 or "journal" in done.stdout else ""


class Console:
    """A shell of root's on a system's console, which `terminal` shows."""

    def __init__(self, terminal: Terminal, seconds: float) -> None:
        """Logs in. A command may take `seconds`, and so may the boot."""
        self._terminal, self._seconds, self._count = terminal, seconds, 0
        terminal.wait_for("debian login: ", seconds)
        terminal.type("root\n")
        terminal.wait_for(PROMPT, seconds)
        # Without an echo and the kernel's messages, what comes is what the commands print.
        terminal.type("stty -echo; dmesg --console-level emerg; exec bash --noediting --norc\n")
        terminal.type("PS1=; echo ready=$((6 * 7))\n")
        terminal.wait_for("ready=42", seconds)

    def run(self, command: str) -> tuple[int, str]:
        """The command's exit code and what it prints."""
        self._count += 1
        self._terminal.type(f"{command}; echo \"[end {self._count} $?]\"\n")
        found = self._terminal.wait_for(rf"(?s)(.*)\[end {self._count} (\d+)\]", self._seconds)
        print(f"# {command}\n{found[1]}[exit code {found[2]}]")
        return int(found[2]), found[1].replace("\r", "").strip()

    def says(self, command: str) -> str:
        """What a command prints that has to succeed."""
        status, output = self.run(command)
        assert status == 0, f"{shlex.quote(command)} ends with {status}: {output}"
        return output

    def power_off(self) -> None:
        self._terminal.type("systemctl poweroff\n")
