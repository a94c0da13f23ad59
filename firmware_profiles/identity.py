"""Who a recorder is and who carried it, from what several sources claim. Pure.

Guarantees: the answer does not depend on the order in which claims arrive; where sources that the profile believes do
not say one thing, or say nothing, there is no answer, and people are asked. Nothing is guessed. USB serial numbers are
no source: whole production runs share one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from firmware_profiles.schema import Identity
from protocol.claims import Claim
from protocol.limits import MAX_TEXT_CHARS


class Outcome(StrEnum):
    """Whether somebody has to be asked."""

    KNOWN = "known"
    CONTRADICTION = "contradiction"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityClaims:
    """What one source claims about recorder and officer."""

    recorder: Claim | None = None
    officer: Claim | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceSays:
    """What the recorder itself answered when it was asked over USB; None where it was not asked, or did not say."""

    recorder: str | None = None
    officer: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The number and its source, or why there is none; ``said`` are all claims of believed sources, in the profile's
    order of sources, equal ones once."""

    outcome: Outcome
    claim: Claim | None
    said: tuple[Claim, ...]

    @property
    def value(self) -> str | None:
        return None if self.claim is None else self.claim.value

    @property
    def source(self) -> str | None:
        return None if self.claim is None else self.claim.source


def decide_identity(sources: Sequence[str], claims: Iterable[Claim]) -> Answer:
    """The number that all of ``sources`` that say anything agree on, in the spelling of the first of them.

    Letter case makes no difference: volume labels of FAT have capitals only. Claims of other sources are not heard.
    """
    said = sorted(
        {claim for claim in claims if claim.source in sources},
        key=lambda claim: (sources.index(claim.source), claim.value),
    )
    values = {claim.value.casefold() for claim in said}
    if len(values) > 1:
        return Answer(outcome=Outcome.CONTRADICTION, claim=None, said=tuple(said))
    if not said:
        return Answer(outcome=Outcome.ABSENT, claim=None, said=())
    return Answer(outcome=Outcome.KNOWN, claim=said[0], said=tuple(said))


def device_claims(identity: Identity, says: DeviceSays) -> IdentityClaims:
    """The recorder's own words as claims."""
    return IdentityClaims(
        recorder=claim_of(identity, says.recorder, "device"),
        officer=claim_of(identity, says.officer, "device"),
    )


def claim_of(identity: Identity, value: str | None, source: str) -> Claim | None:
    """A claim, unless the value says that nobody set one: blank, or a number units leave the factory with. What is too
    long for a claim is no number."""
    value = (value or "").strip("\0 \t\r\n")
    if not value or len(value) > MAX_TEXT_CHARS or value in identity.unset:
        return None
    return Claim(value, source)
