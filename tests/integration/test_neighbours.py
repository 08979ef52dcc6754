"""Two guests of one machine that have to do with each other: event channels, and what each may see of the other in the
store they share."""
import pytest
from harness.pinfold import Guest, Pinfold
from test_machine import AUDITED, ask_store, caller, config, goes_on, run

HOLD = "all [0-9]+ checks hold"


def both(host: Pinfold, kernel: str, words: str = "", second_words: str | None = None, *options: str) -> Guest:
    """Two guests of one program, which know each other's domain ID."""
    return run(host, config(host, "one", kernel, f"self=1 other=2 {words}"),
               config(host, "two", kernel, f"self=2 other=1 {words if second_words is None else second_words}"), "--audit", *options)


def hold(guest: Guest) -> None:
    """Both ended well, and left nothing."""
    assert guest.exit_code() == 0, guest.console.text()
    for name in ("one", "two"):
        assert guest.console.has(f"{name}: {HOLD}"), guest.console.text()
        assert guest.console.has(f"{name}: {AUDITED}"), guest.console.text()
    assert not guest.console.has("FAILED")


# -- event channels

@pytest.mark.parametrize("first, second", [("", ""), ("fifo", "fifo"), ("fifo", ""), ("reset", "reset"), ("reset", "reset fifo")],
                         ids=["two_level", "fifo", "mixed", "reset", "reset_of_fifo"])
def test_event_channels_connect_two_guests(host: Pinfold, first: str, second: str) -> None:
    hold(both(host, "machine_channels", first, second))


def test_hostile_event_channels_disturb_no_third_guest(host: Pinfold) -> None:
    files = [config(host, name, "machine_hostile_channels", f"self={n} other={3 - n} rounds=30000")
             for n, name in ((1, "one"), (2, "two"))]
    guest = run(host, *files, caller(host, "third"), "--audit")
    for name in ("one", "two"):
        guest.wait_for(f"{name}: {HOLD}", 60)
        guest.wait_for(f"{name}: {AUDITED}", 60)
    assert goes_on(host, "third")
    assert host("destroy", "third").returncode == 0
    assert guest.exit_code() == 0, guest.console.text()


def test_guests_that_start_again_find_each_other_no_more(host: Pinfold) -> None:
    """A guest that reboots is a new domain: its neighbour's ends are unbound, and the old number is nobody's."""
    guest = run(host, config(host, "again", "machine_hostile_channels", "self=1 other=2 rounds=3000 reboot"),
                config(host, "stays", "machine_hostile_channels", "self=2 other=1 rounds=100000000"), "--audit")
    guest.wait_for("again: the guest asked for a reboot", 60, times=8)
    assert host("destroy", "again").returncode == 0
    assert goes_on(host, "stays")
    assert host("destroy", "stays").returncode == 0
    assert guest.exit_code() == 0, guest.console.text()
    assert guest.console.has(f"stays: {AUDITED}") and not guest.console.has("FAILED")


# -- the store

def test_the_store_keeps_two_guests_apart_and_lets_them_share(host: Pinfold) -> None:
    guest = both(host, "machine_store")
    guest.wait_for("two: ready for the right to hear", 60)
    # As a toolstack gives it to a driver domain: to hear of others' ends.
    set_permissions, write = 14, 11
    assert ask_store(host, "two", set_permissions, "@releaseDomain\0n0\0r2") == "OK"
    assert ask_store(host, "two", write, "/local/domain/2/data/may-hear\0001") == "OK"
    hold(guest)
