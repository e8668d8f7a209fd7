-- What a seed consists of, where that is not what its drives say: each revision follows on the one before, and the newest
-- counts. The documents themselves are in the object store, by their hashes.
CREATE TABLE revision (
    vault   TEXT NOT NULL,
    server  TEXT NOT NULL,
    seed    TEXT NOT NULL,
    -- From 1.
    number  INTEGER NOT NULL,
    sha256  BLOB NOT NULL CHECK (length(sha256) = 32),
    -- Over its objects.
    root    BLOB NOT NULL CHECK (length(root) = 32),
    objects INTEGER NOT NULL,
    bytes   INTEGER NOT NULL,
    kept_at TEXT NOT NULL,
    PRIMARY KEY (vault, server, seed, number),
    FOREIGN KEY (vault, server) REFERENCES server (vault, name) ON DELETE CASCADE
) STRICT;
