#!/usr/bin/env python3
"""usage: shared_lines.py PROGRAM

Do two domains that change page tables write a cache line in common? Runs PROGRAM (bench_lines) under valgrind's lackey,
which traces each store, and compares the lines that are written in the first domain's turn and in the second's. Exits with
1 if there is one, or if one that is shared on purpose is not found; with 77 where valgrind is not installed.
"""
import shutil
import subprocess
import sys

LINE = 64
ROUNDS = 20
STORES = (b" S", b" M")


def written_lines(*command: str) -> list[set[int]]:
    """The lines that are written in each turn."""
    lackey = ["valgrind", "--tool=lackey", "--trace-mem=yes", "--log-fd=2"]
    with subprocess.Popen([*lackey, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as running:
        marker = 0
        turns: list[set[int]] = []
        is_turn = False
        for text in running.stdout:
            if text.startswith(b"0x"):
                marker = int(text, 16)
            if not text.startswith(STORES):
                continue
            address, size = text[3:].split(b",")
            first = int(address, 16)
            if first == marker:
                is_turn = not is_turn
                if is_turn:
                    turns.append(set())
            elif is_turn:
                turns[-1].update(range(first // LINE, (first + int(size) - 1) // LINE + 1))
    if running.returncode != 0 or len(turns) != 2:
        raise SystemExit(f"{command[0]}: exit code {running.returncode}, {len(turns)} turns")
    return turns


def shared(*command: str) -> set[int]:
    first, second = written_lines(*command)
    print(f"{' '.join(command[1:])}: lines written by the first domain {len(first)}, by the second {len(second)}, "
          f"by both {len(first & second)}")
    return first & second


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    if not shutil.which("valgrind"):
        print("SKIPPED: valgrind is not installed")
        return 77
    program = sys.argv[1]
    found = shared(program, str(ROUNDS))
    for line in sorted(found):
        print(f"both domains write the line at {line * LINE:#x}")
    if not shared(program, str(ROUNDS), "shared"):
        print("a variable that both write was not found")
        return 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
