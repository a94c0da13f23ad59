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
IDENTITY_SOURCES: Final = ("device", "marker file", "volume label", "name")
MARKER_ENCODINGS: Final = ("utf-8", "gbk", "utf-16")
QUIRKS: Final = ("shared-volume-label",)
"""Only what code acts on. shared-volume-label: the label is the same on every unit, so nothing is known by it."""

READING_KEYS: Final = ("marked", "newest")

_GLOB: Final = _text(
    "Path pattern: * ? [a-z] [!a-z] within one name; with a leading or inner / anchored at the volume's root, "
    "else any name at any depth; a folder's pattern covers what lies in it; letter case does not matter",
)
_SLUG: Final = "^[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?$"
_REGEX: Final = _text(
    "Regular expression (RE2: no look-around, no back reference; any letter case)", max_length=400
)
_WHY: Final = _text("Reason, for auditors (Chinese)")

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

_EXTENSION: Final = _text("File name extension, lower case, without dot", pattern="^[a-z0-9]{1,16}$")
_EXTENSIONS: Final = _list(_EXTENSION, "Extensions of this kind")

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
        "why": _WHY,
        "globs": _list(_GLOB, "What is not read", min_items=1),
    },
    "Files that are listed but not read",
    required=("rule", "why", "globs"),
)

_FILE_NAME: Final = _table(
    {
        "name": _text("Name of the grammar", pattern=_SLUG, max_length=64),
        "regex": {
            **_REGEX,
            "description": "Whole basename; groups recorder, officer, started_at, mark, sequence, kind, encrypted",
        },
        "started_at": _table(
            {
                "format": _text("strptime format of the group started_at"),
                "zone": _text(
                    "station: local time of the station's zone; utc; or a fixed offset such as +08:00",
                    pattern="^(station|utc|[+-](0[0-9]|1[0-4]):[0-5][0-9])$",
                ),
            },
            "How the group started_at is read",
            required=("format", "zone"),
        ),
        "kinds": _table(
            dict.fromkeys(
                MEDIA_KINDS, _list(_text("A value of the group kind"), "Values that mean this kind")
            ),
            "How the group kind is read; a value that is not listed says nothing",
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
    _choice(IDENTITY_SOURCES, "Source of a claim"),
    "Sources that are believed. All that say anything must agree; the first of them is named as the source",
)

_MARKER: Final = _table(
    {
        "path": _text("Path of the file from the volume's root, beginning with /", pattern="^/[^*?\\[\\]]+$"),
        "regex": {**_REGEX, "description": "First place in the text; groups recorder, officer, firmware"},
        "encoding": _choice(MARKER_ENCODINGS, "Of its text; gbk covers gb2312 and gb18030"),
    },
    "A file of the recorder that names it; its first 64 KiB are read",
    required=("path", "regex", "encoding"),
)

_IDENTITY: Final = _table(
    {
        "recorder": _SOURCES,
        "officer": _SOURCES,
        "volume_label": {**_REGEX, "description": "Whole label; groups recorder, officer"},
        "marker": _MARKER,
        "unset": _list(
            _text("A number"), "Numbers that units leave the factory with: they mean that nobody set one"
        ),
    },
    "Who the recorder and the officer claim to be",
)

_READING: Final = _table(
    {"order": _list(_choice(READING_KEYS, "Sort key"), "Keys of the order of reading, first decides")},
    "In which order files are read",
    required=("order",),
)

_VERIFIED: Final = _table(
    {
        "model": _text("Maker and model as on the type plate"),
        "firmware": _text("Firmware version as the recorder shows it"),
        "date": _text("Day", pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$", max_length=10),
        "by": _text("Who tried it"),
    },
    "One real unit that was docked, read and released with this version of the profile",
    required=("model", "firmware", "date", "by"),
)

_QUIRK: Final = _table(
    {"word": _choice(QUIRKS, "What is odd"), "why": _WHY},
    "Something the station has to do differently for this family",
    required=("word", "why"),
)

_RELEASE: Final = _table(
    {
        "allowed": {
            "type": "boolean",
            "description": "Whether the station's release setting applies; else never",
        },
        "why": _WHY,
    },
    "Whether files may be erased from recorders of this family. Without this table: allowed",
    required=("allowed", "why"),
)

_SIDECAR: Final = _table(
    {
        "extensions": _list(_EXTENSION, "Of the files that accompany another", min_items=1),
        "of": _list(_choice(MEDIA_KINDS, "Kind"), "Kinds of the files they accompany", min_items=1),
        "named": _choice(
            ("stem", "name"),
            "stem: clip.gps beside clip.mp4; name: clip.mp4.gps beside clip.mp4; letter case does not matter",
        ),
    },
    "Files that belong to a file of the same folder by their name",
    required=("extensions", "of", "named"),
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
            "verified_on": _list(_VERIFIED, "Real units it was tried on; empty: never on real hardware"),
            "quirk": _list(_QUIRK, "Oddities of the family"),
            "use": _list(
                _text("Name of a part", pattern=_SLUG),
                "Parts of shared.toml whose [[ignore]] and [[file_name]] rows come after the profile's own",
            ),
            "match": _MATCH,
            "media": _MEDIA,
            "sidecar": _list(_SIDECAR, "First match decides"),
            "ignore": _list(_IGNORE, "First match decides"),
            "file_name": _list(_FILE_NAME, "First match decides"),
            "mark": _MARK,
            "identity": _IDENTITY,
            "reading": _READING,
            "release": _RELEASE,
            "usb": USB,
        },
        "Facts about how a family of recorders shows its recordings. Unknown keys are refused",
        required=("schema", "id", "version", "title", "match", "media", "reading"),
    ),
}

PART_SCHEMA: Final[_Schema] = _table(
    {
        "ignore": _list(_IGNORE, "Files that are listed but not read"),
        "file_name": _list(_FILE_NAME, "What file names claim"),
    },
    "Rows that several profiles use",
)
