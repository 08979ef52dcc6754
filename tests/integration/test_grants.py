"""Two guests of one machine, of which one grants frames to the other: it can use them by the grant and in no other way,
and they are its owner's again afterwards."""
import signal

import pytest
from harness.pinfold import Guest, Pinfold
from test_machine import AUDITED, config, goes_on, run

PROTECTIONS = ("mprotect", "userfaultfd")


def pair(host: Pinfold, owner: str = "machine_grants_owner", user: str = "machine_grants_user", more: str = "",
         words: tuple[str, ...] = (), vcpus: int = 1) -> Guest:
    """An owner of frames, which is domain 1, and a neighbour that uses them, domain 2."""
    files = [config(host, name, kernel, f"self={number} other={3 - number} {more}", f"vcpus = {vcpus}")
             for number, name, kernel in ((1, "owner", owner), (2, "user", user))]
    return run(host, *files, "--audit", *words)


def both_hold(guest: Guest) -> None:
    assert guest.exit_code() == 0, guest.console.text()
    for name in ("owner", "user"):
        assert guest.console.has(f"^{name}: all [0-9]+ checks hold"), guest.console.text()
        assert guest.console.has(f"{name}: {AUDITED}"), guest.console.text()


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_a_page_is_shared_by_a_grant_and_in_no_other_way(host: Pinfold, protection: str) -> None:
    both_hold(pair(host, words=("--write-protection", protection)))


def test_a_page_stays_mapped_when_its_owner_ends_and_is_the_machines_afterwards(host: Pinfold) -> None:
    both_hold(pair(host, more="ends"))


@pytest.mark.parametrize("ends", ["user", "owner"])
def test_one_that_is_destroyed_leaves_the_other_as_it_was(host: Pinfold, ends: str) -> None:
    """In the middle of anything that they do with grants."""
    guest = pair(host, more="forever", vcpus=2)
    for name in ("owner", "user"):
        guest.wait_for(f"^{name}: round")
    assert host("destroy", ends).returncode == 0
    guest.wait_for(f"{ends}: {AUDITED}")
    stays = {"user": "owner", "owner": "user"}[ends]
    assert goes_on(host, stays)
    guest.signal(signal.SIGTERM)
    assert guest.exit_code() == 0, guest.console.text()
    assert guest.console.has(f"{stays}: {AUDITED}"), guest.console.text()


def test_a_frame_is_given_away_with_what_is_in_it_and_is_the_receivers(host: Pinfold) -> None:
    both_hold(pair(host, "machine_transfers", "machine_transfers"))
