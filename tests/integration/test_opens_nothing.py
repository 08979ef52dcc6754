"""Once a monitor has confined itself, before it parses anything that an image's maker or a guest wrote, it opens no path and
executes no program, whatever it is asked for (docs/decisions/process-model.md). strace(1) records every system call that
names a file."""
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.pinfold import Guest, Pinfold
from test_gdb import SCRIPT, wait_for_socket

# seccomp(2) is traced because each thread calls it first: with --seccomp-bpf, a thread of which strace traces no call makes no
# progress in KVM_RUN.
TRACE = ("strace", "-f", "--seccomp-bpf", "-qq", "-e",
         "trace=%file,execve,execveat,open_by_handle_at,sendto,prctl,seccomp,clone,clone3", "-o")
Starter = Callable[..., Guest]


@pytest.fixture
def traced(host: Pinfold, work: Path) -> Starter:
    """traced(GUEST, OPTION...) starts a guest whose monitors are traced into `work`/calls. Skips the test if
    processes can't be traced here."""
    if not shutil.which("strace"):
        pytest.skip("no strace here")
    probe = subprocess.run([*TRACE, work / "probe", "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"strace can trace nothing here: {probe.stderr}")

    def start(guest: str, *options: object) -> Guest:
        words = [*TRACE, work / "calls", host.build.pinfold, "run", "--name", "one", "--kernel", host.build.guest(guest),
                 "--memory", "32M", *options]
        return host.start_command([str(word) for word in words], apart=True)

    return start


def map_of(work: Path) -> Path:
    (work / "map").write_text("ffffffff80100000 T _text\n")
    return work / "map"


class Life:
    """What a monitor did, from its start to its end."""

    def __init__(self) -> None:
        self.confined = self.ran = False
        self.threads_before = 0
        self.named: list[str] = []  # Calls with a file's name that it made after it had confined itself.

    def hear(self, call: str) -> None:
        if call.startswith("prctl(PR_SET_NO_NEW_PRIVS, 1"):
            self.confined = True
        elif re.match(r'sendto\(\d+, "\\0\\0", 2, ', call):
            self.ran = True
        elif call.startswith("clone") and "CLONE_THREAD" in call:
            self.threads_before += not self.confined
        elif self.confined and re.match("[a-z_0-9]+[(]", call) and not call.startswith(("sendto", "prctl", "seccomp", "clone")):
            self.named.append(call)


def lives_in(calls: Path) -> list[Life]:
    """The lives whose guests ran."""
    lines = [line.split(maxsplit=1) for line in calls.read_text(errors="replace").splitlines()]
    supervisor = lines[0][0]
    lives: list[Life] = []
    for process, call in lines:
        if call.startswith('execve("/proc/self/exe"'):
            lives.append(Life())
        elif process != supervisor and lives:
            lives[-1].hear(call)
    if lives and not lives[-1].ran:  # a signal ended it before
        lives.pop()
    assert lives and all(life.confined and life.ran for life in lives), "a monitor did not confine itself, or not report"
    # The one makes malloc open what it will ever want to read, and ends (cli/sandbox/allocator.hpp).
    assert all(life.threads_before <= 1 for life in lives), "threads that are not confined"
    return lives


def test_lives_with_an_audit_a_log_statistics_and_clients(host: Pinfold, work: Path, traced: Starter) -> None:
    guest = traced("boots_uuid", "--append", "reboots", "--audit", "--audit-interval", 1, "--stats", f"--trace-mmu={work}/log",
                   "--system-map", map_of(work))
    for times in range(1, 4):
        guest.wait_for("^uuid ", 60, times=times)
        for words in (("list",), ("tables", "one"), ("frame", "one", "0x110"), ("walk", "one", "0xffffffff80100000"),
                      ("pause", "one"), ("unpause", "one"), ("frame", "one", "0xffffffff")):
            host(*words)
    host("list")
    os.kill(guest.child(), signal.SIGTERM)  # strace itself does not pass it on
    guest.exit_code(30)
    lives = lives_in(work / "calls")
    assert len(lives) >= 3
    assert [life.named for life in lives] == [[]] * len(lives)


def test_a_session_with_a_debugger(host: Pinfold, work: Path, traced: Starter) -> None:
    if not shutil.which("gdb"):
        pytest.skip("no gdb here")
    guest = traced("control_is_debugged", "--vcpus", 2, "--gdb", f"unix:{work}/gdb")
    wait_for_socket(work / "gdb")
    (work / "script").write_text(SCRIPT.replace("SOCKET", str(work / "gdb")))
    gdb = subprocess.run(["gdb", "-nx", "-q", "-batch", "-x", work / "script", host.build.guest("control_is_debugged")],
                         stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    assert guest.exit_code() == 0, gdb.stdout
    [life] = lives_in(work / "calls")
    assert life.named == []
    assert not (work / "gdb").exists()  # the supervisor removed it


def test_a_crash_with_its_report(work: Path, traced: Starter) -> None:
    guest = traced("bad_shuts_down", "--append", "crash", "--system-map", map_of(work), "--early-console", "--trace-mmu",
                   "--trace-filter", "op=pin")
    assert guest.exit_code() == 5
    assert guest.messages.has("_text")
    assert [life.named for life in lives_in(work / "calls")] == [[]]
