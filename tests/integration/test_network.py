"""Networks of Debian's kernel: by passt, between two guests, by a tap device and in a bridge. All in network namespaces of the
test's own, which have no way out."""
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.images import Images
from harness.network import ADDRESS, ADDRESS6, Namespace, initrd, make_file
from harness.pinfold import Guest, Pinfold
from harness.session import AUDITED

MIB = 1 << 20
Starter = Callable[..., Guest]
DHCP = "ip link set eth0 up; udhcpc -q -n -t 10 -i eth0 -s /lease"


@pytest.fixture
def space() -> Iterator[Namespace]:
    space = Namespace()
    yield space
    space.close()


@pytest.fixture
def start(host: Pinfold, images: Images, work: Path, space: Namespace) -> Starter:
    """start(SESSION, OPTION...) starts a guest in the namespace."""
    base = images.initrd_with("xen-netfront")

    def starter(session: str, *options: object, vcpus: int = 1) -> Guest:
        words = [host.build.pinfold, "run", "--kernel", images.kernel, "--initrd", initrd(base, work, session), "--memory", "320M",
                 "--vcpus", vcpus, "--append", "console=hvc0 quiet rdinit=/session", "--audit", *options]
        return host.start_command(space.command(*words), apart=True)

    return starter


def ended_well(guest: Guest, seconds: float = 180) -> None:
    status = guest.exit_code(seconds)
    print(guest.console.text(), guest.messages.text())
    assert status == 0
    assert guest.messages.matching(AUDITED)


def needs(program: str) -> None:
    if not shutil.which(program):
        pytest.skip(f"{program} is not installed")


def needs_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make this device")


def test_passt(start: Starter, space: Namespace, work: Path) -> None:
    """DHCP, IPv6 by router advertisements, TCP both ways, a forwarded port, the host's loopback, a capture."""
    needs("passt")
    www = work / "www"
    www.mkdir()
    sum_of_host = make_file(www / "blob", 20 * MIB)
    space.serve(www)
    guest = start(f"""
        {DHCP}
        for i in 1 2 3 4 5 6 7 8 9 10; do ip -6 address show dev eth0 | grep -q 'global.*dynamic' && break; sleep 1; done
        sleep 2
        echo "v4 $(wget -q -O - http://{ADDRESS}:8000/blob | sha256sum)"
        echo "v6 $(wget -q -O - http://[{ADDRESS6}]:8000/blob | sha256sum)"
        gateway=$(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p')
        wget -q -T 3 -O /dev/null http://$gateway:8000/blob && echo "the loopback is reachable"
        head -c {20 * MIB} /dev/urandom >/tmp/blob
        echo "own $(sha256sum </tmp/blob)"
        httpd -p 80 -h /tmp
        echo ready
        while [ ! -e /tmp/stop ]; do nc -l -p 81 -e touch /tmp/stop; done
    """, "--vif", f"net=passt,tcp=18080:80 18081:81,pcap={work}/capture", vcpus=2)
    guest.wait_for("^ready", 120)
    got = work / "got"
    space.run("curl", "-sf", "-o", got, "http://127.0.0.1:18080/blob")
    [own] = guest.console.matching("^own ([0-9a-f]+)")
    assert subprocess.run(["sha256sum", got], capture_output=True, text=True, check=True).stdout.split()[0] == own[1]
    space.run("sh", "-c", "echo | nc -q 1 127.0.0.1 18081 || curl -s http://127.0.0.1:18081/", check=False)
    ended_well(guest)
    for version in ("v4", "v6"):
        assert guest.console.has(f"^{version} {sum_of_host}")
    assert not guest.console.has("loopback is reachable")
    assert guest.all_end(), "passt ends with its guest"
    if shutil.which("tcpdump"):
        frames = subprocess.run(["tcpdump", "-nv", "-r", work / "capture"], capture_output=True, text=True, check=True).stdout
        assert "BOOTP/DHCP, Reply" in frames and "cksum" in frames
        assert "incorrect" not in frames
        assert max(int(size) for size in re.findall(r"length (\d+)\)", frames)) <= 1500


@pytest.mark.parametrize("how, said", [(signal.SIGKILL, r"was killed by signal 9 \(Killed\)"), (signal.SIGTERM, r"as signal 15 \(Terminated\) ends it")],
                         ids=["SIGKILL", "SIGTERM"])
def test_passt_that_dies_is_told_and_replaced(start: Starter, host: Pinfold, space: Namespace, work: Path, how: signal.Signals, said: str) -> None:
    """The guest lives, network-list shows the interface as cut off, and the guest gets another one with its own passt."""
    needs("passt")
    (work / "www").mkdir()
    sum_of_host = make_file(work / "www/blob", MIB)
    space.serve(work / "www")

    def verb(*words: str) -> str:
        done = subprocess.run(space.command(host.build.pinfold, *words), capture_output=True, text=True, env=host.environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    guest = start(f"""
        {DHCP}
        echo ready
        while ip link show eth0 >/tmp/link 2>&1; do sleep 0.2; done
        echo alone
        until ip link show eth0 >/tmp/link 2>&1; do sleep 0.2; done
        {DHCP}
        echo "got $(wget -q -O - http://{ADDRESS}:8000/blob | sha256sum)"
    """, "--vif", "net=passt", "--name", "one")
    guest.wait_for("^ready", 60)
    assert [row["link"] for row in json.loads(verb("network-list", "one", "--json"))] == ["up"]
    [passt] = [pid for pid in guest.processes() if Path(f"/proc/{pid}/comm").read_text().startswith("passt")]
    os.kill(passt, how)
    deadline = time.monotonic() + 60
    while not verb("network-list", "one").splitlines()[1].endswith(" cut off"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    # An interface that the guest has no more would be no trouble.
    while not guest.messages.has("vif 0: passt"):
        assert time.monotonic() < deadline, guest.messages.text()
        time.sleep(0.1)
    verb("network-detach", "one", "0")
    guest.wait_for("^alone", 60)
    verb("network-attach", "one", "net=passt")
    ended_well(guest)
    assert guest.console.has(f"^got {sum_of_host}")
    [told] = guest.messages.matching("vif 0: passt")
    assert re.search(f"vif 0: passt .*{said}; the interface is cut off .*network-attach", told.string)
    assert len(guest.messages.matching("vif 0: nobody is at the other end any more")) == 1


def test_passt_without_a_default_route(start: Starter, space: Namespace) -> None:
    """On a host without a network, ports are forwarded all the same, and the guest reaches what the host reaches."""
    needs("passt")
    space.run("ip", "link", "delete", "out")
    guest = start(f"""
        {DHCP}
        ip address show dev eth0
        gateway=$(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p')
        wget -q -T 3 -O /dev/null http://$gateway:8000/ && echo "the loopback is reachable"
        mkdir -p /tmp/www; echo "from the guest" >/tmp/www/index.html
        httpd -p 80 -h /tmp/www
        echo ready
        while [ ! -e /tmp/stop ]; do nc -l -p 81 -e touch /tmp/stop; done
    """, "--vif", "net=passt,tcp=18080:80 18081:81")
    guest.wait_for("^ready", 120)
    assert space.run("curl", "-sf", "http://127.0.0.1:18080/").stdout == "from the guest\n"
    space.run("sh", "-c", "echo | nc -q 1 127.0.0.1 18081 || curl -s http://127.0.0.1:18081/", check=False)
    ended_well(guest)
    assert guest.console.has("inet 10.0.2.15/24")
    assert not guest.console.has("loopback is reachable")
    assert guest.messages.has("vif 0: this host has no default route, so passt gives the guest the address 10.0.2.15")


def test_two_guests_on_a_wire(start: Starter, work: Path) -> None:
    """Frames between guests have their checksums, and a guest that comes again finds the other one."""
    place = f"unix:{work}/wire"
    size = 20 * MIB
    first = start(f"""
        ip link set eth0 up; ip address add 10.0.0.1/24 dev eth0; ip -6 address add fd00::1/64 dev eth0
        head -c {size} /dev/urandom >/tmp/blob
        echo "sum $(sha256sum </tmp/blob)"
        httpd -p 80 -h /tmp
        echo ready
        nc -l -p 81
    """, "--vif", f"net=listen:{place}", vcpus=2)
    first.wait_for("^ready", 60)
    [own] = first.console.matching("^sum ([0-9a-f]+)")
    for goodbye in ("", "echo bye | nc 10.0.0.1 81"):
        second = start(f"""
            ip link set eth0 up; ip address add 10.0.0.2/24 dev eth0; ip -6 address add fd00::2/64 dev eth0
            ping -c 2 -w 20 10.0.0.1
            sleep 2
            echo "v4 $(wget -q -O - http://10.0.0.1/blob | sha256sum)"
            echo "v6 $(wget -q -O - http://[fd00::1]/blob | sha256sum)"
            {goodbye}
        """, "--vif", f"net=connect:{place}")
        ended_well(second)
        assert second.console.has(f"^v4 {own[1]}")
        assert second.console.has(f"^v6 {own[1]}")
        assert second.console.has("2 packets received")
    ended_well(first)
    assert not (work / "wire").exists()


@pytest.mark.parametrize("kind", ["tap", "bridge", "script"])
def test_tap_devices(start: Starter, space: Namespace, work: Path, kind: str) -> None:
    """An MTU of 9000, and a queue for each of four vCPUs."""
    needs_root()
    www = work / "www"
    www.mkdir()
    sum_of_host = make_file(www / "blob", 20 * MIB)
    space.serve(www)
    space.run("sh", "-ec", "ip link add br0 type bridge; ip link set br0 up mtu 9000")
    vif = {"tap": "net=tap:tap0", "bridge": "bridge=br0,mtu=9000",
           "script": f"script={work}/vif-test,bridge=br0,vifname=nic0,mac=00:16:3e:00:00:07,ip=10.0.0.2"}[kind]
    if kind == "tap":
        space.run("sh", "-ec", "ip tuntap add tap0 mode tap multi_queue; ip link set tap0 up mtu 9000 master br0")
    (work / "vif-test").write_text(
        f"#!/bin/sh\necho $* $vif $bridge $mac $ip $XENBUS_TYPE >>{work}/calls\n[ $1 = online ] && ip link set $vif up mtu 9000 master $bridge\n"
        "exit 0\n")
    (work / "vif-test").chmod(0o755)
    space.run("ip", "address", "add", "10.0.0.1/24", "dev", "br0")
    guest = start(f"""
        ip link set eth0 up mtu 9000; ip address add 10.0.0.2/24 dev eth0
        ping -c 2 -w 20 -s 8000 10.0.0.1
        echo "sum $(wget -q -O - http://10.0.0.1:8000/blob | sha256sum)"
        echo "queues $(grep -c vif0-q.-tx /proc/interrupts)"
        head -c {20 * MIB} /dev/urandom >/tmp/blob
        echo "own $(sha256sum </tmp/blob)"
        httpd -p 80 -h /tmp
        echo ready
        nc -l -p 81
    """, "--vif", vif, vcpus=4)
    guest.wait_for("^ready", 120)
    got = work / "got"
    space.run("curl", "-sf", "-o", got, "http://10.0.0.2/blob")
    [own] = guest.console.matching("^own ([0-9a-f]+)")
    assert subprocess.run(["sha256sum", got], capture_output=True, text=True, check=True).stdout.split()[0] == own[1]
    space.run("curl", "-s", "-m", "5", "http://10.0.0.2:81/", check=False)
    ended_well(guest)
    assert guest.console.has(f"^sum {sum_of_host}")
    assert guest.console.has("^queues 4")
    assert guest.console.has("2 packets received")
    if kind == "script":
        calls = (work / "calls").read_text().splitlines()
        rest = "type_if=vif nic0 br0 00:16:3e:00:00:07 10.0.0.2 vif"
        assert calls == [f"online {rest}", f"offline {rest}"]
    if kind == "bridge":
        assert "vif" not in space.run("ip", "link", "show", "master", "br0").stdout


# -- interfaces that a running guest gets

def soon(condition: Callable[[], object], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


Verb = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def verb(host: Pinfold, space: Namespace) -> Verb:
    """verb(NAME, WORD...): a command in the namespace, about the guest `one`."""
    return lambda name, *words, before=(): subprocess.run(
        space.command(*before, host.build.pinfold, name, "one", *words), capture_output=True, text=True, env=host.environment,
        timeout=120, check=False)


def taps(space: Namespace) -> list[str]:
    """Devices that pinfold made."""
    return [device["ifname"] for device in json.loads(space.run("ip", "-j", "link").stdout) if device["ifname"].startswith("vif")]


@pytest.mark.parametrize("kind", ["tap", "bridge", "script"])
def test_tap_devices_come_and_go(start: Starter, verb: Verb, space: Namespace, work: Path, kind: str) -> None:
    """Twice: nobody keeps the device open that the guest had. Scripts are called for both ends."""
    needs_root()
    (work / "www").mkdir()
    sum_of_host = make_file(work / "www/blob", MIB)
    space.run("sh", "-ec", "ip link add br0 type bridge; ip link set br0 up; ip address add 10.0.0.1/24 dev br0; "
                           "ip tuntap add tap0 mode tap; ip link set tap0 up master br0")
    space.serve(work / "www")
    (work / "vif-test").write_text(f"#!/bin/sh\necho $1 $vif >>{work}/calls\n[ $1 = online ] && ip link set $vif up master $bridge\nexit 0\n")
    (work / "vif-test").chmod(0o755)
    vif = {"tap": "net=tap:tap0", "bridge": "bridge=br0", "script": f"script={work}/vif-test,bridge=br0"}[kind]
    guest = start("""
        echo ready
        for n in 1 2; do
          until [ -e /sys/class/net/eth0 ]; do sleep 0.2; done
          ip link set eth0 up; ip address add 10.0.0.2/24 dev eth0
          until ping -c 1 -w 1 10.0.0.1 >/dev/null; do :; done
          echo "sum $n $(wget -q -O - http://10.0.0.1:8000/blob | sha256sum)"
          while [ -e /sys/class/net/eth0 ]; do sleep 0.2; done
          echo "gone $n"
        done
    """, "--name", "one")
    guest.wait_for("^ready", 120)
    for n in (1, 2):
        done = verb("network-attach", vif)
        assert done.returncode == 0, done.stderr
        guest.wait_for(f"^sum {n} {sum_of_host}", 120)
        assert len(taps(space)) == (0 if kind == "tap" else 1)
        done = verb("network-detach", "0")
        assert done.returncode == 0, done.stderr
        assert soon(lambda: taps(space) == []), "it goes with the interface"
        if n == 1:
            guest.wait_for("^gone 1", 60)
    ended_well(guest)
    if kind == "script":
        assert [line.split()[0] for line in (work / "calls").read_text().splitlines()] == ["online", "offline"] * 2


def test_attached_tap_devices_go_with_a_guest_that_is_killed(host: Pinfold, verb: Verb, space: Namespace) -> None:
    needs_root()
    space.run("sh", "-ec", "ip link add br0 type bridge; ip link set br0 up")
    words = [host.build.pinfold, "run", "--kernel", host.build.guest("control_keeps_calling"), "--memory", "32M", "--name", "one"]
    guest = host.start_command(space.command(*words), apart=True)
    guest.wait_for("^calling", 60)
    most = 8  # HotPlug::most
    for n in range(most):
        done = verb("network-attach", "bridge=br0")
        assert done.returncode == 0, done.stderr
        assert len(taps(space)) == n + 1
    done = verb("network-attach", "bridge=br0")
    assert done.returncode == 3 and f"{most} devices are attached already" in done.stderr
    assert soon(lambda: len(taps(space)) == most), "one that the guest does not get is not left"
    guest.signal(signal.SIGKILL)
    assert soon(lambda: taps(space) == [])


def test_an_interface_that_cant_be_attached_says_why(host: Pinfold, verb: Verb, space: Namespace, work: Path) -> None:
    space.run("sh", "-ec", "ip link add br0 type bridge")
    words = [host.build.pinfold, "run", "--kernel", host.build.guest("control_keeps_calling"), "--memory", "32M", "--name", "one"]
    guest = host.start_command(space.command(*words), apart=True)
    guest.wait_for("^calling", 60)
    script = work / "vif-test"
    script.write_text("#!/bin/sh\necho the bridge is full; exit 7\n")
    script.chmod(0o755)
    as_root = ((f"script={script}", (), f"{script} online ended with status 7: the bridge is full"),) if os.geteuid() == 0 else ()
    for vif, before, said in (("bridge=br7", (), "there is no bridge br7; `ip link add br7 type bridge` makes one"),
                              ("", (), "there is no bridge xenbr0"),
                              ("net=tap:tap7", (), "there is no tap device tap7; `ip tuntap add"),
                              (f"net=connect:unix:{work}/nobody", (), "has to be started first"),
                              ("net=passt", ("env", f"PATH={work}"), "`apt install passt` installs it"),
                              ("bridge=br0", ("unshare", "--user"), "only root may make one for a bridge; net=passt needs no rights"),
                              *as_root):
        done = verb("network-attach", *([vif] if vif else []), before=before)
        assert done.returncode == 3, f"{vif}: {done.stderr}"
        assert done.stderr.startswith("pinfold: ") and done.stderr.count("\n") == 1 and said in done.stderr, f"{vif}: {done.stderr}"
    assert verb("network-list", "--json").stdout.strip() == "[]"
    assert soon(lambda: taps(space) == [])
    assert guest.runs()


def test_a_rate_holds(start: Starter, work: Path) -> None:
    place = f"unix:{work}/wire"
    receiver = start("ip link set eth0 up; ip address add 10.0.0.1/24 dev eth0; echo ready; nc -l -p 81 >/dev/null", "--vif", f"net=listen:{place}")
    receiver.wait_for("^ready", 60)
    sender = start("""
        ip link set eth0 up; ip address add 10.0.0.2/24 dev eth0
        head -c 1000000 /dev/zero >/tmp/blob
        read -r from _ </proc/uptime; nc 10.0.0.1 81 </tmp/blob; read -r to _ </proc/uptime
        echo "from $from to $to"
    """, "--vif", f"net=connect:{place},rate=2Mb/s")
    ended_well(sender)
    [times] = sender.console.matching("^from ([0-9.]+) to ([0-9.]+)")
    assert 3.0 < float(times[2]) - float(times[1]) < 20, "a megabyte at 250,000 bytes a second"
    ended_well(receiver)


def test_trouble_is_told(host: Pinfold, work: Path, space: Namespace) -> None:
    def run(vif: str, *before: object) -> str:
        words = [*before, host.build.pinfold, "run", "--kernel", host.build.guest("boots_powers_off"), "--memory", "32M", "--vif", vif]
        done = subprocess.run(space.command(*words), capture_output=True, text=True, env=host.environment, timeout=60, check=False)
        assert done.returncode == 3, done.stderr
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        return done.stderr

    assert "there is no bridge xenbr0" in run("")
    assert "net=passt needs none" in run("bridge=br7")
    assert "there is no tap device tap7; `ip tuntap add" in run("net=tap:tap7")
    assert "has to be started first" in run(f"net=connect:unix:{work}/nobody")
    assert "No such file or directory" in run(f"net=listen:unix:{work}/no/folder")
    assert "no regular file" in run(f"net=listen:unix:{work}/wire,pcap=/dev/null")
    assert "can't be executed: No such file or directory; `apt install passt` installs it" in run(
        "net=passt", "env", f"PATH={work}")
    if shutil.which("passt"):
        assert re.search("vif 0: passt ended with status 1: .+", run("net=passt,tcp=1:1:1"))
        space.run("ip", "link", "delete", "out")
        assert "vif 0: this host has no default route, and then passt gives no address of ip=" in run("net=passt,ip=10.0.2.7")


def test_rights_that_a_user_lacks_are_told(host: Pinfold, space: Namespace) -> None:
    """In a user namespace without a user, nobody has rights for the devices of a network."""
    space.run("sh", "-ec", "ip link add br0 type bridge")
    if os.geteuid() == 0:
        space.run("ip", "tuntap", "add", "tap0", "mode", "tap", "user", "12345")
    for vif, hint in (("bridge=br0", "only root may make one for a bridge; net=passt needs no rights"),
                      *((("net=tap:tap0", "`ip tuntap add` with `user USER` makes one for a user"),) if os.geteuid() == 0 else ())):
        words = ["unshare", "--user", host.build.pinfold, "run", "--kernel", host.build.guest("boots_powers_off"), "--memory", "32M",
                 "--vif", vif]
        done = subprocess.run(space.command(*words), capture_output=True, text=True, env=host.environment, timeout=60, check=False)
        assert done.returncode == 3, done.stderr
        assert hint in done.stderr


def test_a_host_that_gives_no_tap_devices_is_told(host: Pinfold, space: Namespace) -> None:
    """/dev/net/tun is not there, or may not be opened. As root of a mount namespace; the user is in a namespace of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount something over /dev/net")
    space.run("sh", "-ec", "ip link add br0 type bridge; ip tuntap add tap0 mode tap user 12345")
    absent, closed = "true", "touch /dev/net/tun; chmod 0 /dev/net/tun"
    for prepare, before, vif, said in (
            (absent, "", "net=tap:tap0", "tap0: /dev/net/tun: No such file or directory; `modprobe tun` makes it"),
            (absent, "", "bridge=br0", "/dev/net/tun: No such file or directory; `modprobe tun` makes it"),
            (closed, "unshare --user", "net=tap:tap0", "tap0: /dev/net/tun: Permission denied; its group, or a rule of udev"),
            (closed, "unshare --user", "bridge=br0", "/dev/net/tun: Permission denied: only root may make one for a bridge")):
        words = [host.build.pinfold, "run", "--kernel", host.build.guest("boots_powers_off"), "--memory", "32M", "--vif", vif]
        done = subprocess.run(space.command("unshare", "--mount", "sh", "-ec",
                                            f'mount -t tmpfs none /dev/net; {prepare}; exec {before} "$@"', "sh", *words),
                              capture_output=True, text=True, env=host.environment, timeout=60, check=False)
        assert done.returncode == 3, done.stderr
        assert said in done.stderr and done.stderr.count("\n") == 1, done.stderr
        assert ("only root" in done.stderr) == (said.endswith("bridge")), done.stderr


def test_scripts_that_fail_are_told(host: Pinfold, work: Path, space: Namespace) -> None:
    needs_root()
    script = work / "vif-test"

    def run(text: str) -> tuple[int, str]:
        script.write_text("#!/bin/sh\n" + text)
        script.chmod(0o755)
        words = space.command(host.build.pinfold, "run", "--kernel", host.build.guest("boots_powers_off"), "--memory", "32M", "--vif",
                              f"script={script}")
        done = subprocess.run(words, capture_output=True, text=True, env=host.environment, timeout=90, check=False)
        return done.returncode, done.stderr

    status, said = run("echo this first; echo the bridge is full; exit 7\n")
    assert status == 3
    assert f"vif 0: {script} online ended with status 7: the bridge is full" in said
    status, said = run("sleep 600\n")
    assert status == 3
    assert f"vif 0: {script} online did not end within 30 s" in said
    # After the guest's end nothing can be refused any more.
    status, said = run("[ $1 = online ] || { echo no such bridge; exit 1; }\n")
    assert status == 0
    assert f"vif 0: {script} offline ended with status 1: no such bridge" in said
    script.unlink()
    words = space.command(host.build.pinfold, "run", "--kernel", host.build.guest("boots_powers_off"), "--memory", "32M", "--vif",
                          f"script={script}")
    done = subprocess.run(words, capture_output=True, text=True, env=host.environment, timeout=60, check=False)
    assert done.returncode == 3
    assert f"{script}: can't be executed: No such file or directory" in done.stderr
