-- Key files of published repositories that are to be removed, and stay as they are until then.
CREATE TABLE key_removal (
    vault    TEXT NOT NULL,
    server   TEXT NOT NULL,
    -- SHA-256 in hex: the file's name.
    key      TEXT NOT NULL,
    asked_at TEXT NOT NULL,
    due_at   TEXT NOT NULL,
    PRIMARY KEY (vault, server, key),
    FOREIGN KEY (vault, server) REFERENCES server (vault, name)
) STRICT;
CREATE INDEX key_removal_by_due ON key_removal (due_at);
