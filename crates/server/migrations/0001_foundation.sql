-- Times are RFC 3339 text in UTC, digests and keys are blobs of their own length, states are the
-- words of the wire. What decides (a state, a version, a name that must be unique) is a column;
-- what is only carried is JSON, because nobody searches in it.

CREATE TABLE storage_account (
    name       TEXT PRIMARY KEY,
    created_at TEXT NOT NULL
) STRICT;

-- Names of vaults and source servers are compared without case by people and by other clouds'
-- tools: two that differ in case only would be taken for each other.
CREATE TABLE vault (
    name       TEXT PRIMARY KEY,
    created_at TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX vault_without_case ON vault (name COLLATE NOCASE);

CREATE TABLE server (
    vault      TEXT NOT NULL REFERENCES vault (name),
    name       TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (vault, name)
) STRICT;
CREATE UNIQUE INDEX server_without_case ON server (vault, name COLLATE NOCASE);

-- Who may call. Only the hash of a token is kept, so that a copy of the database opens nothing.
-- One row for each subject: a new token ends the old one.
CREATE TABLE principal (
    subject      TEXT PRIMARY KEY,
    user_name    TEXT NOT NULL,
    role         TEXT NOT NULL CHECK (role IN ('admin', 'agent', 'dock')),
    vault        TEXT,
    server       TEXT,
    token_sha256 BLOB NOT NULL UNIQUE CHECK (length(token_sha256) = 32),
    created_at   TEXT NOT NULL,
    CHECK ((role = 'agent') = (vault IS NOT NULL AND server IS NOT NULL)),
    FOREIGN KEY (vault, server) REFERENCES server (vault, name)
) STRICT;
CREATE INDEX principal_by_user ON principal (user_name);

CREATE TABLE import_job (
    name            TEXT PRIMARY KEY,
    -- Counts changes; every UPDATE compares it, so that of two writers one loses and knows it.
    version         INTEGER NOT NULL,
    vault           TEXT NOT NULL,
    server          TEXT NOT NULL,
    seed            TEXT NOT NULL,
    seed_set        INTEGER NOT NULL,
    storage_account TEXT NOT NULL REFERENCES storage_account (name),
    container       TEXT NOT NULL,
    state           TEXT NOT NULL,
    -- Normalised; unique over all jobs ever, because a parcel is opened by this number alone.
    tracking_number TEXT UNIQUE,
    -- The state machine's value, as it serialises itself.
    flow            TEXT NOT NULL,
    -- What the customer has said, as JSON.
    request         TEXT NOT NULL,
    inventory       INTEGER NOT NULL DEFAULT 0,
    created_at      TEXT NOT NULL,
    changed_at      TEXT NOT NULL,
    FOREIGN KEY (vault, server) REFERENCES server (vault, name)
) STRICT;
CREATE INDEX import_job_by_seed ON import_job (vault, server, seed);
-- A drive set travels once, unless its job has failed: another could only be a mistake.
CREATE UNIQUE INDEX one_live_job_per_set ON import_job (seed, seed_set)
    WHERE state NOT IN ('Canceled', 'Closed');

CREATE TABLE drive (
    job             TEXT NOT NULL REFERENCES import_job (name),
    serial          TEXT NOT NULL,
    position        INTEGER NOT NULL,
    manifest_sha256 BLOB NOT NULL CHECK (length(manifest_sha256) = 32),
    -- Set once the manifest is stored and its signature verified, with what it announces.
    repository      BLOB,
    objects         INTEGER NOT NULL DEFAULT 0,
    bytes_total     INTEGER NOT NULL DEFAULT 0,
    -- What did not land, as JSON, bounded; and how many.
    failures        TEXT NOT NULL DEFAULT '[]',
    failure_count   INTEGER NOT NULL DEFAULT 0,
    -- 1 while the job is not at its end.
    open            INTEGER NOT NULL,
    PRIMARY KEY (job, serial)
) STRICT;
CREATE UNIQUE INDEX one_open_job_per_drive ON drive (serial) WHERE open = 1;

-- One row for each seed that was asked to be published. The lease says which process works on it;
-- progress itself is not here: storage alone says how far it is.
CREATE TABLE publication (
    vault       TEXT NOT NULL,
    server      TEXT NOT NULL,
    seed        TEXT NOT NULL,
    state       TEXT NOT NULL,
    root        BLOB,
    holder      TEXT,
    lease_until TEXT,
    -- The last status as JSON.
    status      TEXT NOT NULL,
    asked_at    TEXT NOT NULL,
    PRIMARY KEY (vault, server, seed),
    FOREIGN KEY (vault, server) REFERENCES server (vault, name)
) STRICT;

-- Receipts are never changed nor removed: staging at the source is cleaned on their strength.
CREATE TABLE receipt (
    vault      TEXT NOT NULL,
    server     TEXT NOT NULL,
    seed       TEXT NOT NULL,
    document   TEXT NOT NULL,
    public_key BLOB NOT NULL,
    signature  BLOB NOT NULL,
    issued_at  TEXT NOT NULL,
    PRIMARY KEY (vault, server, seed)
) STRICT;
