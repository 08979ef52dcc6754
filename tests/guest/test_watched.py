"""--trace-mmu: lines on the terminal; a log that replays, one that is followed while it grows, one whose writer is
killed, and one on a full disk."""
import json
import re
import subprocess
import time
from pathlib import Path

import pytest
from harness.pinfold import Guest, Pinfold

AS_RECORDED = "all as recorded, and so is the state at the domain's end"


def watched(host: Pinfold, guest: str, trace: str, *options: str) -> Guest:
    """Runs a guest with a trace until it powers off."""
    done = host.start(host.build.guest(guest), f"--trace-mmu{trace}", *options, memory="64M", apart=True)
    assert done.exit_code(120) == 0, done.messages.text()
    return done


@pytest.fixture
def log(host: Pinfold, work: Path) -> Path:
    """The log of a busy guest."""
    watched(host, "xsa_scattered_frames", f"={work}/log")
    return work / "log"


def test_refusals_are_marked_and_the_rest_is_left_out(host: Pinfold) -> None:
    guest = watched(host, "refused_writable_mappings_of_tables", "", "--trace-filter", "verdict=refused")
    assert guest.messages.has("^REFUSED .*update.* : l1.writable-map-of-table")
    assert not guest.messages.has(r"^ +[0-9]+ +[0-9.]+ ms")


def test_a_log_replays_and_is_shown(host: Pinfold, log: Path) -> None:
    replayed = host("replay", log)
    assert replayed.returncode == 0 and AS_RECORDED in replayed.stdout, replayed.stdout
    assert host("trace", log).returncode == 0
    assert host("trace", "--summary", log).returncode == 0
    shown = host("trace", "--json", "--filter", "op=pin", log)
    pins = [json.loads(line) for line in shown.stdout.splitlines()]
    assert shown.returncode == 0
    assert pins and all(pin["op"] == "pin" for pin in pins)


def test_a_log_is_followed_to_the_domains_end(host: Pinfold, work: Path) -> None:
    log = work / "grown"
    log.touch()  # an empty log: the header is not written yet
    command = [host.build.pinfold, "trace", "--follow", "--filter", "op=pin", log]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as follower:
        watched(host, "xsa_scattered_frames", f"={log}")
        followed = follower.communicate(timeout=120)[0]
    assert follower.returncode == 0
    pins = host("trace", "--filter", "op=pin", log).stdout
    assert pins and followed == pins


def test_what_a_killed_guest_wrote_replays(host: Pinfold, work: Path) -> None:
    log = work / "killed"
    guest = host.start(host.build.guest("questions_tries_and_waits"), f"--trace-mmu={log}")
    guest.wait_for("^waiting", 60)
    time.sleep(1)  # longer than the log's writer waits before it writes a block
    guest.kill()
    replayed = host("replay", log)
    assert replayed.returncode == 0
    assert re.search(r"^[0-9]+ events, 1[0-9] operations: all as recorded; the log ends before the domain$", replayed.stdout, re.M)
    assert host("explain", "--log", log, "--frame", "0x106").returncode == 0


def test_a_full_disk_does_not_end_the_guest(host: Pinfold) -> None:
    guest = watched(host, "xsa_scattered_frames", "=/dev/full")
    assert len(guest.messages.matching("the log of MMU events ends here")) == 1
    assert guest.messages.has("[0-9]+ MMU events are not in the log")
