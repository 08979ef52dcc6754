"""The same as test_durability.py on the emulated machine, in one boot of it: lives of a guest that end at random moments, for
$PINFOLD_DURABILITY_SECONDS."""
import os
import random

import pytest
from harness.build import ROOT, Build
from harness.images import Images
from harness.rig import DISK_PARSER, Rig

SECONDS = int(os.environ.get("PINFOLD_DURABILITY_SECONDS", "1200"))
SEED = int(os.environ.get("PINFOLD_SEED", "0")) or random.randrange(1, 1 << 20)
MODULES = ("xen-blkfront", "crc32c_generic", "ext4")
PROGRAMS = ("mke2fs", "e2fsck", "debugfs")
KINDS = ("killed", "all_is_lost", "some_survive")


@pytest.mark.slow
def test_what_a_guest_was_told_is_on_its_disk_is_there(rig: Rig, build: Build, images: Images) -> None:
    losing_disk = build.program("losing_disk")
    if not losing_disk.exists():
        pytest.skip("losing_disk is not built (Debian's libfuse3-dev)")
    words = [word for program in PROGRAMS for word in ("--bring", program)]
    limit = SECONDS + 1800  # for the start, and the life that begins last
    run = rig("-t", limit, "--module", "fuse", *words, "--bring", "/etc/mke2fs.conf", *DISK_PARSER, "--", "sh",
              ROOT / "tests/durability/lives", SECONDS, SEED, build.pinfold, images.kernel, images.initrd_with(*MODULES),
              losing_disk, limit=limit)
    assert run.status == 0
    for kind in KINDS:
        assert run.says(f"^life [0-9]+, {kind}: record [0-9]+ was reported, and all are there$")
