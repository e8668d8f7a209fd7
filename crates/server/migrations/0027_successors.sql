-- Keys that sign the revisions of a seed in the place of its drives' signer, as the source server has said by its
-- certificate; the newest counts. The statement is kept as it was signed.
CREATE TABLE successor (
    number      INTEGER PRIMARY KEY AUTOINCREMENT,
    vault       TEXT NOT NULL,
    server      TEXT NOT NULL,
    seed        TEXT NOT NULL,
    -- ed25519, public.
    key         BLOB NOT NULL CHECK (length(key) = 32),
    -- The SHA-256 of the certificate whose key has signed the statement.
    certificate BLOB NOT NULL CHECK (length(certificate) = 32),
    statement   TEXT NOT NULL,
    named_at    TEXT NOT NULL,
    FOREIGN KEY (vault, server) REFERENCES server (vault, name) ON DELETE CASCADE
) STRICT;

CREATE INDEX successor_seed ON successor (vault, server, seed, number);

-- Who has signed it; NULL, of earlier versions, for the signer of the drives.
ALTER TABLE revision ADD COLUMN signer BLOB CHECK (signer IS NULL OR length(signer) = 32);
