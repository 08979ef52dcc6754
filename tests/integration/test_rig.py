"""A short session of Debian's kernel on the emulated machine, whose KVM has two-dimensional paging. The session
runs once; each test checks one property of it. scripts/demo --check runs these tests on a host without
/dev/kvm."""
import pytest
from harness.build import Build
from harness.images import Images
from harness.rig import Rig, Run
from harness.session import MOUNTS, shell_command

# Checks that take only seconds on that machine, where a context switch takes a millisecond, and checks of what
# differs from a host with shadow paging.
CHECKS = "copy-on-write faults alternate-stack ldt single-step breakpoint compat-code ldt-code bad-selector"
SESSION = (f"{MOUNTS} uname -a; dmesg | grep Xen; pinfold-guest-check -m 4 {CHECKS}; "
           "echo checks exited with $?; poweroff -f")


@pytest.fixture(scope="module")
def session(rig: Rig, build: Build, images: Images) -> Run:
    """The output of `pinfold doctor`, then of the session."""
    guest = shell_command(build, images, SESSION, "nr_cpus=1", "--memory", "256M", "--audit", "--stats")
    # scripts/rig copies files that are words of the command, so the script gets them as arguments.
    script = '"$1" doctor --json && exec "$@"'
    return rig("-t", 1100, "--", "sh", "-c", script, "sh", *guest)


def test_the_host_has_two_dimensional_paging(session: Run) -> None:
    assert session.says('"shadow_paging": *false')


def test_the_guest_booted_paravirtualized_on_xen(session: Run) -> None:
    assert session.says("Booting kernel on Xen|Booting paravirtualized kernel on Xen")
    assert session.says("^Linux .* x86_64"), "uname does not answer"


def test_all_guest_checks_hold(session: Run) -> None:
    assert not session.says("^check .*FAILED")
    assert session.says("^checks exited with 0")


def test_nothing_oopsed_and_the_guest_powered_off(session: Run) -> None:
    assert not session.says("Oops|general protection fault|Call Trace")
    assert session.says("audit: .*all counts and mirrors right")
    assert session.status == 0
