"""Runs the loader's unit tests that need a real kernel. Without PINFOLD_TEST_KERNEL they are skipped."""
import os
import subprocess

from harness.build import Build
from harness.images import Images


def test_unit_tests_with_a_real_kernel(build: Build, images: Images) -> None:
    command = [build.program("unit_loader"), "--gtest_filter=RealKernel.*:*real_kernel*"]
    environment = {**os.environ, "PINFOLD_TEST_KERNEL": str(images.kernel)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    print(done.stdout, done.stderr)
    assert done.returncode == 0
    assert "SKIPPED" not in done.stdout
    assert "0 tests from" not in done.stdout
