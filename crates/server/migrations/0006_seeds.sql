-- Seeds that are complete in staging, as their source servers announce them. Another computer may write their
-- drives then.
CREATE TABLE seed (
    id              TEXT PRIMARY KEY,
    vault           TEXT NOT NULL,
    server          TEXT NOT NULL,
    storage_account TEXT NOT NULL REFERENCES storage_account (name) ON DELETE CASCADE,
    -- What the source server has said, as JSON.
    said            TEXT NOT NULL,
    announced_at    TEXT NOT NULL,
    FOREIGN KEY (vault, server) REFERENCES server (vault, name) ON DELETE CASCADE
) STRICT;

-- Tokens of copy computers: each for one seed, and good as long as the application that asked for it may change what
-- lies where the seed's storage account does. Only the hash is kept.
CREATE TABLE copy_computer (
    token_sha256 BLOB PRIMARY KEY CHECK (length(token_sha256) = 32),
    seed         TEXT NOT NULL REFERENCES seed (id) ON DELETE CASCADE,
    application  TEXT NOT NULL REFERENCES application (object_id) ON DELETE CASCADE,
    created_at   TEXT NOT NULL
) STRICT;
CREATE INDEX copy_computer_by_seed ON copy_computer (seed);
