"""``rescue``: a dead station's spool, delivered from here."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from typing import Final

from agent import rescue as rescuing
from agent.commands.output import FAILED, Console, print_result
from agent.config import AgentConfig
from agent.rescue import Rescued
from agent.rescue_again import read_wanted
from agent.spool.records import Delivery

_SHOWN: Final = 20


def rescue(options: argparse.Namespace) -> int:
    """Deliver what the dead station still owes; 0 only if all of it is receipted."""
    console = Console()

    def report(step: str, done: int, total: int | None) -> None:
        if sys.stdout.isatty() and not options.json:
            console.show([f"{step} {done} / {total}"])

    rescued = asyncio.run(
        rescuing.rescue(
            AgentConfig.load(options.data.resolve()),
            options.work.resolve(),
            identity=None if options.identity is None else options.identity.resolve(),
            report=report,
            patience_s=options.patience_s,
            again=() if options.again is None else read_wanted(options.again),
        )
    )
    print_result(options, _values(rescued), "\n".join(_in_words(rescued)))
    return 0 if rescued.is_complete else FAILED


def _values(rescued: Rescued) -> dict[str, object]:
    return {
        "station": rescued.station,
        "complete": rescued.is_complete,
        "receipted_before": rescued.receipted_before,
        "receipted_now": rescued.receipted_now,
        "open": [str(row.statement) for row in rescued.open],
        "lost": [str(row.statement) for row in rescued.lost],
        "statements_open": rescued.statements_open,
        "statements_refused": rescued.statements_refused,
        "unjournalled": [str(path) for path in rescued.unjournalled],
        "unfinished": [str(path) for path in rescued.unfinished],
        "unrendered": rescued.unrendered,
        "sent_again": [str(digest) for digest in rescued.sent_again],
        "findings": list(rescued.findings),
    }


def _in_words(rescued: Rescued) -> Iterator[str]:
    yield (
        f"采集站 {rescued.station}：此前已回执 receipted before: {rescued.receipted_before}，"
        f"本次 now: {rescued.receipted_now}"
    )
    yield from _some("未送达 not delivered", rescued.open)
    yield from _some("数据缺失 promised, and not on this disk", rescued.lost)
    if rescued.statements_open:
        yield f"未受理的声明 statements without an answer: {rescued.statements_open}"
    if rescued.statements_refused:
        yield f"被拒绝的声明 statements refused by the collector: {rescued.statements_refused}"
    for path in rescued.unjournalled:
        yield f"无清单的文件 a whole file that no statement names: {path}"
    for path in rescued.unfinished:
        yield f"未读完的文件 a read that was not over, the recorder has the file: {path}"
    if rescued.unrendered:
        yield f"未生成播放文件 originals whose renditions were never made: {rescued.unrendered}"
    if rescued.sent_again:
        yield f"重新上传 sent again, because the collector lost them: {len(rescued.sent_again)}"
    for line in rescued.findings:
        yield f"  {line}"
    yield (
        "全部送达 everything is delivered and receipted"
        if rescued.is_complete
        else ("尚未全部送达 not everything is delivered: mend what is named above and repeat")
    )


def _some(title: str, rows: tuple[Delivery, ...]) -> Iterator[str]:
    if rows:
        yield f"{title}: {len(rows)}"
        for row in rows[:_SHOWN]:
            yield f"  {row.purpose.value} {row.digest} ({row.size_bytes} bytes)"
