"""The service pinfold@NAME. No systemd runs here: its own checker reads the unit, and the unit's command lines are run with a
socket of the test's in the place of systemd's."""
import os
import shlex
import shutil
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest
from harness.build import Build
from harness.pinfold import Guest, Pinfold

CONFIG = 'kernel = "{}"\nmemory = 32\n'
NOBODY = 65534
GROUP = 4242  # nobody's here


def unit(build: Build) -> str:
    return (build.folder / "services/pinfold@.service").read_text()


def value(build: Build, key: str) -> str:
    lines = [line for line in unit(build).splitlines() if line.startswith(f"{key}=")]
    assert len(lines) == 1, key
    return lines[0].partition("=")[2]


class Service:
    """What systemd gives the unit's processes, as far as they can tell."""

    def __init__(self, host: Pinfold) -> None:
        self.host = host
        self.directory = host.folder / "run"
        self.directory.mkdir(mode=0o750)
        self.directory.chmod(0o750)
        self.config = host.folder / "web.cfg"
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(host.folder / "notify"))
        self.environment = {"PINFOLD_RUNTIME_DIR": str(self.directory), "NOTIFY_SOCKET": str(host.folder / "notify")}

    def words(self, key: str) -> list[str]:
        line = value(self.host.build, key).replace("%i", "web").replace("/etc/pinfold/web.cfg", str(self.config))
        return shlex.split(line.replace("/usr/local/bin/pinfold", str(self.host.build.pinfold)))

    def start(self, kernel: str) -> Guest:
        self.config.write_text(CONFIG.format(self.host.build.guest(kernel)))
        return self.host.start_command(self.words("ExecStart"), **self.environment)

    def stop(self, main: int | str) -> subprocess.CompletedProcess:
        return subprocess.run(self.words("ExecStop"), capture_output=True, text=True, timeout=60, check=False,
                              env={**self.host.environment, **self.environment, "MAINPID": str(main)})

    def said(self, seconds: float) -> str:
        self.manager.settimeout(seconds)
        try:
            return self.manager.recv(4096).decode().split("\n")[0]
        except TimeoutError:
            return ""

    def run(self, *words: str, identity: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
        return subprocess.run([*identity, str(self.host.build.pinfold), *words], capture_output=True, text=True, timeout=60, check=False,
                              env={**self.host.environment, **self.environment})


@pytest.fixture
def service(pinfold: Pinfold) -> Service:
    return Service(pinfold)


def as_member(*groups: int) -> tuple[str, ...]:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    return ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups" if not groups else f"--groups={groups[0]}")


def test_systemd_accepts_the_unit(build: Build, work: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("there is no systemd-analyze")
    file = work / "pinfold@.service"
    file.write_text(unit(build).replace("/usr/local/bin/pinfold", str(build.pinfold)))
    checked = subprocess.run(["systemd-analyze", "verify", "--man=no", file], capture_output=True, text=True, check=False)
    assert [line for line in checked.stderr.splitlines() if "pinfold@" in line] == []
    # The scale goes from 0 to 10; a service without any limits has 9.6.
    rated = subprocess.run(["systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold=30", file],
                           capture_output=True, text=True, check=False)
    assert rated.returncode == 0, rated.stdout


def test_it_is_ready_when_its_guest_runs_and_stops_with_it(kvm: None, service: Service) -> None:
    guest = service.start("control_obeys")
    assert service.said(30) == "READY=1"
    assert service.run("list").stdout.splitlines()[1].split()[0] == "web"
    stopped = service.stop(guest.pid)
    assert stopped.returncode == 0, stopped.stderr
    assert service.said(30) == "STOPPING=1"
    assert guest.exit_code() == 0
    assert service.said(0.1) == "", "it said more"
    assert [file.name for file in service.directory.iterdir()] == ["last-id"]


def test_stopping_asks_nobody_if_the_guest_has_ended(service: Service) -> None:
    stopped = service.stop("")
    assert (stopped.returncode, stopped.stderr) == (0, "")


def test_sigterm_ends_a_guest_that_does_not_power_off(kvm: None, service: Service) -> None:
    guest = service.start("control_keeps_calling")
    assert service.said(30) == "READY=1"
    guest.signal(15)
    assert guest.exit_code() == 0
    assert service.said(30) == "STOPPING=1"


def test_its_group_may_use_its_sockets_and_nobody_else(kvm: None, service: Service) -> None:
    member, stranger = as_member(GROUP), as_member()
    service.host.folder.chmod(0o755)
    shutil.copy(service.host.build.pinfold, service.host.folder / "pinfold-copy")
    program = str(service.host.folder / "pinfold-copy")
    os.chown(service.directory, 0, GROUP)
    service.directory.chmod(0o2750)
    guest = service.start("control_keeps_calling")
    assert service.said(30) == "READY=1"

    def run(identity: tuple[str, ...], *words: str) -> subprocess.CompletedProcess:
        return subprocess.run([*identity, program, *words], capture_output=True, text=True, timeout=60, check=False,
                              env={"PATH": os.environ["PATH"], **service.environment})

    modes = {file.suffix: stat.S_IMODE(file.stat().st_mode) for file in service.directory.glob("web.*")}
    assert modes == {".sock": 0o660, ".xenstore": 0o660, ".console": 0o660, ".lock": 0o640, ".devices": 0o640}
    assert run(member, "list").stdout.splitlines()[1].split()[:2] == ["web", "1"]
    assert 'pinfold_up{guest="web"} 1' in run(member, "metrics").stdout
    assert 'pinfold_up{guest="web"} 1' in run(member, "metrics", "web").stdout
    assert run(member, "pause", "web").returncode == 0
    refused = run(stranger, "list")
    assert (refused.returncode, refused.stderr) == (3, f"pinfold: PINFOLD_RUNTIME_DIR: {service.directory}: Permission denied\n")
    assert guest.runs()


def test_commands_find_services_beside_the_users_own_guests(kvm: None, service: Service) -> None:
    """A service and a guest of the user's own have the same name here. As a label of a metric, a name is there once."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    service.start("control_keeps_calling")
    assert service.said(30) == "READY=1"
    service.host.start(service.host.build.guest("control_keeps_calling"), "--name", "web")
    show = f"mkdir -p /run/pinfold && mount --bind {service.directory} /run/pinfold && {service.host.build.pinfold}"

    def run(words: str) -> list[str]:
        done = subprocess.run(["unshare", "--mount", "sh", "-c", f"mount -t tmpfs none /run && {show} {words}"], timeout=60,
                              capture_output=True, text=True, check=True, env=service.host.environment)
        return done.stdout.splitlines()

    end = time.monotonic() + 60
    while len(run("list")) < 3 and time.monotonic() < end:
        time.sleep(0.1)
    assert [line.split()[0] for line in run("list")[1:]] == ["web", "web"]
    assert [line for line in run("metrics") if line.startswith("pinfold_up")] == ['pinfold_up{guest="web"} 1']


@pytest.mark.parametrize("mode", [0o770, 0o751])
def test_a_folder_that_others_could_change_or_enter_is_not_used(service: Service, mode: int) -> None:
    service.directory.chmod(mode)
    guest = service.start("control_keeps_calling")
    assert guest.exit_code() == 3
    assert "others than its group may enter it, or its group may write to it" in guest.console.text()


def is_final(build: Build, code: int) -> bool:
    """Whether systemd leaves the service alone after this exit code."""
    return str(code) in value(build, "RestartPreventExitStatus").split()


def test_a_guest_that_fails_at_once_is_not_started_again(kvm: None, service: Service) -> None:
    guest = service.start("bad_shuts_down")
    assert guest.exit_code() == 5
    assert is_final(service.host.build, 5)
    assert [file.name for file in service.directory.iterdir()] == ["last-id"]


def test_a_guest_that_cannot_start_is_never_ready(kvm: None, service: Service) -> None:
    guest = service.start("nothing")
    assert guest.exit_code() == 3
    assert service.said(0.1) in ("", "STOPPING=1")
    assert service.said(0.1) == ""


def test_a_configuration_that_its_user_cannot_read_is_one_line(service: Service) -> None:
    identity = as_member()
    service.host.folder.chmod(0o755)
    program = shutil.copy(service.host.build.pinfold, service.host.folder / "pinfold-copy")
    os.chown(service.directory, NOBODY, NOBODY)
    service.config.write_text(CONFIG.format("/nowhere"))
    service.config.chmod(0o600)
    ended = subprocess.run([*identity, program, *service.words("ExecStart")[1:]], capture_output=True, text=True, timeout=60,
                           check=False, env={"PATH": os.environ["PATH"], **service.environment})
    assert (ended.returncode, ended.stderr) == (3, f"pinfold: {service.config}: Permission denied\n")
    assert is_final(service.host.build, 3)
    assert service.said(0.1) == ""


def test_a_full_run_folder_is_one_line(service: Service) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can mount")
    service.config.write_text(CONFIG.format(service.host.build.guest("control_keeps_calling")))
    words = shlex.join(service.words("ExecStart"))
    mount = f"mount -t tmpfs -o mode=750,nr_inodes=3 none '{service.directory}' && exec {words}"
    ended = subprocess.run(["unshare", "--mount", "sh", "-c", mount], capture_output=True, text=True, timeout=60, check=False,
                           env={**service.host.environment, **service.environment})
    assert ended.returncode == 3
    assert len(ended.stderr.splitlines()) == 1 and "No space left on device" in ended.stderr, ended.stderr
    assert service.said(0.1) == ""
