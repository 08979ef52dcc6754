"""--trace-mmu of a machine with several guests: one log of all of them, which replays."""
import json
from pathlib import Path

from harness.pinfold import Guest, Pinfold
from test_grants import both_hold, pair
from test_machine import caller, config, run

BOTH_AS_RECORDED = "all as recorded, and so is the state at the end of each of 2 domains"


def events(host: Pinfold, log: Path, *conditions: str) -> list[dict]:
    shown = host("trace", "--json", log, *(word for condition in conditions for word in ("--filter", condition)))
    assert shown.returncode == 0, shown.stderr
    return [json.loads(line) for line in shown.stdout.splitlines()]


def replays(host: Pinfold, log: Path) -> None:
    replayed = host("replay", log)
    assert replayed.returncode == 0 and BOTH_AS_RECORDED in replayed.stdout, replayed.stdout + replayed.stderr


def test_guests_that_grant_to_each_other_have_one_log(host: Pinfold, work: Path) -> None:
    log = work / "log"
    both_hold(pair(host, words=(f"--trace-mmu={log}",)))
    replays(host, log)
    maps = events(host, log, "op=map-grant", "verdict=accepted")
    assert maps and all(event["domain"] == 2 and event["grant"]["lender"] == 1 for event in maps)
    assert events(host, log, "op=unmap-grant", "domain=2")
    copies = events(host, log, "op=use-grant", "verdict=accepted")
    assert {(event["purpose"], event["grant"]["lender"], event["argument"]) for event in copies} >= {
        ("copy from", 1, "0x8"), ("copy to", 1, "0x8")}
    refused = {event["refusal"]["rule"] for event in events(host, log, "op=use-grant", "verdict=refused", "domain=2")}
    assert refused >= {"grant.no-such-domain", "grant.no-such-entry", "grant.not-granted", "grant.foreign-frame",
                       "grant.frame-in-use", "grant.no-l1-entry", "grant.past-the-page", "grant.unknown-handle"}
    lines = host("trace", log).stdout
    assert " d1 " in lines and " d2 " in lines
    assert host("report", log, "-o", work / "page.html").returncode == 0
    assert host("export", log, "-o", work / "log.perfetto-trace").returncode == 0


def test_what_one_gives_the_other_and_leaves_behind_replays(host: Pinfold, work: Path) -> None:
    both_hold(pair(host, "machine_transfers", "machine_transfers", words=(f"--trace-mmu={work}/given",)))
    replays(host, work / "given")
    assert events(host, work / "given", "op=receive", "verdict=accepted")
    both_hold(pair(host, more="ends", words=(f"--trace-mmu={work}/ends",)))
    replays(host, work / "ends")


def test_lines_say_whose_they_are(host: Pinfold) -> None:
    guest = pair(host, words=("--trace-mmu", "--trace-filter", "op=map-grant"))
    both_hold(guest)
    assert guest.console.has(r" d2 v0 map-grant L1 .* by grant [0-9]+ of d1"), guest.console.text()


def test_a_guest_that_joins_is_in_the_log_of_the_machine(host: Pinfold, work: Path) -> None:
    log = work / "log"
    guest: Guest = run(host, caller(host, "one"), f"--trace-mmu={log}")
    guest.wait_for("calling")
    joined = host("create", "--with", "one", config(host, "two", "boots_powers_off"))
    assert joined.returncode == 0, joined.stderr
    assert host("destroy", "one").returncode == 0
    assert guest.exit_code() == 0, guest.console.text()
    replays(host, log)
    assert {event["domain"] for event in events(host, log, "op=destroy")} == {1, 2}
