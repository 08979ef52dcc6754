"""Checks the table of guest tests (tests/guest/table.py) and its two judges: Python, for /dev/kvm, and
tests/guest/judge.sh, for the emulated machine. Needs no KVM: lines of shell stand for pinfold."""
import re
import subprocess
from pathlib import Path

import pytest
import table
from harness.build import ROOT, Build
from harness.guest_test import Check, Host, ScriptTest, files, shell_program

GOOD = ("echo all 3 checks hold; echo 'exits'; echo '  total   60'", 0)
STATISTICS = {"says": ("^all [0-9]+ checks hold$",), "exits_at_most": 60, "quiet": True}


def program(work: Path, said: str, status: int) -> tuple[str, ...]:
    """A command that prints something and exits."""
    path = work / "program"
    path.write_text(f"{said}\nexit {status}\n")
    return ("sh", str(path), "run")


def verdict_of_python(check: Check) -> bool:
    done = subprocess.run(check.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return check.complaints(done.returncode, done.stdout) == []


def verdict_of_shell(check: Check, work: Path) -> bool:
    script = work / "script"
    script.write_text(shell_program([check], 10))
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(work)}
    done = subprocess.run(["sh", script], stdout=subprocess.PIPE, text=True, env=environment, check=False)
    good = done.returncode == 0
    assert re.search(f"^{'ok     ' if good else 'FAILED '} {check.name}", done.stdout, re.MULTILINE)
    assert f"{int(good)} of 1 guests" in done.stdout
    return good


@pytest.mark.parametrize("said, status, good", [
    (*GOOD, True),
    (GOOD[0], 5, False),
    (GOOD[0].replace("hold", "fail"), 0, False),
    (GOOD[0] + "; echo FAILED something", 0, False),
    (GOOD[0] + "; echo '[warning] something'", 0, False),
    (GOOD[0] + "; echo '[debug] something'", 0, True),
    (GOOD[0].replace("60", "61"), 0, False),
    (GOOD[0].replace("total", "totals"), 0, False),
    (GOOD[0].replace("hold", r"hold\\r"), 0, True),
    ("printf 'all 3 checks hold'; echo; echo exits; echo '  total 1'", 0, True),
    ("echo", 0, False),
    ("kill -9 $$", 0, False),
])
def test_both_judges_find_what_is_wrong(work: Path, said: str, status: int, good: bool) -> None:
    check = Check("a.guest", program(work, said, status), **STATISTICS)
    assert verdict_of_python(check) is good
    assert verdict_of_shell(check, work) is good


def test_each_complaint_names_what_is_wrong() -> None:
    check = Check("a.guest", ("true",), exit=5, says=("nothing of that",), exits_at_most=1)
    assert check.complaints(None, "FAILED") == [
        "exit code None, not 5", "no match: nothing of that", "a check of the guest's failed", "inf exits, where 1 are allowed"]


def test_a_guest_that_hangs_is_ended_at_its_limit(work: Path) -> None:
    script = work / "script"
    script.write_text(shell_program([Check("hangs", ("sleep", "1000")), Check("goes.on", ("true",))], 1))
    done = subprocess.run(["sh", script], stdout=subprocess.PIPE, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "FAILED  hangs: exit code 124, not 0" in done.stdout
    assert re.search("ok      goes.on\n(took    [0-9]+ s  (hangs|goes.on)\n){2}1 of 2 guests", done.stdout)


def test_words_reach_a_command_as_they_are(work: Path) -> None:
    words = ("it's", "two words", "$HOME `id` \\", "")
    check = Check("quoted", ("printf", "<%s>", *words), says=(re.escape("".join(f"<{word}>" for word in words)),))
    assert verdict_of_python(check)
    assert verdict_of_shell(check, work)


@pytest.mark.parametrize("host", [Host.KVM, Host.RIG, Host.RIG_SMP])
def test_a_name_has_one_row_for_each_host(host: Host) -> None:
    names = [row.name for row in table.rows(host)]
    assert len(names) == len(set(names)) > 20


def test_every_guest_is_run_by_a_test(build: Build) -> None:
    """Each guest is in a row of the table, or another test names it."""
    in_rows = {target for row in table.ROWS for target in row.targets}
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    sources = (path for path in (ROOT / "tests/guest").glob("*/*.cpp") if path.parent.name in table.FOLDERS)
    names = [f"{path.parent.name}_{path.stem}" for path in sources]
    assert len(names) > 70
    assert [name for name in names if f"guest_{name}" not in in_rows and name not in tests] == []


def test_what_the_emulated_machine_runs_is_brought_along(build: Build) -> None:
    checks = [row.check(build, Host.RIG) for row in table.rows(Host.RIG)]
    brought = files(checks)
    assert build.pinfold in brought and build.guest("boots_powers_off") in brought
    for row in table.rows(Host.RIG):
        assert {build.program(target) for target in row.targets} <= set(brought)
        assert not isinstance(row, ScriptTest) or ROOT / "tests/guest" / row.script in brought


def test_mutants_name_rows() -> None:
    """Every guest test that tests/mutants.txt names exists for the machine on which the mutant runs."""
    killers = re.findall(r"^killed by (guest|rig) (\S+)$", (ROOT / "tests/mutants.txt").read_text(), re.MULTILINE)
    hosts = {"guest": Host.KVM, "rig": Host.RIG}
    known = {kind: {row.name for row in table.rows(host)} for kind, host in hosts.items()}
    assert killers != []
    assert [killer for killer in killers if killer[1] not in known[killer[0]]] == []
