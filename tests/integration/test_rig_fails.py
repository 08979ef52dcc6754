"""scripts/rig ends and says what was wrong if the emulated machine has no KVM, too little or too much memory,
hangs, or does not start, or if what the command names is not there."""
from pathlib import Path

import pytest
from harness.build import Build
from harness.rig import Rig, Run

LIMIT = 180


def check_failure(run: Run, status: int, pattern: str) -> None:
    assert run.status == status
    assert run.says(pattern)


def test_a_machine_that_is_no_host_for_kvm(rig: Rig, build: Build) -> None:
    run = rig("--cpu", "Nehalem", "--", build.pinfold, "doctor", limit=LIMIT)
    check_failure(run, 4, "not usable: .*load kvm-intel or kvm-amd")
    assert run.says("^rig: no /dev/kvm on the emulated machine"), "the machine itself does not say so"


def test_too_little_memory(rig: Rig) -> None:
    check_failure(rig("-m", 40, "--", "true", limit=LIMIT), 125,
                  "rig: the command did not come to its end on a machine with 40 MB")


def test_more_memory_than_there_is(rig: Rig) -> None:
    check_failure(rig("-m", 9999999, "--", "true", limit=LIMIT), 125, "rig: QEMU ended with 1")


def test_a_command_that_hangs_is_ended_at_its_limit(rig: Rig) -> None:
    check_failure(rig("-t", 25, "--", "sleep", 1000, limit=LIMIT), 125, "rig: the machine was ended after 25 s")


def test_a_machine_that_does_not_start_is_started_once_more(rig: Rig) -> None:
    check_failure(rig("--", "true", limit=LIMIT, PINFOLD_RIG_START_LIMIT="1"), 125, "rig: again it did not start within 1 s")


def test_a_limit_that_is_no_number(rig: Rig) -> None:
    check_failure(rig("-t", "soon", "--", "true", limit=LIMIT), 2, "rig: -t needs a number")


@pytest.mark.parametrize("options, status, pattern", [
    (("--bring", "/nowhere/file"), 1, "rig: --bring /nowhere/file: there is no such file, folder or program"),
    (("--module", "nosuch"), 1, "rig: the kernel [0-9].* has no module nosuch"),
    (("--disk", "/nowhere.img"), 1, "rig: --disk /nowhere.img: no file that can be read"),
    (("--disk", "/"), 1, "rig: --disk /: no file that can be read"),
    (("--ept", "--disk", "/etc/passwd"), 2, "rig: --ept attaches no --disk"),
], ids=lambda value: "-".join(value).strip("-") if isinstance(value, tuple) else "")
def test_what_is_not_there_is_said_before_the_machine_starts(rig: Rig, options: tuple[str, ...], status: int, pattern: str) -> None:
    check_failure(rig(*options, "--", "true", limit=LIMIT), status, pattern)


def test_a_disk_can_be_attached_once(rig: Rig, work: Path) -> None:
    image = work / "a.img"
    image.write_bytes(b"." * 512)
    check_failure(rig("--disk", image, "--disk", f"{image},ro", "--", "true", limit=LIMIT), 1, "rig: --disk .* is there twice")


def test_a_module_that_cannot_be_loaded_keeps_the_command_from_starting(rig: Rig) -> None:
    run = rig("--module", "loop max_loop=many", "--", "echo", "started", limit=LIMIT)
    check_failure(run, 125, "rig: the module loop can't be loaded")
    assert not run.says("^started")
