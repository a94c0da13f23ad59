"""What the uplink does next: pure decisions over journal rows, with the time passed in."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from agent.core.retry import Backoff
from agent.spool.records import Delivery, OutboxRow, Shipment

MAX_BATCH_STATEMENTS: Final = 64
MAX_BATCH_BYTES: Final = 262_144
"""Limits of ``POST /api/v1/statements``."""

MANY_STATEMENTS: Final = 8
"""From so many new statements on they are announced together by HTTP, if it answers."""

ASK_FIRST_BYTES: Final = 8 * 1024 * 1024
"""From this size on, one question whether the collector already holds the bytes costs less than sending them."""

PUSH_GRACE_S: Final = 3.0
"""With a broker the receipt comes by itself; ask only when it is late."""

MANY_RECEIPTS: Final = 32
"""From so many missing receipts on they are fetched together: a message each costs more than all their checks."""

STAGING_CHECK_POLLS: Final = 4
"""Unanswered questions before, and between, checks that the collector still has the uploaded bytes."""

_PACE: Final = Backoff(first_s=1.0)
_BODY_OVERHEAD_BYTES: Final = len(b'{"envelopes":[]}')


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementPace:
    """How long a statement waits for its admission before it is offered again."""

    admission_wait_s: float = 5.0
    """By MQTT an admission takes well below a second; then HTTP is asked."""
    republish_s: float = 30.0
    """While HTTP fails, the broker gets the statement again: it may have lost it."""
    backoff: Backoff = _PACE

    def wait_s(self, row: OutboxRow) -> float:
        """Between attempts; grows for what the collector keeps putting off."""
        return max(self.admission_wait_s, self.backoff.delay_s(max(row.attempts, 1), 1.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """Which ways to the collector are open now. ``http_failing``: the last request failed."""

    broker: bool
    http: bool
    http_failing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementPlan:
    """What to publish and what to post, both oldest first, and when to look again."""

    publish: tuple[OutboxRow, ...]
    post: tuple[OutboxRow, ...]
    wait_s: float


def plan_statements(
    rows: Sequence[OutboxRow], *, now: datetime, ways: Ways, pace: StatementPace, hurry: bool
) -> StatementPlan:
    """Sort the open outbox rows. ``hurry`` ignores earlier attempts: a way has just opened again. Many new ones at a
    time go by HTTP, sharing a request, a commit and a signed answer; a message each would cost more than they do."""
    fresh = [row for row in rows if hurry or _age_s(row, now) is None]
    together = ways.http and not ways.http_failing and len(fresh) >= MANY_STATEMENTS
    by_broker = ways.broker and not together
    publish = fresh if by_broker else []
    post = [] if by_broker else fresh
    wait_s = pace.admission_wait_s
    for row in rows:
        age_s = None if hurry else _age_s(row, now)
        if age_s is None:
            continue
        if age_s < pace.wait_s(row):
            wait_s = min(wait_s, pace.wait_s(row) - age_s)
        elif ways.broker and ways.http_failing and age_s >= pace.republish_s:
            publish.append(row)
        else:
            post.append(row)
    return StatementPlan(publish=tuple(publish), post=tuple(post) if ways.http else (), wait_s=wait_s)


def _age_s(row: OutboxRow, now: datetime) -> float | None:
    """Since the last attempt; None if there was none, or it lies in the future because the clock was set back."""
    if row.sent_at is None or row.sent_at > now:
        return None
    return (now - row.sent_at).total_seconds()


def split_batches(rows: Sequence[OutboxRow]) -> Iterator[tuple[OutboxRow, ...]]:
    """Consecutive rows in batches the collector takes in one request."""
    batch: list[OutboxRow] = []
    size = _BODY_OVERHEAD_BYTES
    for row in rows:
        added = len(row.envelope) + 1
        if batch and (len(batch) == MAX_BATCH_STATEMENTS or size + added > MAX_BATCH_BYTES):
            yield tuple(batch)
            batch, size = [], _BODY_OVERHEAD_BYTES
        batch.append(row)
        size += added
    if batch:
        yield tuple(batch)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Shipments to work on now, in order, and how long until another one is due."""

    start: tuple[Shipment, ...]
    wait_s: float


def choose_shipments(
    shipments: Sequence[Shipment],
    *,
    busy: Collection[str],
    due_s: Mapping[str, float],
    now_s: float,
    free: int,
    period_s: float,
) -> Choice:
    """The first ``free`` shipments, in the journal's order (listings, marked, originals, renditions), that nobody
    works on and whose time has come. ``due_s`` and ``now_s`` are on one monotonic clock."""
    start: list[Shipment] = []
    wait_s = period_s
    for shipment in shipments:
        if shipment.key in busy:
            continue
        left_s = due_s.get(shipment.key, now_s) - now_s
        if left_s > 0:
            wait_s = min(wait_s, left_s)
        elif len(start) < free:
            start.append(shipment)
    return Choice(start=tuple(start), wait_s=wait_s)


def should_ask_first(delivery: Delivery) -> bool:
    """Whether to look for a receipt before sending: a file read twice, or from two recorders, is stored already."""
    return delivery.admitted and delivery.upload_url is None and delivery.size_bytes >= ASK_FIRST_BYTES


@dataclass(frozen=True, slots=True)
class AskAgain:
    """No receipt yet: ask again after ``delay_s``; ``check_staging`` first whether the bytes are still there."""

    delay_s: float
    check_staging: bool


def decide_pending(*, polls: int, unit: float, backoff: Backoff, pushed: bool, waiting: int) -> AskAgain:
    """After the ``polls``-th question without a receipt, from 1. ``pushed``: receipts also come by the broker; but
    ``waiting`` says how many are missing, and many are fetched more cheaply than they are pushed."""
    delay_s = backoff.delay_s(polls, unit)
    few = waiting < MANY_RECEIPTS
    return AskAgain(
        delay_s=max(delay_s, PUSH_GRACE_S) if pushed and few else delay_s,
        check_staging=polls % STAGING_CHECK_POLLS == 0,
    )
