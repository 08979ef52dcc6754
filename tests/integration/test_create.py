"""create: a guest in the background, its log, and what is said when it can't start."""
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness.pinfold import Pinfold

Create = Callable[..., subprocess.CompletedProcess]


@pytest.fixture
def create(host: Pinfold, work: Path) -> Iterator[Create]:
    """create(GUEST, OPTION...) runs the command with a log folder of the test's own. The guests are ended after the
    test."""
    host.environment["XDG_STATE_HOME"] = str(work / "state")

    def run(guest: str, *options: object) -> subprocess.CompletedProcess:
        return host("create", "--kernel", host.build.guest(guest), "--memory", "32M", "--name", "one", *options)

    yield run
    for guest in listed(host):
        host("destroy", guest["name"])


def listed(host: Pinfold) -> list[dict]:
    return json.loads(host("list", "--json").stdout)


def wait_for_log(log: Path, pattern: str) -> None:
    end = time.monotonic() + 20
    while not re.search(pattern, log.read_text() if log.exists() else ""):
        assert time.monotonic() < end, f"no {pattern!r} in the log"
        time.sleep(0.05)


def test_it_returns_when_the_guest_runs_and_leaves_the_terminal(host: Pinfold, create: Create) -> None:
    done = create("control_keeps_calling")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    [guest] = listed(host)
    assert guest["state"] == "running"
    assert os.getsid(guest["pid"]) == guest["pid"] != os.getsid(0)
    assert os.readlink(f"/proc/{guest['pid']}/fd/0") == "/dev/null"


def test_what_can_not_start_says_why_in_one_line(host: Pinfold, create: Create) -> None:
    done = host("create", "--kernel", "/nowhere", "--name", "one")
    assert done.returncode == 3 and done.stderr.count("\n") == 1 and "/nowhere" in done.stderr
    assert create("control_keeps_calling").returncode == 0
    again = create("control_keeps_calling")
    assert again.returncode == 3 and "a guest named one is running already" in again.stderr
    assert listed(host)[0]["state"] == "running"
    host("destroy", "one")
    without_kvm = create("control_keeps_calling", "--kvm", "/dev/null")
    assert without_kvm.returncode == 4 and without_kvm.stderr.count("\n") == 1


def test_a_guest_can_start_paused(host: Pinfold, create: Create) -> None:
    assert create("control_keeps_calling", "-p").returncode == 0
    [guest] = listed(host)
    assert guest["state"] == "paused" and guest["exits"] == 0
    host("unpause", "one")
    time.sleep(0.3)
    assert listed(host)[0]["exits"] > 0


def test_c_attaches_to_the_console_until_the_guest_ends(host: Pinfold, create: Create) -> None:
    with ThreadPoolExecutor() as pool:
        attached = pool.submit(create, "control_keeps_calling", "-c")
        end = time.monotonic() + 20
        while not listed(host):
            assert time.monotonic() < end and not attached.done(), "no guest"
            time.sleep(0.05)
        time.sleep(0.5)
        assert not attached.done(), "the command did not attach"
        host("destroy", "one")
        assert attached.result(timeout=20).returncode == 0


def test_c_misses_nothing_of_a_guest_that_ends_at_once(host: Pinfold, create: Create) -> None:
    words = (host.build.pinfold, "create", "--kernel", host.build.guest("boots_uuid"), "--memory", "32M", "--name", "one", "-c")
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=host.environment, text=True) as command:
        children = Path(f"/proc/{command.pid}/task/{command.pid}/children")
        end = time.monotonic() + 20
        while len(children.read_text().split()) < 2:
            assert time.monotonic() < end, "no supervisor"
        command.send_signal(signal.SIGSTOP)  # so that it is late
        supervisor = children.read_text().split()[-1]
        while Path(f"/proc/{supervisor}/stat").read_text().split()[2] != "Z":
            assert time.monotonic() < end, "the guest does not end"
            time.sleep(0.02)
        command.send_signal(signal.SIGCONT)
        said = command.communicate(timeout=20)[0]
    assert command.returncode == 0 and re.search("^uuid ", said, re.MULTILINE), said


def test_the_log_has_the_messages(host: Pinfold, create: Create) -> None:
    done = create("bad_shuts_down", "--append", "crash", "--json")
    log = Path(json.loads(done.stdout)["log"])
    assert done.returncode == 0
    wait_for_log(log, "the guest reported a crash")
    assert log.parent.stat().st_mode & 0o777 == 0o700 and log.stat().st_mode & 0o777 == 0o600
    assert listed(host) == []


def test_a_guest_that_crashes_at_once_is_not_started_again_and_again(host: Pinfold, create: Create) -> None:
    done = create("bad_shuts_down", "--append", "crash", "--on-crash", "restart", "--json")
    log = Path(json.loads(done.stdout)["log"])
    wait_for_log(log, "not started again: it crashed less than 10 s after its start")
    assert len(re.findall("the guest reported a crash", log.read_text())) == 1


def test_a_log_is_bounded(host: Pinfold, create: Create) -> None:
    done = create("boots_uuid", "--append", "reboots", "--stats", "--trace-mmu", "--json")
    log = Path(json.loads(done.stdout)["log"])
    end = time.monotonic() + 150  # some six lives in a second, and each logs 6 kB
    while Path(f"{log}.old").stat().st_size == 0:
        assert time.monotonic() < end, "the log does not grow"
        time.sleep(0.1)
    assert log.stat().st_size <= 1 << 20 and Path(f"{log}.old").stat().st_size <= 1 << 20


def test_the_process_that_keeps_the_log_can_do_nothing_else(host: Pinfold, create: Create) -> None:
    log = Path(json.loads(create("control_keeps_calling", "--json").stdout)["log"])
    keepers = [process for process in Path("/proc").glob("[0-9]*") if opens(process, log)]
    assert len(keepers) == 1
    status = dict(line.split(":\t", 1) for line in (keepers[0] / "status").read_text().splitlines())
    assert (status["NoNewPrivs"], status["Seccomp"], status["CapBnd"].strip("0")) == ("1", "2", "")


def opens(process: Path, file: Path) -> bool:
    try:
        return any(os.readlink(descriptor) == str(file) for descriptor in (process / "fd").iterdir())
    except OSError:
        return False


def test_a_killed_monitor_is_in_the_log(host: Pinfold, create: Create) -> None:
    log = Path(json.loads(create("control_keeps_calling", "--json").stdout)["log"])
    os.kill(listed(host)[0]["monitor"], signal.SIGKILL)
    wait_for_log(log, "monitor was ended by signal 9")


def test_a_guest_that_reboots_all_the_time_can_be_destroyed(host: Pinfold, create: Create) -> None:
    """A life may end by a reboot at the same moment: then the guest must not start again."""
    for _ in range(5):
        assert create("boots_uuid", "--append", "reboots").returncode == 0
        assert host("destroy", "one").returncode == 0
        assert listed(host) == []
