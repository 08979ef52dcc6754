"""Debian guests with four vCPUs under load, one after the other, on the emulated machine with two processors. In
each guest, a debugger watches a word of its child's, and then six shells fork and exec, which makes and frees page
tables on all vCPUs at once."""
import os
import shlex

import pytest
from harness.build import Build
from harness.images import Images
from harness.rig import Rig
from harness.session import shell_command

GUESTS = int(os.environ.get("PINFOLD_LOAD_GUESTS", "20"))
LOAD = ("mount -t proc proc /proc; pinfold-guest-check watchpoints bases; for shell in 1 2 3 4 5 6; do (k=0; while [ $k -lt 20 ]; do seq 500 | sha256sum >/dev/null; "
        "k=$((k + 1)); done) & done; wait; echo the load is over; poweroff -f")


@pytest.mark.slow
@pytest.mark.parametrize("guests, options", [(GUESTS, ()), (4, ("--plain-gate",))], ids=["fast", "plain"])
def test_guests_under_load_on_two_processors(rig: Rig, build: Build, images: Images, guests: int,
                                             options: tuple[str, ...]) -> None:
    lines = []
    for number in range(1, guests + 1):
        memory = "192M" if number % 2 == 0 else "256M"
        command = shell_command(build, images, LOAD, "", "--memory", memory, "--vcpus", 4, *options)
        lines += [shlex.join(command) + " </dev/null >/tmp/said 2>&1", f"echo guest {number} ended with $?",
                  "grep '^check ' /tmp/said", "grep '^the load is over' /tmp/said || cat /tmp/said"]
    files = (build.pinfold, images.kernel, images.initrd)
    limit = 600 * guests
    run = rig("--smp", 2, "-t", limit, "--", "sh", "-c", "\n".join(lines), "sh", *files, limit=limit)
    assert run.count("^guest [0-9]+ ended with 0$") == guests
    assert run.count("^the load is over") == guests
    assert run.count("^check watchpoints: ok 3 stores, 3 hits") == guests
    assert run.count("^check bases: ok [0-9]+ threads") == guests
