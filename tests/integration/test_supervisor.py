"""The supervisor, which is the process that the user started, and the monitors that it starts: one for each life of the
guest."""
import contextlib
import os
import signal
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness.pinfold import DEATH, Guest, Pinfold, stop
from harness.terminal import Terminal

MONITOR_FAILED = 7


def calling(host: Pinfold, *options: object) -> Guest:
    """A guest that makes hypercalls until it is killed."""
    guest = host.start(host.build.guest("control_keeps_calling"), "--name", "one", *options, apart=True)
    guest.wait_for("^calling")
    return guest


def rebooting(host: Pinfold, *options: object) -> Guest:
    """A guest that reboots at once, again and again."""
    return host.start(host.build.guest("bad_shuts_down"), "--name", "one", "--append", "reboot", *options)


def wait_until(holds: Callable[[], bool], what: str, seconds: float = DEATH) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def first_mapping(process: int) -> str:
    """Where the process's program is loaded."""
    return Path(f"/proc/{process}/maps").read_text().split("-", 1)[0]


# -- lives

def test_each_life_has_a_process_of_its_own_with_other_addresses(host: Pinfold) -> None:
    guest = host.start(host.build.guest("boots_uuid"), "--append", "reboots", "--audit")
    monitors: dict[int, str] = {}

    def saw_three() -> bool:
        with contextlib.suppress(OSError, AssertionError):  # between two lives there is none
            monitor = guest.child()
            if Path(f"/proc/{monitor}/cmdline").read_bytes().startswith(b"pinfold\0monitor"):
                monitors[monitor] = first_mapping(monitor)
        return len(monitors) >= 3

    wait_until(saw_three, "no three monitors were seen", 30)
    assert len(set(monitors.values())) > 1, "all monitors were loaded at the same address"
    assert first_mapping(guest.pid) not in monitors.values()


def test_the_name_stays_the_guests_between_two_lives(host: Pinfold) -> None:
    guest = rebooting(host)
    guest.wait_for("asked for a reboot")
    for _ in range(10):
        second = host("run", "--kernel", host.build.guest("bad_shuts_down"), "--memory", "32M", "--name", "one")
        assert second.returncode == 3 and "a guest named one is running already" in second.stderr
    assert guest.runs()


# -- signals

@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_at_any_moment_of_a_reboot_ends_it(host: Pinfold, number: signal.Signals) -> None:
    for moment in range(12):
        guest = rebooting(host)
        guest.wait_for("asked for a reboot", times=2)
        time.sleep(moment * 0.007)
        guest.signal(number)
        assert guest.exit_code(10) == 0, guest.console.text()
        assert guest.processes() == []


def test_a_signal_before_the_first_instruction_ends_it(host: Pinfold) -> None:
    for moment in range(8):
        guest = host.start(host.build.guest("control_keeps_calling"))
        wait_until(lambda: len(guest.processes()) == 2, "no monitor is there")
        time.sleep(moment * 0.005)
        guest.signal(signal.SIGTERM)
        assert guest.exit_code(10) == 0, guest.console.text()


def test_a_signal_to_both_processes_counts_once(host: Pinfold) -> None:
    for _ in range(5):
        guest = calling(host, "--audit")
        os.killpg(guest.pid, signal.SIGTERM)
        assert guest.exit_code(10) == 0
        assert guest.messages.has("audit: .*no reference left"), guest.messages.text()


def test_a_second_signal_ends_it_at_once(host: Pinfold) -> None:
    guest = calling(host)
    stop(guest.child())  # so that it does not answer the first
    guest.signal(signal.SIGTERM)
    time.sleep(0.3)
    assert guest.runs()
    guest.signal(signal.SIGTERM)
    assert guest.exit_code(10) == -signal.SIGTERM
    assert guest.processes() == []


def test_who_is_started_to_ignore_hangups_ignores_them(host: Pinfold) -> None:
    guest = host.start_command(["nohup", host.build.pinfold, "run", "--kernel", host.build.guest("control_keeps_calling"),
                                "--memory", "32M"])
    guest.wait_for("^calling")
    os.killpg(guest.pid, signal.SIGHUP)
    time.sleep(0.3)
    assert guest.runs()
    guest.signal(signal.SIGTERM)
    assert guest.exit_code(10) == 0


# -- what dies

def test_a_monitor_that_is_killed_is_reported(host: Pinfold) -> None:
    guest = calling(host)
    os.kill(guest.child(), signal.SIGKILL)
    assert guest.exit_code(10) == MONITOR_FAILED
    assert guest.messages.has("^pinfold: the guest's monitor was ended by signal 9 \\(Killed\\), and the guest with it$")
    assert "no guest is running" in host("list").stdout


def test_a_killed_monitor_does_not_start_again_whatever_the_guest_would(host: Pinfold) -> None:
    guest = rebooting(host)
    guest.wait_for("asked for a reboot")

    def killed() -> bool:
        with contextlib.suppress(AssertionError, OSError):
            os.kill(guest.child(), signal.SIGKILL)
        return not guest.runs()

    wait_until(killed, "it goes on")
    assert guest.exit_code() == MONITOR_FAILED


def test_a_killed_supervisor_takes_its_monitor_with_it(host: Pinfold) -> None:
    for _ in range(5):
        guest = calling(host)
        guest.process.kill()
        guest.process.wait(DEATH)
        assert guest.all_end()
        assert calling(host).runs(), "its name is not free"
        host.close()


def test_exit_codes_are_passed_on(host: Pinfold) -> None:
    for words, code in (("", 5), ("watchdog", 5), ("suspend", 0)):
        guest = host.start(host.build.guest("bad_shuts_down"), "--append", words)
        assert guest.exit_code() == code, guest.console.text()


@pytest.mark.parametrize("words", [(), ("--options=0", "--link=1"), ("--options=77", "--link=78")], ids=str)
def test_nobody_else_starts_a_monitor(host: Pinfold, words: tuple[str, ...]) -> None:
    done = host("monitor", *words)
    assert done.returncode == 2 and "Traceback" not in done.stderr


# -- the terminal

@pytest.fixture
def terminal(host: Pinfold) -> Iterator[Terminal]:
    """A guest on a terminal, which is in raw mode."""
    command = [host.build.pinfold, "run", "--kernel", host.build.guest("control_keeps_calling"), "--memory", "32M"]
    there = Terminal([str(word) for word in command], host.environment)
    try:
        there.wait_for("calling")
        yield there
    finally:
        there.close()


def is_raw(terminal: Terminal) -> bool:
    return not terminal.modes()[3] & termios.ICANON


def monitor_of(supervisor: int) -> int:
    return int(Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV], ids=lambda number: number.name)
def test_the_terminal_is_restored_when_the_monitor_dies(terminal: Terminal, number: signal.Signals) -> None:
    assert is_raw(terminal)
    os.kill(monitor_of(terminal.pid), number)
    terminal.wait_for(f"ended by signal {int(number)}")
    assert terminal.ends(DEATH) and not is_raw(terminal)


def test_the_terminal_is_restored_when_the_supervisor_dies(terminal: Terminal) -> None:
    monitor = Path(f"/proc/{monitor_of(terminal.pid)}")
    os.kill(terminal.pid, signal.SIGKILL)
    wait_until(lambda: not monitor.exists() or "State:\tZ" in (monitor / "status").read_text(), "the monitor goes on")
    assert not is_raw(terminal)


def test_a_stopped_job_goes_on(terminal: Terminal) -> None:
    """As a shell stops and continues a job: the whole group."""
    group = os.getpgid(monitor_of(terminal.pid))
    assert group == os.getpgid(terminal.pid), "the shell's job has one group"
    os.killpg(group, signal.SIGSTOP)
    os.killpg(group, signal.SIGCONT)
    terminal.type("\x1d")
    assert terminal.ends(DEATH) and not is_raw(terminal)
    assert terminal.process.returncode == 0
