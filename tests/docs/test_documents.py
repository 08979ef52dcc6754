"""The commands in documents print what the documents show."""
import re
from pathlib import Path

import pytest
from harness.build import ROOT
from harness.document import check_document, masked, shell
from harness.pinfold import Guest, Pinfold


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


def two_guests(host: Pinfold) -> Guest:
    """`owner` and `neighbour` in one machine."""
    files = []
    for number, name, program in ((1, "owner", "questions_owns_a_page"), (2, "neighbour", "questions_tries_next_door")):
        files.append(host.folder / f"{name}.cfg")
        files[-1].write_text(f'name = "{name}"\nkernel = "{host.build.guest(program)}"\nmemory = 32\n'
                             f'extra = "self={number} other={3 - number}"\n')
    return host.start_command([str(host.build.pinfold), "run", *map(str, files)], apart=True)


def test_questions(host: Pinfold, environment: dict[str, str]) -> None:
    """docs/questions.md shows commands on a running guest. $PAGE is the address of one of the guest's pages,
    $FRAME and $TABLE are the frame and the L1 table that translate it. In the other machine there are two guests: $SECRET is
    the frame of a page of one, and $WINDOW the address at which the other one maps it."""
    guest = host.start(host.build.guest("questions_tries_and_waits"), "--name", "demo", apart=True)
    environment["PAGE"] = page = guest.wait_for("^waiting.* at (0x[0-9a-f]+)$")[1]
    walked = host("walk", "demo", page).stdout.splitlines()
    for name, start in (("FRAME", "frame "), ("TABLE", "L1 table ")):
        line = next(line.strip() for line in walked if line.strip().startswith(start))
        environment[name] = line.removeprefix(start).split()[0].rstrip(":")

    both = two_guests(host)
    said = 0

    def said_by_both(*last: str) -> str:
        """What the two guests have printed since the last call, up to these lines: the owner's first."""
        nonlocal said
        for line in last:
            both.wait_for(line, 60)
        before, said = said, len(lines := both.console.all())
        return "".join(line + "\n" for line in sorted(lines[before:], key=lambda line: not line.startswith("owner:")))

    def answer(command: str) -> str:
        if command.startswith("pinfold run owner"):
            text = said_by_both("owner: a secret", "neighbour: waiting for a grant")
            page = re.search("^owner: .* at (0x[0-9a-f]+)$", text, re.MULTILINE)[1]
            environment["SECRET"] = host("walk", "owner", page).stdout.splitlines()[-1].split()[1].rstrip(":")
            return text
        if command == "pinfold sysrq owner g":
            text = shell(command, environment) + said_by_both("neighbour: it is at")
            environment["WINDOW"] = text.split()[-1]
            return text
        if command == "pinfold sysrq owner r":
            return shell(command, environment) + said_by_both("owner: the grant is in use", "neighbour: that is all")
        return guest.console.text() + "\n" if command.startswith("pinfold run ") else shell(command, environment, ROOT)

    check_document(ROOT / "docs/questions.md", answer, masked)
