#!/usr/bin/env python3
"""Answers questions of CMake and of scripts about the table of guest tests (table.py)."""
import argparse
import sys
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import table  # noqa: E402 (beside this file)
from harness.build import Build  # noqa: E402
from harness.guest_test import Host, files, shell_program  # noqa: E402

HOSTS = {"kvm": Host.KVM, "rig": Host.RIG, "rig-smp": Host.RIG_SMP}


def ctest_tests(sanitizers: str) -> list[str]:
    """A line for each test on /dev/kvm, for tests/guest/CMakeLists.txt: NAME|TIMEOUT|TARGET,TARGET|concurrency.
    The last field is empty unless the test has that label."""
    lines = []
    for row in table.rows(Host.KVM):
        if not row.breaks_under or row.breaks_under not in sanitizers.split(","):
            concurrency = "concurrency" if table.CONCURRENT.match(row.name) else ""
            lines.append(f"{row.name}|{row.limit}|{','.join(row.targets)}|{concurrency}")
    return lines


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["folders", "ctest", "names", "targets", "files", "program"],
                        help="print the folders with guests; the tests as tests/guest/CMakeLists.txt reads them; names of "
                        "tests; the CMake targets that they need; the files that their commands name; a POSIX shell program "
                        "that runs them")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these tests (default: all)")
    parser.add_argument("--host", choices=HOSTS, default="kvm", help="the machine to run them on (default: kvm)")
    parser.add_argument("--build", type=Path, default=Path("build/release"),
                        help="the build directory (default: build/release)")
    parser.add_argument("--limit", type=int, default=400, help="of `program`: seconds for each test (default: 400)")
    parser.add_argument("--sanitize", default="", help="of `ctest`: the sanitizers of the build")
    return parser.parse_intermixed_args()


def main() -> int:
    options = arguments()
    host, build = HOSTS[options.host], Build(options.build.resolve())
    try:
        rows = table.rows(host, options.names or None)
    except LookupError as error:
        print(f"list.py: {error}", file=sys.stderr)
        return 1
    checks = [row.check(build, host) for row in rows]
    if options.what == "program":
        print(shell_program(checks, options.limit), end="")
        return 0
    answers = {"folders": lambda: table.FOLDERS,
               "ctest": lambda: ctest_tests(options.sanitize),
               "names": lambda: [row.name for row in rows],
               "targets": lambda: sorted({target for row in rows for target in row.targets}),
               "files": lambda: files(checks)}
    print("\n".join(map(str, answers[options.what]())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
