"""Listings as the audit's own catalogue reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from collector.audit.objects import AuditedObjects, ObjectName
from collector.errors import ObjectMissingError
from collector.objects import ObjectClass
from protocol.digest import Digest
from protocol.errors import DigestMismatchError
from protocol.listing import ListingRow, parse_listing


class AuditedListings:
    """A ``ListingReader`` over ``AuditedObjects``; missing and altered listings are ProtocolErrors, as they are for
    the collector."""

    def __init__(self, objects: AuditedObjects) -> None:
        self._objects = objects

    def __call__(self, agency: str, digest: Digest) -> Iterator[ListingRow]:
        return parse_listing(self._blocks(agency, digest))

    def _blocks(self, agency: str, digest: Digest) -> Iterator[bytes]:
        hasher = hashlib.sha256()
        try:
            for block in self._objects.blocks(
                ObjectName(agency=agency, cls=ObjectClass.LISTINGS, digest=digest)
            ):
                hasher.update(block)
                yield block
        except ObjectMissingError as error:
            raise DigestMismatchError("a listing is lost", expected=str(digest), actual=error.code) from error
        if hasher.hexdigest() != digest.hex:
            actual = f"sha256:{hasher.hexdigest()}"
            raise DigestMismatchError("a listing is lost", expected=str(digest), actual=actual)
