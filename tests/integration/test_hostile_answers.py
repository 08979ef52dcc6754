"""A monitor that its guest has taken over answers clients with what it likes. No command passes control characters of such
an answer on to the user's terminal, and none fails in another way than by an error in one line."""
import fcntl
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.pinfold import Pinfold

ATTACK = "\x1b]0;owned\x07\x1b[2J\n\r\x9b31m\x7f\u202e"
# Everything that a terminal, or a person, could take for something else; the commands' own lines end with \n.
FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

COMMANDS = (
    ("list",), ("list", "--json"), ("list", "one"), ("uptime",), ("uptime", "--json"),
    ("shutdown", "one"), ("reboot", "one"), ("pause", "one"), ("unpause", "one", "--json"), ("shutdown", "--all", "--json"),
    ("mem-set", "one", "512"), ("vcpu-set", "one", "1"), ("sysrq", "one", "s"), ("trigger", "one", "nmi"),
    ("tables", "one"), ("tables", "one", "--json"), ("frame", "one", "1"), ("frame", "one", "1", "--json"),
    ("walk", "one", "0x1000"), ("walk", "one", "0x1000", "--json"), ("explain", "one", "--frame", "1"),
    ("explain", "one", "--table", "1", "--json"), ("metrics",), ("metrics", "one"))

# What each command could look for in an answer, with hostile texts wherever a text is possible.
FRAME = {"frame": 1, "owned": True, "owner": 1, "pfn": 1, "special": False, "type": ATTACK, "type_references": 1,
         "references": 1, "view": ATTACK, "mirror": 2, "allocated": True, "pinned": True, "entries_total": 1,
         "outside": [{"kind": ATTACK, "vcpu": 0}],
         "entries": [{"level": 1, "table": 1, "slot": 1, "entry": ATTACK, "writable": True, "addresses_complete": True,
                      "addresses": [{"address": ATTACK, "root": 1}]}]}
EVERYTHING = FRAME | {
    "name": ATTACK, "id": 1, "uuid": ATTACK, "state": ATTACK, "seconds": 1.0, "cpu_seconds": 1.0, "pid": 1, "frames": 256,
    "shutdown_pending": False, "vcpus": [{"vcpu": 0, "up": True, "mode": ATTACK, "state": ATTACK}], "paused": False,
    "tables": [{"table": 1, "level": 4, "references": 1, "type_references": 1, "present": 1, "explained": True,
                "validated": True, "pinned": True, "outside": [{"kind": ATTACK, "vcpu": 0}], "named_by_total": 0,
                "named_by": []}],
    "address": ATTACK, "mode": ATTACK, "vcpu": 0, "root": 1, "processor_root": 1, "mapped": False, "steps": [
        {"level": 4, "table": 1, "slot": 0, "entry": ATTACK, "mirror": 1, "mirrored": ATTACK}]}


def answer(**members: object) -> str:
    return json.dumps({"pinfold": 1, **members})


ANSWERS = {
    "texts that command a terminal": answer(ok=True, answer=EVERYTHING),
    "the same, not escaped in JSON": json.dumps({"pinfold": 1, "ok": True, "answer": EVERYTHING}, ensure_ascii=False),
    "an error that commands a terminal": answer(ok=False, error=ATTACK * 100),
    "keys that command a terminal": answer(ok=True, answer={ATTACK: 1} | EVERYTHING),
    "no object": answer(ok=True, answer=[ATTACK]),
    "null": answer(ok=True, answer=None),
    "texts for numbers": answer(ok=True, answer={key: ATTACK for key in EVERYTHING}),
    "objects for numbers": answer(ok=True, answer={key: {} for key in EVERYTHING}),
    "huge numbers": answer(ok=True, answer=EVERYTHING | {"seconds": 1e308, "cpu_seconds": -1e308, "frames": 2**64 - 1}),
    "a hundred thousand levels": '{"pinfold":1,"ok":true,"answer":' + '{"a":' * 100_000 + "1" + "}" * 100_000 + "}",
    "no JSON": "\x1b[2J" * 100,
    "no UTF-8": '{"pinfold":1,"ok":true,"answer":{"state":"\udc9b\udcff"}}',
    "nothing": ""}


class Monitor:
    """Listens as the guest `one`, and gives each client the same answer; or it ends when it is asked."""

    def __init__(self, place: Path) -> None:
        self.answer = ""
        self.ends = False
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(place))
        self.listener.listen(8)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            with client:
                client.recv(65536, socket.MSG_PEEK)
                if self.ends:
                    continue
                client.recv(65536)
                try:
                    client.sendall(self.answer.encode(errors="surrogateescape") + b"\n")
                except OSError:
                    pass


@pytest.fixture
def monitor(pinfold: Pinfold, work: Path) -> Iterator[Monitor]:
    """A guest named `one`, whose lock this process holds in place of a supervisor."""
    folder = work / "pinfold"
    folder.mkdir(mode=0o700)
    with (folder / "one.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(f"7 {os.getpid()} {os.getpid()} 0\n")
        lock.flush()
        monitor = Monitor(folder / "one.sock")
        yield monitor
        monitor.listener.close()


@pytest.mark.parametrize("kind", ANSWERS)
def test_no_command_passes_on_what_commands_a_terminal(pinfold: Pinfold, monitor: Monitor, kind: str) -> None:
    monitor.answer = ANSWERS[kind]
    wrong = []
    for words in COMMANDS:
        done = pinfold(*words)
        said = done.stdout + done.stderr
        if FORBIDDEN.search(said) or done.returncode not in (0, 3) or len(done.stderr.splitlines()) > 1:
            wrong.append((words, done.returncode, said))
        if "--json" in words and done.stdout:
            json.loads(done.stdout)
    assert wrong == []


def test_what_a_guest_wrote_can_be_read(pinfold: Pinfold, monitor: Monitor) -> None:
    monitor.answer = ANSWERS["texts that command a terminal"]
    assert "\\x1b]0;owned\\x07\\x1b[2J\\n\\x0d" in pinfold("list").stdout
    assert "\\u{202e}" in pinfold("walk", "one", "0x1000").stdout
    monitor.answer = ANSWERS["an error that commands a terminal"]
    assert pinfold("pause", "one").stderr.startswith("pinfold: one: \\x1b]0;owned")


def test_a_guest_that_ends_when_it_is_asked_is_said_to_have_ended(pinfold: Pinfold, monitor: Monitor) -> None:
    monitor.ends = True
    done = pinfold("pause", "one")
    assert (done.returncode, done.stderr) == (3, "pinfold: one: the guest ended before it answered\n")
