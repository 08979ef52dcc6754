"""The commands with xl's names: list, uptime, shutdown, reboot, destroy, pause, unpause, mem-set, vcpu-set, sysrq,
trigger. A guest's name or ID says which guest."""
import contextlib
import json
import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest
from harness.images import Images
from harness.pinfold import Guest, Pinfold, stop
from harness.session import MOUNTS


def calling(host: Pinfold, name: str, *options: object) -> Guest:
    """A guest that makes hypercalls until it is killed."""
    guest = host.start(host.build.guest("control_keeps_calling"), "--name", name, *options, apart=True)
    guest.wait_for("^calling")
    return guest


def listed(host: Pinfold, *words: object) -> list[dict]:
    return json.loads(host("list", "--json", *words).stdout)


def id_of(host: Pinfold, name: str) -> int:
    return next(guest["id"] for guest in listed(host) if guest["name"] == name)


def refusal(host: Pinfold, *words: object) -> str:
    """What a command that fails says, in one line."""
    done = host(*words)
    assert done.returncode == 3, f"{words}: {done.returncode} {done.stdout}{done.stderr}"
    assert done.stderr.count("\n") == 1 and done.stderr.startswith("pinfold: ")
    return done.stderr


# -- which guest

def test_guests_have_ids_which_commands_take_like_names(host: Pinfold) -> None:
    calling(host, "one")
    calling(host, "two", "--vcpus", 2)
    one, two = id_of(host, "one"), id_of(host, "two")
    assert one != two
    assert host("pause", two).returncode == 0
    assert [guest["state"] for guest in listed(host)] == ["running", "paused"]
    assert [guest["name"] for guest in listed(host, two)] == ["two"]
    assert host("unpause", "two").returncode == 0
    assert "every type reference has its user" in host("tables", one).stdout


def test_an_id_is_not_soon_another_guests(host: Pinfold) -> None:
    first = calling(host, "one")
    was = id_of(host, "one")
    first.kill()
    calling(host, "one")
    assert id_of(host, "one") == was + 1
    assert "no guest has the name or ID" in refusal(host, "destroy", was)
    assert len(listed(host)) == 1


def test_a_reboot_keeps_the_id(host: Pinfold) -> None:
    guest = host.start(host.build.guest("boots_uuid"), "--name", "one", "--append", "reboots")
    guest.wait_for("^uuid ")
    was = id_of(host, "one")
    guest.wait_for("^uuid ", times=3)
    assert id_of(host, "one") == was


def test_who_is_not_there_is_refused_with_those_that_are(host: Pinfold) -> None:
    assert "; no guest is running" in refusal(host, "pause", "nobody")
    calling(host, "one")
    number = id_of(host, "one")
    for word in ("nobody", "99", "../one", "one/", "", "one.lock", f" {number}", f"+{number}", f"0{number}"):
        assert f"; these are running: one ({number})" in refusal(host, "destroy", word)
    assert listed(host)[0]["state"] == "running"


def test_a_name_that_is_anothers_id_is_ambiguous(host: Pinfold) -> None:
    calling(host, "one")
    number = id_of(host, "one")
    calling(host, str(number))
    assert "give the ID" in refusal(host, "destroy", number)
    assert host("destroy", number + 1).returncode == 0
    assert [guest["name"] for guest in listed(host)] == ["one"]


def test_notes_that_others_wrote_are_no_ids(host: Pinfold) -> None:
    """Only the user can write there, but nothing that stands there may make a command kill another process."""
    guest = calling(host, "one")
    lock = host.folder / "pinfold/one.lock"
    for text in ("", "x", "1", "1 2", "-1 2 3\n", f"1 {os.getpid()} -1 0\n", f"1 {os.getpid()} 1\n", "99999999999999999999 1 1\n", "\0" * 100):
        lock.write_text(text)
        assert listed(host)[0]["id"] == 0
    assert host("destroy", "one").returncode == 0
    guest.exit_code()


# -- the end

def test_destroy_ends_it_at_once(host: Pinfold) -> None:
    guest = calling(host, "one", "--audit")
    done = host("destroy", "one", "--json")
    assert json.loads(done.stdout)["state"] == "destroyed"
    assert guest.exit_code(5) == 0
    assert guest.messages.has("audit: .*no reference left")
    assert listed(host) == []


def test_destroy_ends_a_paused_guest(host: Pinfold) -> None:
    guest = calling(host, "one")
    host("pause", "one")
    assert host("destroy", "one").returncode == 0
    assert guest.exit_code(5) == 0


def test_destroy_ends_a_guest_whose_monitor_does_not_answer(host: Pinfold) -> None:
    guest = calling(host, "one")
    stop(guest.child())
    assert host("destroy", "one").returncode == 0
    assert guest.exit_code(5) == 7


def test_two_at_once(host: Pinfold) -> None:
    guest = calling(host, "one")
    command = [host.build.pinfold, "destroy", "one"]
    both = [subprocess.Popen(command, env=host.environment, stderr=subprocess.DEVNULL) for _ in range(2)]
    codes = [process.wait(30) for process in both]
    assert 0 in codes and set(codes) <= {0, 3}
    assert guest.exit_code(5) == 0


def test_clients_that_send_nothing_leave_room_for_others(host: Pinfold) -> None:
    guest = calling(host, "one")
    with contextlib.ExitStack() as stack:
        for _ in range(7):
            silent = stack.enter_context(socket.socket(socket.AF_UNIX))
            silent.connect(str(host.folder / "pinfold/one.sock"))
        assert listed(host)[0]["state"] == "running"
        assert host("destroy", "one").returncode == 0
    assert guest.exit_code(5) == 0


def test_a_request_that_a_guest_does_not_watch_for_is_pending(host: Pinfold) -> None:
    calling(host, "one")
    assert listed(host)[0]["shutdown_pending"] is False
    done = host("shutdown", "one")
    assert done.returncode == 0 and done.stdout == "one: asked to poweroff\n"
    assert listed(host)[0]["shutdown_pending"] is True


# -- errors

@pytest.mark.parametrize(("words", "says"), [
    (("mem-set", "one", "0"), "at least 1 MiB"), (("mem-set", "one", "1T"), "the guest's maxmem"),
    (("vcpu-set", "one", "0"), "1 to 2 vCPUs"), (("vcpu-set", "one", "3"), "1 to 2 vCPUs"),
    (("sysrq", "one", "ab"), "one letter or digit"), (("sysrq", "one", "/"), "one letter or digit"),
    (("trigger", "one", "nmi", "2"), "vCPUs 0 to 1"),
], ids=str)
def test_what_the_guest_can_not_have_is_refused(host: Pinfold, words: tuple[str, ...], says: str) -> None:
    calling(host, "one", "--vcpus", 2)
    assert says in refusal(host, *words)


@pytest.mark.parametrize("words", [("shutdown",), ("shutdown", "-a", "one"), ("destroy",), ("mem-set", "one"), ("mem-set", "one", "x"),
                                   ("vcpu-set", "one", "-1"), ("trigger", "one", "reset"), ("sysrq", "one")], ids=str)
def test_wrong_usage(pinfold: Pinfold, words: tuple[str, ...]) -> None:
    assert pinfold(*words).returncode == 2


def test_an_unknown_version_or_command_is_an_error(host: Pinfold) -> None:
    calling(host, "one")
    with socket.socket(socket.AF_UNIX) as client, client.makefile("rw") as lines:
        client.connect(str(host.folder / "pinfold/one.sock"))
        for request in ({"pinfold": 2, "command": "status"}, {"pinfold": 1, "command": "nothing"}, {"pinfold": 1}, [],
                        {"pinfold": 1, "command": "mem-set", "kib": -1}, {"pinfold": 1, "command": "trigger", "trigger": "nmi"}):
            lines.write(json.dumps(request) + "\n")
            lines.flush()
            assert json.loads(lines.readline())["ok"] is False


# -- a Linux guest

@pytest.fixture
def linux(host: Pinfold, images: Images) -> Guest:
    """Debian's kernel with two vCPUs. A vCPU that comes back is brought online, as udev does it."""
    session = f"{MOUNTS} mount -t sysfs sys /sys; echo up; while :; do sleep 1; echo 1 >/sys/devices/system/cpu/cpu1/online; done"
    guest = host.start(images.kernel, "--initrd", images.initrd, "--name", "linux", "--vcpus", 2, "--append",
                       f'console=hvc0 sysrq_always_enabled rdinit=/bin/sh -- -c "{session}"', memory="256M", apart=True)
    guest.wait_for("^up", 120)
    return guest


def test_a_linux_guest_obeys(host: Pinfold, linux: Guest) -> None:
    assert re.search(r"^linux +\d+ 0:0\d:\d\d$", host("uptime").stdout, re.MULTILINE)
    assert host("sysrq", "linux", "h").returncode == 0
    linux.wait_for("sysrq: HELP", 10)
    assert host("trigger", "linux", "nmi", "1").returncode == 0
    linux.wait_for("NMI received for unknown reason|Uhhuh", 10)
    assert host("vcpu-set", "linux", "1").returncode == 0
    wait_until_listed(host, lambda guest: sum(vcpu["up"] for vcpu in guest["vcpus"]) == 1)
    assert host("vcpu-set", "linux", "2").returncode == 0
    wait_until_listed(host, lambda guest: sum(vcpu["up"] for vcpu in guest["vcpus"]) == 2)
    assert host("mem-set", "linux", "192").returncode == 0
    wait_until_listed(host, lambda guest: guest["frames"] <= 193 * 256)
    monitor = listed(host)[0]["monitor"]
    assert host("sysrq", "linux", "b").returncode == 0  # reboots without asking anybody
    wait_until_listed(host, lambda guest: guest.get("monitor", monitor) != monitor)
    linux.wait_for("^up", 120, times=2)
    started = subprocess.Popen([host.build.pinfold, "shutdown", "-w", "linux"], env=host.environment)
    assert host("sysrq", "linux", "o").returncode == 0
    assert started.wait(60) == 0
    assert linux.exit_code(10) == 0


def wait_until_listed(host: Pinfold, holds, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not (guests := listed(host)) or not holds(guests[0]):
        assert time.monotonic() < end, guests
        time.sleep(0.1)


def test_the_folder_of_sockets_is_as_before(host: Pinfold) -> None:
    guest = calling(host, "one")
    host("destroy", "one")
    guest.exit_code(5)
    assert [path.name for path in Path(host.folder, "pinfold").iterdir()] == ["last-id"]


def test_a_linux_guest_takes_and_gives_back_memory(host: Pinfold, images: Images) -> None:
    """What the guest says that it has follows what the host says, up and down."""
    session = f"{MOUNTS} echo up; while :; do sleep 0.3; grep MemTotal /proc/meminfo; done"
    linux = host.start(images.kernel, "--initrd", images.initrd, "--name", "linux", "--maxmem", "1G", "--audit",
                       "--audit-interval", 10_000_000, "--append",
                       f'console=hvc0 quiet rdinit=/bin/sh -- -c "{session}"', memory="256M")
    linux.wait_for("^MemTotal", 120)

    def total_mib() -> int:
        return int(linux.console.matching(r"^MemTotal: +(\d+) kB")[-1][1]) // 1024

    own = 256 - total_mib()  # the kernel's, which it does not count
    for mib in (512, 192, 448, 256):
        assert host("mem-set", "linux", mib).returncode == 0
        wait_until_listed(host, lambda guest, mib=mib: abs(guest["frames"] - mib * 256) < 1024, 60)
        end = time.monotonic() + 10
        while abs(total_mib() + own - mib) > 8:
            assert time.monotonic() < end, f"the guest has {total_mib()} MiB of {mib}"
            time.sleep(0.2)
    assert host("destroy", "linux").returncode == 0
    assert linux.exit_code(10) == 0
    assert linux.messages.has("audit: .*no reference left")
