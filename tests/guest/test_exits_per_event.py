"""Counts exits, not time. An event from one vCPU to another that sleeps costs two exits, one for each; a sleep
costs one exit. Not counted are the IRET of an upcall's handler, interruptions of a vCPU that already runs when
its event comes (at most one for each signal sent), and exits that KVM answers itself ("filled by KVM"), which
are the host's interrupts and depend on time."""
import json
from collections.abc import Iterator

import pytest
from harness.pinfold import Pinfold

FEW, MANY = 500, 5500
EVENTS = 2 * (MANY - FEW)
SLACK = EVENTS // 20


class Statistics:
    """The numbers that --stats=json prints, by their names."""

    def __init__(self, said: str) -> None:
        line = next(line for line in said.splitlines() if line.startswith("{"))
        self._sections = json.loads(line)

    def value(self, name: str) -> int:
        return next(number for key, number in numbers(self._sections) if key == name)


def numbers(section: dict) -> Iterator[tuple[str, int]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from numbers(value)
        else:
            yield key, value


def run(host: Pinfold, way: str, pairs: int) -> Statistics:
    guest = host.build.guest("events_wakeups")
    done = host("run", "--kernel", guest, "--memory", "32M", "--vcpus", 2, "--stats=json", "--append", f"{way} pairs={pairs}",
                seconds=120)
    return Statistics(done.stderr)


@pytest.mark.parametrize("way", ["poll", "block", "fifo"])
def test_exits_of_events(host: Pinfold, way: str) -> None:
    few, many = run(host, way, FEW), run(host, way, MANY)

    def more(name: str) -> int:
        """The difference between the longer run and the shorter one."""
        return many.value(name) - few.value(name)

    iret = 0 if way == "poll" else more("iret")
    exits = more("total") - iret - more("interrupted") - more("filled by KVM")
    asked = more("sched_op")
    print(f"{way}: {exits} exits for {EVENTS} events, {more('interrupted')} interruptions, {asked} requests to sleep")
    assert exits <= EVENTS + asked + SLACK
    assert more("interrupted") <= more("signals_to_vcpus") + SLACK
    assert many.value("sleeps") <= many.value("sched_op"), "a sleep was not asked for"
    assert asked <= EVENTS + EVENTS // 5
    if way == "poll":
        assert more("signals_to_vcpus") <= SLACK, "vCPUs that sleep get signals"
