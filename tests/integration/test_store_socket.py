"""The store's socket: Debian's xenstore programs work with it, and clients that misbehave disturb nobody."""
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.pinfold import Guest, Pinfold

READ, WATCH, ERROR = 2, 4, 16  # xsd_sockmsg_type (xen/io/xs_wire.h)
Run = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def guest(host: Pinfold) -> Guest:
    guest = host.start(host.build.guest("control_keeps_calling"), "--name", "one")
    guest.wait_for("^calling")
    return guest


@pytest.fixture
def path(host: Pinfold, guest: Guest) -> Path:
    return host.folder / "pinfold" / "one.xenstore"


@pytest.fixture
def xenstore(host: Pinfold, path: Path) -> Run:
    """xenstore("read", ...) runs xenstore-read on the guest's store."""
    if shutil.which("xenstore-ls") is None:
        pytest.skip("no xenstore-utils: scripts/setup --tests installs them")

    def run(program: str, *words: str, code: int = 0) -> str:
        done = subprocess.run([f"xenstore-{program}", *words], capture_output=True, text=True, timeout=60, check=False,
                              env={**host.environment, "XENSTORED_PATH": str(path)})
        assert done.returncode == code, done.stderr
        return done.stdout

    return run


def message(kind: int, payload: bytes) -> bytes:
    return struct.pack("<IIII", kind, 1, 0, len(payload)) + payload


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(path))  # waits for room in the queue of connections, which it would not with a time limit
    client.settimeout(30)
    return client


def answer(client: socket.socket) -> tuple[int, bytes]:
    kind, _, _, size = struct.unpack("<IIII", client.recv(16, socket.MSG_WAITALL))
    return kind, client.recv(size, socket.MSG_WAITALL) if size else b""


def is_served(path: Path) -> bool:
    with connect(path) as client:
        client.sendall(message(READ, b"/local/domain/1/name\0"))
        return answer(client) == (READ, b"one")


def test_only_the_user_may_connect(path: Path) -> None:
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_debians_programs_read_and_change_the_store(xenstore: Run) -> None:
    assert xenstore("read", "/local/domain/1/name") == "one\n"
    assert '   name = "one"' in xenstore("ls")
    assert "(n0,r1)" in xenstore("ls", "-p", "/local/domain/1")
    xenstore("write", "/tool/a/b", "1", "/tool/c", "2")
    assert xenstore("list", "/tool").split() == ["a", "c"]
    xenstore("exists", "/tool/a/b")
    xenstore("exists", "/tool/absent", code=1)
    xenstore("chmod", "/tool/c", "n0", "b1")
    assert '(n0,b1)' in xenstore("ls", "-p", "/tool")
    xenstore("rm", "/tool")
    xenstore("read", "/tool/c", code=1)


def test_a_directory_of_many_nodes_is_listed_whole(xenstore: Run) -> None:
    names = [f"a-node-with-a-name-of-some-length-{i}" for i in range(300)]
    xenstore("write", *(word for name in names for word in (f"/tool/many/{name}", "v")))
    assert sorted(xenstore("list", "/tool/many").split()) == sorted(names)


def test_xenstore_watch_sees_what_others_change(host: Pinfold, path: Path, xenstore: Run) -> None:
    watch = subprocess.Popen(["xenstore-watch", "-n", "3", "/tool"], stdout=subprocess.PIPE, text=True,
                             env={**host.environment, "XENSTORED_PATH": str(path)})
    assert watch.stdout.readline() == "/tool\n"
    xenstore("write", "/tool/x", "1")
    assert watch.stdout.readline() == "/tool/x\n"
    xenstore("rm", "/tool")
    assert watch.stdout.readline() == "/tool\n"
    assert watch.wait(30) == 0


def test_a_message_that_is_too_long_ends_its_connection_alone(path: Path) -> None:
    with connect(path) as client:
        client.sendall(struct.pack("<IIII", READ, 1, 0, 4097))
        assert client.recv(1) == b""
    assert is_served(path)


def test_watches_without_end_are_refused(path: Path) -> None:
    accepted = 0
    with connect(path) as client:
        for i in range(20_000):
            client.sendall(message(WATCH, b"/tool\0%d\0" % i))
            kind, payload = answer(client)
            if kind == ERROR:
                assert payload == b"E2BIG\0"
                break
            accepted += 1
            assert answer(client)[1] == b"/tool\0%d\0" % i
    assert accepted == 8192
    assert is_served(path)


def test_a_client_that_reads_nothing_delays_nobody(path: Path) -> None:
    with connect(path) as client:
        client.setblocking(False)
        request = message(READ, b"/local/domain/1/name\0") * 1000
        with pytest.raises(BlockingIOError):
            while True:
                client.send(request)
        assert is_served(path)


def test_a_thousand_connections_leave_the_guest_and_the_store_alone(host: Pinfold, guest: Guest, path: Path) -> None:
    clients = []
    for _ in range(1000):
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        clients.append(client)
        try:
            client.connect(str(path))
        except BlockingIOError:
            pass  # all places are taken
    assert "one" in host("list").stdout
    for client in clients:
        client.close()
    assert is_served(path)
    assert guest.runs()


@pytest.mark.parametrize("kind", ["file", "link", "fifo"])
def test_what_is_in_the_way_of_a_socket_is_replaced_and_never_followed(host: Pinfold, work: Path, kind: str) -> None:
    folder = host.folder / "pinfold"
    folder.mkdir(0o700, exist_ok=True)
    target = work / "target"
    target.write_text("mine")
    place = folder / "two.xenstore"
    if kind == "file":
        place.write_text("old")
    elif kind == "link":
        place.symlink_to(target)
    else:
        os.mkfifo(place)
    guest = host.start(host.build.guest("control_keeps_calling"), "--name", "two")
    guest.wait_for("^calling")
    assert place.is_socket() and not place.is_symlink()
    assert target.read_text() == "mine"
