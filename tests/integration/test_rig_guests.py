"""Runs the guest tests of tests/guest/table.py on the emulated machine."""
import pytest
import table
from harness.build import Build
from harness.guest_test import Host
from harness.rig import DISK_PARSER, Rig


def check_all_guests(rig: Rig, build: Build, host: Host, *options: str, limit: int = 2000) -> None:
    checks = [row.check(build, host) for row in table.rows(host)]
    run = rig.run_checks(checks, *DISK_PARSER, *options, limit=limit)
    assert not run.says("^FAILED  ")
    assert run.says(f"^{len(checks)} of {len(checks)} guests$")
    assert run.status == 0


def test_all_test_guests(rig: Rig, build: Build) -> None:
    check_all_guests(rig, build, Host.RIG)


@pytest.mark.slow
def test_guests_with_several_vcpus_on_two_processors(rig: Rig, build: Build) -> None:
    """With two processors, vCPUs are in the gate, in the monitor and in the guest at the same time. Tests of races
    run longer."""
    check_all_guests(rig, build, Host.RIG_SMP, "--smp", "2", limit=3600)
