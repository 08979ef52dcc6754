"""--gdb: Debian's gdb stops and steps a test guest, from its first instruction through kernel code, a hypercall
and user code; and the port ignores web browsers."""
import random
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
from harness.pinfold import Guest, Pinfold

GUEST = "control_is_debugged"
SCRIPT = r"""
set pagination off
set confirm off
target remote SOCKET
printf "first instruction %d\n", $pc == &start
info threads
break marker
continue
printf "marker of %d\n", $rdi
bt 2
set variable counter = 1000
continue
printf "marker of %d, counter %d\n", $rdi, counter
delete
set $i = 0
while $i < 200
  stepi
  set $i = $i + 1
end
printf "200 steps\n"
break user_marker
continue
printf "user ebx 0x%x\n", $ebx
info threads
stepi
printf "user ebx 0x%x\n", $ebx
x/2i user_marker
info registers xmm0 fs_base
print counter = *(unsigned long *)0x10
detach
"""
SAID = (
    "^first instruction 1", r"Thread 1 \(vCPU 0, kernel\)", "^marker of 1$", "#1 .* test ", "^marker of 2, counter 1001$",
    "^200 steps", "^user ebx 0x77$", r"Thread 1 \(vCPU 0, user\)", "^user ebx 0x78$", r"<user_marker>:.*inc +%ebx",
    "Cannot access memory at address 0x10")


LISTENS = 0x10000  # of the flags in /proc/net/unix (__SO_ACCEPTCON of linux/net.h)


def is_listening(path: Path) -> bool:
    """Whether a process accepts connections at a Unix socket. The file is there a moment earlier."""
    sockets = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    return any(fields[-1] == str(path) and int(fields[3], 16) & LISTENS for fields in sockets)


def wait_for_socket(path: Path) -> None:
    for _ in range(300):
        if is_listening(path):
            return
        time.sleep(0.1)
    raise AssertionError("nothing listens at the debugger's socket")


def test_a_debugger_steers_the_guest(host: Pinfold, work: Path) -> None:
    if not shutil.which("gdb"):
        pytest.skip("no gdb here")
    place, script = work / "gdb", work / "script"
    guest = host.start(host.build.guest(GUEST), "--vcpus", 2, "--audit", "--gdb", f"unix:{place}")
    wait_for_socket(place)
    assert place.stat().st_mode & 0o777 == 0o600, "the socket is open to others"
    script.write_text(SCRIPT.replace("SOCKET", str(place)))
    gdb = subprocess.run(["gdb", "-nx", "-q", "-batch", "-x", script, host.build.guest(GUEST)], stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False)
    status = guest.exit_code()
    print(gdb.stdout, guest.console.text())
    assert [pattern for pattern in SAID if not re.search(pattern, gdb.stdout, re.MULTILINE)] == []
    assert status == 0
    assert guest.console.has("all [0-9]+ checks hold")
    assert guest.console.has("audit: .* no reference left")
    assert not place.exists()


# -- A web page can make a browser send anything to a TCP port, after a line of HTTP. pinfold drops such a client without
# an answer, also when its first bytes were valid, and the guest does not notice.

HTTP = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\n\r\n$k#6b"


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def listens(port: int, guest: Guest) -> bool:
    for _ in range(100):
        try:
            connect(port).close()
            return True
        except ConnectionRefusedError:
            if not guest.runs():
                return False
            time.sleep(0.1)
    return False


@pytest.fixture
def stub(host: Pinfold) -> tuple[Guest, int]:
    """A guest that waits for a debugger, and the port."""
    for _ in range(20):
        port = random.randrange(20000, 40000)
        guest = host.start(host.build.guest(GUEST), "--vcpus", 2, "--gdb", f"tcp:127.0.0.1:{port}")
        if listens(port, guest):
            return guest, port
        guest.kill()
    raise AssertionError("no port was free")


def answer(port: int, request: bytes) -> bytes:
    """Sends a request and returns all that comes back. The other side may hang up before it has read everything."""
    came = b""
    with connect(port) as client:
        try:
            client.sendall(request)
            while data := client.recv(4096):
                came += data
        except ConnectionError:
            pass
    return came


def test_http_is_not_answered(stub: tuple[Guest, int]) -> None:
    guest, port = stub
    with connect(port):  # a silent client does not block the others
        for request in (HTTP, b"\r\n$k#6b", b"\0$k#6b"):
            assert answer(port, request).replace(b"\0", b"") == b""
    time.sleep(1)  # a guest that was let go would print something meanwhile, or end
    assert guest.runs(), "HTTP ended the guest, or let it go"
    assert len(guest.console.all()) == 1, "HTTP let the guest run"
    assert re.match(rb"\+\$T.*thread:1", answer(port, b"+$?#3f" + HTTP), re.DOTALL)
    # When the debugger was dropped the guest ran on, and crashed because nobody handled its breakpoint.
    assert guest.exit_code() == 5
