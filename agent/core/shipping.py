"""What travels together (合包): small blobs of one agency in bundles, everything else alone. Pure.

One request for each photograph loses to plain copying (measured: its HTTP costs more than its bytes); one request for
some hundred costs nothing. Nobody waits for a bundle to fill: what is there goes, and while it goes the next collects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from agent.spool.records import Delivery
from protocol.bundle import BLOCK_BYTES, END, MAX_MEMBER_BYTES, MAX_MEMBERS

BUNDLE_BYTES: Final = 32 * 1024 * 1024
"""Large enough that requests cost nothing, small enough that receipts come while the rest is still being sent. Half of
what the collector takes."""


@dataclass(slots=True)
class _Group:
    deliveries: list[Delivery] = field(default_factory=list)
    names: set[tuple[str, str]] = field(default_factory=set)
    size_bytes: int = len(END)

    def takes(self, delivery: Delivery) -> bool:
        fits = self.size_bytes + _span_bytes(delivery) <= BUNDLE_BYTES and len(self.names) < MAX_MEMBERS
        return _name(delivery) in self.names or fits

    def add(self, delivery: Delivery) -> None:
        if _name(delivery) not in self.names:
            self.names.add(_name(delivery))
            self.size_bytes += _span_bytes(delivery)
        self.deliveries.append(delivery)


def may_be_bundled(delivery: Delivery) -> bool:
    """Small, not begun by itself before, and not told to travel alone."""
    return delivery.size_bytes <= MAX_MEMBER_BYTES and delivery.upload_url is None and not delivery.alone


def plan_groups(loose: Iterable[Delivery]) -> list[Sequence[Delivery]]:
    """Deliveries in the order of their urgency, grouped; a group stands where its most urgent member stood. The same
    bytes promised twice travel once. A group of one is not worth a bundle."""
    groups: list[_Group] = []
    open_groups: dict[str, _Group] = {}
    for delivery in loose:
        group = open_groups.get(delivery.agency) if may_be_bundled(delivery) else None
        if group is None or not group.takes(delivery):
            group = _Group()
            groups.append(group)
            if may_be_bundled(delivery):
                open_groups[delivery.agency] = group
        group.add(delivery)
    return [group.deliveries for group in groups]


def _name(delivery: Delivery) -> tuple[str, str]:
    return delivery.purpose, delivery.digest.hex


def _span_bytes(delivery: Delivery) -> int:
    return BLOCK_BYTES + -(-delivery.size_bytes // BLOCK_BYTES) * BLOCK_BYTES
