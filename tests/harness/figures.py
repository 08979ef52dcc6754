"""What the scripts that measure have in common: they build pinfold, read what programs print, and put tables into
docs/benchmarks.md."""
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.build import SCRIPTS

ROOT = SCRIPTS.parent
DOCUMENT = ROOT / "docs/benchmarks.md"


class Failure(Exception):
    """Something was not measured. The text says what, in words for the user."""


def progress(text: object) -> None:
    """A line on stderr for who waits, with the script's name."""
    print(f"{Path(sys.argv[0]).name}: {text}", file=sys.stderr, flush=True)


def script(name: str, *arguments: object) -> str:
    """What a script of ours prints, without the last newline."""
    command = [str(SCRIPTS / name), *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def build_pinfold() -> str:
    """As scripts/demo does. The path of the program."""
    script("setup")
    subprocess.run(["bash", "-c", "set -e; . scripts/lib.bash; build_pinfold"], cwd=ROOT, check=True)
    return str(ROOT / "build/release/pinfold")


def find_qemu() -> str | None:
    """The path of QEMU, which is installed if it is missing. None: it can't be."""
    if not shutil.which("qemu-system-x86_64"):
        script("setup", "--rig")
    return shutil.which("qemu-system-x86_64")


def lines_of(command: Sequence[object]) -> Iterator[str]:
    """What a command prints, line by line. A Failure at the end if it failed."""
    words = [str(word) for word in command]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield line.rstrip()
    if process.returncode != 0:
        raise Failure(f"{words[0]} ended with {process.returncode}, see above")


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown. All columns but the first are numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def update(name: str, text: str, document: Path = DOCUMENT) -> None:
    """Puts the text into the document, in place of what is between the markers of this name."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, found_begin, rest = document.read_text().partition(begin)
    _, found_end, after = rest.partition(end)
    if not found_begin or not found_end:
        raise Failure(f"{document} lacks the markers {begin.strip()} and {end.strip()}")
    document.write_text(before + begin + "\n" + text + "\n" + end + after)
