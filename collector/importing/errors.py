"""What keeps an import from going on. What is wrong with single files or rows is in its report instead."""

from __future__ import annotations

from typing import ClassVar

from collector.errors import CollectorError


class SourceError(CollectorError):
    """The folder to import cannot be used."""

    code: ClassVar[str] = "import-source"


class SheetError(CollectorError):
    """The table cannot be read, or does not say which column holds the paths."""

    code: ClassVar[str] = "import-table"


class ImportRefusedError(CollectorError):
    """The collector answered something that an import cannot go on with; says what."""

    code: ClassVar[str] = "import-refused"


class ImportBusyError(CollectorError):
    """Another import runs into this collector."""

    code: ClassVar[str] = "import-busy"
