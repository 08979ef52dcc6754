"""A host of the test's own, as far as networks go: a network namespace, in which guests and servers run."""
import hashlib
import os
import shutil
import subprocess
import textwrap
import time
from pathlib import Path

import pytest

ADDRESS, ADDRESS6 = "198.51.100.1", "2001:db8:5::1"  # documentation's (RFC 5737, RFC 3849): those of the servers
SET_UP = f"""
ip link set lo up
ip address add {ADDRESS}/32 dev lo
ip -6 address add {ADDRESS6}/128 dev lo nodad
ip link add out type veth peer name away
ip link set out up
ip link set away up
ip address add 192.0.2.10/24 dev out
ip -6 address add 2001:db8:4::10/64 dev out nodad
ip route add default via 192.0.2.1
ip -6 route add default via 2001:db8:4::1 dev out
"""
SERVERS = f"""
import http.server, socket, sys
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_): pass
Server(("::", 8000), Handler).serve_forever()
"""


class Namespace:
    """Lives as long as a process that sleeps in it. It has a default route that leads nowhere, as passt needs one, and
    addresses on its loopback for servers."""

    def __init__(self) -> None:
        command = ["unshare", "--net", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sleep", "infinity"]
        self._sleeper = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._processes: list[subprocess.Popen] = []
        time.sleep(0.2)
        if self._sleeper.poll() is not None:
            pytest.skip("no network namespace can be made here")
        self.run("sh", "-ec", SET_UP)

    def command(self, *words: object) -> list[str]:
        """A command that runs these words in the namespace."""
        user = [] if os.geteuid() == 0 else ["--user", "--preserve-credentials"]
        return ["nsenter", "--net", *user, "--target", str(self._sleeper.pid), *map(str, words)]

    def run(self, *words: object, check: bool = True) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(*words), capture_output=True, text=True, timeout=60, check=check)

    def start(self, *words: object, folder: Path | None = None) -> subprocess.Popen:
        process = subprocess.Popen(self.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, cwd=folder)
        self._processes.append(process)
        return process

    def serve(self, folder: Path) -> None:
        """Serves the folder by HTTP at port 8000 of all addresses."""
        self.start("python3", "-c", SERVERS, folder=folder)

    def close(self) -> None:
        for process in [*self._processes, self._sleeper]:
            process.kill()
            process.wait()


def make_file(path: Path, size: int) -> str:
    """A file of random bytes; its sha256."""
    data = os.urandom(size)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


LEASE = """#!/bin/sh
[ "$1" = bound ] || exit 0
ip address add $ip/$mask dev $interface
ip route add default via $router
"""
BEGIN = """#!/bin/busybox sh
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmpfs /tmp
exec </dev/hvc0 >/dev/hvc0 2>&1
for module in /modules/*; do insmod $module; done
ip link set lo up
"""


def initrd(base: Path, folder: Path, session: str) -> Path:
    """The root file system `base`, with a first process that loads the modules, does what `session` says, and powers off."""
    tree = folder / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    for name, text in (("session", BEGIN + textwrap.dedent(session) + "\npoweroff -f\n"), ("lease", LEASE)):
        (tree / name).write_text(text)
        (tree / name).chmod(0o755)
    more = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=tree, input=b"lease\nsession", stdout=subprocess.PIPE, check=True)
    file = folder / f"initrd{len(list(folder.glob('initrd*')))}"
    file.write_bytes(base.read_bytes() + more.stdout)
    return file
