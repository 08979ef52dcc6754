"""A guest that uses up what the machine has for it makes its neighbour neither leave its virtual machine more often, nor
wait more often for a lock. One that uses a page which the neighbour lends makes it wait, but not leave its virtual machine.
This is counted, not timed."""
from harness.pinfold import Pinfold
from test_machine import config, run

FAULTS = 10_000  # of tests/guest/machine/faults.cpp
# Exits that do not depend on when the host lets which thread run.
COUNTED = ("hypercall", "page fault", "protection fault", "invalid opcode", "other exception", "view fault", "other")
# What there may be more than beside an idle neighbour, for each page fault. The guest makes some hypercalls until its
# neighbour is there.
MORE_EXITS, MORE_WAITS = 0.1, 0.01
WAYS = ("ports", "grants", "maptrack", "nodes", "mirrors", "memory", "transfers", "holds-lock")
# With a page that the guest lends. Each use of the grant takes the guest's own lock while the frame is held, so how often the
# guest waits for it depends on when the host lets which thread run: that is printed, and not judged.
LENT_WAYS = ("maps", "copies")


def statistics(lines: list[str], name: str) -> dict[str, int]:
    """The first number behind each word that --stats prints for a guest."""
    counted: dict[str, int] = {}
    ours = False
    for line in lines:
        if line.endswith(": statistics"):
            ours = line == f"pinfold: {name}: statistics"
        word, _, number = line.strip().rpartition("  ")
        if ours and number.strip().isdigit():
            counted.setdefault(word.strip(), int(number))
    return counted


def per_fault(host: Pinfold, way: str, lends: bool = False) -> tuple[float, float]:
    """Exits and lock waits of a guest for each of its page faults, beside a neighbour that uses up something, or that uses
    the page that it `lends`."""
    victim = config(host, "victim", "machine_faults", "self=1 other=2" + " lends" * lends)
    attacker = config(host, "attacker", "machine_exhausts", f"self=2 other=1 {way}" + " lent" * lends)
    guest = run(host, victim, attacker, "--stats")
    guest.wait_for("^attacker: busy", 120)
    guest.wait_for("^victim: faulted", 300)
    guest.wait_for("^victim: all [0-9]+ checks hold", 60)
    assert host("destroy", "attacker").returncode == 0
    assert guest.exit_code(120) == 0, guest.console.text()
    assert not guest.console.has("FAILED"), guest.console.text()
    counted = statistics(guest.console.all(), "victim")
    return sum(counted[name] for name in COUNTED) / FAULTS, counted["lock_waits"] / FAULTS


def test_a_guest_that_uses_up_what_it_may_have_costs_its_neighbour_no_exits_and_no_waits(host: Pinfold) -> None:
    quiet_exits, quiet_waits = per_fault(host, "nothing")
    print(f"beside nothing: {quiet_exits:.4f} exits and {quiet_waits:.4f} lock waits for each fault")
    too_much = []
    for way in WAYS:
        exits, waits = per_fault(host, way)
        print(f"{way}: {exits:.4f} exits and {waits:.4f} lock waits for each fault")
        if exits > quiet_exits + MORE_EXITS or waits > quiet_waits + MORE_WAITS:
            too_much.append(way)
    assert not too_much


def test_a_neighbour_that_uses_a_lent_page_without_end_costs_its_owner_no_exits(host: Pinfold) -> None:
    quiet_exits, _ = per_fault(host, "nothing", lends=True)
    too_much = []
    for way in LENT_WAYS:
        exits, waits = per_fault(host, way, lends=True)
        print(f"{way} what it lends: {exits:.4f} exits and {waits:.4f} lock waits for each fault")
        if exits > quiet_exits + MORE_EXITS:
            too_much.append(way)
    assert not too_much
