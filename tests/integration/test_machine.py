"""Several guests in one machine and one process: `pinfold run a.cfg b.cfg`. Each lives and ends as if it were alone, and
leaves the others as they were."""
import json
import os
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from harness.images import Images
from harness.pinfold import Guest, Pinfold, stop
from test_formats import initrd_with, qemu_img, server_of, wait_until

AUDITED = "audit: .*no reference left"


def config(host: Pinfold, name: str, kernel: str | Path, extra: str = "", *lines: str, memory: int = 32) -> Path:
    """A configuration file; `kernel` is a test guest's name, or a file."""
    file = host.folder / f"{name}.cfg"
    path = host.build.guest(kernel) if isinstance(kernel, str) else kernel
    file.write_text("\n".join([f'name = "{name}"', f'kernel = "{path}"', f"memory = {memory}", f'extra = "{extra}"', *lines]) + "\n")
    return file


def run(host: Pinfold, *words: object, apart: bool = False) -> Guest:
    return host.start_command([str(host.build.pinfold), "run", "--early-console", *map(str, words)], apart)


def caller(host: Pinfold, name: str, *lines: str) -> Path:
    """A guest that makes hypercalls until it is killed."""
    return config(host, name, "control_keeps_calling", "", *lines)


def listed(host: Pinfold) -> dict[str, dict]:
    return {guest["name"]: guest for guest in json.loads(host("list", "--json").stdout)}


def goes_on(host: Pinfold, name: str) -> bool:
    """Whether a guest runs, and its monitor finds its tables as they should be."""
    return listed(host)[name]["state"] == "running" and "every type reference has its user" in host("tables", name).stdout


# -- together

def test_an_interface_has_no_address_of_a_neighbours(host: Pinfold) -> None:
    """Of its configuration, or of what it was given since; a guest that joins has none of either."""
    def attach(guest: str, mac: str) -> tuple[int, str]:
        done = host("network-attach", guest, f"net=listen:unix:{host.folder}/{guest}-{mac[-2:]}", f"mac=00:16:3e:00:00:{mac}")
        return done.returncode, done.stderr
    configured, given, third = "01", "02", "03"
    run(host, caller(host, "one", f"vif = [ 'net=listen:unix:{host.folder}/wire,mac=00:16:3e:00:00:{configured}' ]"), caller(host, "two"))
    wait_until(lambda: len(listed(host)) == 2 and goes_on(host, "two"), "they do not run")
    assert attach("one", given) == (0, "")
    for mac, number in ((configured, 0), (given, 1)):
        assert attach("two", mac) == (3, f"pinfold: two: interface 0: interface {number} of one has the address 00:16:3e:00:00:{mac} already\n")
    assert attach("two", third) == (0, "")
    joins = config(host, "joins", "control_keeps_calling", "", f"vif = [ 'net=listen:unix:{host.folder}/w,mac=00:16:3e:00:00:{third}' ]")
    done = host("create", "--with", "one", joins)
    assert done.returncode != 0 and f"interface 0 of two has the address 00:16:3e:00:00:{third} already" in done.stderr
    assert sorted(listed(host)) == ["one", "two"] and goes_on(host, "one") and goes_on(host, "two")
    host("network-detach", "--force", "one", "1")
    wait_until(lambda: attach("two", given)[0] == 0, "the address of a device that is gone is taken")


def test_each_line_has_its_guests_name_and_each_guest_is_listed(host: Pinfold) -> None:
    guest = run(host, caller(host, "one"), caller(host, "two"), "--audit")
    for name in ("one", "two"):
        guest.wait_for(f"^{name}: calling")
    both = listed(host)
    assert sorted(both) == ["one", "two"]
    assert both["one"]["id"] != both["two"]["id"]
    assert len(guest.processes()) == 2, "a supervisor and one monitor"
    guest.signal(signal.SIGTERM)
    assert guest.exit_code() == 0
    for name in ("one", "two"):
        assert guest.console.has(f"{name}: {AUDITED}")
    assert guest.all_end() and listed(host) == {}


@pytest.mark.parametrize("ends, code, line", [
    ("powers_off", 0, "all 9 checks hold"),
    ("crashes", 5, "has no handler for it"),
], ids=["powers_off", "crashes"])
def test_a_guest_that_ends_leaves_the_other_as_it_was(host: Pinfold, ends: str, code: int, line: str) -> None:
    kernel = {"powers_off": "boots_powers_off", "crashes": "bad_jumps_to_nowhere"}[ends]
    guest = run(host, caller(host, "stays"), config(host, "ends", kernel), "--audit")
    guest.wait_for(f"ends: .*{line}")
    guest.wait_for(f"ends: {AUDITED}")
    guest.wait_for("stays: calling")
    for _ in range(100):
        if list(listed(host)) == ["stays"]:
            break
        time.sleep(0.05)
    assert list(listed(host)) == ["stays"]
    assert goes_on(host, "stays")
    assert host("destroy", "stays").returncode == 0
    assert guest.exit_code() == code, "the worst of all"
    assert guest.console.has(f"stays: {AUDITED}")


def test_a_guest_that_reboots_starts_again_beside_the_others(host: Pinfold) -> None:
    guest = run(host, caller(host, "stays"), config(host, "again", "bad_shuts_down", "reboot"), "--audit")
    guest.wait_for("again: the guest asked for a reboot", times=5)
    guest.wait_for(f"again: {AUDITED}", times=5)
    monitor = guest.child()
    assert goes_on(host, "stays")
    assert guest.child() == monitor, "the same process"
    assert host("destroy", "again").returncode == 0
    assert list(listed(host)) == ["stays"]
    guest.signal(signal.SIGTERM)
    assert guest.exit_code() == 0


def test_the_last_guest_starts_again_in_a_process_of_its_own(host: Pinfold) -> None:
    guest = run(host, config(host, "again", "bad_shuts_down", "reboot"), config(host, "ends", "boots_powers_off"))
    guest.wait_for("ends: all 9 checks hold")
    monitors = set()
    for _ in range(200):
        for process in guest.processes():
            if process != guest.pid:
                monitors.add(process)
        if len(monitors) > 2:
            break
        time.sleep(0.05)
    assert len(monitors) > 2, "each life has another process"
    assert guest.console.all()[-1].startswith("pinfold: again: "), "and its name still"
    guest.signal(signal.SIGTERM)
    guest.exit_code()


def test_destroy_ends_one_and_pause_stops_one(host: Pinfold) -> None:
    guest = run(host, caller(host, "one"), caller(host, "two"), caller(host, "three"))
    for name in ("one", "two", "three"):
        guest.wait_for(f"^{name}: calling")
    assert host("pause", "two").returncode == 0
    assert {name: of["state"] for name, of in listed(host).items()} == {"one": "running", "two": "paused", "three": "running"}
    assert host("destroy", "one").returncode == 0
    assert sorted(listed(host)) == ["three", "two"]
    assert host("destroy", "two").returncode == 0
    assert host("destroy", "three").returncode == 0
    assert guest.exit_code() == 0
    assert guest.all_end()


def test_a_preserved_guest_stays_beside_the_others(host: Pinfold) -> None:
    guest = run(host, caller(host, "stays"), config(host, "kept", "bad_jumps_to_nowhere", "", 'on_crash = "preserve"'))
    guest.wait_for("kept: the guest is preserved")
    assert listed(host)["kept"]["state"] == "preserved"
    assert "every type reference has its user" in host("tables", "kept").stdout
    assert host("destroy", "kept").returncode == 0
    assert list(listed(host)) == ["stays"]
    assert host("destroy", "stays").returncode == 0
    assert guest.exit_code() == 5


def test_the_monitors_end_is_the_end_of_all(host: Pinfold) -> None:
    guest = run(host, caller(host, "one"), caller(host, "two"))
    guest.wait_for("^two: calling")
    os.kill(guest.child(), signal.SIGKILL)
    assert guest.exit_code() == 7
    assert listed(host) == {}


# -- one store

def ask_store(host: Pinfold, name: str, kind: int, payload: str) -> str:
    """One request of domain 0's at a guest's socket (xen/io/xs_wire.h)."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(host.folder / f"pinfold/{name}.xenstore"))
        bytes_ = payload.encode() + b"\0"
        client.sendall(b"".join(n.to_bytes(4, "little") for n in (kind, 1, 0, len(bytes_))) + bytes_)
        header = client.recv(16, socket.MSG_WAITALL)
        length = int.from_bytes(header[12:16], "little")
        return client.recv(length, socket.MSG_WAITALL).decode().rstrip("\0")


def test_the_store_is_one_and_each_guest_has_its_domain_in_it(host: Pinfold) -> None:
    guest = run(host, caller(host, "one"), caller(host, "two"))
    guest.wait_for("^one: calling")
    guest.wait_for("^two: calling")
    directory, read = 1, 2
    for socket_of in ("one", "two"):
        assert sorted(ask_store(host, socket_of, directory, "/local/domain").split("\0")) == ["1", "2"]
        assert ask_store(host, socket_of, read, "/local/domain/1/name") == "one"
        assert ask_store(host, socket_of, read, "/local/domain/2/name") == "two"
    assert host("destroy", "one").returncode == 0
    assert ask_store(host, "two", directory, "/local/domain") == "2"


# -- what each guest has its own of

def test_each_guest_has_a_console_log_of_its_own(host: Pinfold, work: Path) -> None:
    guest = run(host, caller(host, "one"), config(host, "two", "boots_powers_off"), "--console-log", work / "%n.console")
    guest.wait_for("two: .*all 9 checks hold")
    guest.wait_for("one: calling")
    guest.signal(signal.SIGTERM)
    assert guest.exit_code() == 0
    assert "calling" in (work / "one.console").read_text()
    assert "calling" not in (work / "two.console").read_text()
    assert "all 9 checks hold" in (work / "two.console").read_text()


def test_what_is_typed_goes_to_the_first_guest_alone(host: Pinfold, work: Path) -> None:
    """Each answers every line that it gets. The second one gets its own at its console's socket."""
    os.mkfifo(work / "typed")
    files = [str(config(host, name, "control_echoes")) for name in ("first", "second")]
    guest = host.start_command(["sh", "-c", 'exec "$@" <"$0"', str(work / "typed"), str(host.build.pinfold), "run", *files])
    with (work / "typed").open("wb", buffering=0) as keyboard, socket.socket(socket.AF_UNIX) as other:
        for name in ("first", "second"):
            guest.wait_for(f"^{name}: ready")
        for n in range(3):
            keyboard.write(f"line {n}\n".encode())
            guest.wait_for(f"^first: echo line {n}$")
        other.connect(str(host.folder / "pinfold/second.console"))
        other.sendall(b"apart\n")
        guest.wait_for("^second: echo apart$")  # what it got before would have been answered before
        assert not guest.console.has("^second: echo line") and not guest.console.has("^first: echo apart")
        keyboard.write(b"end\n")
        guest.wait_for("^first: all [0-9]+ checks hold")
        assert list(listed(host)) == ["second"]
        other.sendall(b"end\n")
        assert guest.exit_code() == 0


def ask_debugger(place: Path, *packets: str) -> bytes:
    """What comes back for packets of GDB's protocol; returns when the last one is acknowledged and answered."""
    came = b""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(place))
        for packet in packets:
            before = came.count(b"#")
            client.sendall(f"+${packet}#{sum(packet.encode()) % 256:02x}".encode())
            while came.count(b"#") == before:
                data = client.recv(4096)
                assert data, came
                came += data
    return came


def test_a_debugger_of_one_guest_leaves_the_other_alone(host: Pinfold, work: Path) -> None:
    guest = run(host, caller(host, "one"), caller(host, "two"), "--audit", "--gdb", f"one=unix:{work}/gdb")
    guest.wait_for(f"one: the guest waits for GDB: target remote {work}/gdb")
    guest.wait_for("^two: calling")
    assert b"thread:1" in ask_debugger(work / "gdb", "?")  # it hangs up: the guest runs
    guest.wait_for("^one: calling")
    assert b"thread:" in ask_debugger(work / "gdb", "?", "D")
    assert goes_on(host, "two") and goes_on(host, "one")
    assert host("destroy", "one").returncode == 0
    for _ in range(1200):
        if not (work / "gdb").exists():
            break
        time.sleep(0.05)
    assert not (work / "gdb").exists(), "its place goes with the guest"
    assert goes_on(host, "two")
    assert host("destroy", "two").returncode == 0
    assert guest.exit_code() == 0
    for name in ("one", "two"):
        assert guest.console.has(f"{name}: {AUDITED}")


def test_each_life_of_a_guest_beside_others_waits_for_the_debugger(host: Pinfold, work: Path) -> None:
    again = config(host, "again", "bad_shuts_down", "reboot")
    guest = run(host, caller(host, "stays"), again, "--audit", "--gdb", f"again=unix:{work}/gdb")
    for life in range(1, 4):
        guest.wait_for("again: the guest waits for GDB", 60, times=life)
        assert not guest.console.has("again: the guest asked for a reboot") or life > 1
        assert b"thread:1" in ask_debugger(work / "gdb", "?", "D")
        guest.wait_for("again: the guest asked for a reboot", 60, times=life)
    assert goes_on(host, "stays")
    guest.signal(signal.SIGTERM)
    assert guest.exit_code() == 0


# -- disks with servers

LIFE = """#!/bin/sh
mount -t proc proc /proc; mount -t devtmpfs dev /dev
exec </dev/hvc0 >/dev/hvc0 2>&1
insmod /modules/xen-blkfront.ko
while ! [ -b /dev/xvdb ]; do sleep 0.1; done
for disk in xvda xvdb; do
  n=$(dd if=/dev/$disk bs=512 count=1 2>/dev/null | tr -d '\\0')
  n=${n:-0}
  echo "life $n of $disk"
  echo $((n + 1)) | dd of=/dev/$disk bs=512 conv=fsync,sync 2>/dev/null
done
[ $n -lt 2 ] && reboot -f
poweroff -f
"""


def test_a_guests_disks_go_from_life_to_life(host: Pinfold, images: Images, work: Path) -> None:
    """A raw disk, and one that a server has, of a guest that starts again beside another one."""
    qemu_img("create", "-q", "-f", "qcow2", work / "disk.qcow2", "16M")
    (work / "disk.img").write_bytes(bytes(1 << 20))
    disks = f'disk = [ "{work}/disk.qcow2,qcow2,xvda,rw", "{work}/disk.img,raw,xvdb,rw" ]'
    again = config(host, "again", images.kernel, "console=hvc0 quiet rdinit=/session",
                   f'ramdisk = "{initrd_with(images, work, LIFE, "xen-blkfront")}"', disks, memory=128)
    guest = run(host, caller(host, "stays"), again, "--audit")
    guest.wait_for("^again: life 0 of xvda", 120)
    server = server_of(guest)
    for life in range(3):
        for disk in ("xvda", "xvdb"):
            guest.wait_for(f"^again: life {life} of {disk}", 120)
        assert life == 2 or server_of(guest) == server, "the same server"
    for _ in range(200):
        if list(listed(host)) == ["stays"]:
            break
        time.sleep(0.05)
    assert goes_on(host, "stays")
    assert len(guest.processes()) == 2, "the server has ended with its guest"
    qemu_img("check", work / "disk.qcow2")
    assert host("destroy", "stays").returncode == 0
    assert guest.exit_code() == 0
    assert not guest.console.has("qemu-nbd"), guest.console.text()
    assert len(guest.console.matching(f"again: {AUDITED}")) == 3


def test_a_server_that_is_killed_is_told_of_its_guest(host: Pinfold, work: Path) -> None:
    qemu_img("create", "-q", "-f", "qcow2", work / "disk.qcow2", "16M")
    guest = run(host, caller(host, "one"), caller(host, "two", f'disk = [ "{work}/disk.qcow2,qcow2,xvda,rw" ]'))
    for name in ("one", "two"):
        guest.wait_for(f"^{name}: calling")
    os.kill(server_of(guest), signal.SIGKILL)
    guest.wait_for("two: disk xvda .*qemu-nbd, was killed by signal 9.*started anew")
    assert goes_on(host, "one") and goes_on(host, "two")
    guest.signal(signal.SIGTERM)
    assert guest.exit_code() == 0


def test_a_server_that_takes_long_to_end_makes_no_other_guest_wait(host: Pinfold, work: Path) -> None:
    for name in ("one", "two"):
        qemu_img("create", "-q", "-f", "qcow2", work / f"{name}.qcow2", "16M")
    files = [caller(host, name, f'disk = [ "{work}/{name}.qcow2,qcow2,xvda,rw" ]') for name in ("one", "two")]
    guest = run(host, *files)
    for name in ("one", "two"):
        guest.wait_for(f"^{name}: calling")
    servers = {name: next(pid for pid in guest.processes() if f"{name}.qcow2" in Path(f"/proc/{pid}/cmdline").read_text())
               for name in ("one", "two")}
    stop(servers["one"])
    destroy = threading.Thread(target=lambda: host("destroy", "one"))  # it waits for the name to be free
    destroy.start()
    guest.wait_for("one: destroyed by a command")
    # The supervisor goes on with what concerns the other guest.
    os.kill(servers["two"], signal.SIGKILL)
    guest.wait_for("two: disk xvda .*qemu-nbd, was killed by signal 9", 10)
    assert "running already" in refused(host, caller(host, "three"), files[0]), "its image is still being written"
    os.kill(servers["one"], signal.SIGCONT)
    for _ in range(200):
        if servers["one"] not in guest.processes():
            break
        time.sleep(0.05)
    assert servers["one"] not in guest.processes()
    destroy.join()
    assert host("destroy", "two").returncode == 0
    assert guest.exit_code() == 0
    assert guest.all_end()


# -- what is refused

def refused(host: Pinfold, *words: object) -> str:
    done = host("run", *words)
    assert done.returncode == 3, f"{done.returncode}: {done.stderr}"
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_what_another_guest_has_is_refused(host: Pinfold, work: Path) -> None:
    one = caller(host, "one")
    assert refused(host, one, one) == "pinfold: two guests have the name one\n"
    uuid = 'uuid = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"'
    assert "one and two have the same UUID" in refused(host, caller(host, "one", uuid), caller(host, "two", uuid))
    mac = 'vif = [ "mac=00:16:3e:00:00:01" ]'
    assert "one and two have the same MAC address" in refused(host, caller(host, "one", mac), caller(host, "two", mac))
    disk = work / "disk.img"
    disk.write_bytes(bytes(1 << 20))
    line = f'disk = [ "{disk},raw,xvda,rw" ]'
    assert "have the same disk" in refused(host, caller(host, "one", line), caller(host, "two", line))


def test_a_name_that_runs_already_is_refused(host: Pinfold) -> None:
    guest = run(host, caller(host, "one"))
    guest.wait_for("calling")
    assert "a guest named one is running already" in refused(host, caller(host, "two"), caller(host, "one"))
    assert listed(host)["one"]["state"] == "running"


def test_a_guest_that_can_t_start_lets_none_start(host: Pinfold) -> None:
    assert "two: " in refused(host, caller(host, "one"), config(host, "two", Path("/nonexistent")))
    assert listed(host) == {}


def test_options_of_one_guest_are_refused(host: Pinfold) -> None:
    files = (caller(host, "one"), caller(host, "two"))
    for words in (("--memory", "64M"), ("--gdb", "unix:x"), ("--gdb", "three=unix:x"), ("--console-log", "x")):
        done = host("run", *files, *words)
        assert done.returncode == 2, f"{words}: {done.stderr}"


# -- Debian

def test_two_debians_boot_to_a_shell_and_one_outlives_the_others_crash(host: Pinfold, images: Images) -> None:
    words = "console=hvc0 quiet pinfold.check=20"
    files = [config(host, name, images.kernel, extra, f'ramdisk = "{images.initrd}"', memory=256)
             for name, extra in (("good", words), ("bad", "console=hvc0 panic=1 rdinit=/nonexistent init=/nonexistent"))]
    guest = run(host, *files, "--audit", apart=True)
    assert guest.exit_code(300) == 5
    assert guest.console.has("^bad: .*Kernel panic"), guest.console.text()
    assert guest.console.has("^good: .*reboot: (Power down|System halted)"), guest.console.text()
    assert all(re.match("(good|bad): ", line) for line in guest.console.all())
    for name in ("good", "bad"):
        assert guest.messages.has(f"{name}: {AUDITED}")
