"""Tests that documents name exist, and docs/xsa.md has a row for every advisory."""
import fnmatch
import re
import subprocess
from pathlib import Path

import pytest
from harness.build import ROOT, Build

DOCS = ROOT / "docs"
DOCUMENTS = sorted(path for path in ROOT.rglob("*.md") if path.relative_to(ROOT).parts[0] != "build")
NAME = re.compile(r"`((?:unit|guest|property|search|integration|concurrency|fuzz|bench|replay|docs)\.[\w.*-]+)`")
FILE = re.compile(r"\.(?:[ch]pp|py)$")
# These stand for any name, as `*` does.
PLACEHOLDER = re.compile("FOLDER|LAYER|NAME|TARGET")
# The forms of an answer.
ANSWERED = re.compile(r" (refused|survived) by .*`[a-z]+\.[^`]+`")
IMPOSSIBLE = " can't occur here, because "


@pytest.fixture(scope="module")
def known_tests(build: Build) -> set[str]:
    command = ["ctest", "--test-dir", build.folder, "-C", "ept", "-N"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    names = set(re.findall(r"^ *Test *#\d+: (.*)$", listed.stdout, re.MULTILINE))
    assert [name for name in names if "NOT_BUILT" in name] == [], "not all tests are built"
    return names


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_tests_that_a_document_names_exist(known_tests: set[str], document: Path) -> None:
    """A pattern stands for one test at least."""
    named = {name for name in NAME.findall(document.read_text(encoding="utf-8")) if not FILE.search(name)}
    patterns = {name: PLACEHOLDER.sub("*", name) for name in named}
    assert [name for name in sorted(patterns) if not fnmatch.filter(known_tests, patterns[name])] == []
    assert named or document.name not in ("xsa.md", "threat-model.md", "rules.md")


def advisory_rows() -> list[list[str]]:
    """The cells of each row of the table."""
    text = (DOCS / "xsa.md").read_text(encoding="utf-8")
    return [line.split("|")[1:-1] for line in text.splitlines() if re.match(r"\| *\d+ *\|", line)]


def test_every_advisory_has_its_row() -> None:
    """The rows are those of the list, in its order. Each names a test that shows that the attack is refused or
    survived, or says why it can't occur."""
    rows = advisory_rows()
    listed = [int(number) for number in (ROOT / "tests/docs/advisories.txt").read_text().split()]
    assert [int(row[0]) for row in rows] == listed
    assert [row for row in rows if len(row) != 3] == [], "not three columns"
    assert [row for row in rows if not ANSWERED.match(row[2]) and not row[2].startswith(IMPOSSIBLE)] == [], "no form of answer"
