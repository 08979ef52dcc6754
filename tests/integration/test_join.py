"""`pinfold create --with NAME`: a guest joins the machine of one that runs. Each lives and ends as if it had been there from the
start, and one that can't join leaves the others as they were."""
import array
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.images import Images
from harness.pinfold import Pinfold
from test_formats import initrd_with, qemu_img
from test_gdb import GUEST as DEBUGGED, SAID, SCRIPT
from test_machine import AUDITED, caller, config, goes_on, listed

Create = Callable[..., str]


@pytest.fixture
def create(host: Pinfold, work: Path) -> Iterator[Create]:
    """Runs `create` with what is given, which has to succeed. The guests are ended after the test."""
    host.environment["XDG_STATE_HOME"] = str(work / "state")

    def run(*words: object) -> str:
        done = host("create", "--audit", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    yield run
    for name in listed(host):
        host("destroy", name)


def log_of(work: Path, name: str) -> str:
    file = work / f"state/pinfold/{name}.log"
    return file.read_text() if file.exists() else ""


def wait_until(holds: Callable[[], object], what: str, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.05)


def supervisor_of(host: Pinfold, name: str) -> int:
    """The process in the note beside its lock, which may be being written anew."""
    def words() -> list[str]:
        return (host.folder / f"pinfold/{name}.lock").read_text().split()
    wait_until(lambda: len(words()) > 1, "the note is whole")
    return int(words()[1])


def has_ended(process: int) -> bool:
    return not Path(f"/proc/{process}").exists()


def refused(host: Pinfold, *words: object) -> str:
    done = host("create", *words)
    assert done.returncode == 3, f"{done.returncode}: {done.stderr}"
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


# -- joining

def test_a_guest_joins_and_all_commands_find_it(host: Pinfold, work: Path, create: Create) -> None:
    create(caller(host, "one"))
    create("--with", "one", caller(host, "two"))
    create("--with", "two", "-p", caller(host, "three"))
    guests = listed(host)
    assert {name: of["state"] for name, of in guests.items()} == {"one": "running", "two": "running", "three": "paused"}
    monitors = {of["monitor"] for of in guests.values()}
    assert len(monitors) == 1, "one process"
    assert host("unpause", "three").returncode == 0
    assert all(goes_on(host, name) for name in guests)
    assert host("destroy", "two").returncode == 0
    assert host("destroy", "one").returncode == 0, "the one that the others have joined"
    assert list(listed(host)) == ["three"] and goes_on(host, "three")
    assert host("destroy", "three").returncode == 0
    monitor = monitors.pop()
    wait_until(lambda: has_ended(monitor), "the monitor ends with its last guest")
    for name in ("two", "three"):
        assert f"{name}: audit: " in log_of(work, "one") and "FAILED" not in log_of(work, "one")


def test_guests_that_joined_meet_the_first_one(host: Pinfold, work: Path, create: Create) -> None:
    create(config(host, "one", "machine_channels", "self=1 other=2"))
    create("--with", "one", config(host, "two", "machine_channels", "self=2 other=1"))
    wait_until(lambda: not listed(host), "both hold their checks and power off", 60)
    said = log_of(work, "one")
    assert "FAILED" not in said and "crash" not in said, said


def test_the_hosts_watches_hear_of_a_guest_that_joins_and_of_its_end(host: Pinfold, create: Create) -> None:
    if shutil.which("xenstore-watch") is None:
        pytest.skip("no xenstore-utils: scripts/setup --tests installs them")
    create(caller(host, "one"))
    store = {**host.environment, "XENSTORED_PATH": str(host.folder / "pinfold/one.xenstore")}
    with subprocess.Popen(["timeout", "60", "xenstore-watch", "-n", "4", "@introduceDomain", "@releaseDomain"], stdout=subprocess.PIPE,
                          text=True, env=store) as watch:
        # Each watch fires once when it is set.
        assert sorted(watch.stdout.readline() for _ in range(2)) == ["@introduceDomain\n", "@releaseDomain\n"]
        create("--with", "one", caller(host, "two"))
        assert watch.stdout.readline() == "@introduceDomain\n"
        assert host("destroy", "two").returncode == 0
        assert watch.stdout.readline() == "@releaseDomain\n"
        assert watch.wait(30) == 0
    assert list(listed(host)) == ["one"] and goes_on(host, "one")


def test_a_joined_guest_starts_again_in_the_machine_and_alone_in_its_own(host: Pinfold, work: Path, create: Create) -> None:
    create(caller(host, "one"))
    create("--with", "one", config(host, "again", "bad_shuts_down", "reboot"))
    wait_until(lambda: log_of(work, "one").count("again: the guest asked for a reboot") > 3, "it starts again")
    first = listed(host)["one"]["monitor"]
    assert goes_on(host, "one")
    assert host("destroy", "one").returncode == 0
    wait_until(lambda: log_of(work, "again").count("the guest asked for a reboot") > 3, "its next lives are in its own processes")
    wait_until(lambda: has_ended(first), "the old machine is gone")
    assert list(listed(host)) == ["again"]


def test_a_guest_that_others_joined_starts_again_in_a_machine_of_its_own(host: Pinfold, work: Path, create: Create) -> None:
    create("--paused", config(host, "one", "bad_shuts_down", "reboot"))
    create("--with", "one", caller(host, "two"))
    machine = listed(host)["two"]["monitor"]
    assert host("unpause", "one").returncode == 0
    wait_until(lambda: listed(host).get("one", {}).get("monitor") not in (None, machine), "one has another process")
    assert listed(host)["two"]["monitor"] == machine and goes_on(host, "two")
    assert host("destroy", "one").returncode == 0
    assert list(listed(host)) == ["two"] and goes_on(host, "two")


@pytest.mark.parametrize("kernel, said", [("bad_jumps_to_nowhere", "has no handler for it"), ("boots_powers_off", "checks hold")],
                         ids=["crashes", "powers_off"])
def test_the_end_of_one_that_joined_is_its_own(host: Pinfold, work: Path, create: Create, kernel: str, said: str) -> None:
    create(caller(host, "one"))
    create("--with", "one", "--early-console", config(host, "two", kernel))
    wait_until(lambda: "two" not in listed(host), "it has ended")
    assert said in log_of(work, "one") or kernel == "boots_powers_off"
    assert "two: audit: " in log_of(work, "one")
    assert goes_on(host, "one")


def test_a_supervisor_that_is_killed_takes_its_guest_along_and_no_other(host: Pinfold, work: Path, create: Create) -> None:
    create(caller(host, "one"))
    create("--with", "one", caller(host, "two"))
    create("--with", "one", caller(host, "three"))
    supervisors = {name: supervisor_of(host, name) for name in ("one", "two")}
    assert supervisors["one"] == listed(host)["two"]["pid"], "the machine is that of the first one"
    os.kill(supervisors["two"], signal.SIGKILL)
    wait_until(lambda: "two: audit: " in log_of(work, "one"), "its guest was taken apart")
    wait_until(lambda: sorted(listed(host)) == ["one", "three"], "two is gone")
    assert goes_on(host, "one") and goes_on(host, "three")


def test_a_signal_to_the_machines_supervisor_ends_all(host: Pinfold, create: Create) -> None:
    create(caller(host, "one"))
    create("--with", "one", caller(host, "two"))
    assert host("destroy", "one").returncode == 0
    supervisor = listed(host)["two"]["pid"]
    os.kill(supervisor, signal.SIGTERM)
    wait_until(lambda: not listed(host), "all have ended")


def test_a_guest_with_disks_joins_and_starts_again(host: Pinfold, images: Images, work: Path, create: Create) -> None:
    life = """#!/bin/sh
mount -t proc proc /proc; mount -t devtmpfs dev /dev
insmod /modules/xen-blkfront.ko
while ! [ -b /dev/xvda ]; do sleep 0.1; done
n=$(dd if=/dev/xvda bs=512 count=1 2>/dev/null | tr -d '\\\\0')
echo $((${n:-0} + 1)) | dd of=/dev/xvda bs=512 conv=fsync,sync 2>/dev/null
[ ${n:-0} -lt 2 ] && reboot -f
poweroff -f
"""
    disk = work / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    create(caller(host, "one"))
    two = config(host, "two", images.kernel, "console=hvc0 quiet rdinit=/session",
                 f'ramdisk = "{initrd_with(images, work, life, "xen-blkfront")}"', f'disk = [ "{disk},raw,xvda,rw" ]', memory=128)
    assert host("create", "--with", "one", two).returncode == 0
    wait_until(lambda: "two" not in listed(host), "three lives", 200)
    assert disk.read_bytes()[:2] == b"3\n"
    assert goes_on(host, "one")


def test_a_guest_that_joins_has_a_console_log(host: Pinfold, work: Path, create: Create) -> None:
    create(caller(host, "one"))
    create("--with", "one", caller(host, "two"), "--console-log", work / "%n.console", "--console-log-keep", 2)
    wait_until(lambda: "calling" in (work / "two.console").read_text(), "the guest's words are in its log", 60)
    assert (work / "two.console.2").exists() and not (work / "two.console.3").exists()
    assert goes_on(host, "two")


def test_a_restart_beside_others_says_which_devices_it_changes(host: Pinfold, images: Images, work: Path, create: Create) -> None:
    life = """#!/bin/sh
mount -t proc proc /proc; mount -t devtmpfs dev /dev
insmod /modules/xen-blkfront.ko
while ! [ -b /dev/xvdb ]; do sleep 0.1; done
reboot -f
"""
    disk = work / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    create(caller(host, "one"))
    two = config(host, "two", images.kernel, "console=hvc0 quiet rdinit=/session",
                 f'ramdisk = "{initrd_with(images, work, life, "xen-blkfront")}"', memory=128)
    assert host("create", "--with", "one", two).returncode == 0
    done = host("block-attach", "two", f"{disk},raw,xvdb,rw")
    assert done.returncode == 0, done.stderr
    told = "two: the guest starts again beside others, and so with the devices of its configuration: without xvdb"
    wait_until(lambda: told in log_of(work, "one"), "the next life begins", 120)

    def disks() -> list[dict] | None:
        done = host("block-list", "two", "--json")
        return json.loads(done.stdout) if done.returncode == 0 else None
    wait_until(lambda: disks() == [], "it has no disk", 60)
    done = host("block-attach", "two", f"{disk},raw,xvdb,rw")
    assert done.returncode == 0, done.stderr
    wait_until(lambda: log_of(work, "one").count(told) == 2, "it can be attached anew", 120)
    assert goes_on(host, "one")


# -- a debugger, and names of functions

def test_a_joined_guest_is_debugged(host: Pinfold, work: Path, create: Create) -> None:
    if not shutil.which("gdb"):
        pytest.skip("no gdb here")
    create(caller(host, "one"))
    place, script, kernel = work / "gdb", work / "script", host.build.guest(DEBUGGED)
    create("--with", "one", config(host, "two", DEBUGGED, "", "vcpus = 2"), "--gdb", f"unix:{place}")
    script.write_text(SCRIPT.replace("SOCKET", str(place)))
    done = subprocess.run(["gdb", "-nx", "-q", "-batch", "-x", script, kernel], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=180, check=False)
    print(done.stdout)
    assert [pattern for pattern in SAID if not re.search(pattern, done.stdout, re.MULTILINE)] == []
    wait_until(lambda: list(listed(host)) == ["one"], "two has ended", 60)
    assert re.search(f"two: {AUDITED}", log_of(work, "one"))
    assert goes_on(host, "one")
    wait_until(lambda: not place.exists(), "the debugger's socket is gone", 60)


@pytest.mark.parametrize("option", ["--system-map", "--vmlinux"])
def test_a_joined_guest_that_crashes_names_its_functions(host: Pinfold, work: Path, create: Create, option: str) -> None:
    create(caller(host, "one"))
    kernel = host.build.guest("bad_shuts_down")
    names = subprocess.run(["nm", kernel], capture_output=True, text=True, check=True).stdout
    (work / "map").write_text(names)
    file = work / "map" if option == "--system-map" else kernel
    create("--with", "one", config(host, "two", "bad_shuts_down", "crash"), option, file)
    wait_until(lambda: "kit_hypercall" in log_of(work, "one"), "the report names functions", 60)
    wait_until(lambda: list(listed(host)) == ["one"], "two has ended", 60)
    assert goes_on(host, "one")


# -- what is refused, and leaves the others as they were

def test_what_another_guest_of_the_machine_has_is_refused(host: Pinfold, work: Path, create: Create) -> None:
    uuid = 'uuid = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"'
    disk = work / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    line = f'disk = [ "{disk},raw,xvda,rw" ]'
    macs = [f'vif = [ "net=listen:unix:{work}/wire{n},mac=00:16:3e:00:00:01" ]' for n in (1, 2)]
    create(caller(host, "one", uuid, line, macs[0]))
    assert "a guest named one is running already" in refused(host, "--with", "one", caller(host, "one"))
    (host.folder / "one.cfg").unlink()
    assert "one and two have the same UUID" in refused(host, "--with", "one", caller(host, "two", uuid))
    assert "one and two have the same MAC address" in refused(host, "--with", "one", caller(host, "two", macs[1]))
    assert "disk.img" in refused(host, "--with", "one", caller(host, "two", line))
    # Also for a guest that has nothing to do with it.
    assert "a guest named one is running already" in refused(host, config(host, "one", "control_keeps_calling"))
    (host.folder / "one.cfg").unlink()
    assert "disk.img" in refused(host, caller(host, "two", line))
    assert "/nowhere" in refused(host, "--with", "one", caller(host, "two"), "--system-map", "/nowhere")
    assert "/nowhere" in refused(host, "--with", "one", caller(host, "two"), "--vmlinux", "/nowhere")
    assert f"{disk}: not a 64-bit ELF file" in refused(host, "--with", "one", caller(host, "two"), "--vmlinux", disk)
    assert "gdb" in refused(host, "--with", "one", caller(host, "two"), "--gdb", f"unix:{work}/nowhere/gdb")
    assert list(listed(host)) == ["one"] and goes_on(host, "one")
    create("--with", "one", caller(host, "two"))


def test_what_can_t_join_says_why(host: Pinfold, work: Path, create: Create) -> None:
    create(caller(host, "one"))
    qemu_img("create", "-q", "-f", "qcow2", work / "disk.qcow2", "16M")
    assert "no guest" in refused(host, "--with", "nobody", caller(host, "two"))
    assert "pinfold run a.cfg b.cfg" in refused(host, "--with", "one", caller(host, "two", f'disk = [ "{work}/disk.qcow2,qcow2,xvda,rw" ]'))
    assert "/nowhere" in refused(host, "--with", "one", config(host, "two", Path("/nowhere")))
    assert "not a kernel" in refused(host, "--with", "one", config(host, "two", Path("/etc/passwd")))
    assert "--trace-mmu" in refused(host, "--with", "one", caller(host, "two"), "--trace-mmu")
    assert "memory" in refused(host, "--with", "one", config(host, "two", "boots_powers_off", memory=1 << 40))
    assert list(listed(host)) == ["one"] and goes_on(host, "one")


def test_a_client_that_sends_something_else_is_refused(host: Pinfold, create: Create) -> None:
    create(caller(host, "one"))
    for junk in (b"", b"\x01", b"\xff" * 10):
        ours, theirs = socket.socketpair()
        ours.sendall(junk)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(host.folder / "pinfold/one.sock"))
            client.sendmsg([b'{"pinfold":1,"command":"join"}\n'],
                           [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))])
            assert b'"ok":false' in client.recv(4096)
    assert goes_on(host, "one")
