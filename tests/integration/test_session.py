"""The scripted session of Debian's kernel: the guest's own checks, and its clock compared with the host's. Each kind of
guest runs once; each test checks one property of its session. scripts/demo --check runs these tests and sets
PINFOLD_SESSION_MEMORY."""
import os
import re
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from harness.build import Build
from harness.images import Images
from harness.pinfold import Pinfold
from harness.session import Session, run_session

UUID = str(uuid.uuid4())


@dataclass(frozen=True)
class Kind:
    memory: str
    words: str = "pinfold.check"
    options: tuple[str, ...] = ()
    cloud: bool = False


SHORT = "pinfold.check=20"  # the checks use 20 MB instead of 200, and start 200 processes instead of 1000
KINDS = {
    "memory_512M": Kind("512M"),
    "memory_256M_audited": Kind("256M", SHORT, ("--audit",)),
    "memory_4G": Kind("4G", SHORT),
    "two_vcpus": Kind("512M", SHORT, ("--vcpus", "2")),
    "cloud_kernel": Kind("512M", cloud=True),
}


@dataclass(frozen=True)
class Ran:
    """A session and its kernel."""

    session: Session
    kernel: Path


@pytest.fixture(scope="module", params=KINDS)
def ran(request: pytest.FixtureRequest, kvm: None, build: Build, images: Images) -> Iterator[Ran]:
    kind = KINDS[request.param]
    kernel = images.cloud_kernel if kind.cloud else images.kernel
    with tempfile.TemporaryDirectory(prefix="test-") as folder:
        pinfold = Pinfold(build, Path(folder))
        try:
            memory = os.environ.get("PINFOLD_SESSION_MEMORY", kind.memory)
            options = ("--uuid", UUID, *kind.options)
            yield Ran(run_session(pinfold, images, kind.words, *options, memory=memory, kernel=kernel), kernel)
        finally:
            pinfold.close()


@pytest.fixture
def session(ran: Ran) -> Session:
    return ran.session


def test_it_boots_paravirtualized_on_xen(session: Session) -> None:
    assert session.first("pinfold-init: ") != "", "the guest did not reach its first process"
    assert session.says("Booting (paravirtualized )?kernel on Xen")
    assert session.says("Using FIFO-based ABI"), "events do not come through FIFO queues"


def test_the_kernel_is_debians(ran: Ran) -> None:
    version = (ran.kernel.parent / "package").read_text().split()[1]
    assert ran.session.first("session: release ") == ran.kernel.name.removeprefix("vmlinuz-")
    assert ran.session.says(re.escape(f"Debian {version}"))


def test_it_has_the_uuid_that_it_was_given(session: Session) -> None:
    assert session.first("session: uuid ") == UUID


def test_the_guests_own_checks_hold(session: Session) -> None:
    verdicts = session.said("check (?=[a-z0-9-]+: (?:ok|FAILED))")
    assert [verdict for verdict in verdicts if verdict.split()[1] != "ok"] == []
    assert verdicts != []
    assert session.first("session: checks exited with ") == "0", "not all checks ran"


def off(guest: float, host: float) -> float:
    """By how many percent the guest's time differs from the host's."""
    return 100 * (guest / host - 1)


@dataclass(frozen=True)
class Marker:
    """A line `clock: NAME vdso NS kernel NS date NS` of the guest, and the host's time of its arrival."""

    host: float
    vdso: float
    kernel: float
    date: float


def markers(session: Session) -> dict[str, Marker]:
    lines = [(at, line.split()) for at, line in session.stamped if line.startswith("clock: ")]
    return {words[1]: Marker(at, *(int(words[i]) / 1e9 for i in (3, 5, 7))) for at, words in lines}


def test_the_clock_is_within_1_percent_of_the_hosts(session: Session) -> None:
    at = markers(session)
    assert {"start", "stop"} <= at.keys(), "no clock lines came"
    start, stop = at["start"], at["stop"]
    passed = stop.host - start.host
    print(f"{passed:.3f} s on the host; guest {off(stop.vdso - start.vdso, passed):+.3f} %, by system call "
          f"{off(stop.kernel - start.kernel, passed):+.3f} %, date {start.date - start.host:+.3f} s off")
    assert abs(off(stop.vdso - start.vdso, passed)) < 1
    assert abs(off(stop.kernel - start.kernel, passed)) < 1
    # A Linux that boots slowly loses ticks before it has Xen's clock.
    assert abs(start.date - start.host) < 60


def test_the_kernel_has_no_complaints(session: Session) -> None:
    assert session.said("session: complaint ") == []


def test_it_comes_to_its_end(session: Session) -> None:
    assert session.says("session: end$")
    assert session.powered_off()
