"""What keeping can find wrong. Messages are for the administrator and say what to do next."""

from __future__ import annotations

from typing import ClassVar

from collector.errors import CollectorError


class LogDamagedError(CollectorError):
    """The files of the log do not give the tree that was signed. Nothing is made from them."""

    code: ClassVar[str] = "log-damaged"


class PayloadsMissingError(CollectorError):
    """Statements of the log are not in the object store, so a new catalogue would know less than the log commits to."""

    code: ClassVar[str] = "payloads-missing"


class CatalogueNewerError(CollectorError):
    """The catalogue shows more than the log has: an old copy of the log was put back."""

    code: ClassVar[str] = "log-rolled-back"


class CatalogueUnusableError(CollectorError):
    """The catalogue's file is missing or no database of this program."""

    code: ClassVar[str] = "catalogue-unusable"
