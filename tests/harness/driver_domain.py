"""Driver domains: Debian's kernel as the backend of other guests, with scripts/driver-domain and Debian's xenstore-utils."""
import shutil
import subprocess
import textwrap
from collections.abc import Iterable
from pathlib import Path

from harness.build import SCRIPTS
from harness.images import Images

TOOLS = ("xenstore-list", "xenstore-ls", "xenstore-read", "xenstore-rm", "xenstore-watch", "xenstore-write")
BEGIN = """#!/bin/busybox sh
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t devtmpfs dev /dev; mount -t tmpfs tmpfs /tmp
exec </dev/hvc0 >/dev/hvc0 2>&1
for module in /modules/*; do insmod $module; done
ip link set lo up
"""


def tools() -> list[Path]:
    if not all(map(shutil.which, TOOLS)):
        import pytest  # scripts/bench-driver-domain does without

        pytest.skip("no xenstore-utils: scripts/setup --tests installs them")
    return [Path(shutil.which(tool) or "") for tool in TOOLS]


def libraries(programs: Iterable[Path]) -> set[Path]:
    """What programs are linked with."""
    said = "".join(subprocess.run(["ldd", path], capture_output=True, text=True, check=True).stdout for path in programs)
    return {Path(word) for word in said.split() if word.startswith("/")}


def initrd(images: Images, folder: Path, name: str, session: str, *modules: str, programs: Iterable[Path] = ()) -> Path:
    """The small root file system with modules, the tools, `programs`, and a first process that loads the modules and runs
    `session`."""
    tree = folder / f"tree-{name}"
    (tree / "bin").mkdir(parents=True)
    commands = {*tools(), *programs}
    for file in sorted(commands | libraries(commands)):
        to = tree / "bin" / file.name if file in commands else tree / str(file).lstrip("/")
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, to)
    shutil.copy(SCRIPTS / "driver-domain", tree / "bin/driver-domain")
    (tree / "session").write_text(BEGIN + textwrap.dedent(session) + "\npoweroff -f\n")
    (tree / "session").chmod(0o755)
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    more = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc"], cwd=tree, input=names.encode(), stdout=subprocess.PIPE, check=True)
    file = folder / f"initrd-{name}"
    file.write_bytes(images.initrd_with(*modules).read_bytes() + more.stdout)
    return file
