"""Driver domains: a guest that serves a disk or an interface to another guest of its machine. Both run Debian's kernel."""
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.driver_domain import initrd
from harness.images import Images
from harness.pinfold import Guest, Pinfold
from harness.session import AUDITED
from test_lies import DISK as TAKEN, end, two
from test_machine import caller, goes_on, run

BACK = ("loop", "bridge", "xen-blkback", "xen-netback", "xen-blkfront")
FRONT = ("xen-blkfront", "xen-netfront")


class Pair:
    """A driver domain `back` and a guest `front` that it serves."""

    def __init__(self, host: Pinfold, images: Images, work: Path) -> None:
        self.host, self.images, self.work = host, images, work

    def config(self, name: str, session: str, *lines: str, modules: tuple[str, ...], memory: int = 256) -> Path:
        file = self.work / f"{name}.cfg"
        ramdisk = initrd(self.images, self.work, name, session, *modules)
        file.write_text("\n".join([f'name = "{name}"', f'kernel = "{self.images.kernel}"', f'ramdisk = "{ramdisk}"', f"memory = {memory}",
                                   'extra = "console=hvc0 quiet rdinit=/session"', *lines]) + "\n")
        return file

    def back(self, session: str, *lines: str) -> Path:
        return self.config("back", session, *lines, modules=BACK)

    def front(self, session: str, *lines: str, name: str = "front") -> Path:
        return self.config(name, session, *lines, modules=FRONT)

    def run(self, *words: object) -> Guest:
        return self.host.start_command([str(self.host.build.pinfold), "run", "--audit", *map(str, words)])


@pytest.fixture
def pair(host: Pinfold, images: Images, work: Path) -> Pair:
    return Pair(host, images, work)


DISK = 'disk = ["format=raw,vdev=xvda,access=rw,backend=back,target=/tmp/disk"]'
VIF = 'vif = ["backend=back,mac=00:16:3e:00:00:01"]'
SERVE_FILE = """
truncate -s 64M /tmp/disk
driver-domain &
echo serving
while [ ! -e /tmp/over ]; do sleep 1; done
"""
WRITE_AND_READ = """
until [ -b /dev/xvda ]; do sleep 0.1; done
dd if=/dev/urandom of=/tmp/data bs=1M count=16 2>/dev/null
echo "sum $(md5sum </tmp/data)"
dd if=/tmp/data of=/dev/xvda bs=1M conv=fsync 2>/dev/null
echo 3 >/proc/sys/vm/drop_caches
echo "again $(dd if=/dev/xvda bs=1M count=16 2>/dev/null | md5sum)"
"""


def test_a_disk_of_a_driver_domain_is_written_and_read(pair: Pair) -> None:
    guest = pair.run(pair.back(SERVE_FILE), pair.front(WRITE_AND_READ, DISK))
    guest.wait_for(f"front: {AUDITED}", 180)
    sums = {match[1]: match[2] for match in guest.console.matching("^front: (sum|again) ([0-9a-f]+)")}
    assert sums["sum"] == sums["again"]
    assert pair.host("destroy", "back").returncode == 0
    assert guest.exit_code() == 0
    assert guest.console.has(f"back: {AUDITED}")


@pytest.mark.parametrize("copies", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["copied", "granted"])
def test_a_driver_domain_passes_on_a_disk_of_its_own(pair: Pair, work: Path, copies: bool) -> None:
    """Only what its frontend copies: it can't grant a page that it has mapped of the other guest."""
    (work / "image").write_bytes(bytes(64 << 20))
    disks = f'disk = ["{work}/image,raw,xvda,rw"]'
    guest = pair.run(pair.back("driver-domain &\nwhile :; do sleep 1; done", disks, f"driver_domain = {int(copies)}"),
                     pair.front(WRITE_AND_READ, DISK.replace("/tmp/disk", "/dev/xvda")))
    guest.wait_for(f"front: {AUDITED}", 180)
    sums = {match[1]: match[2] for match in guest.console.matching("^front: (sum|again) ([0-9a-f]+)")}
    assert pair.host("destroy", "back").returncode == 0
    assert guest.exit_code() == 0, guest.console.text()
    assert guest.console.has(f"back: {AUDITED}")
    assert (sums["sum"] == sums["again"]) is copies
    assert (hashlib.md5((work / "image").read_bytes()[:16 << 20]).hexdigest() == sums["sum"]) is copies


SERVE_NETWORK = """
brctl addbr br0
ip address add 10.0.0.1/24 dev br0
ip link set br0 up
head -c 20000000 /dev/urandom >/tmp/blob
echo "served $(md5sum </tmp/blob)"
httpd -p 80 -h /tmp
driver-domain br0 &
nc -l -p 81 >/tmp/got
echo "got $(md5sum </tmp/got)"
"""
USE_NETWORK = """
ip address add 10.0.0.2/24 dev eth0
ip link set eth0 up
until ping -q -c 1 -W 1 10.0.0.1 >/dev/null; do :; done
ping -q -c 20 -i 0.1 -W 10 10.0.0.1 | grep 'packets received'
ping -q -c 5 -i 0.1 -W 10 -s 8000 10.0.0.1 | grep 'packets received'
echo "fetched $(wget -q -O - http://10.0.0.1/blob | md5sum)"
head -c 20000000 /dev/urandom >/tmp/own
echo "sent $(md5sum </tmp/own)"
nc 10.0.0.1 81 </tmp/own
"""


@pytest.mark.parametrize("vcpus", [2, pytest.param(1, marks=pytest.mark.slow)])
def test_an_interface_of_a_driver_domain_carries_frames_both_ways(pair: Pair, vcpus: int) -> None:
    cpus = f"vcpus = {vcpus}"
    guest = pair.run(pair.back(SERVE_NETWORK, cpus), pair.front(USE_NETWORK, cpus, VIF))
    assert guest.exit_code(300) == 0
    sums = {match[1]: match[2] for match in guest.console.matching("^(?:front|back): (fetched|served|got|sent) ([0-9a-f]+)")}
    assert sums["fetched"] == sums["served"] and sums["sent"] == sums["got"], guest.console.text()
    assert guest.console.has("20 packets transmitted, 20 packets received")
    for name in ("front", "back"):
        assert guest.console.has(f"{name}: {AUDITED}")


# -- the end of a device, and of one of the two

WAITS = """
until [ -b /dev/xvda ]; do sleep 0.1; done
echo "has it"
while [ -b /dev/xvda ]; do sleep 0.1; done
echo "has lost it"
while :; do sleep 1; done
"""
READS = """
until [ -b /dev/xvda ]; do sleep 0.1; done
echo "has it"
dd if=/dev/xvda of=/dev/null bs=4k count=1 iflag=direct 2>/dev/null && echo "reads it"
until [ "$(xenstore-read device/vbd/51712/state)" = 6 ]; do sleep 0.1; done
[ "$(dd if=/dev/xvda bs=4k count=1 iflag=direct 2>/dev/null | wc -c)" = 4096 ] || echo "gets nothing"
while [ -b /dev/xvda ]; do sleep 0.1; done
echo "has lost it"
while :; do sleep 1; done
"""
STAYS = SERVE_FILE.replace("while [ ! -e /tmp/over ]", 'while echo "loops: $(losetup -a | wc -l)"')


def wait_until(holds: Callable[[], object], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.1)


def disks(host: Pinfold) -> list[dict]:
    return json.loads(host("block-list", "front", "--json").stdout)


def test_a_device_is_listed_and_detached(pair: Pair) -> None:
    guest = pair.run(pair.back(STAYS), pair.front(WAITS, DISK, VIF))
    guest.wait_for("^front: has it", 180)
    [disk] = disks(pair.host)
    assert disk["backend"] == "/local/domain/1/backend/vbd/2/51712" and disk["backend_id"] == 1 and disk["backend_state"] == 4
    [vif] = json.loads(pair.host("network-list", "front", "--json").stdout)
    assert vif["backend"] == "/local/domain/1/backend/vif/2/0" and vif["mac"] == "00:16:3e:00:00:01"
    assert pair.host("block-resize", "front", "xvda", "128M").returncode != 0
    done = pair.host("block-detach", "front", "xvda")
    assert done.returncode == 0, done.stderr
    guest.wait_for("^front: has lost it", 90)
    assert disks(pair.host) == []
    guest.wait_for("^back: loops: 0", 90)
    assert pair.host("network-detach", "front", "0", "--force").returncode == 0
    assert pair.host("destroy", "front").returncode == 0
    assert pair.host("destroy", "back").returncode == 0
    assert guest.exit_code() == 0
    for name in ("front", "back"):
        assert guest.console.has(f"{name}: {AUDITED}")


# Uses its disk each time it comes, and starts again when it gets a second one.
COMES_AND_GOES = """
echo "ready"
while :; do
  until [ -b /dev/xvda ]; do sleep 0.1; done
  dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>/dev/null
  dd if=/tmp/data of=/dev/xvda bs=1M conv=fsync 2>/dev/null
  echo 3 >/proc/sys/vm/drop_caches
  [ "$(dd if=/dev/xvda bs=1M count=4 2>/dev/null | md5sum)" = "$(md5sum </tmp/data)" ] && echo "has used it"
  while [ -b /dev/xvda ]; do [ ! -b /dev/xvdb ] || reboot -f; sleep 0.1; done
  echo "has lost it"
done
"""


def attach(host: Pinfold, *words: object) -> None:
    """A driver domain that is slower than the command waits gets the device once more."""
    said = []

    def done() -> bool:
        said.append(host(*words))
        return said[-1].returncode == 0
    wait_until(done, 180)


def detach(host: Pinfold, kind: str, device: str) -> None:
    """A guest that is slower than the command waits lets go of the device later."""
    done = host(f"{kind}-detach", "front", device)
    assert done.returncode == 0 or "has not let go" in done.stderr, done.stderr
    wait_until(lambda: json.loads(host(f"{kind}-list", "front", "--json").stdout) == [])


def test_a_running_guest_gets_devices_of_a_driver_domain(pair: Pair) -> None:
    guest = pair.run(pair.back("touch /tmp/other\n" + STAYS), pair.front(COMES_AND_GOES))
    guest.wait_for("^front: ready", 180)
    disk, interface = "format=raw,vdev=xvda,access=rw,backend=back,target=/tmp/disk", "backend=back,mac=00:16:3e:00:00:07"
    for times in (1, 2):
        attach(pair.host, "block-attach", "front", disk)
        guest.wait_for("^front: has used it", 90, times=times)
        assert disks(pair.host)[0]["backend_id"] == 1
        assert "has a disk xvda already" in refused(pair.host("block-attach", "front", disk))
        detach(pair.host, "block", "xvda")
        guest.wait_for("^front: has lost it", 90, times=times)
    attach(pair.host, "network-attach", "front", interface)
    assert "has the address" in refused(pair.host("network-attach", "front", interface))
    detach(pair.host, "network", "00:16:3e:00:00:07")
    # A guest that starts again has the devices of its configuration.
    attach(pair.host, "block-attach", "front", disk)
    guest.wait_for("^front: has used it", 90, times=3)
    attach(pair.host, "block-attach", "front", disk.replace("xvda", "xvdb").replace("disk", "other"))
    guest.wait_for("front: the guest starts again beside others, .*without xvda, xvdb", 90)
    guest.wait_for("^front: ready", 90, times=2)
    assert disks(pair.host) == []
    # The driver domain ends with the device.
    attach(pair.host, "block-attach", "front", disk)
    guest.wait_for("^front: has used it", 90, times=4)
    assert pair.host("destroy", "back").returncode == 0
    wait_until(lambda: disks(pair.host)[0]["backend_state"] == 6)
    detach(pair.host, "block", "xvda")
    guest.wait_for("^front: has lost it", 90, times=3)
    assert "no guest of this name" in refused(pair.host("block-attach", "front", disk))
    assert pair.host("destroy", "front").returncode == 0
    assert guest.exit_code() == 0
    for name, times in (("front", 2), ("back", 1)):
        assert len(guest.console.matching(f"{name}: {AUDITED}")) == times


def test_a_device_that_no_driver_takes_is_taken_back(host: Pinfold) -> None:
    """The guest that is to serve it has no driver."""
    guest = run(host, caller(host, "back"), caller(host, "front"))
    for name in ("back", "front"):
        guest.wait_for(f"^{name}: calling")
    disk = "format=raw,vdev=xvda,access=rw,backend=%s,target=/dev/x"
    assert "no driver of the driver domain has taken the device" in refused(host("block-attach", "front", disk % "back"))
    wait_until(lambda: disks(host) == [])
    assert "can't serve a device to itself" in refused(host("block-attach", "front", disk % "front"))
    assert "no guest of this name" in refused(host("network-attach", "front", "backend=nobody"))
    assert "serves block devices of its own" in refused(host("block-attach", "front", (disk % "back").replace("raw", "qcow2")))
    assert disks(host) == []
    for name in ("back", "front"):
        assert host("destroy", name).returncode == 0
    assert guest.exit_code() == 0


def test_a_driver_domain_that_ends_fails_what_it_served_and_no_more(pair: Pair) -> None:
    guest = pair.run(pair.back(SERVE_FILE), pair.front(READS, DISK, VIF))
    guest.wait_for("^front: reads it", 180)
    assert pair.host("destroy", "back").returncode == 0
    guest.wait_for("^front: gets nothing", 90)
    wait_until(lambda: disks(pair.host)[0]["backend_state"] == 6)
    done = pair.host("block-detach", "front", "xvda")
    assert done.returncode == 0, done.stderr
    guest.wait_for("^front: has lost it", 90)
    assert pair.host("destroy", "front").returncode == 0
    assert guest.exit_code() == 0
    for name in ("front", "back"):
        assert guest.console.has(f"{name}: {AUDITED}")


def test_a_guest_that_joins_and_ends_leaves_its_driver_domain_as_it_was(pair: Pair, work: Path) -> None:
    pair.host.environment["XDG_STATE_HOME"] = str(work / "state")
    back, front = pair.run(pair.back(STAYS)), pair.front(WAITS, DISK)
    back.wait_for("serving", 90)
    for _ in range(2):
        done = pair.host("create", "--with", "back", front)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: disks(pair.host)[0]["backend_state"] == 4)
        assert pair.host("destroy", "front").returncode == 0
        wait_until(lambda: back.console.all()[-1].endswith("loops: 0"))
    assert pair.host("destroy", "back").returncode == 0
    assert back.exit_code() == 0
    assert back.console.has(AUDITED)


def test_a_driver_domain_that_holds_on_delays_a_detach_by_its_time_only(host: Pinfold) -> None:
    guest = two(host, "machine_holds_on", devices=())
    wait_until(lambda: host("block-list", "front").returncode == 0)
    done = host("block-attach", "front", TAKEN)
    assert done.returncode == 0, done.stderr
    guest.wait_for("^front: is served", 90)
    begin = time.monotonic()
    done = host("block-detach", "front", "xvda")
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begin > 9, "the driver domain has 10 s"
    assert "its driver domain has 10 s" in done.stderr
    assert guest.console.has("^front: has let go")
    for name in ("front", "back", "third"):
        end(host, guest, name)
    assert guest.exit_code() == 0


def test_a_driver_domain_that_holds_on_delays_an_end_by_its_time_only(host: Pinfold) -> None:
    guest = two(host, "machine_holds_on", devices=(f'disk = ["{TAKEN}"]',))
    guest.wait_for("^front: is served", 90)
    end(host, guest, "front")
    assert goes_on(host, "third")
    for name in ("back", "third"):
        end(host, guest, name)
    assert guest.exit_code() == 0


# -- what can't be

def refused(done) -> str:  # noqa: ANN001
    assert done.returncode == 3, f"{done.returncode}: {done.stderr}"
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_backend_that_is_not_there_is_one_line(host: Pinfold, work: Path) -> None:
    host.environment["XDG_STATE_HOME"] = str(work / "state")
    one, other = caller(host, "one"), caller(host, "other")
    front = caller(host, "front", 'disk = ["format=raw,vdev=xvda,access=rw,backend=other,target=/dev/x"]')
    for words in (["run", front], ["run", one, front], ["run", front, other], ["create", front]):
        assert "disk xvda: backend=other: no guest of this name is in this machine" in refused(host(*words))
    for name in (one, other):
        assert host("create", name).returncode == 0
    try:
        assert "disk xvda: backend=other: no guest of this name is in this machine" in refused(host("create", "--with", "one", front))
        for words in (("block-attach", "one", "format=raw,vdev=xvda,access=rw,backend=other,target=/dev/x"),
                      ("network-attach", "one", "backend=other")):
            assert "backend=other: no guest of this name is in this machine" in refused(host(*words))
        assert host("create", "--with", "other", front).returncode == 0
        assert [disk["backend_id"] for disk in disks(host)] == [1]
    finally:
        for name in ("front", "one", "other"):
            host("destroy", name)


@pytest.mark.parametrize("device, why", [
    ('disk = ["format=qcow2,vdev=xvda,access=rw,backend=back,target=/x"]', "a driver domain serves block devices of its own"),
    ('vif = ["backend=back,net=passt"]', "have no meaning with backend="),
    ('vif = ["backend=back,pcap=/tmp/x"]', "have no meaning with backend="),
])
def test_what_is_this_hosts_is_refused(host: Pinfold, device: str, why: str) -> None:
    assert why in refused(host("run", "-n", caller(host, "front", device)))
