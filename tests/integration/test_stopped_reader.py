"""If nothing reads pinfold's stdout, only the guest's console output waits: the guest runs on, commands are
answered, and SIGTERM ends the program. No output is lost when the reader continues. A reader that closed the
pipe is not waited for."""
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest
from harness.pinfold import ENDS_WITH_US, Pinfold

LINE = "line %d of what the guest has to say, and a little more so that it fills a pipe\n"
FOREVER = 1_000_000_000
Start = Callable[[int], subprocess.Popen]


@pytest.fixture
def start(host: Pinfold) -> Iterator[Start]:
    """start(LINES) starts a guest that prints LINES lines on vCPU 1. The result's `first` is the first output; the
    test has to read the rest from its `stdout`."""
    started = []

    def run(lines: int) -> subprocess.Popen:
        command = [*ENDS_WITH_US, host.build.pinfold, "run", "--kernel", host.build.guest("control_prints"), "--memory", "32M",
                   "--vcpus", "2", "--name", "prints", "--audit", "--append", f"lines={lines}"]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=host.environment)
        started.append(process)
        process.first = os.read(process.stdout.fileno(), 200)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()


def entries_checked(host: Pinfold) -> int | None:
    """The count of `list` that grows while vCPU 0 runs; None if no guest is listed."""
    guests = json.loads(host("list", "--json").stdout)
    return guests[0]["entries_checked"] if guests else None


def goes_on(host: Pinfold) -> bool:
    """Whether vCPU 0 still runs after the output of vCPU 1 had time to fill all buffers."""
    last, steady = None, 0
    for _ in range(100):
        now = entries_checked(host)
        steady = steady + 1 if last is not None and now is not None and now > last else 0
        if steady == 5:
            return True
        last = now
        time.sleep(0.3)
    return False


def test_nothing_is_lost_when_the_reader_goes_on(host: Pinfold, start: Start) -> None:
    guest = start(6000)
    assert goes_on(host)
    rest = guest.stdout.read()
    assert re.findall(r"line \d+ of.*\n", (guest.first + rest).decode()) == [LINE % i for i in range(1, 6001)]
    assert b"checks hold" in rest
    assert guest.wait(60) == 0
    assert b"no reference left" in guest.stderr.read()


def test_sigterm_ends_it_although_nobody_reads(host: Pinfold, start: Start) -> None:
    guest = start(FOREVER)
    assert goes_on(host)
    guest.send_signal(signal.SIGTERM)
    assert guest.wait(60) == 0
    assert b"no reference left" in guest.stderr.read()


def test_a_signal_that_reaches_the_monitor_second_changes_nothing(host: Pinfold, start: Start) -> None:
    """A signal to a process group reaches supervisor and monitor in any order. Here the monitor has 0.3 s to get it,
    because nobody takes its output."""
    guest = start(FOREVER)
    assert goes_on(host)
    monitor = json.loads(host("list", "--json").stdout)[0]["monitor"]
    guest.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    os.kill(monitor, signal.SIGTERM)
    assert guest.wait(60) == 0
    assert b"no reference left" in guest.stderr.read()


def test_a_reader_that_is_gone_is_not_waited_for(start: Start) -> None:
    guest = start(3000)
    guest.stdout.close()
    assert guest.wait(60) == 0


def test_the_socket_that_sigkill_leaves_goes_once_guests_are_listed(host: Pinfold, start: Start) -> None:
    guest = start(FOREVER)
    guest.kill()
    guest.wait()
    sockets = host.folder / "pinfold"
    assert set(os.listdir(sockets)) > {"last-id"}
    assert entries_checked(host) is None
    assert os.listdir(sockets) == ["last-id"]
