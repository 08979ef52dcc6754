"""Tests that documents name exist, and docs/xsa.md has a row for every advisory."""
import fnmatch
import json
import re
import subprocess
from pathlib import Path

import pytest
import table
from harness.build import ROOT, Build
from harness.guest_test import Host

DOCS = ROOT / "docs"
DOCUMENTS = sorted(path for path in ROOT.rglob("*.md") if path.relative_to(ROOT).parts[0] != "build")
NAME = re.compile(r"`((?:unit|guest|property|search|integration|concurrency|fuzz|bench|replay|docs)\.[\w.*-]+)`")
FILE = re.compile(r"\.(?:[ch]pp|py)$")
# These stand for any name, as `*` does.
PLACEHOLDER = re.compile("FOLDER|LAYER|NAME|TARGET")
# The forms of an answer.
ANSWERED = re.compile(r" (refused|survived) by .*`[a-z]+\.[^`]+`")
IMPOSSIBLE = " can't occur here, because "


def ctest_commands(build: Build, configuration: str) -> dict[str, list[str]]:
    """The tests that CTest knows, and their commands."""
    command = ["ctest", "--test-dir", build.folder, "-C", configuration, "--show-only=json-v1"]
    listed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    tests = json.loads(listed.stdout)["tests"]
    assert [test["name"] for test in tests if "NOT_BUILT" in test["name"]] == [], "not all tests are built"
    return {test["name"]: test.get("command", []) for test in tests}


@pytest.fixture(scope="module")
def known_tests(build: Build) -> set[str]:
    """Those of CTest, and the guests that run on the emulated machine only (integration.rig_guests)."""
    return set(ctest_commands(build, "ept")) | {f"guest.{row.name}" for row in table.rows(Host.RIG)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_tests_that_a_document_names_exist(known_tests: set[str], document: Path) -> None:
    """A pattern stands for one test at least."""
    named = {name for name in NAME.findall(document.read_text(encoding="utf-8")) if not FILE.search(name)}
    patterns = {name: PLACEHOLDER.sub("*", name) for name in named}
    assert [name for name in sorted(patterns) if not fnmatch.filter(known_tests, patterns[name])] == []
    assert named or document.name not in ("xsa.md", "threat-model.md", "rules.md")


def test_the_tests_that_mutants_name_exist(known_tests: set[str]) -> None:
    text = (ROOT / "tests/mutants.txt").read_text(encoding="utf-8")
    named = set(re.findall(r"^killed by ctest (\S+)", text, re.MULTILINE))
    assert named != set()
    assert named - known_tests == set()


def test_ctest_runs_every_test_in_python(build: Build) -> None:
    """A function that no test of CTest names, by itself or with its file, would never run."""
    run = {word.partition("[")[0] for configuration in ("ept", "nightly")
           for command in ctest_commands(build, configuration).values() for word in command}
    files = sorted((ROOT / "tests").glob("*/test_*.py"))
    assert len(files) > 20
    for file in files:
        name = str(file.relative_to(ROOT / "tests"))
        functions = re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert name in run or [function for function in functions if f"{name}::{function}" not in run] == [], name


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
