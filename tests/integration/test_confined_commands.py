"""Commands that read what a guest can have written confine themselves before they look at it, and name no file afterwards
(docs/sandbox.md). strace(1) records their system calls."""
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness.build import ROOT
from harness.pinfold import Pinfold
from test_hostile_answers import ANSWERS, Monitor, monitor  # noqa: F401 (a fixture)

LOG = ROOT / "tests/data/boot-debian-6.1-96M.log.zst"
TRACE = ("strace", "-qq", "-e", "trace=%file,read,pread64,execve,socket,connect,clone,clone3,prctl,seccomp,landlock_restrict_self",
         "-o")
COMMANDS = (("trace", LOG, "--summary", "--system-map", "MAP"), ("trace", LOG, "--json", "--filter", "verdict=refused"),
            ("replay", LOG, "--until", "1000", "--system-map", "MAP"), ("report", LOG, "-o", "PAGE", "--system-map", "MAP"),
            ("export", LOG, "-o", "PAGE"), ("explain", "--log", LOG, "--at", "1000"))


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(str(word) for word in words[:3] if word != LOG))
def test_a_command_that_reads_a_log(pinfold: Pinfold, work: Path, words: tuple) -> None:
    if not shutil.which("strace"):
        pytest.skip("no strace here")
    if subprocess.run([*TRACE, work / "probe", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("strace can trace nothing here")
    (work / "map").write_text("ffffffff80100000 T _text\n")
    places = {"MAP": work / "map", "PAGE": work / "page"}
    done = subprocess.run([str(word) for word in (*TRACE, work / "calls", pinfold.build.pinfold,
                                                   *(places.get(word, word) for word in words))],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    calls = (work / "calls").read_text(errors="replace").splitlines()
    # libseccomp asks what the kernel can do, by filters at no address.
    filtered = [number for number, call in enumerate(calls) if re.match("seccomp[(]SECCOMP_SET_MODE_FILTER, .*{len=", call)]
    assert len(filtered) == 1
    before, after = calls[:filtered[0]], calls[filtered[0] + 1:]
    assert any(call.startswith("prctl(PR_SET_NO_NEW_PRIVS, 1") for call in before)
    assert any(call.startswith("landlock_restrict_self") for call in before)
    # The end of the process that names the page is a signal.
    assert [call for call in after if not call.startswith(("read(", "pread64(", "--- SIGCHLD"))] == []
    # Before, at most the first bytes of a log are read ahead, which are compared with those of zstd's.
    opened = [number for number, call in enumerate(before) if str(LOG) in call and call.startswith("openat")]
    assert len([call for call in before[opened[0]:] if call.startswith("read(")]) <= 1
    if "MAP" in words:
        assert any("_text" in call for call in after)


@pytest.mark.parametrize("command", ("report", "export"))
def test_a_log_that_is_none_leaves_no_page(pinfold: Pinfold, work: Path, command: str) -> None:
    (work / "log").write_bytes(b"pinfold's? no")
    page = work / "page"
    for older in (None, "an older page"):
        if older:
            page.write_text(older)
        assert pinfold(command, work / "log", "-o", page).returncode == 3
        assert (page.read_text() if page.exists() else None) == older
        assert {file.name for file in work.iterdir() if file.name.startswith("page")} == ({"page"} if older else set())


@pytest.mark.parametrize("words", (("list",), ("uptime", "--json"), ("metrics",), ("tables", "one"), ("walk", "one", "0x1000", "--json"),
                                   ("explain", "one", "--frame", "1")), ids=lambda words: words[0])
def test_a_command_that_reads_an_answer(pinfold: Pinfold, work: Path, monitor: Monitor, words: tuple) -> None:
    if not shutil.which("strace") or subprocess.run([*TRACE, work / "probe", "true"], capture_output=True, check=False).returncode:
        pytest.skip("strace can trace nothing here")
    monitor.answer = ANSWERS["texts that command a terminal"]
    subprocess.run([str(word) for word in (*TRACE, work / "calls", pinfold.build.pinfold, *words)], env=pinfold.environment,
                   stdin=subprocess.DEVNULL, capture_output=True, check=False)
    calls = (work / "calls").read_text(errors="replace").splitlines()
    filtered = [number for number, call in enumerate(calls) if re.match("seccomp[(]SECCOMP_SET_MODE_FILTER, .*{len=", call)]
    assert len(filtered) == 1
    assert [call for call in calls[filtered[0] + 1:] if not call.startswith("+++")] == []
