"""Named limits on everything that arrives from outside, each with its reason."""

from __future__ import annotations

from typing import Final

MAX_ENTRY_BYTES: Final = 65_535
"""Log entry: uint16 length prefix in a tlog-tiles entry bundle (C2SP tlog-tiles)."""

MAX_PAYLOAD_BYTES: Final = 48_000
"""Statement payload: fits, base64-coded and in its envelope, into one 64 KiB MQTT message."""

MAX_ENVELOPE_BYTES: Final = 65_536
"""DSSE envelope: 4/3 of a payload and room for the signature."""

MAX_MESSAGE_BYTES: Final = 262_144
"""Any MQTT message or JSON request body: a receipt with its chain is the largest thing sent."""

MAX_RECEIPT_BYTES: Final = 1_048_576
"""A receipt with its chain of statements and proofs; typical ones are 10 to 20 KiB."""

MAX_JSON_DEPTH: Final = 32
"""Nesting of JSON from outside: our deepest object uses 6 levels; deeper input only exhausts the parser."""

MAX_NOTE_BYTES: Final = 1_000_000
"""Signed note (as Go's sumdb/note)."""

MAX_NOTE_SIGNATURES: Final = 100
"""Signature lines per note: C2SP demands at least 16, Go refuses more than 100."""

MAX_PROOF_HASHES: Final = 63
"""Hashes in one inclusion or consistency proof: the depth of a tree of 2**63 leaves."""

MAX_TREE_SIZE: Final = 2**53 - 1
"""Tree sizes and indices travel as JSON numbers; beyond this RFC 8785 readers disagree."""

MAX_PATH_BYTES: Final = 4096
"""File path on a recorder, PATH_MAX on Linux."""

MAX_TEXT_CHARS: Final = 1024
"""Any free text field: names, reasons, software versions."""

MAX_LISTING_ROWS: Final = 2_000_000
"""Rows of one inventory listing: a 1 TB card full of 500 KB photographs."""

MAX_ORIGINAL_BYTES: Final = 2**40
"""One original: 1 TiB, above what any recorder's file system or card holds."""

MAX_BUNDLE_BYTES: Final = 67_108_864
"""A bundle of small files, refused as a whole when one is wrong: 300 photographs, some seconds on a slow line."""

MAX_SUBJECTS: Final = 16
"""Subjects of one statement; ours have one."""
