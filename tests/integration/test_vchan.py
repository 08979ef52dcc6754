"""Connections between two guests of a machine by Debian's libxenvchan, over Debian's kernel: gntalloc, gntdev, evtchn."""
import subprocess
from pathlib import Path

import pytest
from harness.build import ROOT
from harness.driver_domain import initrd
from harness.images import Images
from harness.pinfold import Guest, Pinfold
from harness.session import AUDITED

MODULES = ("xen-evtchn", "xen-gntdev", "xen-gntalloc")
SOURCE = ROOT / "tests/guest-tools/vchan/vchan.c"
NODE = "/local/domain/1/data/link"
BYTES = 4_000_000
# The client ends by itself; then the server of a second connection is killed.
SERVER = f"""
vchan serve 2 {NODE} {BYTES} wait
vchan serve 2 {NODE}2 {BYTES} wait >/tmp/second &
until grep waits /tmp/second; do sleep 0.1; done
kill -9 $!
cat /tmp/second
"""
CLIENT = f"""
vchan call 1 {NODE} {BYTES}
vchan call 1 {NODE}2 {BYTES} wait
"""


@pytest.fixture
def program(work: Path) -> Path:
    to = work / "vchan"
    subprocess.run(["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-o", to, SOURCE, "-lxenvchan"], check=True)
    return to


def config(images: Images, work: Path, program: Path, name: str, session: str) -> Path:
    file = work / f"{name}.cfg"
    ramdisk = initrd(images, work, name, session, *MODULES, programs=[program])
    file.write_text("\n".join([f'name = "{name}"', f'kernel = "{images.kernel}"', f'ramdisk = "{ramdisk}"', "memory = 256",
                               'extra = "console=hvc0 quiet rdinit=/session"']) + "\n")
    return file


def checksums(guest: Guest, name: str, role: str) -> list[tuple[str, str]]:
    lines = guest.console.matching(f"^{name}: {role}: sent ([0-9a-f]+) received ([0-9a-f]+)")
    return [(match[1], match[2]) for match in lines]


def test_guests_exchange_streams_and_notice_the_others_end(host: Pinfold, images: Images, work: Path, program: Path) -> None:
    files = [config(images, work, program, "server", SERVER), config(images, work, program, "client", CLIENT)]
    guest = host.start_command([str(host.build.pinfold), "run", "--audit", *map(str, files)])
    guest.wait_for("^server: serve: the other end has gone", 240)
    guest.wait_for("^client: call: the other end has gone", 240)
    assert guest.exit_code(180) == 0, guest.console.text()
    served, called = checksums(guest, "server", "serve"), checksums(guest, "client", "call")
    assert len(served) == len(called) == 2, guest.console.text()
    for (server_sent, server_received), (client_sent, client_received) in zip(served, called):
        assert server_sent == client_received and client_sent == server_received
        assert server_sent != client_sent
    for name in ("server", "client"):
        assert guest.console.has(f"{name}: {AUDITED}")
