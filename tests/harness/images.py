"""The kernels and the root file system that Debian guests boot. scripts/fetch-kernel and scripts/make-initramfs
make them once."""
import functools
import subprocess
from pathlib import Path

from harness.build import SCRIPTS


def script(name: str, *arguments: str) -> Path:
    """Runs a script that prints a path, and returns the path."""
    done = subprocess.run([SCRIPTS / name, *arguments], stdout=subprocess.PIPE, text=True, check=True)
    return Path(done.stdout.strip())


class Images:
    @functools.cached_property
    def kernel(self) -> Path:
        return script("fetch-kernel")

    @functools.cached_property
    def cloud_kernel(self) -> Path:
        return script("fetch-kernel", "--cloud")

    @functools.cached_property
    def initrd(self) -> Path:
        return script("make-initramfs")

    def initrd_with(self, *modules: str) -> Path:
        """The same with modules of the kernel, which it loads."""
        return script("make-initramfs", *(word for module in modules for word in ("-m", module)))
