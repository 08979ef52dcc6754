"""Manual pages and completion scripts say what the help says."""
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness.build import Build
from harness.pinfold import Pinfold

OPTION = re.compile(r"^  ((?:-\w,)?--[a-z][a-z-]*|-\w)\b", re.MULTILINE)


def manual(build: Build) -> Path:
    return build.folder / "manual"


def page(build: Build, command: str) -> str:
    """As text without roff's escapes of dashes and fonts."""
    text = (manual(build) / "man1" / f"pinfold{'-' if command else ''}{command}.1").read_text()
    return re.sub(r"\\f[BIR]", "", text.replace(r"\-", "-"))


def commands(pinfold: Pinfold) -> list[str]:
    listed = pinfold("--help").stdout.partition("Subcommands:\n")[2]
    return re.findall(r"^  ([a-z][a-z-]*) ", listed, re.MULTILINE)


def options(pinfold: Pinfold, *command: str) -> list[str]:
    """All names of its options, short and long."""
    found = OPTION.findall(pinfold(*command, "--help").stdout)
    return [name for names in found for name in names.split(",")]


def test_each_command_has_a_page_with_all_its_options(build: Build, pinfold: Pinfold) -> None:
    names = commands(pinfold)
    assert {"run", "list", "block-attach", "export"} <= set(names)
    assert {f"pinfold-{name}.1" for name in names} | {"pinfold.1"} == {file.name for file in (manual(build) / "man1").iterdir()}
    for name in names:
        assert f"pinfold-{name}(1)" in page(build, ""), f"pinfold(1) does not list {name}"
        known = options(pinfold, name)
        assert "--help" in known
        for option in known:
            assert re.search(rf"^(.*, )?{option}\b", page(build, name), re.MULTILINE), f"{name}: no {option}"


def test_pages_say_each_exit_code(build: Build) -> None:
    exits = page(build, "run").partition(".SH EXIT STATUS")[2]
    assert re.findall(r"^\.TP\n(\d)$", exits, re.MULTILINE) == list("01234567")


def test_the_page_of_configuration_files_has_each_key(build: Build) -> None:
    text = (manual(build) / "man5/pinfold.cfg.5").read_text()
    document = (Path(__file__).parents[2] / "docs/xl-cfg.md").read_text()
    keys = re.findall(r"^\| `(\w+)` \| ", document, re.MULTILINE)
    assert len(keys) > 100
    for key in keys:
        assert f"\\fB{key}\\fR" in text, key
    assert "](" not in text, "a link of Markdown is left"


@pytest.mark.parametrize("checker", [["mandoc", "-Tlint", "-W", "warning"], ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z"]],
                         ids=["mandoc", "man"])
def test_a_checker_of_pages_finds_nothing(build: Build, checker: list[str]) -> None:
    if not shutil.which(checker[0]):
        pytest.skip(f"there is no {checker[0]}")
    for file in sorted(manual(build).glob("man*/*")):
        said = subprocess.run([*checker, file], capture_output=True, text=True, errors="replace", check=False,
                              env={"LC_ALL": "C.UTF-8", "MANWIDTH": "80", "PATH": "/usr/bin:/bin"})
        assert (said.stdout if checker[0] == "mandoc" else "") + said.stderr == "", file.name
