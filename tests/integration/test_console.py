"""The console's other readers: `pinfold console`, a pseudo-terminal, and a log; none of them delays the guest."""
import os
import pty
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.pinfold import ENDS_WITH_US, Guest, Pinfold

FLOOD = 32768  # lines that the guest prints for `flood`


@pytest.fixture
def start(host: Pinfold) -> Callable[..., Guest]:
    def run(*options: object) -> Guest:
        return host.start(host.build.guest("control_echoes"), "--name", "one", *options)

    return run


class Client:
    """A connection to the console's socket."""

    def __init__(self, host: Pinfold, seconds: float = 30) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(seconds)
        place = host.folder / "pinfold" / "one.console"
        end = time.monotonic() + seconds
        while True:
            try:
                self.socket.connect(str(place))
                break
            except (FileNotFoundError, ConnectionRefusedError):
                assert time.monotonic() < end
                time.sleep(0.05)
        self.seen = b""

    def wait_for(self, text: bytes) -> None:
        while text not in self.seen:
            got = self.socket.recv(65536)
            assert got, self.seen[-1000:]
            self.seen += got

    def type(self, line: bytes) -> None:
        self.socket.sendall(line + b"\n")

    def rest(self) -> bytes:
        """All that comes until the end of the connection."""
        while got := self.socket.recv(65536):
            self.seen += got
        return self.seen


@pytest.fixture
def attach(host: Pinfold) -> Iterator[Callable[[], Client]]:
    clients = []

    def connect() -> Client:
        clients.append(Client(host))
        return clients[-1]

    yield connect
    for client in clients:
        client.socket.close()


def test_several_read_and_type_and_see_what_was_before(start: Callable[..., Guest], attach: Callable[[], Client]) -> None:
    guest = start()
    guest.wait_for("^ready")
    first, second = attach(), attach()
    for client in (first, second):
        client.wait_for(b"ready")
    first.type(b"one")
    second.wait_for(b"echo one")
    first.socket.close()
    second.type(b"two")
    third = attach()
    third.wait_for(b"echo two")
    assert third.seen.startswith(second.seen[:20])
    guest.wait_for("^echo two")
    third.type(b"end")
    assert guest.exit_code() == 0
    assert b"echo two" in second.rest()


def test_the_command_attaches_and_detaches_at_a_key_and_the_guest_goes_on(
        host: Pinfold, start: Callable[..., Guest], attach: Callable[[], Client]) -> None:
    guest = start("--console", "none")
    attach().wait_for(b"ready")
    for _ in range(2):
        master, slave = pty.openpty()
        command = subprocess.Popen([*ENDS_WITH_US, host.build.pinfold, "console", "one"], stdin=slave, stdout=slave, stderr=slave,
                                   env=host.environment)
        os.close(slave)
        seen = b""
        while b"ready" not in seen:
            seen += os.read(master, 4096)
        os.write(master, b"hello\n")
        while b"echo hello" not in seen:
            seen += os.read(master, 4096)
        os.write(master, b"\x1d")
        assert command.wait(30) == 0
        os.close(master)
        assert guest.runs()
    done = subprocess.run([host.build.pinfold, "console", "one"], input=b"end\n", capture_output=True, env=host.environment,
                          timeout=60, check=False)
    assert done.returncode == 0
    assert guest.exit_code() == 0


def test_a_guest_that_does_not_run_has_no_console(host: Pinfold) -> None:
    done = host("console", "absent")
    assert done.returncode == 3
    assert "absent" in done.stderr


def test_readers_that_stall_lose_their_place_and_delay_nobody(start: Callable[..., Guest], attach: Callable[[], Client]) -> None:
    guest = start("--console", "none")
    stalled = [attach() for _ in range(9)]
    for client in stalled:
        client.wait_for(b"ready")
    reader = attach()
    reader.wait_for(b"ready")
    reader.type(b"flood")
    reader.wait_for(b"echo flood")
    reader.type(b"end")
    assert guest.exit_code() == 0
    for client in stalled:
        text = client.rest()
        assert b"bytes of output are missing here]" in text, "a place that was lost is told"


def test_stdout_loses_nothing_while_another_reader_stalls(start: Callable[..., Guest], attach: Callable[[], Client]) -> None:
    guest = start()
    stalled, writer = attach(), attach()
    writer.type(b"flood")
    guest.wait_for(f"^flood {FLOOD} ", seconds=120)
    writer.type(b"end")
    assert guest.exit_code() == 0
    numbers = [int(match[1]) for match in guest.console.matching(r"^flood (\d+) ")]
    assert numbers == list(range(1, FLOOD + 1))
    stalled.socket.close()


def test_a_pty_is_told_and_in_the_store(host: Pinfold, start: Callable[..., Guest]) -> None:
    guest = start("--console", "pty")
    path = guest.wait_for(r"the console is (/dev/pts/\d+)")[1]
    for _ in range(2):  # it outlives those who open it
        with open(path, "r+b", buffering=0) as terminal:
            terminal.write(b"hello\n")
            seen = b""
            while b"echo hello\n" not in seen:
                seen += os.read(terminal.fileno(), 4096)
    with socket.socket(socket.AF_UNIX) as store:
        store.connect(str(host.folder / "pinfold" / "one.xenstore"))
        request = b"/local/domain/1/console/tty\0"
        store.sendall(b"\x02\0\0\0" + b"\0" * 8 + len(request).to_bytes(4, "little") + request)
        assert store.recv(4096).endswith(path.encode())


def logs(work: Path) -> dict[str, int]:
    return {file.name: file.stat().st_size for file in sorted(work.glob("log*"))}


def test_a_log_is_rotated_and_bounded(start: Callable[..., Guest], attach: Callable[[], Client], work: Path) -> None:
    guest = start("--console", "none", "--console-log", work / "log", "--console-log-size", "16K", "--console-log-keep", "2")
    client = attach()
    for i in range(4000):
        client.type(b"line %d" % i)
        if i % 100 == 99:
            client.wait_for(b"echo line %d" % i)
    client.type(b"end")
    assert guest.exit_code() == 0
    sizes = logs(work)
    assert list(sizes) == ["log", "log.1", "log.2"]
    assert sizes["log.1"] == sizes["log.2"] == 16384 and sizes["log"] <= 16384
    text = b"".join((work / name).read_bytes() for name in ("log.2", "log.1", "log"))
    tail = [b"echo line %d" % i for i in range(3500, 4000)]
    assert [line for line in text.split(b"\n") if line in tail] == tail
    assert (work / "log").stat().st_mode & 0o777 == 0o600


def test_a_full_disk_costs_log_and_never_the_guest(host: Pinfold, attach: Callable[[], Client], work: Path) -> None:
    if subprocess.run(["unshare", "--mount", "--map-root-user", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this host gives no namespace to mount a small file system in")
    disk = work / "disk"
    disk.mkdir()
    run = (f"mount -t tmpfs -o size=64k none {disk} && cd {disk} && {host.build.pinfold} run"
           f" --kernel {host.build.guest('control_echoes')} --memory 32M --name one --console none --console-log log;"
           " echo code $?; stat -c 'size %s' log")
    guest = subprocess.Popen([*ENDS_WITH_US, "unshare", "--mount", "--map-root-user", "sh", "-c", run], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=host.environment)
    client = attach()
    client.type(b"flood")
    client.wait_for(b"echo flood")
    client.type(b"end")
    output, messages = guest.communicate(timeout=60)
    assert output == "code 0\nsize 65536\n"
    assert messages.count("console log: No space left on device") == 1, messages


def test_a_log_that_cant_be_opened_is_refused(host: Pinfold, work: Path) -> None:
    for place, reason in ((work / "absent" / "log", "No such file or directory"), (Path("/dev/null"), "not a regular file")):
        done = host("run", "--kernel", host.build.guest("control_echoes"), "--memory", "32M", "--console-log", place)
        assert done.returncode == 3
        assert reason in done.stderr
