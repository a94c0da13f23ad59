-- Journal, version 1. Times are RFC 3339 UTC with milliseconds, so that text order is time order; digests and
-- statement ids are "sha256:<hex>". Modification times of
-- recorders' files are decimal nanoseconds as text ('' when unknown): file systems can hold more than 64 bits say.

CREATE TABLE visits (
    visit        TEXT PRIMARY KEY,
    dock         TEXT NOT NULL,
    bay          TEXT NOT NULL,
    generation   TEXT NOT NULL,
    recorder_key TEXT NOT NULL,
    profile      TEXT NOT NULL,
    agency       TEXT NOT NULL,
    opened_at    TEXT NOT NULL,
    closed_at    TEXT
) STRICT;
CREATE INDEX open_visits ON visits (dock, bay) WHERE closed_at IS NULL;
CREATE INDEX visits_of_recorder ON visits (recorder_key);

-- The outbox. A row is done only on the collector's signed admission or refusal.
CREATE TABLE statements (
    seq        INTEGER PRIMARY KEY,
    statement  TEXT NOT NULL UNIQUE,
    kind       TEXT NOT NULL,
    agency     TEXT NOT NULL,
    envelope   BLOB NOT NULL,
    created_at TEXT NOT NULL,
    sent_at    TEXT,
    attempts   INTEGER NOT NULL DEFAULT 0,
    outcome    TEXT CHECK (outcome IN ('admitted', 'refused')),
    log_index  INTEGER,
    code       TEXT,
    detail     TEXT,
    settled_at TEXT,
    CHECK ((outcome IS NULL) = (settled_at IS NULL))
) STRICT;
CREATE INDEX unsettled_statements ON statements (seq) WHERE outcome IS NULL;
CREATE INDEX refused_statements ON statements (seq) WHERE outcome = 'refused';

CREATE TABLE inventories (
    statement TEXT PRIMARY KEY REFERENCES statements (statement),
    visit     TEXT NOT NULL REFERENCES visits (visit),
    sequence  INTEGER NOT NULL,
    UNIQUE (visit, sequence)
) STRICT;

-- One row per file of a listing. "relisted" rows were listed again, unchanged, by a later inventory of the visit.
CREATE TABLE rows (
    inventory     TEXT NOT NULL REFERENCES inventories (statement),
    row           INTEGER NOT NULL,
    path          BLOB NOT NULL,
    shown         TEXT NOT NULL,
    size_bytes    INTEGER NOT NULL,
    modified_ns   TEXT NOT NULL,
    state         TEXT NOT NULL CHECK (state IN ('to_read', 'read', 'known', 'unreadable', 'excluded')),
    rule          TEXT,
    manifest      TEXT,
    relisted      INTEGER NOT NULL DEFAULT 0,
    order_1       INTEGER NOT NULL,
    order_2       INTEGER NOT NULL,
    PRIMARY KEY (inventory, row),
    CHECK ((manifest IS NOT NULL) = (state IN ('read', 'known'))),
    CHECK ((rule IS NOT NULL) = (state IN ('unreadable', 'excluded')))
) STRICT, WITHOUT ROWID;
CREATE INDEX rows_to_read ON rows (inventory, order_1, order_2, row) WHERE state = 'to_read';
CREATE INDEX rows_by_path ON rows (inventory, path);
CREATE INDEX paths_to_read ON rows (path) WHERE state = 'to_read';

-- What was read before, by the file's identity on its recorder: such files are not read again.
CREATE TABLE reads (
    recorder_key TEXT NOT NULL,
    path         BLOB NOT NULL,
    size_bytes   INTEGER NOT NULL,
    modified_ns  TEXT NOT NULL,
    manifest     TEXT NOT NULL REFERENCES statements (statement),
    PRIMARY KEY (recorder_key, path, size_bytes, modified_ns)
) STRICT, WITHOUT ROWID;

-- Reads that are not finished. They outlive the visit: the recorder may come back.
CREATE TABLE partials (
    recorder_key    TEXT NOT NULL,
    path            BLOB NOT NULL,
    size_bytes      INTEGER NOT NULL,
    modified_ns     TEXT NOT NULL,
    name            TEXT NOT NULL UNIQUE,
    durable_bytes   INTEGER NOT NULL DEFAULT 0,
    prefix          TEXT,
    attempts        INTEGER NOT NULL DEFAULT 0,
    resumed         INTEGER NOT NULL DEFAULT 0,
    read_started_at TEXT NOT NULL,
    upload_url      TEXT,
    PRIMARY KEY (recorder_key, path, size_bytes, modified_ns),
    CHECK ((durable_bytes = 0) = (prefix IS NULL))
) STRICT, WITHOUT ROWID;

-- Content-addressed files in the spool.
CREATE TABLE blobs (
    purpose    TEXT NOT NULL,
    digest     TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    added_at   TEXT NOT NULL,
    evicted_at TEXT,
    PRIMARY KEY (purpose, digest)
) STRICT, WITHOUT ROWID;

CREATE TABLE deliveries (
    statement    TEXT PRIMARY KEY REFERENCES statements (statement),
    purpose      TEXT NOT NULL,
    agency       TEXT NOT NULL,
    digest       TEXT NOT NULL,
    size_bytes   INTEGER NOT NULL,
    priority     INTEGER NOT NULL,
    created_at   TEXT NOT NULL,
    upload_url   TEXT,
    uploaded_at  TEXT,
    receipted_at TEXT,
    FOREIGN KEY (purpose, digest) REFERENCES blobs (purpose, digest)
) STRICT;
CREATE INDEX open_deliveries ON deliveries (priority, created_at) WHERE receipted_at IS NULL;
CREATE INDEX deliveries_of_blob ON deliveries (purpose, digest);

CREATE TABLE media_jobs (
    manifest   TEXT PRIMARY KEY REFERENCES statements (statement),
    agency     TEXT NOT NULL,
    digest     TEXT NOT NULL,
    size_bytes INTEGER NOT NULL,
    media_type TEXT NOT NULL,
    recorder   TEXT,
    created_at TEXT NOT NULL,
    attempts   INTEGER NOT NULL DEFAULT 0,
    closed_at  TEXT
) STRICT;
CREATE INDEX open_media_jobs ON media_jobs (created_at) WHERE closed_at IS NULL;
CREATE INDEX media_jobs_of_original ON media_jobs (digest) WHERE closed_at IS NULL;

-- Signed facts and renditions recorded for a job that may still be interrupted.
CREATE TABLE media_results (
    manifest  TEXT NOT NULL REFERENCES media_jobs (manifest),
    statement TEXT NOT NULL REFERENCES statements (statement),
    PRIMARY KEY (manifest, statement)
) STRICT, WITHOUT ROWID;

-- The last checkpoint this station has verified: it makes the station a witness of the log.
CREATE TABLE last_checkpoint (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    note BLOB NOT NULL
) STRICT;
