"""Who may do what (pure): stations speak for their agencies, tokens read within their scopes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from protocol.ids import COLLECTOR


class Scope(StrEnum):
    """What a token may do (权限范围)."""

    CLIPS = "clips:read"
    FOOTAGE = "footage:read"
    EXPLAIN = "findings:explain"


@dataclass(frozen=True, slots=True, kw_only=True)
class StationPrincipal:
    """A station, known by its certificate and its enrolment for ``agencies`` (采集站)."""

    name: str
    agencies: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrincipal:
    """Whoever holds a token (令牌); ``agencies`` None means all of them. ``name`` says who that is, ``token_id`` which
    token it was: names may be given twice."""

    token_id: str
    name: str
    agencies: frozenset[str] | None
    scopes: frozenset[Scope]


Principal: TypeAlias = StationPrincipal | TokenPrincipal


@dataclass(frozen=True, slots=True, kw_only=True)
class Allow:
    """Allowed, for what belongs to these agencies; None: to any."""

    agencies: frozenset[str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Deny:
    """Not allowed: stable code and one sentence."""

    code: str
    message: str


def decide_reading_clips(principal: Principal) -> Allow | Deny:
    """Metadata of clips, custody, accounting. A station sees its own agencies'."""
    return _decide(principal, Scope.CLIPS)


def decide_viewing_footage(principal: Principal) -> Allow | Deny:
    """Bytes of originals and renditions. A station delivers footage, people view it."""
    if isinstance(principal, StationPrincipal):
        return Deny(code="not-allowed", message="A station's certificate does not open footage: use a token.")
    return _decide(principal, Scope.FOOTAGE)


def decide_explaining_findings(principal: Principal) -> Allow | Deny:
    """Answering for findings. A station's own word is in its statements; explanations are people's."""
    if isinstance(principal, StationPrincipal):
        return Deny(code="not-allowed", message="A station's certificate explains nothing: use a token.")
    return _decide(principal, Scope.EXPLAIN)


def may_hand_in(bearer: StationPrincipal, *, signer: str, agency: str) -> bool:
    """Whether this station may bring a statement: its own always (admission judges it), that of another only for an
    agency it speaks for itself, so that a dead station's spool can be delivered by a neighbour. Who brings a
    statement says nothing about it: it is judged by who signed it, also whether anybody but the collector spoke in
    the collector's name."""
    return signer in (bearer.name, COLLECTOR) or agency in bearer.agencies


def _decide(principal: Principal, scope: Scope) -> Allow | Deny:
    if isinstance(principal, TokenPrincipal) and scope not in principal.scopes:
        return Deny(code="scope-missing", message=f"This token lacks the scope {scope.value}.")
    return Allow(agencies=principal.agencies)
