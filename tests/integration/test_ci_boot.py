"""What action.yml runs, as a runner would run it: the step's own script and environment, read out of action.yml, with its
inputs filled in."""
import os
import re
import subprocess
from pathlib import Path

import pytest
from harness.build import ROOT, Build
from harness.images import Images
from harness.pinfold import Pinfold

yaml = pytest.importorskip("yaml", reason="python3-yaml is missing")


class Runner:
    """Runs the step `boot` of the action."""

    def __init__(self, build: Build, work: Path) -> None:
        self.action = yaml.safe_load((ROOT / "action.yml").read_text())
        self.step = next(step for step in self.action["runs"]["steps"] if step.get("id") == "boot")
        self.defaults = {name: value.get("default", "") for name, value in self.action["inputs"].items()}
        self.defaults["pinfold"] = str(build.pinfold)
        self.work = work

    def run(self, **inputs: object) -> subprocess.CompletedProcess:
        """`inputs` are those of the action."""
        given = self.defaults | {name: str(value) for name, value in inputs.items()}
        assert given.keys() == self.defaults.keys()
        environment = {name: re.sub(r"\$\{\{ inputs\.([a-z-]+) \}\}", lambda match: given[match[1]], text)
                       for name, text in self.step["env"].items()}
        assert not any("${{" in text for name, text in environment.items() if name != "INPUT_COMMANDS")
        for name in ("out", "summary"):
            (self.work / name).write_text("")
        fixed = {"GITHUB_ACTION_PATH": str(ROOT), "GITHUB_OUTPUT": str(self.work / "out"), "GITHUB_STEP_SUMMARY": str(self.work / "summary"),
                 "RUNNER_TEMP": str(self.work), "XDG_RUNTIME_DIR": str(self.work)}
        assert self.step["shell"] == "bash"
        return subprocess.run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", self.step["run"]], cwd=self.work,
                              env={**os.environ, **fixed, **environment}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=600, check=False)

    def outputs(self) -> dict[str, str]:
        """Of the action, by the names that it has for them."""
        written = dict(line.partition("=")[::2] for line in (self.work / "out").read_text().splitlines())
        found = {}
        for name, output in self.action["outputs"].items():
            key = re.fullmatch(r"\$\{\{ steps\.boot\.outputs\.([a-z-]+) \}\}", output["value"])[1]
            found[name] = written.pop(key)
        assert written == {}
        return found


@pytest.fixture
def runner(build: Build, work: Path) -> Runner:
    return Runner(build, work)


# -- guests

def test_commands_run_in_the_guests_shell(host: Pinfold, runner: Runner, images: Images) -> None:
    done = runner.run(kernel=images.kernel, initrd=images.initrd, vcpus=2, append="console=hvc0 quiet",
                      commands="test $(nproc) = 2\necho 6 times 7 is $((6 * 7))\necho ::error::not a command to the runner\n")
    assert done.returncode == 0, done.stdout + done.stderr
    outputs = runner.outputs()
    assert (outputs["exit-code"], outputs["commands-status"]) == ("0", "0")
    assert "6 times 7 is 42" in Path(outputs["console"]).read_text()
    assert "<html" in Path(outputs["report"]).read_text().lower()
    assert " operations, " in host("trace", outputs["trace"], "--summary").stdout
    assert Path(outputs["messages"]).exists() and Path(outputs["folder"]).is_dir()
    # The runner obeys `::` at the beginning of a line, behind white space, too.
    lines = done.stdout.splitlines()
    silence = re.fullmatch(r"::stop-commands::([0-9a-f]{32})", lines[0])[1]
    assert [line for line in lines if line.lstrip().startswith("::")] == [lines[0], f"::{silence}::"]
    assert "| exit code | 0 |" in (runner.work / "summary").read_text()


def test_a_command_that_fails_ends_the_commands_and_fails_the_step(host: Pinfold, runner: Runner, images: Images) -> None:
    done = runner.run(kernel=images.kernel, initrd=images.initrd, append="console=hvc0 quiet", commands="(exit 9)\necho not-reached-$((1))\n")
    assert done.returncode == 1 and done.stderr == "ci-boot: the commands failed with status 9\n"
    outputs = runner.outputs()
    assert (outputs["exit-code"], outputs["commands-status"]) == ("0", "9")
    assert "not-reached-1" not in Path(outputs["console"]).read_text()


def test_a_guest_that_crashes_fails_the_step_with_its_exit_code(host: Pinfold, runner: Runner) -> None:
    done = runner.run(kernel=host.build.guest("bad_has_no_kernel_stack"), commands="true")
    assert done.returncode == 5 and done.stderr == "ci-boot: the guest ended with exit code 5\n"
    outputs = runner.outputs()
    assert (outputs["exit-code"], outputs["commands-status"]) == ("5", "")
    assert outputs["report"] != "" and Path(outputs["messages"]).read_text() != ""


def test_the_time_limit_ends_the_guest(host: Pinfold, runner: Runner) -> None:
    done = runner.run(kernel=host.build.guest("control_keeps_calling"), timeout=3)
    assert done.returncode == 124 and done.stderr == "ci-boot: the guest ended with the time limit of 3 s\n"
    assert runner.outputs()["exit-code"] == "124"
    assert Path(runner.outputs()["trace"]).stat().st_size > 0
    assert host("list", "--json").stdout.strip() == "[]"


# -- bad input

@pytest.mark.parametrize(("inputs", "what"), (
    ({"kernel": ""}, "kernel: which one?"),
    ({"kernel": "x", "timeout": "soon"}, "timeout: a number from 1 to 86400, not 'soon'"),
    ({"kernel": "x", "timeout": "0"}, "timeout: a number from 1 to 86400, not '0'"),
    ({"kernel": "x", "vcpus": "129"}, "vcpus: a number from 1 to 128, not '129'"),
    ({"kernel": "x", "prompt": "("}, "prompt: missing ), unterminated subpattern at position 0"),
    ({"kernel": "x", "pinfold": "/nothing/here"}, "pinfold: /nothing/here is no program")))
def test_inputs_that_make_no_sense_are_refused(runner: Runner, inputs: dict[str, str], what: str) -> None:
    done = runner.run(**inputs)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"ci-boot: {what}\n")


def test_a_kernel_that_is_not_there_fails_the_step(runner: Runner) -> None:
    done = runner.run(kernel="none", commands="true")
    assert done.returncode in (3, 4)
    assert "none" in done.stdout or "/dev/kvm" in done.stdout
    assert runner.outputs()["exit-code"] == str(done.returncode)


def test_inputs_are_no_code(runner: Runner) -> None:
    attack = '$(touch made)`touch made`";touch made;\'\n::error::x'
    for name in ("kernel", "initrd", "memory", "append", "shutdown", "prompt"):
        runner.run(**({"kernel": "none"} | {name: attack}))
        assert not (runner.work / "made").exists(), name
