"""Disks and network interfaces that come and go while Debian's kernel uses them, by the commands with xl's names."""
import hashlib
import json
import os
import re
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
        self.terminal.type(f"{command}; echo \"end\"{self._commands}\r")
        self.terminal.wait_for("echo \"end\"")
        return self.terminal.wait_for(f"(?s)^[^\n]*\n(.*)end{self._commands}\r", seconds)[1].replace("\r", "")

    def until(self, condition: str, seconds: float = 30) -> None:
        """Waits until a shell's condition is true in the guest."""
        assert "yes" in self.run(f"for n in $(seq {int(seconds * 10)}); do {condition} && echo yes && break; sleep 0.1; done", seconds * 2)

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
