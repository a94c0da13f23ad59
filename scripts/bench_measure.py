"""What a round costs: wall time, and CPU seconds and peak memory of each process that took part."""

from __future__ import annotations

import contextlib
import ctypes
import os
import statistics
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from scripts.bench_data import DataSet

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_KIB: Final = 1024
_PR_SET_CHILD_SUBREAPER: Final = 36


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """One process: CPU seconds of its own, of its ended children, and the most memory it ever had, where known:
    what the system says of an ended child includes the moment before its program began."""

    cpu_s: float
    children_cpu_s: float
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One run of one contender over one data set."""

    seconds: float
    processes: Mapping[str, Usage]
    facts: Mapping[str, float] = field(default_factory=dict)

    @property
    def cpu_s(self) -> float:
        return sum(usage.cpu_s + usage.children_cpu_s for usage in self.processes.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """All rounds of one contender."""

    name: str
    rounds: Sequence[Round]

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(one.seconds for one in self.rounds)

    @property
    def cpu_s(self) -> float:
        return statistics.median(one.cpu_s for one in self.rounds)

    def fact(self, name: str) -> float:
        return statistics.median(one.facts[name] for one in self.rounds)

    def peak_bytes(self, process: str) -> int:
        return max(one.processes[process].peak_bytes for one in self.rounds)


def usage_of(pid: int) -> Usage:
    """Of a process that is still there. Raises OSError."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    user, system, children_user, children_system = (int(text) / _TICKS for text in fields[11:15])
    return Usage(
        cpu_s=user + system, children_cpu_s=children_user + children_system, peak_bytes=_peak_bytes(pid)
    )


def since(before: Mapping[str, Usage], after: Mapping[str, Usage]) -> Mapping[str, Usage]:
    """What each process of ``after`` used since ``before``; peaks are those of its whole life."""
    nothing = Usage(cpu_s=0.0, children_cpu_s=0.0)
    return {
        name: Usage(
            cpu_s=usage.cpu_s - before.get(name, nothing).cpu_s,
            children_cpu_s=usage.children_cpu_s - before.get(name, nothing).children_cpu_s,
            peak_bytes=usage.peak_bytes,
        )
        for name, usage in after.items()
    }


def children_of(pid: int) -> Sequence[int]:
    """Direct children, of whichever thread."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found.extend(int(text) for text in (task / "children").read_text().split())
    return found


def run_measured(command: Sequence[str | Path], **options: object) -> Usage:
    """Run a command to its end. Raises CalledProcessError when it fails."""
    process = subprocess.Popen(command, **options)  # type: ignore[call-overload]
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, [str(part) for part in command])
    return Usage(cpu_s=used.ru_utime + used.ru_stime, children_cpu_s=0.0)


def count_orphans() -> None:
    """From now on the time of grandchildren whose parent has not waited for them counts as this process's children's:
    they are handed to this process, which takes them in ``reap_orphans``."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "this process cannot become a reaper")


def reap_orphans() -> None:
    """Until there is no child left."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def drop_from_cache(paths: Iterable[Path]) -> None:
    """The next read comes from the disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def prepare(data: DataSet) -> None:
    """The same start for every round: nothing of the source in memory, nothing of an earlier round in the queue."""
    os.sync()
    drop_from_cache(data.files)


@contextlib.contextmanager
def stopwatch() -> Iterator[list[float]]:
    """The list holds the seconds once the body has ended."""
    taken: list[float] = []
    begun = time.perf_counter()
    yield taken
    taken.append(time.perf_counter() - begun)


def _peak_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * _KIB
    return 0
