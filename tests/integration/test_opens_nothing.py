"""After its guest's first instruction a monitor opens no path and executes no program, whatever it is asked for
(docs/decisions/process-model.md). strace(1) records every system call that names a file."""
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

TRACE = ("strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=%file,execve,execveat,open_by_handle_at,sendto", "-o")
# Removing the debugger's socket opens nothing, but is a name all the same; a sandbox has to permit it.
AT_THE_END = 'unlink("{}/gdb")'
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


def named_after_the_start(calls: Path) -> list[list[str]]:
    """For each life: the calls with a file's name that its monitor made after it reported that the guest runs."""
    lines = [line.split(maxsplit=1) for line in calls.read_text(errors="replace").splitlines()]
    supervisor = lines[0][0]
    lives: list[list[str] | None] = []  # None: the guest does not run yet
    for process, call in lines:
        if call.startswith('execve("/proc/self/exe"'):
            lives.append(None)
        elif process == supervisor or not lives:
            continue
        elif re.match(r'sendto\(\d+, "\\0", 1, ', call):
            lives[-1] = []
        elif lives[-1] is not None and re.match("[a-z_0-9]+[(]", call) and not call.startswith("sendto"):
            lives[-1].append(call)
    if lives[-1] is None:  # a signal ended it before
        lives.pop()
    assert lives and None not in lives, "a monitor did not report that its guest runs"
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
    lives = named_after_the_start(work / "calls")
    assert len(lives) >= 3
    assert lives == [[]] * len(lives)


def test_a_session_with_a_debugger(host: Pinfold, work: Path, traced: Starter) -> None:
    if not shutil.which("gdb"):
        pytest.skip("no gdb here")
    guest = traced("control_is_debugged", "--vcpus", 2, "--gdb", f"unix:{work}/gdb")
    wait_for_socket(work / "gdb")
    (work / "script").write_text(SCRIPT.replace("SOCKET", str(work / "gdb")))
    gdb = subprocess.run(["gdb", "-nx", "-q", "-batch", "-x", work / "script", host.build.guest("control_is_debugged")],
                         stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    assert guest.exit_code() == 0, gdb.stdout
    [life] = named_after_the_start(work / "calls")
    assert [call.split(")")[0] + ")" for call in life] == [AT_THE_END.format(work)]


def test_a_crash_with_its_report(work: Path, traced: Starter) -> None:
    guest = traced("bad_shuts_down", "--append", "crash", "--system-map", map_of(work), "--early-console", "--trace-mmu",
                   "--trace-filter", "op=pin")
    assert guest.exit_code() == 5
    assert guest.messages.has("_text")
    assert named_after_the_start(work / "calls") == [[]]
