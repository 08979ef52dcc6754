"""The commands in documents print what the documents show."""
from pathlib import Path

import pytest
from harness.build import ROOT
from harness.document import check_document, masked, shell
from harness.pinfold import Pinfold


@pytest.fixture
def environment(pinfold: Pinfold, work: Path) -> dict[str, str]:
    """An environment with pinfold on its PATH."""
    (work / "bin").mkdir()
    (work / "bin/pinfold").symlink_to(pinfold.build.pinfold)
    return {**pinfold.environment, "PATH": f"{work}/bin:{pinfold.environment['PATH']}"}


def test_logs(environment: dict[str, str], work: Path) -> None:
    """docs/logs.md reads the recorded logs of tests/data, so its output has to be exactly the same."""
    environment["WORK"] = str(work)

    def answer(command: str) -> str:
        return shell(command, environment, ROOT / "tests/data").replace(f"{work}/", "")

    check_document(ROOT / "docs/logs.md", answer)


def test_questions(host: Pinfold, environment: dict[str, str]) -> None:
    """docs/questions.md shows commands on a running guest. $PAGE is the address of one of the guest's pages,
    $FRAME and $TABLE are the frame and the L1 table that translate it."""
    guest = host.start(host.build.guest("questions_tries_and_waits"), "--name", "demo", apart=True)
    environment["PAGE"] = page = guest.wait_for("^waiting.* at (0x[0-9a-f]+)$")[1]
    walked = host("walk", "demo", page).stdout.splitlines()
    for name, start in (("FRAME", "frame "), ("TABLE", "L1 table ")):
        line = next(line.strip() for line in walked if line.strip().startswith(start))
        environment[name] = line.removeprefix(start).split()[0].rstrip(":")

    def answer(command: str) -> str:
        return guest.console.text() + "\n" if command.startswith("pinfold run ") else shell(command, environment)

    check_document(ROOT / "docs/questions.md", answer, masked)
