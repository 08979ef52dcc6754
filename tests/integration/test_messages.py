"""`--log-format`: messages as JSON, and in systemd's journal, of guests that run and that can't."""
import json
import os
import signal
import socket
import struct
import time
from pathlib import Path

from harness.pinfold import Guest, Pinfold


def messages_of(guest: Guest) -> list[dict]:
    """Each line of stderr is a message."""
    return [json.loads(line) for line in guest.messages.all()]


class Journal:
    """Listens where a journal would."""

    def __init__(self, folder: Path) -> None:
        self.place = folder / "journal"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.place))
        self.socket.settimeout(60)

    def entry(self) -> dict[str, list[str]]:
        """The next one: the values of each field."""
        datagram = self.socket.recv(1 << 20)
        fields: dict[str, list[str]] = {}
        while datagram:
            name, _, rest = datagram.partition(b"\n")
            size = struct.unpack_from("<Q", rest)[0]
            fields.setdefault(name.decode(), []).append(rest[8:8 + size].decode())
            assert rest[8 + size:9 + size] == b"\n"
            datagram = rest[9 + size:]
        return fields

    def until(self, text: str) -> dict[str, list[str]]:
        while text not in (entry := self.entry())["MESSAGE"][0]:
            pass
        return entry


def test_a_guests_messages_are_json(host: Pinfold) -> None:
    guest = host.start(host.build.guest("bad_has_no_kernel_stack"), "--name", "one", "--log-format", "json", "--stats", apart=True)
    assert guest.exit_code() == 5
    messages = messages_of(guest)
    assert len(messages) > 5
    assert all(message["guest"] == "one" and message["level"] in ("info", "warning", "error") for message in messages)
    assert any("exits" in message["message"] for message in messages)
    assert guest.all_end()


def test_the_console_is_as_without_it(host: Pinfold) -> None:
    plain = host.start(host.build.guest("boots_uuid"), "--uuid", "11111111-2222-3333-4444-555555555555", apart=True)
    formed = host.start(host.build.guest("boots_uuid"), "--uuid", "11111111-2222-3333-4444-555555555555", "--log-format", "json", apart=True)
    assert (plain.exit_code(), formed.exit_code()) == (0, 0)
    assert formed.console.all() == plain.console.all()


def test_a_machines_messages_have_the_name_of_the_guest_that_they_are_about(host: Pinfold) -> None:
    for name, kernel in (("web", "control_keeps_calling"), ("db", "bad_has_no_kernel_stack")):
        (host.folder / f"{name}.cfg").write_text(f'name="{name}"\nkernel="{host.build.guest(kernel)}"\nmemory=32\n')
    guest = host.start_command([str(host.build.pinfold), "run", "web.cfg", "db.cfg", "--log-format", "json"], apart=True)
    end = time.monotonic() + 60
    while not any(message.get("guest") == "db" for message in messages_of(guest)):
        assert time.monotonic() < end and guest.runs(), guest.messages.text()
        time.sleep(0.05)
    guest.signal(signal.SIGTERM)
    guest.exit_code()
    assert all(message.get("guest") in ("web", "db") or message["guests"] == ["web", "db"] for message in messages_of(guest))


def test_signals_do_not_end_the_messages_before_the_guest(host: Pinfold) -> None:
    guest = host.start(host.build.guest("control_keeps_calling"), "--name", "one", "--log-format", "json", "--stats", apart=True)
    guest.wait_for("^calling")
    for process in guest.processes():
        os.kill(process, signal.SIGTERM)
    assert guest.exit_code() == 0
    assert any("exits" in message["message"] for message in messages_of(guest))
    assert guest.all_end()


def test_a_guests_messages_are_in_the_journal(host: Pinfold, work: Path) -> None:
    journal = Journal(work)
    guest = host.start(host.build.guest("bad_has_no_kernel_stack"), "--name", "one", "--log-format", "journal",
                       "--journal-socket", journal.place, apart=True)
    entry = journal.until("can't take an exception frame")
    assert (entry["SYSLOG_IDENTIFIER"], entry["PINFOLD_GUEST"]) == (["pinfold"], ["one"])
    assert guest.exit_code() == 5
    assert guest.messages.all() == []


def test_a_journal_that_goes_away_loses_no_message(host: Pinfold, work: Path) -> None:
    journal = Journal(work)
    guest = host.start(host.build.guest("control_keeps_calling"), "--name", "one", "--log-format", "journal", "--stats",
                       "--journal-socket", journal.place, apart=True)
    guest.wait_for("^calling")
    journal.socket.close()
    assert host("destroy", "one").returncode == 0
    guest.exit_code()
    assert guest.messages.has("^exits")


def test_without_a_journal_no_guest_starts(pinfold: Pinfold, work: Path) -> None:
    done = pinfold("run", "--kernel", "x", "--log-format", "journal", "--journal-socket", work / "none")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"pinfold: --log-format: the journal: {work}/none: No such file or directory\n"


def test_a_guest_in_the_background_that_can_not_run_says_where_to_look(pinfold: Pinfold, work: Path) -> None:
    journal = Journal(work)
    pinfold.environment["XDG_STATE_HOME"] = str(work)
    words = ("create", "--kernel", work / "none", "--name", "one")
    done = pinfold(*words, "--log-format", "journal", "--journal-socket", journal.place)
    assert done.returncode == 3
    assert done.stderr == "pinfold: the guest does not run; `journalctl PINFOLD_GUEST=one` says why\n"
    assert "none" in journal.entry()["MESSAGE"][0]
    done = pinfold(*words, "--log-format", "json")
    assert done.returncode == 3 and json.loads(done.stderr.splitlines()[0])["guest"] == "one"
    done = pinfold(*words, "--log-format", "journal", "--journal-socket", work / "nothing")
    assert done.returncode == 3 and done.stderr.startswith("pinfold: --log-format: the journal: ")
