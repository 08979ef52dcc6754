"""A driver domain that lies to the guest that it serves, and the other way round: other guests go on, commands end in a bounded
time, and so does each of the two."""
import signal

import pytest
from harness.pinfold import Guest, Pinfold
from test_machine import AUDITED, caller, config, goes_on, run

DISK = "format=raw,vdev=xvda,access=rw,backend=back,target=/dev/x"
DEVICES = (f'disk = ["{DISK}"]', 'vif = ["backend=back,mac=00:16:3e:00:00:01"]')


def two(host: Pinfold, kernel: str, words: str = "", devices: tuple[str, ...] = DEVICES) -> Guest:
    """A driver domain and a guest that it serves, and a third guest."""
    return run(host, config(host, "back", kernel, f"self=1 other=2 {words}"),
               config(host, "front", kernel, f"self=2 other=1 {words}", *devices), caller(host, "third"), "--audit")


def end(host: Pinfold, guest: Guest, name: str) -> None:
    assert host("destroy", name).returncode == 0
    guest.wait_for(f"{name}: {AUDITED}", 90)


def ends_well_or_says_why(done) -> bool:  # noqa: ANN001
    """Where a driver domain is waited for, a line says so, and perhaps another one that it was in vain."""
    return done.returncode == 0 or (done.returncode == 3 and done.stderr.count("\n") <= 2)


@pytest.mark.parametrize("first", ["front", "back"])
def test_a_driver_domain_and_its_guest_lie_to_each_other(host: Pinfold, first: str) -> None:
    guest = two(host, "machine_lies")
    for name in ("back", "front"):
        guest.wait_for(f"^{name}: lied", 120)
    for command in ("block-list", "network-list"):
        assert host(command, "front").returncode == 0
    for words in (("block-detach", "front", "xvda", "--force"), ("network-detach", "front", "0"), ("block-attach", "front", DISK),
                  ("network-attach", "front", "backend=back"), ("block-detach", "front", "xvda")):
        assert ends_well_or_says_why(host(*words)), words
    for name in ("back", "front"):
        guest.wait_for(f"^{name}: lied", 120, times=len(guest.console.matching(f"^{name}: lied")) + 1)
    assert goes_on(host, "third")
    for name in (first, "back" if first == "front" else "front"):
        end(host, guest, name)
        assert goes_on(host, "third")
    guest.signal(signal.SIGTERM)
    assert guest.exit_code() == 0
    assert not guest.console.has("FAILED")
    assert guest.console.has(f"third: {AUDITED}")


def test_two_that_lie_end_by_themselves(host: Pinfold) -> None:
    guest = two(host, "machine_lies", "rounds=3000")
    for name in ("back", "front"):
        guest.wait_for(f"^{name}: all [0-9]+ checks hold", 180)
        guest.wait_for(f"{name}: {AUDITED}", 90)
    assert goes_on(host, "third")
    assert host("destroy", "third").returncode == 0
    assert guest.exit_code() == 0
