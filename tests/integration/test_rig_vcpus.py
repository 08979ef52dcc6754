"""Debian's kernel with several vCPUs on the emulated machine, whose one processor runs them in turn. The machine's
clock counts instructions (--count), so that timers can't fire faster than the guest can handle them, however
slow the emulation is."""
import os

from harness.build import Build
from harness.images import Images
from harness.rig import Rig
from harness.session import MOUNTS, shell_command

VCPUS = int(os.environ.get("PINFOLD_RIG_VCPUS", "4"))  # 16 take some minutes
WORK = (f"{MOUNTS} echo vCPUs $(nproc); for i in 1 2 3 4 5 6 7 8; do (echo work $((6 * 7)) here) & done; wait; "
        "echo the shell was there; poweroff -f")


def test_vcpus_take_turns(rig: Rig, build: Build, images: Images) -> None:
    # Without noreplace-smp the kernel patches thousands of instructions one by one when the second vCPU starts.
    guest = shell_command(build, images, WORK, "noreplace-smp", "--memory", "512M", "--vcpus", VCPUS, "--audit")
    run = rig("--count", "-t", 1100, "--", *guest)
    assert run.says(f"^vCPUs {VCPUS}")
    assert run.count("^work 42 here") == 8, "its processes did not do their work"
    assert run.says("^the shell was there")
    assert not run.says("detected stalls|self-detected|lockup|Oops|Call Trace")
    assert run.says("audit: .*all counts and mirrors right")
    assert run.status == 0
