"""A guest program with the byte of INT3 before each instruction can't keep the guest from being paused, listed,
continued, and stopped by a debugger. `list` also shows a guest whose monitor does not answer."""
import os
import re
import signal
import socket
from pathlib import Path

import pytest
from harness.pinfold import Guest, Pinfold, stop
from test_gdb import wait_for_socket


def start(host: Pinfold, *options: str) -> Guest:
    return host.start(host.build.guest("hostile_loops"), "--name", "loops", *options)


@pytest.fixture
def looping(host: Pinfold) -> Guest:
    guest = start(host)
    guest.wait_for("^looping", 60)
    return guest


def is_listed(host: Pinfold, pattern: str) -> bool:
    return re.search(pattern, host("list").stdout, re.MULTILINE) is not None


def test_it_can_be_paused(host: Pinfold, looping: Guest) -> None:
    for _ in range(5):
        paused = host("pause", "loops")
        assert paused.returncode == 0, paused.stderr
        assert is_listed(host, "^loops .* paused ")
        host("unpause", "loops")


def test_a_monitor_that_does_not_answer_is_listed(host: Pinfold, looping: Guest) -> None:
    monitor = looping.child()
    stop(monitor)
    assert is_listed(host, "^loops .* silent")
    os.kill(monitor, signal.SIGCONT)
    assert is_listed(host, "^loops .* running ")


class Debugger:
    """A client of GDB's remote protocol."""

    def __init__(self, place: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(str(place))

    def send(self, text: bytes) -> None:
        self._socket.sendall(b"$%s#%02x" % (text, sum(text) & 255))

    def interrupt(self) -> None:
        self._socket.sendall(b"\x03")

    def wait_for_stop(self) -> None:
        came = b""
        while b"$T" not in came and b"$S" not in came:
            data = self._socket.recv(4096)
            assert data, f"the stub is gone: {came!r}"
            came += data
        self._socket.sendall(b"+")


def test_a_debugger_stops_it(host: Pinfold, work: Path) -> None:
    guest = start(host, "--gdb", f"unix:{work}/gdb")
    wait_for_socket(work / "gdb")
    debugger = Debugger(work / "gdb")
    debugger.send(b"?")
    debugger.wait_for_stop()
    for _ in range(3):
        debugger.send(b"vCont;c")
        guest.wait_for("looping")
        debugger.interrupt()
        debugger.wait_for_stop()
