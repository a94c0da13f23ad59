"""How often somebody unknown may guess (pure): a few tries at once, then slowly; the table of guessers is bounded.

Addresses are what senders cannot choose freely: an IPv4 address, the /64 of an IPv6 address.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import Final

BURST: Final = 20
"""Wrong guesses at once: several people behind one address may mistype; 256-bit secrets are not found so."""

REFILL_S: Final = 6.0
"""One more guess each, for as long as it takes."""

MAX_ADDRESSES: Final = 10_000
"""Addresses remembered, about 2 MB. Beyond it the one that has not guessed for longest is forgotten."""


class Attempts:
    """Counts failures by address. ``now_s`` is any clock that does not go back."""

    def __init__(self, *, burst: int = BURST, refill_s: float = REFILL_S, most: int = MAX_ADDRESSES) -> None:
        self._burst = burst
        self._refill_s = refill_s
        self._most = most
        self._empty_until: OrderedDict[str, float] = OrderedDict()
        """When each bucket is full again."""

    def __len__(self) -> int:
        return len(self._empty_until)

    def wait_s(self, address: str, now_s: float) -> float:
        """How long this address must wait before its next guess; 0 when it may guess now."""
        full_at = self._empty_until.get(_source(address), now_s)
        return max(0.0, full_at - now_s - (self._burst - 1) * self._refill_s)

    def failed(self, address: str, now_s: float) -> None:
        """One wrong guess."""
        source = _source(address)
        self._empty_until[source] = max(now_s, self._empty_until.get(source, now_s)) + self._refill_s
        self._empty_until.move_to_end(source)
        if len(self._empty_until) > self._most:
            self._empty_until.popitem(last=False)


def _source(address: str) -> str:
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return ""  # no network address: a test's socket, a proxy's own; they share one
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
