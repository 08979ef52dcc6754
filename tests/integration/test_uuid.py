"""A guest's UUID: random, or the one that was given; the same in the guest, in `list`, and after a reboot in
place."""
import json
import re
import time

import pytest
from harness.pinfold import Pinfold

GIVEN = "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"
VERSION_4 = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"


def listed_uuid(host: Pinfold) -> str:
    """The UUID that `list` shows. While the guest reboots it is not listed, or without a UUID."""
    for _ in range(100):
        for guest in json.loads(host("list", "--json").stdout):
            if "uuid" in guest:
                return guest["uuid"]
        time.sleep(0.05)
    raise AssertionError("no guest is listed with a UUID")


def uuid_of_reboots(host: Pinfold, *options: str) -> str:
    """Starts a guest that reboots again and again, and returns its UUID. Fails unless three lives of the guest and
    `list` agree on it."""
    guest = host.start(host.build.guest("boots_uuid"), "--append", "reboots", *options)
    guest.wait_for("^uuid ", times=3)
    said = {match[1] for match in guest.console.matching("^uuid (.*)")}
    listed = listed_uuid(host)
    guest.kill()
    assert said == {listed}
    return listed


def test_each_guest_has_a_random_one(host: Pinfold) -> None:
    first, second = uuid_of_reboots(host), uuid_of_reboots(host)
    for uuid in (first, second):
        assert re.fullmatch(VERSION_4, uuid)
    assert first != second


def test_the_one_that_was_given(host: Pinfold) -> None:
    assert uuid_of_reboots(host, "--uuid", GIVEN.upper()) == GIVEN


@pytest.mark.parametrize("bad", ["", GIVEN.replace("-", ""), f"{{{GIVEN}}}", "00000000-0000-0000-0000-000000000000"])
def test_what_is_none_is_refused(host: Pinfold, bad: str) -> None:
    done = host("run", "--kernel", host.build.guest("boots_uuid"), "--memory", "32M", f"--uuid={bad}")
    assert done.returncode in (2, 3)
    assert "--uuid" in done.stdout + done.stderr
