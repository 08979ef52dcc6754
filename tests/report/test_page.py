"""Opens a report in headless Chromium. checks.js runs in the page, acts as a user would, and writes its findings
into the document. A message on the browser's console also fails the test."""
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness.build import ROOT, Build

CHECKS = Path(__file__).with_name("checks.js")
BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")


@pytest.fixture
def browser() -> str:
    found = [path for name in BROWSERS if (path := shutil.which(name))]
    if not found:
        pytest.skip("no Chromium here; scripts/setup --tests installs it")
    return found[0]


@pytest.fixture
def log(build: Build, work: Path) -> Path:
    """The log of a domain from its build to its end."""
    subprocess.run([build.program("make_log"), work / "life.log"], check=True)
    return work / "life.log"


def cut(log: Path, size: int) -> Path:
    log.write_bytes(log.read_bytes()[:size])
    return log


def page_with_checks(build: Build, log: Path, case: str) -> Path:
    """The report of a log, with checks.js appended; `case` tells checks.js what to expect."""
    page = log.with_name("page.html")
    subprocess.run([build.pinfold, "report", log, "-o", page], check=True)
    with page.open("a", encoding="utf-8") as out:
        out.write(f'<script data-case="{case}">\n{CHECKS.read_text(encoding="utf-8")}\n</script>\n')
    return page


def browse(browser: str, page: Path, *options: str) -> str:
    """The document after its scripts have run."""
    # Not every build machine allows Chromium's sandbox. The page is our own, so it is not needed.
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={page.parent}/profile",
               "--enable-logging=stderr", "--window-size=1400,1200", *options, "--dump-dom", f"file://{page}"]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    return done.stdout


def assert_checks_hold(document: str) -> None:
    assert "data-opened-ms=" in document, "the page was not drawn"
    found = re.search(r'<pre id="checks">(.*?)</pre>', document, re.DOTALL)
    checks = found[1].splitlines() if found else []
    print("\n".join(checks))
    assert any(line.startswith("ok ") for line in checks)
    assert [line for line in checks if line.startswith("FAILED")] == []


def test_it_answers_clicks_and_keys(browser: str, build: Build, log: Path) -> None:
    assert_checks_hold(browse(browser, page_with_checks(build, log, "life")))


def test_it_is_dark_where_that_is_wanted(browser: str, build: Build, log: Path) -> None:
    page = page_with_checks(build, log, "dark")
    assert_checks_hold(browse(browser, page, "--blink-settings=preferredColorScheme=0"))


def test_that_of_several_domains_shows_who_maps_what(browser: str, build: Build, work: Path) -> None:
    log = shutil.copy(ROOT / "tests/data/two-guests-that-grant.log.zst", work / "two.log")
    assert_checks_hold(browse(browser, page_with_checks(build, Path(log), "several")))


def test_that_of_several_domains_is_dark_where_that_is_wanted(browser: str, build: Build, work: Path) -> None:
    log = shutil.copy(ROOT / "tests/data/two-guests-that-grant.log.zst", work / "two.log")
    page = page_with_checks(build, Path(log), "several")
    assert_checks_hold(browse(browser, page, "--blink-settings=preferredColorScheme=0"))


def test_that_of_an_empty_log_says_so(browser: str, build: Build, log: Path) -> None:
    assert_checks_hold(browse(browser, page_with_checks(build, cut(log, 256), "empty")))


def test_that_of_a_log_cut_off_says_where(browser: str, build: Build, log: Path) -> None:
    assert_checks_hold(browse(browser, page_with_checks(build, cut(log, 70000), "cut")))
