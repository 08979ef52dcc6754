"""Debian's kernel under all of pinfold-guest-stress at once: processes that exchange messages, processes that map,
fork, move, protect and unmap, threads that store into pages while they are protected, vCPUs that go offline and
online, and pipelines that sort and compress. The audit checks all counts and mirrors during the stress and at
its end."""
from dataclasses import dataclass

import pytest
from harness.images import Images
from harness.pinfold import Pinfold
from harness.session import Session, run_session

PARTS = ("pipes", "memory", "protect", "hotplug", "sort")


@dataclass(frozen=True)
class Stress:
    seconds: int
    vcpus: int
    pairs: int  # of senders and receivers, in each of 10 groups
    megabytes: int  # through the pipelines
    limit: int

    @property
    def words(self) -> str:
        return f"pinfold.stress=-p,{self.pairs},-m,{self.megabytes},{self.seconds}"


SHORT = Stress(seconds=8, vcpus=2, pairs=2, megabytes=0, limit=800)
LONG = Stress(seconds=60, vcpus=4, pairs=20, megabytes=500, limit=1800)


def complaints(session: Session, vcpus: int) -> list[str]:
    checks = {
        "all vCPUs came up": session.says(f"^session: {vcpus} processors$"),
        "events come through FIFO queues": session.says("Using FIFO-based ABI"),
        **{part: session.says(f"^stress {part}: ok") for part in PARTS},
        "all vCPUs are online": session.says(f"^session: {vcpus} processors after it$"),
        "kernel log without complaints": session.said("session: complaint ") == [],
        "the guest powered off and pinfold ended with 0": session.powered_off(),
        "audit": session.audited(),
    }
    return [name for name, good in checks.items() if not good]


@pytest.mark.parametrize("stress", [pytest.param(SHORT, id="short"), pytest.param(LONG, id="long", marks=pytest.mark.slow)])
def test_all_is_right_under_stress(host: Pinfold, images: Images, stress: Stress) -> None:
    session = run_session(host, images, stress.words, "--vcpus", stress.vcpus, "--audit", memory="1G", seconds=stress.limit)
    assert complaints(session, stress.vcpus) == []
