-- Release: what may be erased from recorders, and what became of it.

-- What a file was when the whole of it was read. A session is one visit watched without interruption: neither the
-- agent nor the recorder was away. Inodes are decimal text: they have 64 bits without a sign.
CREATE TABLE read_as (
    manifest    TEXT PRIMARY KEY REFERENCES statements (statement),
    session     TEXT NOT NULL,
    size_bytes  INTEGER NOT NULL,
    modified_ns TEXT NOT NULL,
    inode       TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- "begun" is written before the first erasure, "unsure" when the volume did not confirm that erasures are durable:
-- only another mount's listing may then close the intent. Closed without "released": refused, nothing was erased.
CREATE TABLE release_intents (
    statement  TEXT PRIMARY KEY REFERENCES statements (statement),
    visit      TEXT NOT NULL REFERENCES visits (visit),
    inventory  TEXT NOT NULL REFERENCES inventories (statement),
    generation TEXT NOT NULL,
    created_at TEXT NOT NULL,
    begun_at   TEXT,
    unsure_at  TEXT,
    closed_at  TEXT,
    released   TEXT REFERENCES statements (statement),
    CHECK (released IS NULL OR closed_at IS NOT NULL)
) STRICT;
CREATE INDEX open_release_intents ON release_intents (visit) WHERE closed_at IS NULL;
CREATE INDEX release_intents_of_visit ON release_intents (visit);

-- "kept" is the code why a file is still there, '' for one that is gone; null while its intent is open.
CREATE TABLE release_items (
    intent   TEXT NOT NULL REFERENCES release_intents (statement),
    row      INTEGER NOT NULL,
    manifest TEXT NOT NULL REFERENCES statements (statement),
    kept     TEXT,
    PRIMARY KEY (intent, row)
) STRICT, WITHOUT ROWID;
