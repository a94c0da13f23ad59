"""Programs this project did not write, as judges: skipped where they are missing, except in CI."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest


def needs_program(name: str, package: str) -> str:
    """The path of a foreign program. Where it is missing the test is skipped; in CI it fails."""
    found = shutil.which(name)
    if found is None:
        missing(f"{name} is missing: apt-get install {package}")
    return found


def missing(reason: str) -> NoReturn:
    """Skip, except in CI: there a judge that is missing is a failure."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
