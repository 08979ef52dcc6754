"""A Debian of its own in a folder, with a clone of this repository's last commit in /srv/pinfold. Needs root."""
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
# The folder becomes the root of a mount namespace by pivot_root: in a chroot, helpers could not confine themselves.
ENTER = """
mount --make-rprivate /
mount --bind "$1" "$1"
mount --rbind /dev "$1/dev"
mount -t proc proc "$1/proc"
mount -t sysfs -o ro sysfs "$1/sys"
test -z "$2" || mount --bind "$2" "$1/var/cache/ccache"
cd "$1"
pivot_root . mnt
umount -l /mnt
cd /srv/pinfold
test -z "$2" || export CCACHE_DIR=/var/cache/ccache
export HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin PS1='new-user$ '
shift 2
exec "$@"
"""


def make(folder: Path, suite: str) -> None:
    """With git and certificates, and else only what each Debian has."""
    subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", "--include=git,ca-certificates", suite, folder], check=True)
    shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
    (folder / "var/cache/ccache").mkdir(exist_ok=True)


def clone(folder: Path) -> None:
    """What is built already stays."""
    place = folder / "srv/pinfold"
    if not (place / ".git").exists():
        subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, place], check=True)
        return
    subprocess.run(["git", "-C", place, "fetch", "--quiet", ROOT, "HEAD"], check=True)
    subprocess.run(["git", "-C", place, "reset", "--quiet", "--hard", "FETCH_HEAD"], check=True)


def enter(folder: Path, ccache: str, *command: str) -> list[str]:
    """A command line that runs `command` in the clone. `ccache`: a folder for the compiler's cache, or empty."""
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", ENTER, "sh", str(folder), ccache, *command]


@contextmanager
def place(kept: Path | None, name: str) -> Iterator[Path]:
    """The folder that is named, or a new one, which goes at the end."""
    if kept:
        kept.mkdir(parents=True, exist_ok=True)
        yield kept.resolve()
        return
    with tempfile.TemporaryDirectory(prefix=name, dir="/var/tmp") as folder:
        yield Path(folder)
