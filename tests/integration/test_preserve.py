"""on_poweroff, on_reboot, on_crash and on_watchdog: "preserve" and "rename-restart". A guest that has ended stays for
inspection until it is destroyed."""
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.pinfold import DEATH, Guest, Pinfold, stop

CRASHED, POWERED_OFF = 5, 0
# What the guest program does, and the exit code after it.
ENDS = [("crash", "", CRASHED), ("poweroff", "poweroff", POWERED_OFF), ("reboot", "reboot", POWERED_OFF), ("watchdog", "watchdog", CRASHED)]


def ending(host: Pinfold, words: str, *options: object) -> Guest:
    kernel = host.build.guest("boots_powers_off" if words == "poweroff" else "bad_shuts_down")
    return host.start(kernel, "--name", "one", "--append", words, *options, apart=True)


def listed(host: Pinfold) -> dict[str, dict]:
    return {guest["name"]: guest for guest in json.loads(host("list", "--json").stdout)}


def wait_until(holds: Callable[[], bool], what: str, seconds: float = DEATH) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def state(host: Pinfold, name: str = "one") -> str:
    return listed(host).get(name, {}).get("state", "")


def preserved(host: Pinfold, words: str, *options: object) -> Guest:
    guest = ending(host, words, *options)
    wait_until(lambda: state(host) == "preserved", "it is not preserved")
    return guest


# -- preserve

@pytest.mark.parametrize(("event", "words", "code"), ENDS)
def test_it_stays_until_it_is_destroyed(host: Pinfold, event: str, words: str, code: int) -> None:
    guest = preserved(host, words, f"--on-{event}", "preserve", "--audit")
    assert listed(host)["one"]["end"]["kind"] == event
    assert guest.runs() and guest.messages.has("the guest is preserved; `pinfold destroy one` ends it")
    assert host("destroy", "one").returncode == 0
    assert guest.exit_code(10) == code
    assert guest.messages.has("audit: .*no reference left"), guest.messages.text()
    assert listed(host) == {}


def test_another_end_has_its_own_action(host: Pinfold) -> None:
    assert ending(host, "poweroff", "--on-crash", "preserve").exit_code() == POWERED_OFF
    assert ending(host, "", "--on-poweroff", "preserve").exit_code() == CRASHED


def test_it_can_be_inspected(host: Pinfold, work: Path) -> None:
    guest = host.start(host.build.guest("boots_uuid"), "--name", "one", "--append", "reboots", "--on-reboot", "preserve",
                       "--console-log", work / "console")
    wait_until(lambda: state(host) == "preserved", "it is not preserved")
    assert "reboot" in listed(host)["one"]["end"]["why"]
    tables = json.loads(host("tables", "one", "--json").stdout)
    assert any(table["level"] == 4 for table in tables["tables"])
    top = next(table["table"] for table in tables["tables"] if table["level"] == 4)
    assert json.loads(host("frame", "one", top, "--json").stdout)["type"] == "l4"
    assert host("walk", "one", "0xffffffff80000000").returncode == 0
    store = {**host.environment, "XENSTORED_PATH": str(host.folder / "pinfold/one.xenstore")}
    nodes = subprocess.run(["xenstore-ls"], env=store, capture_output=True, text=True, timeout=20, check=False)
    assert 'name = "one"' in nodes.stdout
    console = subprocess.Popen([host.build.pinfold, "console", "one"], env=host.environment, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, text=True)
    assert "uuid" in (work / "console").read_text()
    for words in (("pause", "one"), ("unpause", "one"), ("shutdown", "one"), ("mem-set", "one", "16"), ("sysrq", "one", "s")):
        done = host(*words)
        assert done.returncode == 3 and "the guest has ended" in done.stderr, words
    host("destroy", "one")
    assert "uuid" in console.communicate(timeout=20)[0]
    assert guest.exit_code(10) == POWERED_OFF


def test_its_disk_is_free(host: Pinfold, work: Path) -> None:
    image = work / "disk.img"
    image.write_bytes(bytes(1 << 20))
    disk = ("--disk", f"{image},raw,xvda,rw")
    guest = preserved(host, "", "--on-crash", "preserve", *disk)
    other = host.start(host.build.guest("boots_powers_off"), *disk)
    assert other.exit_code() == POWERED_OFF, other.console.text()
    guest.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_ends_it(host: Pinfold, number: signal.Signals) -> None:
    guest = preserved(host, "", "--on-crash", "preserve")
    os.killpg(guest.pid, number)
    assert guest.exit_code(10) == CRASHED
    assert guest.processes() == []


def test_a_silent_one_is_destroyed(host: Pinfold) -> None:
    guest = preserved(host, "poweroff", "--on-poweroff", "preserve")
    stop(guest.child())
    assert host("destroy", "one").returncode == 0
    assert guest.exit_code(10) == POWERED_OFF


def test_the_kernel_ends_it_with_its_supervisor(host: Pinfold) -> None:
    guest = preserved(host, "", "--on-crash", "preserve")
    guest.process.kill()
    guest.process.wait(DEATH)
    assert guest.all_end()
    assert listed(host) == {}


# -- rename-restart

def test_another_life_follows_under_the_name(host: Pinfold) -> None:
    """This guest reboots again and again: that ends when enough of its lives are preserved."""
    guest = ending(host, "reboot", "--on-reboot", "rename-restart", "--audit")
    names = {"one", *(f"one-{number}" for number in range(1, 8))}
    wait_until(lambda: set(listed(host)) == names and state(host) == "preserved", "not all lives are preserved", 30)
    guests = listed(host)
    assert {it["state"] for it in guests.values()} == {"preserved"}
    assert guest.messages.has("not started again: 8 of its lives are preserved")
    ids = [guests[name]["id"] for name in ("one-1", "one-2", "one-7", "one")]
    assert ids == sorted(ids) and len({it["id"] for it in guests.values()}) == 8
    assert len({it["monitor"] for it in guests.values()}) == 8 and {it["uuid"] for it in guests.values()} == {guests["one"]["uuid"]}
    for name in sorted(names):
        assert host("destroy", name).returncode == 0
        assert name not in listed(host)
    assert guest.exit_code(10) == POWERED_OFF


def test_destroying_the_old_life_leaves_the_new_one(host: Pinfold) -> None:
    """The first life reboots; the second one, under the same name, is to go on."""
    guest = ending(host, "reboot", "--on-reboot", "rename-restart")
    wait_until(lambda: "one-1" in listed(host), "no life is preserved")
    stop(monitor_of(host, "one-1"))  # so that destroy has to kill it
    assert host("destroy", "one-1").returncode == 0
    wait_until(lambda: state(host, "one-2") == "preserved", "it does not go on")
    guest.signal(signal.SIGTERM)
    assert guest.exit_code(20) == POWERED_OFF
    assert guest.processes() == []


def monitor_of(host: Pinfold, name: str) -> int:
    return listed(host)[name]["monitor"]


def test_a_guest_that_crashes_at_once_is_preserved_but_not_started_again(host: Pinfold) -> None:
    guest = preserved(host, "", "--on-crash", "rename-restart")
    wait_until(lambda: guest.messages.has("not started again: it crashed less than 10 s after its start"), "it says nothing")
    assert set(listed(host)) == {"one"}


def test_a_name_that_another_guest_has_is_left_to_it(host: Pinfold) -> None:
    other = host.start(host.build.guest("control_keeps_calling"), "--name", "one-1")
    other.wait_for("^calling")
    ending(host, "reboot", "--on-reboot", "rename-restart")
    wait_until(lambda: state(host, "one-2") == "preserved", "the first life is not one-2")
    assert state(host, "one-1") == "running"


def test_a_long_name_stays_a_name(host: Pinfold) -> None:
    name = "x" * 64
    host.start(host.build.guest("bad_shuts_down"), "--name", name, "--append", "reboot", "--on-reboot", "rename-restart")
    wait_until(lambda: state(host, "x" * 62 + "-1") == "preserved", "it has no name")


def test_who_reads_the_console_follows_the_name(host: Pinfold, work: Path) -> None:
    guest = host.start(host.build.guest("boots_uuid"), "--name", "one", "--append", "reboots", "--on-reboot", "rename-restart")
    guest.wait_for("^uuid ")
    with (work / "read").open("w") as read:
        console = subprocess.Popen([host.build.pinfold, "console", "one"], env=host.environment, stdin=subprocess.DEVNULL, stdout=read)
    wait_until(lambda: state(host) == "preserved", "it still starts", 30)
    host("destroy", "one")
    assert console.wait(10) == 0
    assert (work / "read").read_text().count("uuid ") >= 3
