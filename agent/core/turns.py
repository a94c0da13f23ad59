"""Whose turn it is to be read (读取次序): urgent footage first, then fairly among the hubs that recorders share. Pure.

Recorders at one hub share its transfer rate; if each recorder had the same chance, a full hub would leave little to a
recorder that has one for itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """One recorder that waits for its turn, to read a file or a batch of small ones. ``urgent``: the officer marked it
    as important."""

    hub: str
    urgent: bool = False


def next_turn(asking: Sequence[Asking], at_work: Mapping[str, int], last_turn: Mapping[str, int]) -> int:
    """The index of who goes next of those that wait, longest first: what is urgent, else who is at the hub at which
    the fewest recorders are being read, of several such hubs at the one whose last turn is longest ago; among equals
    who has waited longest. ``last_turn`` numbers turns as they begin. Raises ValueError when nobody waits."""

    def rank(index: int) -> tuple[bool, int, int, int]:
        one = asking[index]
        return not one.urgent, at_work.get(one.hub, 0), last_turn.get(one.hub, 0), index

    return min(range(len(asking)), key=rank)


def hub_of(port_path: str) -> str:
    """The hub a port belongs to, or the bus for a port of the machine itself: ``1-2.4`` is a port of ``1-2``."""
    hub, has_hub, _ = port_path.rpartition(".")
    return hub if has_hub else port_path.partition("-")[0]
