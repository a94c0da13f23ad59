"""The shape of a ``profile.toml`` as JSON Schema: the rule ``schema.py`` applies and ``profile.schema.json`` shows."""

from __future__ import annotations

from typing import Final

from firmware_profiles.device_shape import USB
from firmware_profiles.shape_parts import Schema as _Schema
from firmware_profiles.shape_parts import choice as _choice
from firmware_profiles.shape_parts import list_of as _list
from firmware_profiles.shape_parts import table as _table
from firmware_profiles.shape_parts import text as _text

SCHEMA_VERSION: Final = 1
MEDIA_KINDS: Final = ("video", "audio", "image", "log", "sidecar")
IDENTITY_SOURCES: Final = ("name", "volume label")
READING_KEYS: Final = ("marked", "newest")

_GLOB: Final = _text(
    "Path pattern: * ? [a-z] [!a-z] within one name; with a leading or inner / anchored at the volume's root, "
    "else any name at any depth; a folder's pattern covers what lies in it; letter case does not matter",
)
_SLUG: Final = "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$"
_REGEX: Final = _text("Regular expression (Python, ASCII classes, any letter case)", max_length=400)

_MATCH: Final = _table(
    {
        "rank": {
            "type": "integer",
            "minimum": 0,
            "maximum": 1000,
            "description": "Of several profiles that match, the highest rank is taken; two of one rank are an error",
        },
        "fallback": {
            "type": "boolean",
            "description": "Taken when no other profile matches; needs no criteria",
        },
        "volume_labels": _list(_GLOB, "The volume's label matches one of these"),
        "marker_files": _list(_GLOB, "One of these paths is there"),
        "paths": _list(_GLOB, "Some path matches one of these"),
        "file_names": _list(
            _text("Name of a [[file_name]]", pattern=_SLUG), "Some file's name is of one of these grammars"
        ),
    },
    "What a volume must show. Every criterion given must hold; within one, any of its patterns",
    required=("rank",),
)

_EXTENSIONS: Final = _list(
    _text("File name extension, lower case, without dot", pattern="^[a-z0-9]{1,16}$"),
    "Extensions of this kind",
)

_MEDIA: Final = _table(
    {
        "roots": _list(
            _GLOB, "Where recordings lie: / is the whole volume, else anchored folders", min_items=1
        ),
        "kinds": _table(dict.fromkeys(MEDIA_KINDS, _EXTENSIONS), "Kind of a file by its extension"),
    },
    "Where the media are and what they are. A file of no listed kind is taken all the same",
    required=("roots", "kinds"),
)

_IGNORE: Final = _table(
    {
        "rule": _text("Name of the rule, as the listing shows it", pattern=_SLUG, max_length=64),
        "why": _text("Reason, for auditors (Chinese)"),
        "globs": _list(_GLOB, "What is not read", min_items=1),
    },
    "Files that are listed but not read",
    required=("rule", "why", "globs"),
)

_FILE_NAME: Final = _table(
    {
        "name": _text("Name of the grammar", pattern=_SLUG, max_length=64),
        "regex": {**_REGEX, "description": "Whole basename; groups recorder, officer, started_at, mark"},
        "started_at": _table(
            {
                "format": _text("strptime format of the group started_at"),
                "zone": _choice(("station",), "The time is local time of the station's zone"),
            },
            "How the group started_at is read",
            required=("format", "zone"),
        ),
    },
    "What a file name claims",
    required=("name", "regex"),
)

_MARK: Final = _table(
    {
        "values": _list(_text("A value of the name's group mark"), "These values mean: marked as important"),
        "paths": _list(_GLOB, "Files here are marked as important"),
    },
    "How the recorder shows the important mark",
)

_SOURCES: Final = _list(
    _choice(IDENTITY_SOURCES, "Source of a claim"), "In order; the first that says anything"
)

_IDENTITY: Final = _table(
    {
        "recorder": _SOURCES,
        "officer": _SOURCES,
        "volume_label": {**_REGEX, "description": "Whole label; groups recorder, officer"},
    },
    "Who the recorder and the officer claim to be",
)

_READING: Final = _table(
    {"order": _list(_choice(READING_KEYS, "Sort key"), "Keys of the order of reading, first decides")},
    "In which order files are read",
    required=("order",),
)

PROFILE_SCHEMA: Final[_Schema] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "Firmware profile of a recorder family",
    **_table(
        {
            "schema": {
                "type": "integer",
                "minimum": SCHEMA_VERSION,
                "maximum": SCHEMA_VERSION,
                "description": "Version of this schema",
            },
            "id": _text("Same as the folder's name", pattern="^[a-z][a-z0-9_]{0,62}$", max_length=63),
            "version": _text("Version of the profile", pattern="^[0-9]+[.][0-9]+[.][0-9]+$", max_length=32),
            "title": _table(
                {"zh": _text("Chinese"), "en": _text("English")}, "For people", required=("zh", "en")
            ),
            "match": _MATCH,
            "media": _MEDIA,
            "ignore": _list(_IGNORE, "First match decides"),
            "file_name": _list(_FILE_NAME, "First match decides"),
            "mark": _MARK,
            "identity": _IDENTITY,
            "reading": _READING,
            "usb": USB,
        },
        "Facts about how a family of recorders shows its recordings. Unknown keys are refused",
        required=("schema", "id", "version", "title", "match", "media", "reading"),
    ),
}
