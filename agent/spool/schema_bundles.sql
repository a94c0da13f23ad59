-- Journal, version 3: receipts lie many in a file; small blobs travel together. A bundle's members are its deliveries, in the order of purpose and
-- digest, so that a restart makes the same bytes and goes on at the same address. "alone": not to be bundled again.

CREATE TABLE bundles (
    bundle     INTEGER PRIMARY KEY AUTOINCREMENT,
    agency     TEXT NOT NULL,
    upload_url TEXT,
    created_at TEXT NOT NULL,
    closed_at  TEXT
) STRICT;
CREATE INDEX open_bundles ON bundles (bundle) WHERE closed_at IS NULL;

ALTER TABLE deliveries ADD COLUMN bundle INTEGER REFERENCES bundles (bundle);
ALTER TABLE deliveries ADD COLUMN alone INTEGER NOT NULL DEFAULT 0;
CREATE INDEX deliveries_of_bundle ON deliveries (bundle) WHERE bundle IS NOT NULL;

-- What is still to be sent, and what was sent and waits for its receipt: thousands of the one must not slow down
-- looking for the other.
CREATE INDEX loose_deliveries ON deliveries (priority, created_at)
    WHERE receipted_at IS NULL AND uploaded_at IS NULL AND bundle IS NULL;
CREATE INDEX unreceipted_deliveries ON deliveries (uploaded_at)
    WHERE receipted_at IS NULL AND uploaded_at IS NOT NULL;

-- Where a receipt lies in the spool: file number, offset, length. Those of earlier versions lie in a file each.
ALTER TABLE deliveries ADD COLUMN receipt_file INTEGER;
ALTER TABLE deliveries ADD COLUMN receipt_offset INTEGER;
ALTER TABLE deliveries ADD COLUMN receipt_bytes INTEGER;
