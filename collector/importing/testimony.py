"""What an import states: the same inventory and manifests as a station's, of the profile ``import``; and, where the
table names a case or has a remark, a custody event that says so."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from collector.importing.identity import IMPORTER
from collector.importing.sheet import SheetRow
from collector.importing.source import Content, FoundFile
from protocol.claims import Claim, TimeClaim
from protocol.digest import Digest
from protocol.dsse import Envelope
from protocol.listing import ListingRow
from protocol.statements import (
    Custody,
    Header,
    Inventory,
    Manifest,
    Statement,
    sign_statement,
    statement_id,
)

PROFILE: Final = "import"
SOURCE: Final = "imported"
"""Where the claims come from: whoever kept the table, at a time nobody here witnessed."""

_DOCK: Final = "import"
_MAX_BAY_CHARS: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """A signed statement and its id."""

    id: Digest
    envelope: Envelope


class Testimony:
    """Signs for one import into one agency. ``origin`` names the folder for people."""

    def __init__(self, seed: bytes, agency: str, origin: str) -> None:
        self._seed = seed
        self._agency = agency
        self._origin = origin[:_MAX_BAY_CHARS]

    def inventory(self, visit: str, listing: bytes, rows: Sequence[ListingRow]) -> Signed:
        """Everything one part of the import found."""
        return self._sign(
            Inventory(
                header=self._header(),
                listing=Digest.of(listing),
                listing_size_bytes=len(listing),
                rows=len(rows),
                listed_bytes=sum(row.size_bytes for row in rows),
                visit=visit,
                sequence=1,
                dock=_DOCK,
                bay=self._origin,
                profile=PROFILE,
                volume_label=None,
                total_bytes=None,
                free_bytes=None,
                battery_percent=None,
                recorder=None,
                officer=None,
                clock=None,
            )
        )

    def manifest(
        self,
        visit: str,
        inventory: Digest,
        row: int,
        file: FoundFile,
        content: Content,
        said: SheetRow | None,
    ) -> Signed:
        """One original, with what the table claims about it."""
        return self._sign(
            Manifest(
                header=self._header(),
                digest=content.digest,
                size_bytes=content.size_bytes,
                inventory=inventory,
                visit=visit,
                row=row,
                path=file.path,
                path_bytes=file.raw_path,
                media_type=content.media_type,
                modified_at=file.modified_at,
                recorder=_claim(None if said is None else said.recorder),
                officer=_claim(None if said is None else said.officer),
                started_at=_time_claim(None if said is None else said.started_at),
                marked=False,
                read_started_at=content.read_started_at,
                read_finished_at=content.read_finished_at,
                attempts=1,
                resumed=False,
            )
        )

    def described(self, content: Content, said: SheetRow, sheet: Digest) -> Signed | None:
        """Case and remarks of one original and the line of the table that has them; None if it has neither."""
        texts = {"case": said.case, "remarks": said.remarks}
        details: dict[str, str | int] = {name: text for name, text in texts.items() if text is not None}
        if not details:
            return None
        return self._sign(
            Custody(
                header=self._header(),
                event="imported",
                item=content.digest,
                item_name="originals",
                actor=IMPORTER,
                details={**details, "table": str(sheet), "line": said.line},
            )
        )

    def _header(self) -> Header:
        return Header(
            agency=self._agency,
            signer=IMPORTER,
            issued_at=datetime.now(UTC),
            nonce=secrets.token_hex(16),
        )

    def _sign(self, statement: Statement) -> Signed:
        envelope = sign_statement(statement, self._seed)
        return Signed(id=statement_id(envelope), envelope=envelope)


def _claim(text: str | None) -> Claim | None:
    return None if text is None else Claim(text, SOURCE)


def _time_claim(moment: datetime | None) -> TimeClaim | None:
    return None if moment is None else TimeClaim(moment.astimezone(UTC), SOURCE)
