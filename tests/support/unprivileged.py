"""Runs a function as a user without privileges, in a process of its own: root may open what its owner may not."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

NOBODY = 65534


def run_unprivileged(folder: Path, function: Callable[[], None]) -> None:
    """``function`` of a module runs in ``folder``, which becomes its user's; it is named ``.`` there, because folders
    above may be closed to that user. Fails if it raises."""
    if os.getuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
    child = multiprocessing.get_context("spawn").Process(target=_run, args=(folder, function))
    child.start()
    child.join(120)
    assert child.exitcode == 0, f"ended with {child.exitcode}"


def _run(folder: Path, function: Callable[[], None]) -> None:
    os.chdir(folder)
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
    function()
