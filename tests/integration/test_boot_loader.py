"""bootloader="pygrub": kernel, RAM disk and command line come from the guest's own disk."""
import json
import lzma
import os
import random
import resource
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from harness import boot_disk
from harness.images import Images
from harness.pinfold import Guest, Pinfold
from harness.terminal import Terminal

BAD_CONFIGURATION = 3
PV_GRUB = Path("/usr/lib/grub-xen/grub-x86_64-xen.bin")
SESSION = """#!/bin/sh
mount -t proc proc /proc; mount -t devtmpfs dev /dev
exec </dev/hvc0 >/dev/hvc0 2>&1
echo "booted: $(cat /proc/cmdline)"
poweroff -f
"""
# As update-grub writes it, shortened.
DEBIAN = f"""
if [ -s $prefix/grubenv ]; then
  set have_grubenv=true
  load_env
fi
if [ "${{next_entry}}" ] ; then
   set default="${{next_entry}}"
   set next_entry=
   save_env next_entry
   set boot_once=true
else
   set default="0"
fi
if [ x"${{feature_menuentry_id}}" = xy ]; then
  menuentry_id_option="--id"
else
  menuentry_id_option=""
fi
export menuentry_id_option
function savedefault {{
  if [ -z "${{boot_once}}" ]; then
    saved_entry="${{chosen}}"
    save_env saved_entry
  fi
}}
if [ x$feature_default_font_path = xy ] ; then
   font=unicode
else
insmod part_gpt
    font="/usr/share/grub/unicode.pf2"
fi
if loadfont $font ; then
  set gfxmode=auto
  insmod gfxterm
fi
terminal_output gfxterm
set timeout=5
menuentry 'Debian GNU/Linux' --class debian --class os $menuentry_id_option 'gnulinux-simple' {{
	load_video
	insmod gzio
	if [ x$grub_platform = xxen ]; then insmod xzio; insmod lzopio; fi
	insmod part_gpt
	insmod ext2
	set root='hd0,gpt9'
	if [ x$feature_platform_search_hint = xy ]; then
	  search --no-floppy --fs-uuid --set=root --hint-bios=hd0,gpt9 --hint-efi=hd0,gpt9  {boot_disk.UUID}
	else
	  search --no-floppy --fs-uuid --set=root {boot_disk.UUID}
	fi
	echo	'Loading Linux ...'
	linux	/boot/vmlinuz-6.1 root=/dev/xvda ro rdinit=/session quiet
	echo	'Loading initial ramdisk ...'
	initrd	/boot/initrd.img-6.1
}}
submenu 'Advanced options for Debian GNU/Linux' $menuentry_id_option 'gnulinux-advanced' {{
	menuentry 'Debian GNU/Linux, with Linux 6.1 (recovery mode)' --class debian $menuentry_id_option 'gnulinux-recovery' {{
		linux	/boot/vmlinuz-6.1 root=/dev/xvda ro single rdinit=/session quiet
		initrd	/boot/initrd.img-6.1
	}}
}}
if [ -f  ${{config_directory}}/custom.cfg ]; then
  source ${{config_directory}}/custom.cfg
elif [ -z "${{config_directory}}" -a -f  $prefix/custom.cfg ]; then
  source $prefix/custom.cfg
fi
"""
MENU_LST = """default\t\t0
timeout\t\t5
hiddenmenu
title\t\tDebian GNU/Linux, kernel 2.6.18-6-xen-amd64
root\t\t(hd0,0)
kernel\t\t/boot/vmlinuz-6.1 root=/dev/xvda ro rdinit=/session quiet
initrd\t\t/boot/initrd.img-6.1
savedefault
"""


def needs(*programs: str) -> None:
    for program in ("grub-fstest", *programs):
        if not boot_disk.tool(program):
            pytest.skip(f"{program} is not installed: scripts/setup --tests")


class Tree:
    """The files of a guest's disk: a kernel, a RAM disk whose session prints the command line, and a menu."""

    def __init__(self, folder: Path, images: Images) -> None:
        self.folder = folder
        session = folder.parent / "session-tree"
        session.mkdir()
        (session / "session").write_text(SESSION)
        (session / "session").chmod(0o755)
        self.more = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=session, input=b"session",
                                   stdout=subprocess.PIPE, check=True).stdout
        self.initrd = images.initrd.read_bytes()
        self.write("boot/vmlinuz-6.1", images.cloud_kernel.read_bytes())
        self.write("boot/initrd.img-6.1", self.initrd + self.more)

    def write(self, path: str, content: bytes | str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())

    def remove(self, path: str) -> None:
        (self.folder / path).unlink()


@pytest.fixture
def tree(work: Path, images: Images) -> Tree:
    (work / "tree").mkdir()
    return Tree(work / "tree", images)


def start(host: Pinfold, image: Path | str, *options: str) -> Guest:
    disk = image if isinstance(image, str) else f"{image},raw,xvda,ro"
    return host.start_command([str(host.build.pinfold), "run", "--bootloader", "pygrub", "--disk", disk, "--memory=256M", *options])


def boots(host: Pinfold, image: Path | str, *options: str) -> str:
    """The command line of the kernel that boots from the image. Its guest ends with exit code 0."""
    guest = start(host, image, *options)
    status = guest.exit_code(120)
    assert status == 0, guest.console.text()
    [line] = guest.console.matching("^booted: (.*)$")
    return line[1]


def dry_run(pinfold: Pinfold, image: Path | str, *options: str, **more: str) -> dict:
    """What `-n` says that the boot loader would do. A text instead of an image is a whole specification of a disk."""
    disk = image if isinstance(image, str) else f"{image},raw,xvda,rw"
    done = subprocess.run([str(pinfold.build.pinfold), "run", "-n", "--bootloader=pygrub", "--disk", disk, *options], capture_output=True, text=True, timeout=150, check=True, env=dict(os.environ) | more)
    return json.loads(done.stdout)["boot"]


def refusal(pinfold: Pinfold, image: Path, *options: str, **more: str) -> str:
    """The only line of a `run` that ends because of its boot loader."""
    command = [str(pinfold.build.pinfold), "run", "--bootloader=pygrub", "--disk", f"{image},raw,xvda,rw", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False, stdin=subprocess.DEVNULL,
                          env=pinfold.environment | more)
    assert done.returncode == BAD_CONFIGURATION, done.stderr
    [line] = done.stderr.splitlines()
    return line


# -- Each boots Debian's kernel.

@pytest.mark.parametrize("make", [boot_disk.ext4, boot_disk.xfs, boot_disk.btrfs, boot_disk.lvm, boot_disk.gpt, boot_disk.mbr],
                         ids=lambda make: make.__name__)
def test_boots_from(host: Pinfold, tree: Tree, work: Path, make: Callable[[Path, Path], Path]) -> None:
    needs("sfdisk", *{boot_disk.xfs: ["mkfs.xfs"], boot_disk.btrfs: ["mkfs.btrfs"]}.get(make, []))
    tree.write("boot/grub/grub.cfg", DEBIAN)
    image = make(tree.folder, work / "disk.img")
    assert boots(host, image) == "root=/dev/xvda ro rdinit=/session quiet console=hvc0"


def test_boots_a_menu_of_2008(host: Pinfold, tree: Tree, work: Path) -> None:
    needs("sfdisk")
    tree.write("boot/grub/menu.lst", MENU_LST)
    image = boot_disk.ext4(tree.folder, work / "disk.img")
    assert boots(host, image, "--append", "console=hvc0 more") == "root=/dev/xvda ro rdinit=/session quiet console=hvc0 more"


def test_boots_fedoras_layout_with_a_kernel_packed_by_zstd(host: Pinfold, images: Images, tree: Tree, work: Path) -> None:
    """Two RAM disks, one after the other; a kernel that PV GRUB can't unpack; the saved entry is not the newest one."""
    needs("sfdisk", "zstd")
    tree.remove("boot/vmlinuz-6.1")
    tree.remove("boot/initrd.img-6.1")
    tree.write("vmlinuz-6.9.5", zstd(unpacked(images.kernel.read_bytes()), work))
    tree.write("base.img", tree.initrd)
    tree.write("session.img", tree.more)
    tree.write("grub2/grub.cfg", "load_env -f ${config_directory}/grubenv\nset default=\"${saved_entry}\"\n"
               f"search --no-floppy --fs-uuid --set=root {boot_disk.UUID}\ninsmod blscfg\nblscfg\n")
    tree.write("grub2/grubenv", "# GRUB Environment Block\nsaved_entry=m-6.9.5\nkernelopts=root=/dev/xvda2 ro rdinit=/session\n####\n")
    for version in ("6.9.5", "6.10.3"):
        tree.write(f"loader/entries/m-{version}.conf", f"title Fedora ({version})\nversion {version}\nlinux /vmlinuz-{version}\n"
                   "initrd /base.img $tuned_initrd\ninitrd /session.img\noptions $kernelopts quiet\n")
    image = boot_disk.gpt(tree.folder, work / "disk.img")
    assert boots(host, image) == "root=/dev/xvda2 ro rdinit=/session quiet console=hvc0"


def unpacked(kernel: bytes) -> bytes:
    """The ELF file in a bzImage whose payload is packed by xz (Documentation/arch/x86/boot.rst in Linux)."""
    start = (kernel[0x1F1] + 1) * 512
    offset, length = struct.unpack_from("<II", kernel, 0x248)
    return lzma.LZMADecompressor().decompress(kernel[start + offset:start + offset + length])


def zstd(content: bytes, work: Path) -> bytes:
    (work / "elf").write_bytes(content)
    subprocess.run(["zstd", "-q", "-1", work / "elf", "-o", work / "elf.zst"], check=True)
    return (work / "elf.zst").read_bytes()


def test_a_restart_boots_the_kernel_that_is_on_the_disk_then(host: Pinfold, tree: Tree, work: Path) -> None:
    """The guest itself writes to its disk; here the host does it in its place, between two lives."""
    needs("sfdisk")
    tree.write("boot/grub/menu.lst", MENU_LST.replace("quiet", "quiet first"))
    tree.write("boot/initrd.img-6.1", tree.initrd + cpio_with(work, SESSION.replace("poweroff -f", "sleep 3; reboot -f")))
    image = boot_disk.ext4(tree.folder, work / "disk.img")
    guest = start(host, image)
    guest.wait_for("^booted: .*quiet first", 60)
    menu = work / "menu.lst"
    menu.write_text(MENU_LST.replace("quiet", "quiet second"))
    subprocess.run(["debugfs", "-w", "-R", "rm /boot/grub/menu.lst", image], check=True, capture_output=True)
    subprocess.run(["debugfs", "-w", "-R", f"write {menu} /boot/grub/menu.lst", image], check=True, capture_output=True)
    guest.wait_for("^booted: .*quiet second", 60)
    guest.kill()


def cpio_with(work: Path, session: str) -> bytes:
    folder = work / "another-session"
    folder.mkdir()
    (folder / "session").write_text(session)
    (folder / "session").chmod(0o755)
    return subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=folder, input=b"session", stdout=subprocess.PIPE,
                          check=True).stdout


@pytest.mark.parametrize("extra", ["(hd0)", "(hd0,0)", "(hd0,1)"])
def test_boots_by_pv_grub(host: Pinfold, images: Images, tree: Tree, work: Path, extra: str) -> None:
    """PV GRUB is the kernel, and finds the disk and the menu itself; the guest's kernel takes its place in the same life. It
    can unpack xz, and neither the LZ4 of the cloud kernel nor zstd.

    Configurations of the GRUB before GRUB 2 say where its menu is, in `extra`. Debian's GRUB 2 reads no command line: such a
    configuration boots from the menu that GRUB 2 finds, which is that of the last partition, whatever `extra` says."""
    needs("sfdisk")
    if not PV_GRUB.exists():
        pytest.skip("grub-xen-host is not installed: scripts/setup --tests")
    tree.write("boot/vmlinuz-6.1", images.kernel.read_bytes())
    menu = ("set timeout=0\nmenuentry a {\n linux /boot/vmlinuz-6.1 rdinit=/session quiet console=hvc0 WHERE\n"
            " initrd /boot/initrd.img-6.1\n}\n")
    tree.write("boot/grub/grub.cfg", menu.replace("WHERE", "first"))
    if extra == "(hd0)":
        image = boot_disk.ext4(tree.folder, work / "disk.img")
    else:
        shutil.copytree(tree.folder, work / "second")
        (work / "second/boot/grub/grub.cfg").write_text(menu.replace("WHERE", "second"))
        image = boot_disk.several([tree.folder, work / "second"], work / "disk.img")
    guest = host.start(PV_GRUB, "--disk", f"{image},raw,xvda,ro", "--append", extra, memory="256M")
    assert guest.exit_code(120) == 0, guest.console.text()
    where = "first" if extra == "(hd0)" else "second"
    assert guest.console.matching(f"booted: rdinit=/session quiet console=hvc0 {where}$"), guest.console.text()


def test_boots_what_is_chosen_from_the_menu(host: Pinfold, tree: Tree, work: Path) -> None:
    """With -i, on a terminal. A heading can't be chosen, and the menu then waits without end."""
    needs("sfdisk")
    tree.write("boot/grub/grub.cfg", DEBIAN)
    image = boot_disk.ext4(tree.folder, work / "disk.img")
    words = [host.build.pinfold, "run", "--bootloader=pygrub", "--bootloader-args=-i", "--disk", f"{image},raw,xvda,ro", "--memory=256M"]
    terminal = Terminal([str(word) for word in words], host.environment)
    try:
        terminal.wait_for(r" 1\* Debian GNU/Linux\r\n +Advanced options for Debian GNU/Linux:\r\n"
                          r" +3 +Debian GNU/Linux, with Linux 6.1 \(recovery mode\)\r\n"
                          r"number of the entry to boot \[1\], within 5 s: ")
        terminal.type("2\n")
        terminal.wait_for(r"there is no such entry\r\nnumber of the entry to boot \[1\]: ")
        terminal.type("3\n")
        terminal.wait_for("booted: root=/dev/xvda ro single rdinit=/session quiet console=hvc0\r", 120)
        assert terminal.ends(60) and terminal.process.returncode == 0
    finally:
        terminal.close()


# -- Images that are not raw, and images of other machines.

FORMATS = {"qcow2": "qcow2", "vhd": "vpc", "vhdx": "vhdx", "vmdk": "vmdk"}  # and QEMU's names for them


def converted(image: Path, format: str) -> Path:
    needs("qemu-img", "qemu-nbd")
    to = image.with_suffix(f".{format}")
    subprocess.run([str(boot_disk.tool("qemu-img")), "convert", "-f", "raw", "-O", FORMATS[format], image, to], check=True)
    image.unlink()
    return to


@contextmanager
def exported(image: Path, work: Path) -> Iterator[str]:
    """The image on a server that takes one client after the other: what a target of a disk names."""
    needs("qemu-nbd")
    place = work / "nbd"
    with subprocess.Popen([str(boot_disk.tool("qemu-nbd")), "--persistent", "--shared=1", "-f", "raw", "-k", str(place), str(image)]) as server:
        try:
            while not place.exists():
                time.sleep(0.05)
            yield f"nbd+unix:///?socket={place}"
        finally:
            server.terminate()


@pytest.mark.parametrize("format", FORMATS)
def test_boots_from_a_disk_of_every_format(host: Pinfold, tree: Tree, work: Path, format: str) -> None:
    needs("sfdisk")
    tree.write("boot/grub/grub.cfg", DEBIAN)
    image = converted(boot_disk.gpt(tree.folder, work / "disk.img"), format)
    guest = start(host, f"{image},{format},xvda,rw", "--vcpus=2")
    assert guest.exit_code(120) == 0, guest.console.text() + guest.messages.text()
    assert guest.console.has("^booted: root=/dev/xvda ro rdinit=/session quiet console=hvc0$")


def test_boots_from_an_image_of_another_machine(host: Pinfold, tree: Tree, work: Path) -> None:
    tree.write("boot/grub/grub.cfg", DEBIAN)
    with exported(boot_disk.ext4(tree.folder, work / "disk.img"), work) as target:
        assert boots(host, f"format=raw, vdev=xvda, access=rw, target={target}", "--vcpus=2").startswith("root=/dev/xvda ro")


# -- These need no KVM.

@pytest.fixture
def plain(work: Path) -> Path:
    """A tree with files that need not boot."""
    needs("mke2fs")
    folder = work / "plain"
    for path, text in {"boot/grub/grub.cfg": DEBIAN, "boot/vmlinuz-6.1": "kernel", "boot/initrd.img-6.1": "initrd"}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def test_n_says_what_would_be_booted(pinfold: Pinfold, plain: Path, work: Path) -> None:
    image = boot_disk.ext4(plain, work / "disk.img")
    boot = dry_run(pinfold, image, "--append", "more")
    assert boot["kernel"] == "(hd0)/boot/vmlinuz-6.1"
    assert boot["ramdisks"] == ["(hd0)/boot/initrd.img-6.1"]
    assert boot["cmdline"] == "root=/dev/xvda ro rdinit=/session quiet more"
    assert boot["menu"] == "(hd0)/boot/grub/grub.cfg"
    assert [entry["place"] for entry in boot["entries"]] == ["0", "1", "1>0"]
    for entry in ("1", "1>0", "gnulinux-advanced>gnulinux-recovery"):
        assert " single " in dry_run(pinfold, image, f"--bootloader-args=--entry={entry}")["cmdline"]


def test_the_root_of_a_menu_is_obeyed(pinfold: Pinfold, plain: Path, work: Path) -> None:
    """Both partitions have a menu, and files of the same names. The menu of the first one is read, and its entries say where
    their files are: menu.lst counts partitions from 0, grub.cfg from 1."""
    needs("sfdisk")
    second = work / "second"
    shutil.copytree(plain, second)
    old, new = Path("boot/grub/menu.lst"), Path("boot/grub/grub.cfg")
    (second / new).unlink()
    (second / old).write_text(MENU_LST.replace("quiet", "menu of the second"))
    places = {new: ("hd0,1", "hd0,msdos2"), old: ("(hd0,0)", "(hd0,1)")}
    for menu, roots in places.items():
        (plain / new).unlink(missing_ok=True)
        (plain / menu).write_text("".join(
            f"title {root}\nroot {root}\nkernel /boot/vmlinuz-6.1 quiet\ninitrd /boot/initrd.img-6.1\n" if menu == old else
            f"menuentry '{root}' {{\n set root='{root}'\n linux /boot/vmlinuz-6.1 quiet\n initrd /boot/initrd.img-6.1\n}}\n"
            for root in roots))
        image = boot_disk.several([plain, second], work / "disk.img")
        for entry, device in enumerate(("(hd0,msdos1)", "(hd0,msdos2)")):
            boot = dry_run(pinfold, image, f"--bootloader-args=--entry={entry}")
            assert (boot["error"], boot["menu"], boot["cmdline"]) == (None, f"(hd0,msdos1)/{menu}", "quiet console=hvc0")
            assert (boot["kernel"], boot["ramdisks"]) == (f"{device}/boot/vmlinuz-6.1", [f"{device}/boot/initrd.img-6.1"])


def test_arguments_of_pygrub(pinfold: Pinfold, plain: Path, work: Path) -> None:
    image = boot_disk.gpt(plain, work / "disk.img")
    boot = dry_run(pinfold, image, "--bootloader-args=--kernel=/boot/vmlinuz-6.1", "--bootloader-args=--args=a=1", "--append", "b")
    assert (boot["kernel"], boot["ramdisks"], boot["cmdline"], boot["menu"]) == ("(hd0,gpt2)/boot/vmlinuz-6.1", [], "a=1 b", None)
    offset = 512 * (2048 + 16384)
    for place, error in ((offset, None), (offset + 512, "none of its file systems has /boot/vmlinuz-6.1")):
        boot = dry_run(pinfold, image, "--bootloader-args=--kernel=/boot/vmlinuz-6.1", f"--bootloader-args=--offset={place}")
        assert boot["error"] is None if error is None else error in boot["error"]


def test_reads_nothing_of_the_host(pinfold: Pinfold, plain: Path, work: Path) -> None:
    secret = "(host)/etc/passwd"
    (plain / "boot/grub/grub.cfg").write_text(f"menuentry a {{ linux {secret} }}")
    image = boot_disk.ext4(plain, work / "disk.img")
    assert dry_run(pinfold, image)["error"].endswith(f"there is no file {secret}")
    for path in (secret, "(proc)/self/environ", "(loop0)(host)/etc/passwd", "/boot/(host)/etc/passwd"):
        assert "none of its file systems" in dry_run(pinfold, image, f"--bootloader-args=--kernel={path}")["error"]


def test_hostile_files_end_in_a_line(pinfold: Pinfold, plain: Path, work: Path) -> None:
    """A menu without end, links in a circle, files that are too large for the guest or longer than a menu."""
    menu = plain / "boot/grub/grub.cfg"
    menu.write_text("menuentry x { linux /boot/big }\n")
    (plain / "boot/big").write_bytes(os.urandom(5 << 20))
    image = boot_disk.ext4(plain, work / "disk.img")
    assert refusal(pinfold, image, "--memory=4M").endswith(
        "(hd0)/boot/big: it has more than 4194304 bytes")
    menu.write_text("menuentry x { linux /boot/a }\n")
    (plain / "boot/a").symlink_to("b")
    (plain / "boot/b").symlink_to("a")
    assert "there is no file /boot/a" in refusal(pinfold, boot_disk.ext4(plain, image))
    menu.write_text("menuentry x { true }\n" * 60_000)
    assert refusal(pinfold, boot_disk.ext4(plain, image)) == (
        f"pinfold: no kernel was found on {image}: (hd0)/boot/grub/grub.cfg can't be read: it has more than 1048576 bytes")
    menu.write_text("while true; do true; done\n")
    assert "does not end" in refusal(pinfold, boot_disk.ext4(plain, image))
    menu.write_text("menuentry x { linux /boot/vmlinuz-6.1 " + "x" * 2000 + " }\n")
    assert "the command line has 2013 bytes" in refusal(pinfold, boot_disk.ext4(plain, image))


def test_a_kernel_that_is_none_is_named(pinfold: Pinfold, plain: Path, work: Path) -> None:
    image = boot_disk.ext4(plain, work / "disk.img")
    assert refusal(pinfold, image).startswith("pinfold: (hd0)/boot/vmlinuz-6.1: ")


@pytest.mark.parametrize(("damaged", "what"), (("/boot/grub/grubenv", "(hd0)/boot/grub/grubenv"),
                                               ("/boot/grub", "(hd0)/boot/grub/"), ("/boot", "(hd0)/boot/")))
def test_what_cant_be_read_is_named_and_not_taken_for_absent(pinfold: Pinfold, plain: Path, work: Path, damaged: str, what: str) -> None:
    """Without its grubenv, or without one of its menus, a guest would boot another entry."""
    needs("debugfs")
    (plain / "boot/grub/grubenv").write_text("# GRUB Environment Block\nnext_entry=gnulinux-advanced>gnulinux-recovery\n".ljust(1024, "#"))
    image = boot_disk.ext4(plain, work / "disk.img", 4 << 20)
    assert " single " in dry_run(pinfold, image)["cmdline"]
    subprocess.run([str(boot_disk.tool("debugfs")), "-w", "-R", f"set_inode_field {damaged} block[0] 0", image],
                   capture_output=True, check=True)
    line = refusal(pinfold, image)
    assert line.startswith(f"pinfold: no kernel was found on {image}: {what} can't be read: "), line


@pytest.mark.parametrize("is_default", (False, True), ids=("top", "default"))
@pytest.mark.parametrize("name", ("@", "@rootfs", "root", "other"))
def test_finds_the_menu_in_a_subvolume(pinfold: Pinfold, tree: Tree, work: Path, name: str, is_default: bool) -> None:
    """GRUB's paths begin at the top of the file system, also if another subvolume is mounted by default. One of an unusual name
    has to be named."""
    needs("mkfs.btrfs", "btrfs")
    tree.write("boot/grub/grub.cfg", DEBIAN.replace("/boot/vmlinuz", f"/{name}/boot/vmlinuz").replace("/boot/initrd", f"/{name}/boot/initrd"))
    image = work / "disk.img"
    if not boot_disk.btrfs_subvolume(tree.folder, image, name, is_default):
        pytest.skip("this process can't mount a btrfs")
    kernel, ramdisk = f"/{name}/boot/vmlinuz-6.1", f"/{name}/boot/initrd.img-6.1"
    if name == "other":
        assert "there is no menu of a boot loader" in refusal(pinfold, image)
        boot = dry_run(pinfold, image, f"--bootloader-args=--kernel={kernel}", f"--bootloader-args=--ramdisk={ramdisk}")
    else:
        boot = dry_run(pinfold, image)
        assert boot["menu"] == f"(hd0)/{name}/boot/grub/grub.cfg"
    assert boot["error"] is None
    assert [path.removeprefix("(hd0)") for path in (boot["kernel"], *boot["ramdisks"])] == [kernel, ramdisk]


# What is damaged: all of a file system, or only what says where it is.
ANYWHERE = 1 << 62
DAMAGED = {boot_disk.ext4: ANYWHERE, boot_disk.xfs: ANYWHERE, boot_disk.btrfs: ANYWHERE, boot_disk.lvm: boot_disk.MIB,
           boot_disk.gpt: boot_disk.MIB, boot_disk.mbr: boot_disk.MIB}


@pytest.mark.parametrize("make", DAMAGED, ids=lambda make: make.__name__)
def test_random_damage_never_gets_anywhere(pinfold: Pinfold, plain: Path, work: Path, make: Callable[[Path, Path], Path]) -> None:
    """Bits of the disk are turned over: a kernel is found or not, and there is always an answer."""
    needs("sfdisk", *{boot_disk.xfs: ["mkfs.xfs"], boot_disk.btrfs: ["mkfs.btrfs"]}.get(make, []))
    image = make(plain, work / "disk.img")
    places = [place for place in boot_disk.places_with_content(image) if place < DAMAGED[make]]
    chance = random.Random(12345)
    rounds, found = int(os.environ.get("PINFOLD_BOOT_DAMAGES", "4")), 0
    with image.open("r+b") as file:
        disk = file.fileno()
        for _ in range(rounds):
            before: dict[int, bytes] = {}
            for _ in range(chance.choice((1, 10, 100, 1000))):
                place = chance.choice(places)
                byte = os.pread(disk, 1, place)
                before.setdefault(place, byte)
                os.pwrite(disk, bytes([byte[0] ^ 1 << chance.randrange(8)]), place)
            boot = dry_run(pinfold, image)
            assert boot["error"] or boot["kernel"].startswith(("(hd0", "(lvm/"))
            found += not boot["error"]
            for place, byte in before.items():
                os.pwrite(disk, byte, place)
    boot = dry_run(pinfold, image)
    assert (boot["error"], boot["kernel"].partition(")")[2]) == (None, "/boot/vmlinuz-6.1"), "nothing else was wrong with the disk"
    assert rounds < 100 or 0 < found < rounds, "damage that matters, and damage that does not"


def test_reads_only_what_it_needs_of_a_large_image(pinfold: Pinfold, plain: Path, work: Path) -> None:
    """Of 8 TB, in no time, and without room for a copy of anything."""
    image = converted(boot_disk.ext4(plain, work / "disk.img"), "qcow2")
    subprocess.run([str(boot_disk.tool("qemu-img")), "resize", "-q", "-f", "qcow2", image, "8T"], check=True)
    content = image.read_bytes()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    boot = dry_run(pinfold, f"{image},qcow2,xvda,rw")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (boot["error"], boot["kernel"]) == (None, "(hd0)/boot/vmlinuz-6.1")
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5
    assert image.read_bytes() == content


def test_damaged_images_of_other_formats_end_in_a_line(pinfold: Pinfold, plain: Path, work: Path) -> None:
    """Bits of an image's own tables are turned over; an image that names another one is not followed."""
    image = converted(boot_disk.ext4(plain, work / "disk.img", 4 << 20), "qcow2")
    good = image.read_bytes()
    state = 54321
    for _ in range(int(os.environ.get("PINFOLD_BOOT_DAMAGES", "10"))):
        bad = bytearray(good)
        for _ in range(20):
            state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
            place = (state >> 33) % (5 * 65536)  # the header, the tables and their first blocks
            bad[place if place >= 8 else 8] ^= 1 << (state >> 61)
        image.write_bytes(bad)
        boot = dry_run(pinfold, f"{image},qcow2,xvda,rw")
        assert boot["error"] or boot["kernel"].startswith("(hd0)/")
    image.unlink()
    subprocess.run([str(boot_disk.tool("qemu-img")), "create", "-q", "-u", "-f", "qcow2", "-F", "raw", "-b", "/etc/passwd", image, "1M"], check=True)
    assert "/etc/passwd: it is not in the folder of the disk's image" in dry_run(pinfold, f"{image},qcow2,xvda,rw")["error"]


def test_a_disk_that_cant_be_read_is_named(pinfold: Pinfold, plain: Path, work: Path) -> None:
    image = converted(boot_disk.ext4(plain, work / "disk.img", 4 << 20), "qcow2")
    content = bytearray(image.read_bytes())
    # The first L2 table is said to begin in the middle of a cluster (docs/interop/qcow2.txt in QEMU).
    [table] = struct.unpack_from(">Q", content, 40)
    struct.pack_into(">Q", content, table, (1 << 63) | 0x200)
    image.write_bytes(content)
    error = dry_run(pinfold, f"{image},qcow2,xvda,rw")["error"]
    assert error == f"no kernel was found on {image}: xvda ({image}) can't be read: Input/output error"


def test_a_host_with_too_few_descriptors_is_named(pinfold: Pinfold, plain: Path, work: Path) -> None:
    image = converted(boot_disk.ext4(plain, work / "disk.img", 4 << 20), "qcow2")
    words = [pinfold.build.pinfold, "run", "-n", "--bootloader=pygrub", "--disk", f"{image},qcow2,xvda,rw"]
    done = subprocess.run(["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", *map(str, words)], capture_output=True, text=True, timeout=150, check=True)
    error = json.loads(done.stdout)["boot"]["error"]
    assert "it needs more descriptors than `ulimit -n`, 64, permits; 164 are enough" in error
    assert "menu" not in error


def test_disks_without_a_menu_say_so(pinfold: Pinfold, work: Path) -> None:
    needs("mke2fs")
    (work / "empty").mkdir()
    image = boot_disk.ext4(work / "empty", work / "disk.img", 4 << 20)
    assert "there is no menu of a boot loader" in refusal(pinfold, image)
    assert "there is no menu of a boot loader" in refusal(pinfold, boot_disk.blank(image, 1 << 20))
    image.unlink()
    assert f"disk {image}: there is no such file" in refusal(pinfold, image)


def test_grub_fstest_that_is_not_installed_is_named(pinfold: Pinfold, plain: Path, work: Path) -> None:
    image = boot_disk.ext4(plain, work / "disk.img")
    line = refusal(pinfold, image, PATH=str(work))
    assert line == "pinfold: boot loaders need grub-fstest, which is not installed: it is in Debian's package grub-common"


def test_a_host_without_a_sandbox_is_refused(pinfold: Pinfold, plain: Path, work: Path) -> None:
    """Under a filter that refuses seccomp(2) for filters with a listener, as some containers have it."""
    image = boot_disk.ext4(plain, work / "disk.img")
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("no C compiler")
    source = work / "no_listener.c"
    source.write_text(NO_LISTENER)
    subprocess.run([compiler, "-o", work / "no_listener", source], check=True)
    done = subprocess.run([work / "no_listener", pinfold.build.pinfold, "run", "-n", "--bootloader=pygrub", "--disk",
                           f"{image},raw,xvda"], capture_output=True, text=True, timeout=60, check=True)
    error = json.loads(done.stdout)["boot"]["error"]
    assert error.startswith("grub-fstest can't be confined on this host (its seccomp filter: ")
    assert error.endswith("give copies of the guest's kernel and RAM disk as kernel= and ramdisk=")


NO_LISTENER = """
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
int main(int argc, char** argv) {
  struct sock_filter code[] = {
      LOAD(nr),      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_seccomp, 0, 3),
      LOAD(args[1]), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, SECCOMP_FILTER_FLAG_NEW_LISTENER, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EBUSY), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  struct sock_fprog program = {sizeof code / sizeof code[0], code};
  if (argc < 2 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) return 1;
  execv(argv[1], argv + 1);
  return 1;
}
"""
