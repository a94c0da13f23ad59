"""Does the real bus (pyudev, pyusb, libusb) keep the contract, on a machine that umockdev makes up?

A process is under umockdev from its start, so the tests run in a child.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "tests",
    [
        "tests/contract/test_usb_contract.py",
        "tests/integration/usb_under_umockdev.py",
        "tests/integration/station_under_umockdev.py",
    ],
)
def test_the_real_bus_under_umockdev(tests: str) -> None:
    pytest_of_child = [sys.executable, "-m", "pytest", "-q", "-n0", "-p", "no:cacheprovider", tests]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    child = subprocess.run(
        ["umockdev-wrapper", *pytest_of_child],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert child.returncode == 0, child.stdout[-8000:] + child.stderr[-2000:]
    assert "skipped" not in child.stdout
