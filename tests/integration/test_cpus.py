"""vCPUs on chosen processors of the host, as the kernel has it for the monitor's threads."""
import os
from collections import Counter
from pathlib import Path

import pytest
from harness.pinfold import Guest, Pinfold

OWN = sorted(os.sched_getaffinity(0))


def allowed(status: Path) -> str:
    return status.read_text().split("Cpus_allowed_list:")[1].split()[0]


ALL = allowed(Path("/proc/self/status"))


def bound_threads(guest: Guest) -> Counter:
    """How many of the monitor's threads may use which processors, without those that may use all. KVM starts a thread of
    its own, which inherits what the first vCPU's thread has."""
    process = Path(f"/proc/{guest.child()}")
    assert allowed(process / "status") == ALL, "the thread that made them got its own processors back"
    threads = [task for task in process.glob("task/*") if not (task / "comm").read_text().startswith("kvm-")]
    return Counter(words for task in threads if (words := allowed(task / "status")) != ALL)


@pytest.fixture(autouse=True)
def two_processors() -> None:
    if len(OWN) < 2:
        pytest.skip("one processor has no other sets than itself")


def running(host: Pinfold, work: Path, cpus: str, *options: str) -> Guest:
    file = work / "guest.cfg"
    file.write_text(f"name='bound'\nkernel='{host.build.guest('control_keeps_calling')}'\nmemory=32\nvcpus=2\nmaxvcpus=3\n{cpus}\n")
    guest = host.start_command([str(host.build.pinfold), "run", str(file), *options])
    guest.wait_for("^calling")
    return guest


def test_each_vcpu_has_its_own_list(host: Pinfold, work: Path) -> None:
    guest = running(host, work, f"cpus=['{OWN[0]}', 'all,^0-8191,{OWN[1]}']")
    assert bound_threads(guest) == {str(OWN[0]): 1, str(OWN[1]): 1}, "vCPU 2 has no list"
    assert not guest.console.has("cpus"), "there is nothing to say about it"


def test_one_list_is_for_all_vcpus(host: Pinfold, work: Path) -> None:
    assert bound_threads(running(host, work, f"cpus='{OWN[1]}'")) == {str(OWN[1]): 3}


def test_the_option_wins_over_the_file(host: Pinfold, work: Path) -> None:
    assert bound_threads(running(host, work, f"cpus='{OWN[1]}'", "--cpus", str(OWN[0]))) == {str(OWN[0]): 3}


def test_without_a_list_no_thread_is_bound(host: Pinfold, work: Path) -> None:
    assert bound_threads(running(host, work, "")) == {}


def test_a_processor_that_the_host_has_not_is_refused(host: Pinfold) -> None:
    done = host("run", "--kernel", host.build.guest("control_keeps_calling"), "--vcpus", 2, "--cpus", OWN[0], "--cpus", 8191)
    assert done.returncode == 3 and done.stdout == ""
    assert done.stderr == ("pinfold: cpus: vCPU 1: processor 8191 is not among those that pinfold may use: "
                           f"{ALL}\n")
