"""Long transfers of Debian's kernel: by passt and in a bridge, both ways, IPv4 and IPv6; and floods with loss. All in network
namespaces of the test's own. PINFOLD_TRANSFER_MEGABYTES is how much goes each way."""
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.images import Images
from harness.network import ADDRESS, ADDRESS6, Namespace, initrd, make_file
from harness.pinfold import Guest, Pinfold
from harness.session import AUDITED
from harness.transfers import BRIDGED, transfers

MIB = 1 << 20
MEGABYTES = int(os.environ.get("PINFOLD_TRANSFER_MEGABYTES", "40"))
LIMIT = 180 + 2 * MEGABYTES  # seconds for a session
Starter = Callable[..., Guest]

# Receives at port 9000 what connections bring, and writes the sum of each into a file. Says when it has as much as it was told:
# passt of Debian 12 loses what the host has not yet taken when the guest closes a connection (it obeys a FIN that comes before
# data that it has to be sent again).
RECEIVER = """
import hashlib, socket, sys
listener = socket.create_server(("::", 9000), family=socket.AF_INET6, dualstack_ipv6=True)
while True:
    connection, _ = listener.accept()
    sum, count = hashlib.sha256(), 0
    while data := connection.recv(1 << 20):
        sum.update(data)
        count += len(data)
        if count == int(sys.argv[2]): connection.sendall(b"all\\n")
    with open(sys.argv[1], "a") as file: print(count, sum.hexdigest(), file=file)
    connection.close()
"""
# Datagrams to the guest, faster than it takes them. Says how many the host's kernel took.
BLAST = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
end, sent = time.monotonic() + 5, 0
while time.monotonic() < end:
    try: s.sendto(bytes(1400), (sys.argv[1], 9)); sent += 1
    except OSError: pass
print(sent)
"""


@pytest.fixture
def space() -> Iterator[Namespace]:
    space = Namespace()
    yield space
    space.close()


@pytest.fixture
def start(host: Pinfold, images: Images, work: Path, space: Namespace) -> Starter:
    """start(SESSION, OPTION...) starts a guest with two vCPUs in the namespace."""
    base = images.initrd_with("xen-netfront")

    def starter(session: str, *options: object) -> Guest:
        words = [host.build.pinfold, "run", "--kernel", images.kernel, "--initrd", initrd(base, work, session), "--memory", "320M",
                 "--vcpus", 2, "--append", "console=hvc0 quiet rdinit=/session", "--audit", "--stats", *options]
        return host.start_command(space.command(*words), apart=True)

    return starter


def ended_well(guest: Guest) -> None:
    status = guest.exit_code(LIMIT)
    print(guest.console.text(), guest.messages.text())
    assert status == 0
    assert guest.messages.matching(AUDITED)


def make_bridge(space: Namespace) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a tap device for a bridge")
    space.run("sh", "-ec", "ip link add br0 type bridge; ip link set br0 up mtu 9000; ip address add 10.0.0.1/24 dev br0; "
              "ip -6 address add fd00::1/64 dev br0 nodad")


@pytest.mark.parametrize("kind", ["passt", "bridge"])
def test_what_is_transferred_arrives(start: Starter, space: Namespace, work: Path, kind: str) -> None:
    if kind == "passt" and not shutil.which("passt"):
        pytest.skip("passt is not installed")
    address, address6 = (ADDRESS, ADDRESS6) if kind == "passt" else ("10.0.0.1", "fd00::1")
    if kind == "bridge":
        make_bridge(space)
    (work / "www").mkdir()
    sum_of_host = make_file(work / "www/blob", MEGABYTES * MIB)
    space.serve(work / "www")
    space.start("python3", "-c", RECEIVER, work / "got", MEGABYTES * MIB)
    guest = start(transfers(kind, address, address6, MEGABYTES), "--vif", "net=passt" if kind == "passt" else "bridge=br0,mtu=9000")
    ended_well(guest)
    [own] = guest.console.matching("^own ([0-9a-f]+)")
    assert (work / "got").read_text().splitlines() == [f"{MEGABYTES * MIB} {own[1]}"] * 2
    for version in ("v4", "v6"):
        assert guest.console.has(f"^{version} {sum_of_host}")


def test_floods_lose_frames_and_stop_nothing(start: Starter, space: Namespace, work: Path) -> None:
    """Both sides send more than the other one takes, small packets and large ones, on two queues. Frames are lost; afterwards all
    is well."""
    make_bridge(space)
    (work / "www").mkdir()
    sum_of_host = make_file(work / "www/blob", 5 * MIB)
    space.serve(work / "www")
    guest = start(f"""
        {BRIDGED}
        ping -c 1 -w 20 10.0.0.1
        echo ready
        for n in 1 2 3 4; do head -c 20M /dev/zero | nc -u -w 1 10.0.0.1 9 & done
        for n in 1 2 3 4; do ping -A -q -w 6 -s 1400 10.0.0.1 >/dev/null & done
        ping -A -q -w 6 -s 16 10.0.0.1 >/dev/null
        wait
        echo "over"
        ping -c 3 -w 20 10.0.0.1
        echo "sum $(wget -q -O - http://10.0.0.1:8000/blob | sha256sum)"
    """, "--vif", "bridge=br0,mtu=9000")
    guest.wait_for("^ready", 120)
    blasts = [space.start("python3", "-c", BLAST, "10.0.0.2") for _ in range(2)]
    sent = sum(int(blast.communicate(timeout=60)[0]) for blast in blasts)
    ended_well(guest)
    assert guest.console.has("^3 packets transmitted, 3 packets received")
    assert guest.console.has(f"^sum {sum_of_host}")
    [frames] = guest.messages.matching("rx_frames +([0-9]+)")
    assert int(frames[1]) > 5000
    assert sent > int(frames[1]), "no frame was lost: it was no flood"
