"""The same as test_transfers.py on the emulated machine: 20 MB each way, by passt and in a bridge, IPv4 and IPv6."""
import re
import shutil
from pathlib import Path

import pytest
from harness.build import ROOT, Build
from harness.images import Images
from harness.network import ADDRESS, ADDRESS6, initrd
from harness.rig import DISK_PARSER, Rig
from harness.session import AUDITED
from harness.transfers import transfers

MEGABYTES = 20
LIMIT = 900  # seconds for a guest
HOSTS = {"passt": (ADDRESS, ADDRESS6), "bridge": ("10.0.0.1", "fd00::1")}


@pytest.mark.slow
def test_what_is_transferred_arrives(rig: Rig, build: Build, images: Images, work: Path) -> None:
    base = images.initrd_with("xen-netfront")
    kinds = [kind for kind in HOSTS if kind == "bridge" or shutil.which("passt")]
    guests = [word for kind in kinds for word in (kind, initrd(base, work, transfers(kind, *HOSTS[kind], MEGABYTES)))]
    helper = ("--bring", "passt", "--bring", "/etc/passwd", "--bring", "/etc/group") if "passt" in kinds else ()
    modules = [word for module in ("tun", "bridge", "dummy") for word in ("--module", module)]
    limit = 300 + len(kinds) * LIMIT
    run = rig("-t", limit, *modules, *helper, *DISK_PARSER, "--", "sh", ROOT / "tests/transfers/host", LIMIT, MEGABYTES,
              build.pinfold, images.kernel, *guests, limit=limit)
    assert run.status == 0

    def sums(of: str) -> list[str]:
        return re.findall(f"^{of} ([0-9a-f]{{64}})", run.output, re.MULTILINE)

    for kind in kinds:
        [served], [own] = sums(f"{kind} served"), sums(f"{kind} own")
        assert sums(f"{kind} got") == [own, own]
        assert sums(f"{kind} v4") == sums(f"{kind} v6") == [served]
        assert run.says(f"^{kind} .*{AUDITED}")
    if "passt" not in kinds:
        pytest.skip("passt is not installed; what went through the bridge was right")
