"""Configuration files in the forms that real ones have: each file of xl_cfg/ comes out as the file beside it says.

NAME.cfg with NAME.json: `pinfold run -n` accepts it; NAME.json has the members that differ from DEFAULTS, in disks and
interfaces those that differ from DISK and VIF. NAME.cfg with NAME.err: it is refused, and NAME.err is what stderr says. With
PINFOLD_WRITE_DOCUMENTS=1 the tests write these files; read them before you commit them. A first line `# options: …` adds
options."""
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from harness.pinfold import Pinfold

FOLDER = Path(__file__).parent / "xl_cfg"
FILES = sorted(FOLDER.glob("*.cfg"))
BAD_CONFIGURATION = 3

DEFAULTS: dict[str, Any] = {
    "name": "guest", "uuid": None, "type": "pv", "kernel": "/boot/vmlinuz", "ramdisk": None, "cmdline": "", "bootloader": None,
    "bootloader_args": [], "allow_images": [], "memory_bytes": 512 << 20, "max_memory_bytes": 512 << 20, "vcpus": 1, "max_vcpus": 1, "cpus": None,
    "max_grant_frames": 64, "max_maptrack_frames": 1024, "driver_domain": False, "on_poweroff": "destroy", "on_reboot": "restart", "on_crash": "destroy",
    "on_watchdog": "destroy", "localtime": False, "rtc_timeoffset": 0, "disks": [], "vifs": [], "remarks": [],
}
DISK: dict[str, Any] = {
    "vdev": "xvda", "number": 51712, "target": None, "format": "raw", "access": "rw", "cdrom": False, "discard": True,
    "direct_io": False, "script": None, "backend": None,
}
VIF: dict[str, Any] = {
    "mac": None, "bridge": None, "script": None, "vifname": None, "ip": [], "rate": None, "mtu": None, "model": None, "type": None,
    "gatewaydev": None, "backend": None, "net": "bridge", "place": None, "tcp": [], "udp": [], "pcap": None,
}


def differences(found: dict[str, Any], usual: dict[str, Any]) -> dict[str, Any]:
    """The members of `found` with another value than the usual one. Both have the same members, in the same order."""
    assert list(found) == list(usual)
    return {key: value for key, value in found.items() if value != usual[key]}


def shortened(text: str) -> dict[str, Any]:
    """What `-n` printed, as the differences to what is usual."""
    found = json.loads(text)
    del found["boot"]  # It depends on what is on the disks: test_boot_loader.py.
    del found["not_yet"]  # It changes with each thing that becomes possible: tests/unit/cli/not_yet_test.cpp.
    short = differences(found, DEFAULTS)
    for key, usual in (("disks", DISK), ("vifs", VIF)):
        if key in short:
            short[key] = [differences(device, usual) for device in short[key]]
    if "remarks" in short:
        short["remarks"] = [f"{remark['line'] or ''}:{remark['severity']}: {remark['message']}" for remark in found["remarks"]]
    return short


def check_file(path: Path, found: str) -> None:
    if os.environ.get("PINFOLD_WRITE_DOCUMENTS"):
        path.write_text(found)
    assert path.exists(), f"{path.name} is missing: what has to come out of the file?"
    assert found == path.read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_comes_out_as_it_must(pinfold: Pinfold, file: Path) -> None:
    first = file.read_bytes().split(b"\n")[0].decode()
    options = first.split("# options:")[1].split() if first.startswith("# options:") else []
    done = subprocess.run([str(pinfold.build.pinfold), "run", "-n", file.name, *options], cwd=FOLDER, capture_output=True,
                          text=True, timeout=30, check=False)
    if done.returncode == BAD_CONFIGURATION:
        assert done.stdout == ""
        check_file(file.with_suffix(".err"), done.stderr)
    else:
        assert done.returncode == 0, done.stderr
        check_file(file.with_suffix(".json"), json.dumps(shortened(done.stdout), indent=1) + "\n")


def test_there_are_enough_of_them() -> None:
    assert len(FILES) >= 40
    results = [path for path in FOLDER.iterdir() if path.suffix in (".json", ".err")]
    assert sorted(path.stem for path in results) == [path.stem for path in FILES]
