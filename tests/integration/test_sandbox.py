"""A monitor that a guest has taken over (tests/guest/hostile_monitor) gets nowhere, from any kind of thread; and each layer of its
sandbox holds without the others (docs/sandbox.md)."""
import ctypes
import errno
import gzip
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from harness.build import Build
from harness.pinfold import Guest, Pinfold

KINDS = ("vcpu", "io", "control", "log")
TGKILL = 234  # <asm/unistd_64.h>
LIBC = ctypes.CDLL(None, use_errno=True)
ALL_LAYERS = {"filters", "landlock", "privileges", "limits"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has privileges to drop")


class Hostile:
    """A guest whose monitor turns hostile in one thread at a time."""

    def __init__(self, host: Pinfold, what: str, work: Path, without: set[str], *options: object, start: tuple[str, ...] = ()) -> None:
        image = work / "disk.img"
        image.write_bytes(bytes(1 << 20))
        words = [*start, host.build.program("pinfold_hostile_monitor"), "run", "--kernel", host.build.guest("control_echoes"),
                 "--memory", "32M", "--disk", f"{image},raw,xvda,rw", *options]
        self.guest: Guest = host.start_command([str(word) for word in words], PINFOLD_HOSTILE=what,
                                               PINFOLD_HOSTILE_WITHOUT=",".join(sorted(without)),
                                               PINFOLD_HOSTILE_ADDRESS=str(host.folder / "pinfold/other.sock"))
        self.guest.wait_for("^ready")

    def turn(self, kind: str) -> None:
        thread = self.guest.wait_for(f"^hostile {kind}: thread: ([0-9]+)$")[1]
        assert LIBC.syscall(TGKILL, self.guest.child(), int(thread), signal.SIGUSR2) == 0

    def results(self, kind: str) -> dict[str, str]:
        """What the attempts of this thread came to: "refused", or the system call's result."""
        self.turn(kind)
        self.guest.wait_for(f"^hostile {kind}: all: done$")
        lines = [*self.guest.console.all(), *self.guest.messages.all()]
        found = [re.match(f"hostile {kind}: (.*): (.*)", line) for line in lines]
        return {match[1]: match[2] for match in found if match and match[1] not in ("thread", "all")}


@pytest.fixture
def built(build: Build) -> None:
    if not build.program("pinfold_hostile_monitor").exists():
        pytest.skip("pinfold_hostile_monitor is not built")


@pytest.mark.usefixtures("built")
def test_every_kind_of_thread_is_refused_everything(host: Pinfold, work: Path) -> None:
    hostile = Hostile(host, "all", work, set())
    for kind in KINDS:
        results = hostile.results(kind)
        by_ring = results.pop("open by a ring", None)
        assert len(results) > 50
        assert {name: result for name, result in results.items() if result != "refused"} == {}, kind
        # The filters do not see it: the ring itself is restricted.
        assert by_ring in (None, str(-errno.EACCES))
        assert (by_ring is not None) == (kind == "io")


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(("kind", "name", "number"), [("vcpu", "openat", 257), ("io", "socket", 41), ("control", "execve", 59), ("log", "kill", 62)])
def test_a_refused_call_ends_the_guest_with_its_name(host: Pinfold, work: Path, kind: str, name: str, number: int) -> None:
    hostile = Hostile(host, name, work, set(), "--on-crash", "restart")
    hostile.turn(kind)
    assert hostile.guest.exit_code() == 7
    said = f"pinfold: the sandbox refused {name} (system call {number}) to a thread of kind {kind}: the monitor ends"
    assert said in hostile.guest.messages.text() + hostile.guest.console.text()
    assert not list((host.folder / "pinfold").glob("*.sock")), "it started again, or left its socket"


@pytest.mark.usefixtures("built")
def test_what_is_parsed_before_the_guests_start_is_confined(host: Pinfold, work: Path) -> None:
    """A kernel's maker has the monitor in the hand when it reads the kernel: the first filter is there."""
    words = [host.build.program("pinfold_hostile_monitor"), "run", "--kernel", host.build.guest("boots_powers_off"), "--memory", "32M"]
    guest = host.start_command([str(word) for word in words], PINFOLD_HOSTILE="early")
    assert guest.exit_code() == 7
    assert "pinfold: the sandbox refused open (system call 2) before the guest's start: the monitor ends" in guest.console.text()


def landlock() -> int:
    return LIBC.syscall(444, None, 0, 1)  # landlock_create_ruleset, LANDLOCK_CREATE_RULESET_VERSION


NOT_PERMITTED, NO_ACCESS, TOO_MANY = str(-errno.EPERM), str(-errno.EACCES), str(-errno.EMFILE)


@pytest.mark.usefixtures("built")
def test_without_any_layer_nothing_is_refused(host: Pinfold, work: Path) -> None:
    """So the refusals in the tests below are the layers' own."""
    results = Hostile(host, "layers", work, ALL_LAYERS).results("control")
    for name in ("openat", "creat", "unlink", "execve", "kill", "ptrace", "descriptors", "no_new_privs"):
        assert int(results[name]) >= 0 and results[name] != "1" or name == "descriptors", name
    assert results["connect by TCP"] == str(-errno.ECONNREFUSED)


@pytest.mark.usefixtures("built")
def test_landlock_alone_keeps_files_networks_and_processes(host: Pinfold, work: Path) -> None:
    version = landlock()
    if version < 1:
        pytest.skip("no Landlock here")
    results = Hostile(host, "layers", work, ALL_LAYERS - {"landlock"}).results("control")
    refused = {"openat": NO_ACCESS, "creat": NO_ACCESS, "execve": NO_ACCESS, "ptrace": NOT_PERMITTED}
    if version >= 4:
        refused |= {"connect by TCP": NO_ACCESS, "bind by TCP": NO_ACCESS}
    if version >= 6:
        refused |= {"kill": NOT_PERMITTED}
    assert {name: results[name] for name in refused} == refused


@pytest.mark.usefixtures("built")
def test_the_restriction_of_rings_alone_keeps_files(host: Pinfold, work: Path) -> None:
    """Landlock would refuse it, too."""
    results = Hostile(host, "layers", work, ALL_LAYERS).results("io")
    if "open by a ring" not in results:
        pytest.skip("no io_uring here")
    assert int(results["openat"]) >= 0
    assert results["open by a ring"] == NO_ACCESS


@as_root
@pytest.mark.usefixtures("built")
def test_no_privilege_is_left_and_none_can_be_had(host: Pinfold, work: Path) -> None:
    results = Hostile(host, "layers", work, ALL_LAYERS - {"privileges"}).results("vcpu")
    expected = {"no_new_privs": "1", "sethostname": NOT_PERMITTED, "setuid": NOT_PERMITTED,
                "capability that an executed program could get": "0"}
    assert {name: results[name] for name in expected} == expected
    assert int(results["openat"]) >= 0  # the others are left out


@pytest.mark.usefixtures("built")
def test_limits_alone_bound_descriptors_and_stay(host: Pinfold, work: Path) -> None:
    hostile = Hostile(host, "layers", work, ALL_LAYERS - {"limits", "privileges"})  # a capability of root's could raise them
    results = hostile.results("log")
    assert results["descriptors"] == TOO_MANY
    assert results["raise a limit"] == NOT_PERMITTED
    limits = Path(f"/proc/{hostile.guest.child()}/limits").read_text()
    for name in ("msgqueue size", "nice priority", "realtime priority"):
        assert re.search(f"^Max {name} +0 +0 ", limits, re.M), limits


@as_root
@pytest.mark.usefixtures("built")
def test_another_user_has_nothing_of_roots(host: Pinfold, work: Path) -> None:
    hostile = Hostile(host, "layers", work, ALL_LAYERS, "--user", "nobody", start=("setpriv", f"--groups={GROUP}", "--"))
    status = Path(f"/proc/{hostile.guest.child()}/status").read_text()
    assert re.search(r"^Uid:\t65534\t65534\t65534\t65534$", status, re.M)
    assert re.search(r"^Groups:\s*$", status, re.M)
    results = hostile.results("control")
    expected = {"open for root": NO_ACCESS, "setuid to root": NOT_PERMITTED, "kill": NOT_PERMITTED}
    assert {name: results[name] for name in expected} == expected


def test_guest_memory_is_in_no_core_dump(host: Pinfold) -> None:
    guest = host.start(host.build.guest("control_echoes"))
    guest.wait_for("^ready")
    maps = re.split("^(?=[0-9a-f]+-[0-9a-f]+ )", Path(f"/proc/{guest.child()}/smaps").read_text(), flags=re.M)
    shared = [one for one in maps if re.match(r"\S+ ...s .*/memfd:", one)]
    assert len(shared) >= 2  # the machine and a view
    for one in shared:
        assert re.search("^VmFlags:.* dd( |$)", one, re.M), one


# -- What the host lacks, and what is in the way.

FORBID = (sys.executable, Path(__file__).parents[1] / "harness/forbid.py")


def run_without(host: Pinfold, call: str, error: str, *options: str, kernel: Path | None = None) -> subprocess.CompletedProcess:
    image = kernel or host.build.guest("boots_powers_off")
    words = [*FORBID, call, error, host.build.pinfold, "run", "--kernel", image, "--memory", "32M", *options]
    return subprocess.run(words, env=host.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


def test_disks_work_inside_without_io_uring(host: Pinfold) -> None:
    kernel = host.build.guest("disk_attacks")
    words = [*FORBID, "io_uring_setup", "EPERM", host.build.pinfold, "run", "--kernel", kernel, "--memory", "32M",
             "--disk", f"{kernel},raw,xvda,ro"]
    done = subprocess.run(words, env=host.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def nothing_is_left(host: Pinfold) -> bool:
    return [file.name for file in (host.folder / "pinfold").iterdir() if file.name != "last-id"] == []


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM"])
def test_without_seccomp_there_is_no_guest_unless_the_user_says_so(host: Pinfold, work: Path, error: str) -> None:
    # The kernel is packed: that there is no seccomp is said before anybody unpacks it.
    packed = work / "kernel.gz"
    packed.write_bytes(gzip.compress(Path(host.build.guest("boots_powers_off")).read_bytes()))
    refused = run_without(host, "seccomp", error, kernel=packed)
    assert (refused.returncode, refused.stdout) == (4, "")
    [line] = refused.stderr.splitlines()
    assert line.startswith("pinfold: no seccomp filters: ") and "--sandbox=off" in line
    assert nothing_is_left(host)
    assert run_without(host, "seccomp", error, "--sandbox=off").returncode == 0


@pytest.mark.parametrize("error", ["ENOSYS", "EPERM", "EOPNOTSUPP"])
def test_without_landlock_the_guest_runs_and_a_line_says_so(host: Pinfold, error: str) -> None:
    done = run_without(host, "landlock_create_ruleset", error)
    assert done.returncode == 0, done.stderr
    [line] = done.stderr.splitlines()
    assert line.startswith("pinfold: no Landlock: ")


@pytest.mark.parametrize("limit", [100, 250])
def test_a_limit_of_descriptors_that_is_too_low_is_said_before_the_guest_starts(host: Pinfold, limit: int) -> None:
    words = ["prlimit", f"--nofile={limit}", host.build.pinfold, "run", "--kernel", host.build.guest("boots_powers_off"), "--memory", "32M"]
    done = subprocess.run(words, env=host.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (4, "")
    [line] = done.stderr.splitlines()
    needed = re.search(f"needs ([0-9]+) descriptors, and the limit is {limit}: .*ulimit -Hn ([0-9]+)", line)
    assert needed and needed[1] == needed[2]
    assert nothing_is_left(host)
    words[1] = f"--nofile={needed[1]}"
    assert subprocess.run(words, env=host.environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False).returncode == 0


@pytest.mark.parametrize(("mode", "said"), [("off", []), ("log", ["pinfold: --sandbox=log: refused calls are made, and Landlock is not used"])])
def test_a_guest_runs_in_the_other_modes(host: Pinfold, mode: str, said: list[str]) -> None:
    guest = host.start(host.build.guest("boots_powers_off"), f"--sandbox={mode}")
    assert guest.exit_code() == 0
    assert [line for line in guest.messages.all() if line.startswith("pinfold")] == said


def test_log_mode_names_what_would_be_refused_and_does_it(host: Pinfold, work: Path, built: None) -> None:
    hostile = Hostile(host, "socket", work, set(), "--sandbox=log")
    hostile.turn("control")
    hostile.guest.wait_for("^hostile control: socket: [0-9]+$")
    assert "pinfold: the sandbox would refuse socket (system call 41) to a thread of kind control" in (
        hostile.guest.messages.text() + hostile.guest.console.text())
    assert hostile.guest.runs()


@as_root
def test_a_full_runtime_folder_is_said_and_leaves_nothing_behind(host: Pinfold, work: Path) -> None:
    (work / "run").mkdir(mode=0o700)
    script = (f"mount -t tmpfs -o mode=700,nr_inodes=3,size=8k none {work}/run && mkdir -m 700 {work}/run/pinfold && touch {work}/run/full &&"
              f" XDG_RUNTIME_DIR={work}/run \"$@\"; code=$?; ls {work}/run/pinfold; exit $code")
    guest = [host.build.pinfold, "run", "--kernel", host.build.guest("boots_powers_off"), "--memory", "32M"]
    environment = {name: value for name, value in host.environment.items() if name != "XDG_RUNTIME_DIR"}

    def run(*options: str) -> subprocess.CompletedProcess:
        return subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", *guest, *options], env=environment, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=60, check=False)

    named = run("--name", "one")
    if "mount" in named.stderr:
        pytest.skip(f"nothing can be mounted here: {named.stderr}")
    assert (named.returncode, named.stdout) == (3, ""), named.stderr
    [line] = named.stderr.splitlines()
    assert line.startswith("pinfold: --name: ") and "No space left" in line
    unnamed = run()
    assert unnamed.returncode == 0
    [line] = unnamed.stderr.splitlines()
    assert line.startswith("pinfold: no control socket: ")


# -- A user who is not root.

NOBODY = 65534
GROUP = 4711


@pytest.fixture
def device(work: Path) -> Path:
    """The KVM device once more, for members of a group."""
    file = work / "kvm"
    try:
        os.mknod(file, 0o660 | stat.S_IFCHR, Path("/dev/kvm").stat().st_rdev)
        os.chown(file, 0, GROUP)
        os.chmod(file, 0o660)
        os.close(os.open(file, os.O_RDWR))
    except OSError as error:
        pytest.skip(f"no device can be made here: {error}")
    return file


def run_as_nobody(host: Pinfold, work: Path, device: Path, groups: str, *options: str) -> subprocess.CompletedProcess:
    for folder in (work, host.folder):
        os.chmod(folder, 0o711)
    (work / "nobody").mkdir(mode=0o700)
    os.chown(work / "nobody", NOBODY, NOBODY)
    words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", groups, "--", host.build.pinfold, "run", "--kvm", device, "--kernel",
             host.build.guest("boots_uuid"), "--memory", "32M", *options]
    environment = {**host.environment, "XDG_RUNTIME_DIR": str(work / "nobody"), "PINFOLD_CACHE": ""}
    return subprocess.run(words, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)


@as_root
def test_a_member_of_the_devices_group_needs_nothing_else(host: Pinfold, work: Path, device: Path) -> None:
    done = run_as_nobody(host, work, device, f"--groups={GROUP}", "--audit", "--vcpus", "2", "--name", "one")
    assert done.returncode == 0, done.stderr
    assert "uuid" in done.stdout


@as_root
def test_what_a_user_lacks_is_said_with_the_command_that_mends_it(host: Pinfold, work: Path, device: Path) -> None:
    done = run_as_nobody(host, work, device, "--clear-groups")
    assert done.returncode == 4
    [line] = done.stderr.splitlines()
    assert line == f"pinfold: no access to {device}: sudo adduser nobody {GROUP}, then log in again"


def test_only_root_can_become_another_user(host: Pinfold, work: Path) -> None:
    words = ["run", "--kernel", host.build.guest("boots_powers_off"), "--memory", "32M"]
    assert host(*words, "--user", "nobody-at-all").returncode == 2
    assert host(*words, "--user", "root").returncode == 2
