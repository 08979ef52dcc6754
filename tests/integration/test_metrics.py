"""`pinfold metrics`: the text format as Prometheus's own checker takes it, numbers of guests that run, and the server."""
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from harness.build import ROOT
from harness.pinfold import Guest, Pinfold, stop
from harness.promtool import Promtool
from test_hostile_answers import ANSWERS, Monitor, answer, monitor  # noqa: F401 (a fixture)

SAMPLE = re.compile(r'^(pinfold_[a-z_]+)\{((?:[a-z]+="[^"\\\n]*",?)+)\} (\S+)$')
Sample = tuple[str, dict[str, str], float]


def samples(text: str) -> list[Sample]:
    """The samples of a page; each line is one, or a comment."""
    found = []
    for line in text.splitlines():
        if not line.startswith("# "):
            match = SAMPLE.match(line)
            assert match, line
            found.append((match[1], dict(re.findall(r'([a-z]+)="([^"]*)"', match[2])), float(match[3])))
    return found


def value(page: list[Sample], family: str, **labels: str) -> float:
    found = [number for name, has, number in page if name == family and labels.items() <= has.items()]
    assert len(found) == 1, f"{family} {labels}: {found}"
    return found[0]


def calling(host: Pinfold, name: str, *options: object) -> Guest:
    """A guest that makes hypercalls until it is killed."""
    guest = host.start(host.build.guest("control_keeps_calling"), "--name", name, *options, apart=True)
    guest.wait_for("^calling")
    return guest


def page_of(program: Pinfold, *words: object) -> str:
    done = program("metrics", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


class Exporter:
    """`pinfold metrics --listen` at a port that is free."""

    def __init__(self, program: Pinfold) -> None:
        self.process = program.start_command([str(program.build.pinfold), "metrics", "--listen", "127.0.0.1:0"], apart=True)
        end = time.monotonic() + 60
        while not (said := self.process.messages.matching(r"^pinfold: metrics of all guests at http://127\.0\.0\.1:(\d+)/metrics$")):
            assert time.monotonic() < end and self.process.runs(), self.process.messages.text()
            time.sleep(0.02)
        self.port = int(said[0][1])

    def get(self, path: str = "/metrics", method: str = "GET", body: bytes | None = None) -> tuple[int, str, str]:
        """Code, type and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body)
        reply = connection.getresponse()
        text = reply.read().decode()
        connection.close()
        return reply.status, reply.headers["Content-Type"], text


# -- the format

def test_promtool_finds_nothing_wrong(host: Pinfold, promtool: Promtool) -> None:
    calling(host, "one")
    assert promtool.complaints(page_of(host)) == ""


def test_families_are_those_of_the_document(pinfold: Pinfold) -> None:
    page = page_of(pinfold)
    said = dict(re.findall(r"^# HELP (\S+) (.*)$", page, re.M))
    types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", page, re.M))
    rows = re.findall(r"^\| `(pinfold_\w+)` \| (\w+) \| [^|]* \| (.*) \|$", (ROOT / "docs/metrics.md").read_text(), re.M)
    assert [(name, types[name], said[name]) for name in said] == rows


def test_every_hypercall_that_has_a_name_is_known(pinfold: Pinfold, monitor: Monitor) -> None:  # noqa: F811
    """The program takes only names that it knows, so it has to know those that monitors say."""
    names = {name for path in [*ROOT.glob("vmm/**/*.cpp"), *ROOT.glob("devices/**/*.cpp")]
             for name in re.findall(r'set\(__HYPERVISOR_\w+,\s*"(\w+)"', path.read_text())}
    assert len(names) > 25
    monitor.answer = answer(ok=True, answer={"hypercalls": {name: 1 for name in names}})
    assert {has["hypercall"] for name, has, _ in samples(page_of(pinfold)) if name == "pinfold_hypercalls_total"} == names


def test_all_that_the_gate_finishes_is_known(pinfold: Pinfold, monitor: Monitor) -> None:  # noqa: F811
    """Likewise for what a monitor counts by itself, and the hypercalls that the gate answers."""
    said = (ROOT / "cli/control/counters.cpp").read_text().split("Json finished_in_the_vm")[1].split("return all;")[0]
    calls = (ROOT / "vmm/gate/fast_hypercalls.inc").read_text().split("\nhypercall:\n")[1].split("jmp answer")[0]
    kinds = {*re.findall(r'all\["([^"]+)"\]', said), *re.findall(r'\{"([^"]+)", ', said),
             *(name.lower() for name in re.findall(r"cmp \$(\w+), %rax", calls))}
    assert len(kinds) == 21
    monitor.answer = answer(ok=True, answer={"finished_in_the_vm": {kind: 1 for kind in kinds}})
    assert {has["kind"]: number for name, has, number in samples(page_of(pinfold))
            if name == "pinfold_gate_finished_total"} == dict.fromkeys(kinds, 1)


# -- guests that run

def test_numbers_are_the_guests_and_counters_grow(host: Pinfold) -> None:
    calling(host, "one", "--vcpus", 2)
    first = samples(page_of(host, "one"))
    assert value(first, "pinfold_up") == 1
    assert value(first, "pinfold_guest_state", state="running") == 1
    assert value(first, "pinfold_guest_memory_bytes") <= 32 << 20
    assert sum(number for name, _, number in first if name == "pinfold_guest_vcpus") == 2
    before = counters(first)
    end = time.monotonic() + 60
    while not all(now > then for now, then in zip(counters(samples(page_of(host, "one"))), before)):
        assert time.monotonic() < end, before
        time.sleep(0.05)


def counters(page: list[Sample]) -> list[float]:
    """Of one guest: those that grow while it calls."""
    calls = sum(number for name, _, number in page if name in ("pinfold_hypercalls_total", "pinfold_gate_finished_total"))
    return [value(page, "pinfold_guest_uptime_seconds"), value(page, "pinfold_process_cpu_seconds_total"), calls]


def test_metrics_agree_with_statistics_of_a_guest_that_has_ended(host: Pinfold) -> None:
    guest = host.start(host.build.guest("boots_page_faults"), "--name", "one", "--stats=json", "--on-poweroff", "preserve", apart=True)
    end = time.monotonic() + 60
    while json.loads(host("list", "--json").stdout or "[]") == [] or host("list", "--json").stdout.find('"preserved"') < 0:
        assert time.monotonic() < end and guest.runs(), guest.messages.text()
        time.sleep(0.05)
    page = samples(page_of(host, "one"))
    assert value(page, "pinfold_guest_state", state="preserved") == 1
    assert host("destroy", "one").returncode == 0
    guest.exit_code()
    stats = json.loads(next(line for line in guest.messages.all() if line.startswith("{")))
    for reason, count in stats["exits"].items():
        if reason != "total":
            assert value(page, "pinfold_exits_total", reason=reason) == count
    assert value(page, "pinfold_mmu_entries_checked_total") == stats["mmu"]["entries_checked"]
    assert value(page, "pinfold_mmu_refusals_total") == stats["mmu"]["entries_refused"]
    assert {has["hypercall"]: number for name, has, number in page if name == "pinfold_hypercalls_total"} == stats["hypercalls"]
    assert {has["kind"]: number for name, has, number in page if name == "pinfold_gate_finished_total"} == stats["finished_in_the_vm"]


def test_guests_of_a_machine_have_domains_of_their_own(host: Pinfold) -> None:
    for name in ("web", "db"):
        (host.folder / f"{name}.cfg").write_text(
            f'name="{name}"\nkernel="{host.build.guest("control_keeps_calling")}"\nmemory=32\n')
    guest = host.start_command([str(host.build.pinfold), "run", "web.cfg", "db.cfg"])
    guest.wait_for("calling", times=2)
    info = {has["guest"]: has for name, has, _ in samples(page_of(host)) if name == "pinfold_guest_info"}
    assert set(info) == {"web", "db"}
    assert info["web"]["domain"] != info["db"]["domain"] and info["web"]["monitor"] == info["db"]["monitor"]


def test_a_guest_that_is_not_there_is_an_error(pinfold: Pinfold) -> None:
    done = pinfold("metrics", "nobody")
    assert (done.returncode, done.stdout) == (3, "") and done.stderr.count("\n") == 1


# -- monitors that were taken over

@pytest.mark.parametrize("kind", ANSWERS)
def test_an_answer_that_is_none_shows_the_guest_as_down(pinfold: Pinfold, monitor: Monitor, promtool: Promtool, kind: str) -> None:  # noqa: F811
    monitor.answer = ANSWERS[kind]
    page = page_of(pinfold)
    assert samples(page) == [("pinfold_up", {"guest": "one"}, 0)]
    assert promtool.complaints(page) == ""
    done = pinfold("metrics", "one")
    assert (done.returncode, done.stdout) == (3, "") and done.stderr.count("\n") == 1


def test_a_monitor_can_add_no_metric_and_no_name_of_its_own(pinfold: Pinfold, monitor: Monitor) -> None:  # noqa: F811
    monitor.answer = answer(ok=True, answer={
        "name": "two", "frames": 1, "exits": {"forged": 1, 'x"} 1 forged{a="': 1}, "pinfold_up": 7,
        "hypercalls": {"iret": 1, "forged": 2}, "devices": {}})
    page = samples(page_of(pinfold))
    assert {has["guest"] for _, has, _ in page} == {"one"}
    assert [name for name, _, _ in page] == ["pinfold_up", "pinfold_guest_memory_bytes", "pinfold_hypercalls_total"]


# -- the server

def test_the_server_serves_what_the_command_prints(host: Pinfold, promtool: Promtool) -> None:
    exporter = Exporter(host)
    code, kind, empty = exporter.get()
    assert (code, kind, samples(empty)) == (200, "text/plain; version=0.0.4; charset=utf-8", [])
    calling(host, "one")
    code, _, page = exporter.get()
    assert code == 200 and value(samples(page), "pinfold_up", guest="one") == 1
    assert promtool.complaints(page) == ""
    assert exporter.get("/")[0] == 404
    assert exporter.get("/metrics/../etc")[0] == 404
    assert exporter.get(method="POST", body=b"x" * 100)[0] == 405
    assert exporter.get(method="HEAD")[2] == ""
    exporter.process.signal(signal.SIGTERM)
    assert exporter.process.exit_code() == 0


def test_monitors_listen_to_nothing_but_their_sockets(host: Pinfold) -> None:
    guest = calling(host, "one")
    listening = subprocess.run(["ss", "-H", "-l", "-t", "-p"], capture_output=True, text=True, check=False)
    if listening.returncode != 0:
        pytest.skip("ss is missing")
    assert not any(f"pid={pid}," in listening.stdout for pid in guest.processes())


def test_a_monitor_that_says_nothing_holds_up_nobody(host: Pinfold, work: Path) -> None:
    stopped = calling(host, "stopped")
    calling(host, "one")
    exporter = Exporter(host)
    stop(stopped.child())
    page = samples(exporter.get()[2])
    os.kill(stopped.child(), signal.SIGCONT)
    assert value(page, "pinfold_up", guest="one") == 1
    assert value(page, "pinfold_up", guest="stopped") == 0
    assert value(samples(exporter.get()[2]), "pinfold_up", guest="stopped") == 1


def test_requests_that_are_none_end_only_themselves(pinfold: Pinfold) -> None:
    exporter = Exporter(pinfold)
    # With one of the requests below they are one fewer than an address may have: the server may still be ending the last one.
    idle = [socket.create_connection(("127.0.0.1", exporter.port)) for _ in range(6)]
    for request in (b"\0" * 100, b"GET / HTTP/1.1\r\n" + b"x: " + b"a" * 100_000 + b"\r\n\r\n", b"GET " + b"/" * 100_000,
                    b"GET /metrics HTTP/9.9\r\n\r\n", b"\r\n" * 1000, b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", exporter.port), timeout=60) as client:
            try:
                client.sendall(request)
                client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass
            except OSError as ended:  # shutdown() says ENOTCONN where the server has ended the connection
                assert not isinstance(ended, TimeoutError)
    assert exporter.get()[0] == 200
    for client in idle:
        client.close()


def test_a_port_that_is_taken_is_one_line(pinfold: Pinfold) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        done = pinfold("metrics", "--listen", place)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == f"pinfold: --listen {place}: Address already in use\n"


@pytest.mark.parametrize("place", ["9777", "localhost:9777", "127.0.0.1", "127.0.0.1:65536", "::1:9777"])
def test_a_place_that_is_none_is_wrong_usage(pinfold: Pinfold, place: str) -> None:
    done = pinfold("metrics", "--listen", place)
    assert done.returncode == 2 and "an address such as 127.0.0.1:9777" in done.stderr


def test_an_address_of_another_host_is_one_line(pinfold: Pinfold) -> None:
    done = pinfold("metrics", "--listen", "192.0.2.1:9777")
    assert done.returncode == 3 and done.stderr == "pinfold: --listen 192.0.2.1:9777: Cannot assign requested address\n"


# -- the dashboard

def test_the_dashboard_names_only_metrics_that_there_are(pinfold: Pinfold) -> None:
    names = set(re.findall(r"^# TYPE (\S+) ", page_of(pinfold), re.M))
    dashboard = json.loads((ROOT / "docs/grafana.json").read_text())
    said = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    said += [variable["query"]["query"] for variable in dashboard["templating"]["list"]]
    assert len(said) > 10
    for expression in said:
        used = set(re.findall(r"\bpinfold_\w+", expression))
        assert used and used <= names, expression
        for metric in used:
            assert not re.search(rf"\brate\({metric}\b", expression) or metric.endswith("_total"), expression
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


def test_promtool_takes_each_expression_of_the_dashboard(promtool: Promtool, work: Path) -> None:
    """As a rule of its own, with the variables filled in as Grafana does it."""
    dashboard = json.loads((ROOT / "docs/grafana.json").read_text())
    rules = [{"record": f"panel:{panel['id']}:{target['refId']}",
              "expr": target["expr"].replace("$guest", "one|two").replace("$__rate_interval", "5m")}
             for panel in dashboard["panels"] for target in panel["targets"]]
    (work / "rules.yml").write_text(json.dumps({"groups": [{"name": "pinfold", "rules": rules}]}))
    assert promtool.checks_rules(work / "rules.yml") == ""
