"""Runs each guest test of table.py on /dev/kvm."""
import pytest
import table
from harness.build import Build
from harness.guest_test import Host, Row
from harness.pinfold import DEATH, Pinfold


@pytest.mark.parametrize("row", table.rows(Host.KVM), ids=lambda row: row.name)
def test_guest(host: Pinfold, build: Build, row: Row) -> None:
    check = row.check(build, Host.KVM)
    guest = host.start_command(check.command)
    status = guest.exit_code(row.limit - DEATH)
    print(guest.console.text())
    complaints = check.complaints(status, guest.console.text())
    assert not complaints, "\n".join(complaints)
    assert guest.processes() == [], "a process is left"
