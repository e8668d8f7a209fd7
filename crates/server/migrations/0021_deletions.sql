-- What a vault's administrator has decided. Days are whole days of 24 hours.
ALTER TABLE vault ADD COLUMN hold_days INTEGER NOT NULL DEFAULT 14;
ALTER TABLE vault ADD COLUMN minimum_retention_days INTEGER NOT NULL DEFAULT 0;
ALTER TABLE vault ADD COLUMN immutability TEXT NOT NULL DEFAULT 'disabled'
    CHECK (immutability IN ('disabled', 'enabled', 'locked'));
-- Bytes; none for no limit.
ALTER TABLE vault ADD COLUMN quota INTEGER;
ALTER TABLE server ADD COLUMN quota INTEGER;

-- What a key holder has asked to have removed. Ids are in the order of requests, in which they are carried out.
CREATE TABLE deletion (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    vault     TEXT NOT NULL,
    server    TEXT NOT NULL,
    -- Whose credentials asked.
    subject   TEXT NOT NULL,
    reason    TEXT NOT NULL,
    -- Plain metadata: the protection group, and the times of its oldest and newest recovery point that go.
    grp       TEXT,
    oldest    TEXT,
    newest    TEXT,
    asked_at  TEXT NOT NULL,
    due_at    TEXT NOT NULL,
    shortened INTEGER NOT NULL DEFAULT 0,
    state     TEXT NOT NULL CHECK (state IN ('held', 'going', 'done', 'undone')),
    -- Why it is not carried out although it is due.
    waits     TEXT,
    ended_at  TEXT,
    -- What was named and there.
    snapshots INTEGER NOT NULL DEFAULT 0,
    indexes   INTEGER NOT NULL DEFAULT 0,
    packs     INTEGER NOT NULL DEFAULT 0,
    bytes     INTEGER NOT NULL DEFAULT 0,
    -- People were told that it is large.
    told      INTEGER NOT NULL DEFAULT 0,
    FOREIGN KEY (vault, server) REFERENCES server (vault, name)
) STRICT;
CREATE INDEX deletion_by_owner ON deletion (vault, server, state, id);

-- Names that are neither listed nor handed out. One that is stored again leaves.
CREATE TABLE held (
    vault    TEXT NOT NULL,
    server   TEXT NOT NULL,
    -- 0 snapshots, 1 indexes, 2 packs: the order of removal.
    kind     INTEGER NOT NULL CHECK (kind BETWEEN 0 AND 2),
    name     BLOB NOT NULL CHECK (length(name) = 32),
    deletion INTEGER NOT NULL REFERENCES deletion (id),
    -- 1 once its file may be gone: it cannot come back any more.
    going    INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (vault, server, kind, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX held_by_deletion ON held (deletion, kind);

-- When a snapshot became visible, by this server's clock. One without a row is as old as its file.
CREATE TABLE arrival (
    vault    TEXT NOT NULL,
    server   TEXT NOT NULL,
    snapshot BLOB NOT NULL CHECK (length(snapshot) = 32),
    at       TEXT NOT NULL,
    PRIMARY KEY (vault, server, snapshot)
) STRICT, WITHOUT ROWID;

-- One for a vault at most: a new one ends the one before.
CREATE TABLE pin (
    vault      TEXT PRIMARY KEY REFERENCES vault (name) ON DELETE CASCADE,
    salt       BLOB NOT NULL CHECK (length(salt) = 32),
    hash       BLOB NOT NULL CHECK (length(hash) = 32),
    expires_at TEXT NOT NULL,
    wrong      INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Notices are of vaults, too.
CREATE TABLE notice_of_any (
    id       INTEGER PRIMARY KEY,
    at       TEXT NOT NULL,
    job      TEXT,
    vault    TEXT,
    server   TEXT,
    audience TEXT NOT NULL CHECK (audience IN ('customer', 'operator')),
    text     TEXT NOT NULL
) STRICT;
INSERT INTO notice_of_any SELECT id, at, job, vault, server, audience, text FROM notice;
DROP TABLE notice;
ALTER TABLE notice_of_any RENAME TO notice;
CREATE INDEX notice_by_job ON notice (job);
