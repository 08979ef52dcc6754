"""Options and fixtures for all tests in Python. tests/README.md says how to run them."""
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.build import ROOT, Build
from harness.images import Images
from harness.pinfold import Pinfold, kvm_problem
from harness.promtool import Promtool
from harness.rig import Rig


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--build", type=Path, default=ROOT / "build/release", metavar="FOLDER",
                     help="the build to test (default: build/release)")
    parser.addoption("--skip-code", type=int, metavar="CODE",
                     help="exit with CODE if a test was skipped and none failed, so that CTest shows it as skipped")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    code = session.config.getoption("--skip-code")
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if code is not None and exitstatus == pytest.ExitCode.OK and reporter and reporter.stats.get("skipped"):
        session.exitstatus = code


@pytest.fixture(scope="session")
def build(request: pytest.FixtureRequest) -> Build:
    """The build to test."""
    return Build(request.config.getoption("--build").resolve())


@pytest.fixture(scope="session")
def images() -> Images:
    """Debian's kernels and the small root file system."""
    return Images()


@pytest.fixture(scope="session")
def kvm() -> None:
    """Skips the test if this machine has no KVM."""
    if problem := kvm_problem():
        pytest.skip(problem)


@pytest.fixture(scope="session")
def rig() -> Rig:
    """The emulated machine, which has nested paging. Skips the test if QEMU is missing and can't be installed."""
    return Rig.with_packages("qemu-system-x86_64", "--rig")


@pytest.fixture(scope="session")
def promtool() -> Promtool:
    """Prometheus's checker. Skips the test if Debian's package can't be downloaded."""
    return Promtool.fetched()


@pytest.fixture
def work() -> Iterator[Path]:
    """A folder that is deleted after the test. Its path is short, because a socket's path has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="test-") as folder:
        yield Path(folder)


@pytest.fixture
def pinfold(build: Build, work: Path) -> Iterator[Pinfold]:
    """The program. Guests that it started are killed after the test."""
    program = Pinfold(build, work)
    yield program
    program.close()


@pytest.fixture
def host(kvm: None, pinfold: Pinfold) -> Pinfold:
    """The program on a host with KVM. Skips the test if there is none."""
    return pinfold
