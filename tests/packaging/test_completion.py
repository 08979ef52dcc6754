"""Shells complete commands, options, the words that an option takes, and names of running guests."""
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from harness.build import Build

# In place of the program: completion asks it for guests.
LIST = """#!/bin/sh
test "$1" = list || exit 1
echo 'NAME                        ID MEM(MiB) VCPUS STATE       TIME(s)      PID'
echo 'web-1                        1       32     1 running         0.1       42'
echo 'db                           2       32     1 running         0.1       43'
"""
# zsh completes only in a terminal: a stub of its function prints the descriptions that it would show.
ZSH_STUBS = """
_arguments() { print -rl -- "$@" }
_describe() { print -rl -- ${(P)2} }
_files() { print files }
"""


@pytest.fixture
def environment(work: Path) -> dict[str, str]:
    program = work / "pinfold"
    program.write_text(LIST)
    program.chmod(0o755)
    return {"PATH": f"{work}:{os.environ['PATH']}", "HOME": str(work), "LC_ALL": "C.UTF-8"}


def shell(name: str, environment: dict[str, str], script: str) -> list[str]:
    if not shutil.which(name):
        pytest.skip(f"there is no {name}")
    done = subprocess.run([name, "-c", script], capture_output=True, text=True, env=environment, cwd=environment["HOME"], check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def bash(build: Build, environment: dict[str, str], *words: str) -> list[str]:
    quoted = " ".join(f"'{word}'" for word in words)
    return shell("bash", environment, f"""
        . '{build.folder}/manual/completions/pinfold'
        COMP_WORDS=(pinfold {quoted}); COMP_CWORD={len(words)}
        _pinfold; printf '%s\\n' "${{COMPREPLY[@]}}" """)


def fish(build: Build, environment: dict[str, str], line: str) -> list[str]:
    said = shell("fish", environment, f"source '{build.folder}/manual/completions/pinfold.fish'; complete -C '{line}'")
    return [one.split("\t")[0] for one in said]


def zsh(build: Build, environment: dict[str, str], *words: str) -> list[str]:
    return shell("zsh", environment, f"""{ZSH_STUBS}
        words=(pinfold {' '.join(words)} ''); CURRENT={len(words) + 2}
        source '{build.folder}/manual/completions/_pinfold'""")


def test_bash(build: Build, environment: dict[str, str]) -> None:
    assert bash(build, environment, "des") == ["destroy"]
    assert bash(build, environment, "run", "--on-reb") == ["--on-reboot"]
    assert bash(build, environment, "run", "--on-reboot", "p") == ["preserve"]
    assert bash(build, environment, "destroy", "") == ["-h", "--help", "--json", "web-1", "db"]
    assert bash(build, environment, "create", "--with", "") == ["web-1", "db"]
    Path(environment["HOME"], "web.cfg").touch()
    assert bash(build, environment, "run", "web") == ["web.cfg"]
    assert bash(build, environment, "monitor", "--") == [""], "what the help hides is completed"


def test_fish(build: Build, environment: dict[str, str]) -> None:
    assert fish(build, environment, "pinfold des") == ["destroy"]
    assert fish(build, environment, "pinfold run --on-reb") == ["--on-reboot"]
    assert fish(build, environment, "pinfold run --on-reboot p") == ["preserve"]
    assert sorted(fish(build, environment, "pinfold destroy ")) == ["db", "web-1"]


def test_zsh(build: Build, environment: dict[str, str]) -> None:
    assert "destroy:End a guest at once, without asking it" in zsh(build, environment)
    of_run = zsh(build, environment, "run")
    assert "--strict[A key of CONFIG that xl does not know is an error]" in of_run
    assert any(one.startswith("--on-reboot[") and one.endswith(":(destroy preserve rename-restart restart)") for one in of_run)
    assert ":GUEST:_pinfold_guests" in zsh(build, environment, "destroy")
    guests = shell("zsh", environment, f"{ZSH_STUBS} words=(pinfold list ''); CURRENT=3;"
                   f" source '{build.folder}/manual/completions/_pinfold' >/dev/null; _pinfold_guests")
    assert guests == ["web-1", "db"]
