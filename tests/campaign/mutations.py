"""Protections of the product, each of which can be taken away: the campaign has to notice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Final

MUTATIONS: Final[Mapping[str, Callable[[ExitStack], None]]] = {}


@contextmanager
def mutated(name: str | None) -> Iterator[None]:
    """The product without one protection while this lasts."""
    with ExitStack() as stack:
        if name is not None:
            MUTATIONS[name](stack)
        yield
