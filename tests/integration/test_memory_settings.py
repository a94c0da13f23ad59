"""Do station and collector, once at work, keep to two arenas however many threads they have?"""

from __future__ import annotations

import subprocess
import sys

import pytest

_ASKED = """
import ctypes, threading
from {side}.memory import keep_little
keep_little()
held, ready, done = [], threading.Barrier(9), threading.Event()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
def hold():
    held.append(libc.malloc(5000))
    ready.wait()
    done.wait()
threads = [threading.Thread(target=hold) for _ in range(8)]
for thread in threads: thread.start()
ready.wait()
print(len({{address >> 26 for address in held}}))
done.set()
"""


@pytest.mark.parametrize("side", ["agent", "collector"])
def test_threads_share_two_arenas(side: str) -> None:
    """An arena is 64 MiB of addresses; eight threads would have eight."""
    told = subprocess.run(
        [sys.executable, "-c", _ASKED.format(side=side)], capture_output=True, text=True, check=True
    )
    assert int(told.stdout) <= 2
