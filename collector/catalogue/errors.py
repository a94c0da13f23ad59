"""What the catalogue and its queries object to."""

from __future__ import annotations

from collector.errors import CollectorError, NotAllowedError


class CatalogueError(CollectorError):
    """The catalogue cannot be what the log says. Rebuild it from the log."""

    code = "catalogue-failed"


class CatalogueGapError(CatalogueError):
    """A batch begins after the end of what is projected: entries in between would be missing for ever."""

    code = "catalogue-gap"


class ParameterError(CollectorError):
    """A parameter of a query is unknown, repeated or not of its form."""

    code = "parameter-invalid"
    status = 400
    fault = "caller"


class CursorError(ParameterError):
    """A cursor that was not given out by this collector, or for another query."""

    code = "cursor-invalid"


class NotFoundError(CollectorError):
    """There is no such thing, or none the caller may know of: the two look alike."""

    code = "not-found"
    status = 404
    fault = "caller"


class ScopeMissingError(NotAllowedError):
    """The token does not cover this question."""

    code = "scope-missing"
