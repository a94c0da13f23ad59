"""Shipments: which deliveries travel together, so that a restart sends the same bytes to the same address."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

from agent.core.shipping import plan_groups
from agent.spool.database import one_value
from agent.spool.deliveries import OPEN_DELIVERIES, Deliveries
from agent.spool.records import Delivery, Shipment, bundle_key
from protocol.bundle import MAX_MEMBER_BYTES
from protocol.times import format_time

OPEN_BUNDLES: Final = 2
"""Bundles under way at a time: one is sent while the collector settles the other. More would only be smaller."""

_LOOSE: Final = (
    " AND d.uploaded_at IS NULL AND d.bundle IS NULL{narrowed} ORDER BY d.priority, d.created_at LIMIT ?"
)

_BY_THEMSELVES: Final = f" AND (d.size_bytes > {MAX_MEMBER_BYTES} OR d.alone OR d.upload_url IS NOT NULL)"
"""What no bundle may take, as ``agent.core.shipping`` says."""

_MEMBERS: Final = """
SELECT d.*, b.upload_url AS sent_to, s.outcome IS 'admitted' AS admitted
FROM deliveries AS d JOIN statements AS s USING (statement) JOIN bundles AS b USING (bundle)
WHERE d.bundle = ?
"""


class Shipments(Deliveries):
    """Open shipments, most urgent first."""

    def take_shipments(
        self, limit: int, now: datetime, *, bundling: bool = True, under_way: Collection[str] = ()
    ) -> list[Shipment]:
        """What is to be sent: bundles begun before, and what is loose, in bundles of its own as far as they may be
        opened now. A bundle is journalled before anybody sends it. Small blobs that no bundle may be opened for wait
        for the next look. ``under_way`` are the keys of shipments somebody is sending: none of them is regrouped."""
        with self.transaction():
            open_bundles = self.all("SELECT bundle, upload_url FROM bundles WHERE closed_at IS NULL")
            begun = [self._bundle(row["bundle"], row["upload_url"], under_way) for row in open_bundles]
            free = OPEN_BUNDLES - len(begun) if bundling else 0
            groups = self._groups(limit, under_way, small=free > 0 or not bundling, bundling=bundling)
            taken = [shipment for shipment in begun if shipment is not None]
            for group in groups:
                if len(group) == 1:
                    taken.append(Shipment(deliveries=(group[0],), upload_url=group[0].upload_url))
                elif free > 0:
                    taken.append(self._open_bundle(group, now))
                    free -= 1
        return sorted(taken, key=_urgency)

    def _groups(
        self, limit: int, under_way: Collection[str], *, small: bool, bundling: bool
    ) -> list[Sequence[Delivery]]:
        """Loose deliveries nobody sends, grouped. Without ``small`` none that a bundle could take: there may be
        thousands, looked at in vain."""
        sql = OPEN_DELIVERIES + _LOOSE.format(narrowed="" if small else _BY_THEMSELVES)
        loose = [self._delivery(row) for row in self.all(sql, (limit,)) if row["statement"] not in under_way]
        return plan_groups(loose) if bundling else [[delivery] for delivery in loose]

    def _bundle(self, bundle: int, upload_url: str | None, under_way: Collection[str]) -> Shipment | None:
        """None while it is under way: nothing is to be done about it."""
        if bundle_key(bundle) in under_way:
            return None
        members = [self._delivery(row) for row in self.all(_MEMBERS, (bundle,))]
        return _shipment(members, bundle, upload_url)

    def _open_bundle(self, group: Sequence[Delivery], now: datetime) -> Shipment:
        self.execute(
            "INSERT INTO bundles (agency, created_at) VALUES (?, ?)", (group[0].agency, format_time(now))
        )
        row = self.one("SELECT max(bundle) AS bundle FROM bundles")
        assert row is not None, "an aggregate without a group always has a row"
        bundle: int = row["bundle"]
        self.execute(
            "UPDATE deliveries SET bundle = ? WHERE statement IN (SELECT value FROM json_each(?))",
            (bundle, one_value(delivery.statement for delivery in group)),
        )
        return _shipment(group, bundle, None)

    def note_bundle_url(self, bundle: int, url: str | None) -> None:
        """Where the upload goes on; None after the collector has forgotten it."""
        self.execute("UPDATE bundles SET upload_url = ? WHERE bundle = ?", (url, bundle))

    def note_bundle_uploaded(self, bundle: int, now: datetime) -> None:
        """The collector holds every member; only the receipts will say that they are stored."""
        at = format_time(now)
        with self.transaction():
            self.execute("UPDATE deliveries SET uploaded_at = ? WHERE bundle = ?", (at, bundle))
            self.execute("UPDATE bundles SET closed_at = ? WHERE bundle = ?", (at, bundle))

    def dissolve_bundle(self, bundle: int, now: datetime, *, alone: bool) -> None:
        """The bundle leads nowhere; its members are loose again. ``alone``: each by itself from now on, so that the
        one it failed for is found."""
        with self.transaction():
            self.execute(
                "UPDATE deliveries SET bundle = NULL, alone = max(alone, ?) WHERE bundle = ?", (alone, bundle)
            )
            self.execute("UPDATE bundles SET closed_at = ? WHERE bundle = ?", (format_time(now), bundle))


def _shipment(members: Sequence[Delivery], bundle: int, upload_url: str | None) -> Shipment:
    """Members stand in an order that follows from themselves: after a restart they make the same bytes."""
    ordered = sorted(members, key=lambda member: (member.purpose, member.digest.hex, member.statement.hex))
    return Shipment(deliveries=tuple(ordered), bundle=bundle, upload_url=upload_url)


def _urgency(shipment: Shipment) -> tuple[int, datetime]:
    return min((delivery.priority, delivery.created_at) for delivery in shipment.deliveries)
