-- Seeds that nobody goes on with: never published, and in the way of nothing.
CREATE TABLE abandoned_seed (
    vault        TEXT NOT NULL,
    server       TEXT NOT NULL,
    seed         TEXT NOT NULL,
    -- Whose credentials said so.
    subject      TEXT NOT NULL,
    abandoned_at TEXT NOT NULL,
    PRIMARY KEY (vault, server, seed),
    FOREIGN KEY (vault, server) REFERENCES server (vault, name) ON DELETE CASCADE
) STRICT;
