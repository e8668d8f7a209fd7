-- Passwords of drives, sealed by the key in drives.key. A row is never changed nor removed, and no row
-- depends on an import job: a job may expire, be cancelled, close and lose its record while its drives
-- are somewhere. A drive that is announced again with the same header and password has the same row.
CREATE TABLE drive_key (
    id            INTEGER PRIMARY KEY,
    vault         TEXT NOT NULL,
    server        TEXT NOT NULL,
    seed          TEXT NOT NULL,
    serial        TEXT NOT NULL,
    -- Of the LUKS2 header area that the password opens.
    header_sha256 BLOB NOT NULL CHECK (length(header_sha256) = 32),
    sealed        BLOB NOT NULL,
    created_at    TEXT NOT NULL,
    FOREIGN KEY (vault, server) REFERENCES server (vault, name)
) STRICT;
CREATE INDEX drive_key_by_drive ON drive_key (vault, server, seed, serial, header_sha256);

-- Both or neither: neither for a drive that is not encrypted.
ALTER TABLE drive ADD COLUMN header_sha256 BLOB CHECK (length(header_sha256) = 32);
ALTER TABLE drive ADD COLUMN key INTEGER REFERENCES drive_key (id);

-- Who was given a password, and who was not because the drive had another header than announced:
-- written before the password goes out. Outlives the job, as the keys do.
CREATE TABLE key_release (
    id            INTEGER PRIMARY KEY,
    at            TEXT NOT NULL,
    -- The subject of the caller's token.
    subject       TEXT NOT NULL,
    vault         TEXT NOT NULL,
    server        TEXT NOT NULL,
    job           TEXT NOT NULL,
    serial        TEXT NOT NULL,
    header_sha256 BLOB NOT NULL CHECK (length(header_sha256) = 32),
    granted       INTEGER NOT NULL CHECK (granted IN (0, 1))
) STRICT;
CREATE INDEX key_release_by_job ON key_release (job);
