"""Runs the commands in a document's console blocks and compares their output with the document."""
import difflib
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

Answer = Callable[[str], str]
# Frames, addresses and slots depend on the compiler; process numbers differ in each run.
MASKS = ((r"0x[0-9a-f]+", "0x…"), (r"slot +[0-9]+", "slot …"), (r"^(demo +)[0-9]+", r"\1…"), (r" +", " "), (r" +$", ""))


def shell(command: str, environment: dict[str, str], folder: Path | None = None) -> str:
    """Runs a command and returns its output, stderr included, followed by its exit code if that is not 0."""
    done = subprocess.run(["bash", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", env=environment, cwd=folder, timeout=60,
                          check=False)
    return done.stdout + (f"[exit {done.returncode}]\n" if done.returncode else "")


def answered(document: str, answer: Answer) -> str:
    """The document with the current output of each command in its console blocks."""
    anew, in_block = [], False
    for line in document.splitlines(keepends=True):
        if line in ("```console\n", "```\n"):
            in_block = line != "```\n"
            anew.append(line)
        elif in_block and line.startswith("$ "):
            anew += [line, answer(line[2:].rstrip("\n"))]
        elif not in_block:
            anew.append(line)
    return "".join(anew)


def masked(text: str) -> list[str]:
    lines = text.splitlines()
    for pattern, mask in MASKS:
        lines = [re.sub(pattern, mask, line) for line in lines]
    return lines


def check_document(path: Path, answer: Answer, mask: Callable[[str], list[str]] = str.splitlines) -> None:
    """Fails if a command's output differs from the document. With PINFOLD_WRITE_DOCUMENTS set, updates the
    document instead."""
    document = path.read_text(encoding="utf-8")
    anew = answered(document, answer)
    assert anew.count("\n$ ") > 3, "the document has no commands"
    if os.environ.get("PINFOLD_WRITE_DOCUMENTS"):
        path.write_text(anew, encoding="utf-8")
        return
    difference = list(difflib.unified_diff(mask(document), mask(anew), str(path), "as it is", lineterm=""))
    assert difference == [], "\n".join(["write it anew with PINFOLD_WRITE_DOCUMENTS=1", *difference])
