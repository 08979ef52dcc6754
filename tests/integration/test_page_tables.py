"""A guest fills its memory with page tables, twice: pinfold-guest-sparse touches one byte in every 2 MiB of a huge
mapping. The guest's kernel runs out of memory, kills that program, and goes on."""
import pytest
from harness.images import Images
from harness.pinfold import Pinfold
from harness.session import run_session


@pytest.mark.slow
def test_a_guest_full_of_page_tables_lives(host: Pinfold, images: Images) -> None:
    session = run_session(host, images, "pinfold.sparse", "--vcpus", 2, "--audit", "--stats", memory="256M", seconds=1200)
    for number in (1, 2):
        assert session.says(f"^sparse: round {number}: killed after [0-9]")
    assert session.says("^session: killed for want of memory [1-9]"), "the guest's kernel did not end the program"
    assert session.says("^session: sparse exited with 0$"), "the guest did not go on"
    assert not session.says("multicall|mmu_update failed|Failed to (un)?pin"), "a request was refused"
    assert session.powered_off()
    assert session.audited()
