"""Results as tables: for a terminal, or as Markdown for docs/performance.md. Bars are those of the design."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from scripts.bench_data import DataSet
from scripts.bench_measure import Contender

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One thing to reach: ``found`` must not be above ``at_most`` (or not below, where ``at_least``)."""

    what: str
    found: float
    limit: float
    at_least: bool = False
    unit: str = "×"

    @property
    def met(self) -> bool:
        return self.found >= self.limit if self.at_least else self.found <= self.limit

    @property
    def row(self) -> tuple[str, ...]:
        sign = "≥" if self.at_least else "≤"
        verdict = "met" if self.met else "NOT MET"
        return self.what, f"{self.found:.2f} {self.unit}", f"{sign} {self.limit:g} {self.unit}", verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text under a title."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(slots=True)
class Report:
    """Everything one run of the bench found. ``scale`` of the data that the bars are about was used."""

    scale: float = 1.0
    contenders: dict[str, Sequence[Contender]] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)

    def add_table(self, table: Table) -> None:
        self.tables.append(table)

    def add_race(self, data: DataSet, contenders: Sequence[Contender], *, processes: bool = True) -> None:
        """Times side by side; then, with ``processes``, who used how much."""
        self.contenders[data.name] = contenders
        megabytes = data.size_bytes / 1e6
        self.tables.append(
            Table(
                title=f"{data.name}: {len(data.files)} files, {megabytes:.0f} MB",
                head=("contender", "s, median", "s, each round", "MB/s", "CPU s"),
                rows=[
                    (
                        one.name,
                        f"{one.seconds:.2f}",
                        " ".join(f"{single.seconds:.2f}" for single in one.rounds),
                        f"{megabytes / one.seconds:.0f}",
                        f"{one.cpu_s:.2f}",
                    )
                    for one in sorted(contenders, key=lambda one: one.seconds)
                ],
            )
        )
        if processes:
            self.tables.append(_processes(data, contenders))

    def add_bar(self, bar: Bar) -> None:
        self.bars.append(bar)

    @property
    def _all_tables(self) -> Sequence[Table]:
        if not self.bars:
            return self.tables
        title = "Bars" if self.scale == 1.0 else f"Bars, on {self.scale:g} of the data they are about"
        verdicts = Table(title=title, head=("what", "found", "bar", ""), rows=[bar.row for bar in self.bars])
        return [verdicts, *self.tables]

    def text(self) -> str:
        """For a terminal."""
        return "\n\n".join([machine(), *map(_aligned, self._all_tables)]) + "\n"

    def markdown(self) -> str:
        """For a document."""
        return "\n\n".join([machine(), *map(_markdown, self._all_tables)]) + "\n"

    def to_json(self) -> Mapping[str, object]:
        return {
            "machine": machine(),
            "scale": self.scale,
            "contenders": {
                name: [asdict(one) for one in contenders] for name, contenders in self.contenders.items()
            },
            "tables": [asdict(table) for table in self.tables],
            "bars": [{**asdict(bar), "met": bar.met} for bar in self.bars],
        }


def machine() -> str:
    """Where and when: figures of different machines are not compared."""
    load = os.getloadavg()[0]
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**30
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} × {_cpu_model()}, {memory} GiB, "
        f"Linux {platform.release()}, Python {platform.python_version()}, load at the end {load:.1f}"
    )


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _processes(data: DataSet, contenders: Sequence[Contender]) -> Table:
    rows: list[Sequence[str]] = []
    for one in contenders:
        last = one.rounds[-1]
        for process, usage in last.processes.items():
            cpu_s = usage.cpu_s + usage.children_cpu_s
            if cpu_s or usage.peak_bytes:
                peak_bytes = one.peak_bytes(process)
                peak = f"{peak_bytes / _MIB:.0f}" if peak_bytes else "–"
                rows.append((one.name, process, f"{cpu_s:.2f}", peak))
    head = ("contender", "process", "CPU s, last round", "peak RSS, MiB")
    return Table(title=f"{data.name}: processes", head=head, rows=rows)


def _aligned(table: Table) -> str:
    widths = [max(len(row[column]) for row in (table.head, *table.rows)) for column in range(len(table.head))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (table.head, *table.rows)
    ]
    return "\n".join([table.title, *("  " + line for line in lines)])


def _markdown(table: Table) -> str:
    lines = [table.head, ["---"] * len(table.head), *table.rows]
    return "\n".join([f"**{table.title}**", "", *("| " + " | ".join(line) + " |" for line in lines)])
