"""`pinfold doctor` and some test guests of each kind on KVM with EPT, which scripts/rig emulates (slowly) with
bochs."""
import pytest
import table
from harness.build import Build
from harness.guest_test import Check, Host
from harness.rig import DISK_PARSER, Rig

SOME = """
    boots.powers_off boots.exceptions boots.iret_restores_registers boots.user_round_trip
    boots.timer_events boots.round_trips boots.fpu_task_switch
    refused.writable_mappings_of_tables refused.stores_into_tables refused.returns refused.ldt_pages
    xsa.traps vcpus.flushes_reach_all time.clocks events.two_level events.fifo
    bad.jumps_to_nowhere bad.users_stack_in_the_hypervisors_range.iret-there
    walls.store_into_own_page_table.l1.mprotect walls.store_into_own_page_table.l4.userfaultfd
    walls.map_foreign_frame.read.mprotect walls.map_foreign_frame.execute.userfaultfd
    walls.forge_entries.new.mprotect walls.own_mirror.read.mprotect
    walls.fallen_gate.own-l1.mprotect walls.fallen_gate.execute.userfaultfd walls.fallen_gate.root.mprotect
    boots.updates_in_the_vm walls.fallen_gate.window-own-l4.mprotect walls.fallen_gate.window-write.userfaultfd
    walls.fallen_gate.facts.mprotect walls.lying_gate.forges-uses walls.lying_gate.writes-mirror
    boots.recursive_slot refused.linear_tables xsa.page_tables
    walls.next_door.attack_a_neighbour walls.next_door.map_foreign_frame.read.mprotect
    walls.next_door.map_foreign_frame.by-hypercall.mprotect walls.next_door.forge_entries.foreign
    walls.next_door.own_mirror.write.mprotect walls.next_door.fallen_gate.execute.mprotect
    walls.next_door.forge_grants.without_entries walls.next_door.stale_mapping.without_validator.mprotect
    walls.next_door.dead_owner.secret.without_validator
    hostile.stops_behind_mov_ss.fast
""".split()


def host_checks(build: Build) -> list[Check]:
    return [Check("KVM has EPT", ("cat", "/sys/module/kvm_intel/parameters/ept"), says=("^Y$",)),
            Check("doctor finds two-dimensional paging", (str(build.pinfold), "doctor", "--json"),
                  says=('"shadow_paging": *false', '"second_slots": *true'))]


@pytest.fixture(scope="session")
def ept() -> Rig:
    """The emulated machine with EPT. Skips the test if bochs is missing and can't be installed."""
    return Rig.with_packages("bochs-bin", "--rig-ept")


@pytest.mark.slow
def test_some_of_each_kind_of_guest(ept: Rig, build: Build) -> None:
    rows = table.rows(Host.RIG, SOME) + table.rows(Host.RIG_EPT)
    checks = host_checks(build) + [row.check(build, Host.RIG) for row in rows]
    run = ept.run_checks(checks, "--ept", *DISK_PARSER, limit=6000)
    assert not run.says("^FAILED  ")
    assert run.says(f"^{len(checks)} of {len(checks)} guests$")
    assert run.status == 0
