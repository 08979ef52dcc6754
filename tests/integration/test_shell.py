"""A guest's shell on a terminal: typed text is echoed and run, Ctrl-C interrupts a command, Ctrl-Z stops a job,
Ctrl-] leaves the guest. Also, an idle guest makes few exits."""
import json
import time
from collections.abc import Iterator

import pytest
from harness.images import Images
from harness.pinfold import Pinfold
from harness.terminal import Terminal

VCPUS = 4
PROMPT = "guest# "
CTRL_C, CTRL_Z, LEAVE = "\x03", "\x1a", "\x1d"
# Per second. The slowest exit that was measured took 40 us, so this is 0.4 % of a core.
IDLE_EXITS = 100


@pytest.fixture
def shell(host: Pinfold, images: Images) -> Iterator[Terminal]:
    """A guest whose shell shows its prompt."""
    command = [host.build.pinfold, "run", "--kernel", images.kernel, "--initrd", images.initrd, "--vcpus", VCPUS,
               "--append", "console=hvc0 quiet"]
    terminal = Terminal([str(word) for word in command], host.environment)
    try:
        terminal.wait_for(PROMPT)
        yield terminal
    finally:
        terminal.close()


def idle_exits(host: Pinfold) -> float:
    """Exits per second. The guest's kernel has work of its own now and then, so the quietest of three spans
    counts."""
    def exits() -> int:
        return json.loads(host("list", "--json").stdout)[0]["exits"]

    least = float("inf")
    time.sleep(3)
    for _ in range(3):
        before = exits()
        time.sleep(10)
        least = min(least, (exits() - before) / 10)
        if least <= IDLE_EXITS:
            break
    print(f"idle: {least} exits a second")
    return least


def test_a_session_on_a_terminal(host: Pinfold, shell: Terminal) -> None:
    shell.type("echo $((6 * 7))-answer\r")
    shell.wait_for("42-answer")
    shell.wait_for(PROMPT)
    shell.type("nproc\r")
    shell.wait_for(f"[^0-9]{VCPUS}[^0-9]")
    shell.wait_for(PROMPT)
    assert idle_exits(host) <= IDLE_EXITS
    # Ctrl-C ends the command and not the guest. The command itself says that it runs: before its exec, the forked
    # process still has the shell's signal handlers and may lose the signal.
    shell.type('sh -c "echo run""ning; exec sleep 1000"; echo not-reached\r')
    shell.wait_for("running")
    shell.type(CTRL_C)
    shell.wait_for(PROMPT)
    # Ctrl-Z stops a job; the shell reports it and goes on.
    shell.type('sh -c "echo start""ed; exec sleep 1000"\r')
    shell.wait_for("started")
    shell.type(CTRL_Z)
    shell.wait_for("Stopped")
    shell.wait_for(PROMPT)
    shell.type('kill %1; echo still-""here\r')
    shell.wait_for("still-here")
    shell.wait_for(PROMPT)
    shell.type(LEAVE)
    assert shell.ends(10), "Ctrl-] did not end the program"
