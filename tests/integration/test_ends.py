"""pinfold leaves no process, file or shared memory behind, however it ends: by SIGTERM, SIGINT or SIGHUP while the
vCPUs are in any state, or by SIGKILL at any moment."""
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.pinfold import DEATH, Guest, Pinfold

MOMENTS = (0, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2)  # in seconds after the start


def shared() -> set[Path]:
    """pinfold's files in folders that all programs share."""
    return {path for folder in ("/dev/shm", "/tmp") for path in Path(folder).glob("*pinfold*")}


@pytest.fixture
def here(work: Path) -> Iterator[Path]:
    """The guest's working folder and folder for temporary files. After the test, checks that nothing is left there
    or in shared folders."""
    folder = work / "here"
    folder.mkdir()
    before = shared()
    yield folder
    assert list(folder.iterdir()) == []
    assert shared() == before


def start(host: Pinfold, here: Path, kernel: str, *options: object) -> Guest:
    return host.start(host.build.guest(kernel), *options, folder=here, TMPDIR=str(here), PINFOLD_CACHE="")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_ends_it_from_every_state(host: Pinfold, here: Path, number: signal.Signals) -> None:
    guest = start(host, here, "vcpus_ends_from_any_state", "--vcpus", 7, "--audit", "--append", "kill")
    guest.wait_for("are in their states", 10)
    guest.signal(number)
    assert guest.exit_code(10) == 0
    assert guest.console.has("audit: .*no reference left")
    assert guest.processes() == []


@pytest.mark.parametrize("moment", MOMENTS)
def test_sigkill_leaves_nothing(host: Pinfold, here: Path, moment: float) -> None:
    guest = start(host, here, "vcpus_ends_from_any_state", "--vcpus", 7, "--append", "kill")
    time.sleep(moment)
    guest.signal(signal.SIGKILL)
    assert guest.process.wait(DEATH) == -signal.SIGKILL
    assert guest.all_end()


def test_a_reboot_restarts_the_guest_and_leaves_nothing(host: Pinfold, here: Path) -> None:
    guest = start(host, here, "bad_shuts_down", "--audit", "--append", "reboot")
    guest.wait_for("the guest asked for a reboot", 10, times=3)
    guest.wait_for("audit: .*no reference left", 10, times=3)  # at the end of each life
    assert guest.runs()
    guest.signal(signal.SIGTERM)
    guest.exit_code(10)
