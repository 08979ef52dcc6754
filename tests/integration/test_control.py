"""The control socket: when it is there, who may use it, and the commands that use it."""
import json
import time
from pathlib import Path

import pytest
from harness.pinfold import Guest, Pinfold


def start(host: Pinfold, *options: object) -> Guest:
    """Starts a guest that makes hypercalls until it is killed."""
    guest = host.start(host.build.guest("control_keeps_calling"), *options)
    guest.wait_for("^calling")
    return guest


@pytest.fixture
def one(host: Pinfold) -> Guest:
    return start(host, "--name", "one")


def listed(host: Pinfold) -> str:
    return host("list").stdout


def exits(host: Pinfold) -> int:
    return json.loads(host("list", "--json").stdout)[0]["exits"]


def is_listed(host: Pinfold, name: str, state: str, guest: Guest) -> bool:
    lines = [line.split() for line in listed(host).splitlines()]
    return any(line[0] == name and line[4] == state and line[-1] == str(guest.pid) for line in lines if len(line) == 7)


def test_a_guest_is_listed_and_its_folder_is_closed_to_others(host: Pinfold, one: Guest) -> None:
    assert (host.folder / "pinfold").stat().st_mode & 0o777 == 0o700
    assert is_listed(host, "one", "running", one)


def test_a_paused_guest_makes_no_exits(host: Pinfold, one: Guest) -> None:
    assert host("pause", "one").returncode == 0
    before = exits(host)
    time.sleep(0.3)
    after = exits(host)
    assert after == before
    assert is_listed(host, "one", "paused", one)
    assert host("pause", "one").returncode == 0, "a paused guest can't be paused again"
    assert host("unpause", "one").returncode == 0
    time.sleep(0.3)
    assert exits(host) > after, "it does not go on"


def test_a_name_that_is_taken_is_refused(host: Pinfold, one: Guest) -> None:
    second = host("run", "--kernel", host.build.guest("control_keeps_calling"), "--memory", "32M", "--name", "one")
    assert second.returncode == 3
    assert "a guest named one is running already" in second.stderr


@pytest.mark.parametrize("name", ["", ".x", "a/b"])
def test_what_is_no_name_is_refused(host: Pinfold, one: Guest, name: str) -> None:
    assert host("pause", name).returncode in (2, 3)


def test_a_frame_past_the_machine_is_refused(host: Pinfold, one: Guest) -> None:
    done = host("frame", "one", "0xffffffff")
    assert done.returncode == 3
    assert "the machine has no frame" in done.stderr


def test_a_stale_socket_goes_and_its_name_is_free(host: Pinfold, one: Guest) -> None:
    one.kill()
    assert (host.folder / "pinfold/one.sock").is_socket(), "no stale socket to test with"
    assert "no guest" in listed(host)
    start(host, "--name", "one", "--vcpus", 2)
    assert host("pause", "one").returncode == 0
    assert "every type reference has its user" in host("tables", "one").stdout


def test_a_guest_without_a_name_is_named_after_its_process(host: Pinfold) -> None:
    guest = start(host)
    assert is_listed(host, f"guest-{guest.pid}", "running", guest)


def look_at_paused(host: Pinfold, name: str, guest: Guest, rounds: int) -> int:
    """Pauses the guest, looks at its tables and lets it go on, until it ends or was paused `rounds` times. Returns
    how often."""
    done = 0
    while done < rounds and guest.runs():
        steps = [host(command, name) for command in ("pause", "tables", "unpause")]
        assert "SOME TYPE REFERENCES" not in steps[1].stdout
        done += all(step.returncode == 0 for step in steps)
    return done


def test_vcpus_that_wait_for_flushes_can_be_paused_at_any_moment(host: Pinfold) -> None:
    guest = host.start(host.build.guest("vcpus_flushes_reach_all"), "--vcpus", 2, "--audit", "--name", "busy")
    paused = look_at_paused(host, "busy", guest, 20)
    print(f"paused {paused} times")
    assert guest.exit_code() == 0, guest.console.text()
    assert guest.console.has("all [0-9]+ checks hold")
    assert not Path(host.folder, "pinfold/busy.sock").exists()
