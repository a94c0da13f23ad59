"""Objects that the collector has lost, sent once more from a spool that still has them.

They were receipted, so nothing in the journal asks for it; the collector keeps its word with bytes from wherever they
come, and its scrub says in the log that the object is whole again.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

from agent.spool.journal import Journal
from agent.spool.records import Purpose
from agent.uplink.collector_http import CollectorClient
from agent.uplink.sources import WholeFile
from agent.uplink.tus import TusClient, UploadOrder
from protocol.digest import Digest

_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_HELD: Final = """
SELECT DISTINCT d.agency, d.purpose, d.digest, d.size_bytes
FROM deliveries d JOIN blobs b USING (purpose, digest)
WHERE d.digest = ? AND d.receipted_at IS NOT NULL AND b.evicted_at IS NULL
"""


def read_wanted(path: Path) -> frozenset[Digest]:
    """Every digest that a file names, whatever else is in it. Raises OSError."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        return frozenset(Digest.parse(text) for line in lines for text in _DIGEST.findall(line))


async def send_again(
    collector: CollectorClient, journal: Journal, wanted: Collection[Digest]
) -> tuple[Digest, ...]:
    """Upload what of these the spool holds; the digests that were sent. Raises as ``TusClient.upload``."""
    tus, sent = TusClient(collector), []
    for digest in sorted(wanted):
        for row in await asyncio.to_thread(journal.all, _HELD, (str(digest),)):
            path = journal.files.path(Purpose(row["purpose"]), digest)
            if path.is_file():
                await tus.upload(
                    WholeFile(path=path, size_bytes=row["size_bytes"]),
                    UploadOrder(agency=row["agency"], purpose=Purpose(row["purpose"]), digest=digest),
                    url=None,
                    keep_url=_forget,
                    note_progress=lambda _: None,
                )
                sent.append(digest)
    return tuple(sent)


async def _forget(_: str | None) -> None:
    """A rescue that is repeated sends the file from the start."""
