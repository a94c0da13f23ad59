"""What a recorder's volume shows, written down: the example and the test of a family. Pure.

A listing says itself where it comes from: recorded from a real unit, or written from public descriptions. What a file
is expected to claim stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self

from firmware_profiles.errors import ProfileMalformedError
from firmware_profiles.identity import DeviceSays
from firmware_profiles.shape import IDENTITY_SOURCES, MEDIA_KINDS
from firmware_profiles.shape_parts import Schema, choice, sequence_of, table, text, truth, whole
from firmware_profiles.structure import check_structure

MAX_FILES: Final = 20_000
_MAX_PATH_CHARS: Final = 4096
_TIME: Final = "^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{3})?Z$"

_EXPECTED: Final = table(
    {
        "rule": text("It is ignored by this rule"),
        "kind": choice(MEDIA_KINDS, "What it is"),
        "recorder": text("Recorder that its name claims"),
        "officer": text("Officer that its name claims"),
        "started_at": text("Start that its name claims, for a station in China", pattern=_TIME),
        "sequence": whole("Number that its name claims", minimum=0, maximum=10**15),
        "marked": truth("It has the important mark"),
        "encrypted": truth("Its name says that it is encrypted"),
        "accompanies": text("Path of the file it belongs to", max_length=_MAX_PATH_CHARS),
    },
    "What the profile makes of it: everything it claims, and nothing else",
)

_FILE: Final = table(
    {
        "path": text("From the volume's root, without / before it", max_length=_MAX_PATH_CHARS),
        "size_bytes": whole("Size", minimum=0, maximum=2**53 - 1),
        "modified_at": text("Time of the file", pattern=_TIME),
        "content": text("Text of a marker file", max_length=65_536),
        "expect": _EXPECTED,
    },
    "One file",
    required=("path", "size_bytes"),
)

_WHO: Final = table({"recorder": text("Recorder"), "officer": text("Officer")}, "Numbers")

LISTING_SCHEMA: Final[Schema] = table(
    {
        "schema": whole("Version of this form", minimum=1, maximum=1),
        "about": text("What is shown, and for whom it stands", max_length=2000),
        "source": choice(("hardware", "public descriptions"), "Where it comes from"),
        "recorded_on": text("Model and firmware of the real unit, and the day", max_length=400),
        "volume_label": text("Label of the volume"),
        "device": {**_WHO, "description": "What the recorder answered over USB"},
        "files": sequence_of(_FILE, "All files", max_items=MAX_FILES),
        "expect": table(
            {
                "profile": text("Family that is chosen"),
                "recorder": text("Agreed recorder"),
                "recorder_source": choice(IDENTITY_SOURCES, "First source that says so"),
                "officer": text("Agreed officer"),
                "officer_source": choice(IDENTITY_SOURCES, "First source that says so"),
            },
            "What is made of the volume; a number that is left out is not known",
            required=("profile",),
        ),
    },
    "Recorded listing",
    required=("schema", "about", "source", "files"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedFile:
    """One file of a recorded listing. ``expected`` None: nothing was written down."""

    path: str
    size_bytes: int
    content: str | None
    expected: Mapping[str, object] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedListing:
    """A volume as it was listed (目录样本)."""

    about: str
    source: str
    volume_label: str | None
    device: DeviceSays
    files: tuple[ListedFile, ...]
    expected: Mapping[str, str] | None = field(default=None)

    @property
    def paths(self) -> list[str]:
        return [file.path for file in self.files]

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Raises ProfileMalformedError."""
        check_structure(value, LISTING_SCHEMA)
        assert isinstance(value, dict)
        if (value["source"] == "hardware") != ("recorded_on" in value):
            raise ProfileMalformedError("recorded_on", "is given exactly when the source is hardware")
        files = tuple(_file(row) for row in value["files"])
        paths = {file.path for file in files}
        if len(paths) < len(files):
            raise ProfileMalformedError("files", "names a path twice")
        return cls(
            about=value["about"],
            source=value["source"],
            volume_label=value.get("volume_label"),
            device=DeviceSays(**value.get("device", {})),
            files=files,
            expected=value.get("expect"),
        )


def _file(row: Mapping[str, Any]) -> ListedFile:
    return ListedFile(
        path=row["path"],
        size_bytes=row["size_bytes"],
        content=row.get("content"),
        expected=row.get("expect"),
    )
