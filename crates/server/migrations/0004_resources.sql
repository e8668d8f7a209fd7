-- What the resource manager knows, and /api/v1 does not ask for.

CREATE TABLE resource_group (
    subscription TEXT NOT NULL REFERENCES subscription (id),
    name         TEXT NOT NULL,
    location     TEXT NOT NULL,
    tags         TEXT NOT NULL DEFAULT '{}',
    created_at   TEXT NOT NULL,
    PRIMARY KEY (subscription, name)
) STRICT;
CREATE UNIQUE INDEX resource_group_without_case ON resource_group (subscription, name COLLATE NOCASE);

-- Where a resource lies. Empty in rows that are older than resource groups: the server fills them in when
-- it starts, as only it knows its first subscription. `said` is what the customer wrote, as JSON.
ALTER TABLE vault ADD COLUMN subscription TEXT NOT NULL DEFAULT '';
ALTER TABLE vault ADD COLUMN resource_group TEXT NOT NULL DEFAULT '';
ALTER TABLE vault ADD COLUMN said TEXT NOT NULL DEFAULT '{}';
ALTER TABLE storage_account ADD COLUMN subscription TEXT NOT NULL DEFAULT '';
ALTER TABLE storage_account ADD COLUMN resource_group TEXT NOT NULL DEFAULT '';
ALTER TABLE storage_account ADD COLUMN said TEXT NOT NULL DEFAULT '{}';

-- Whose vault may read a storage account of another subscription: an administrator has said so.
CREATE TABLE account_reader (
    account    TEXT NOT NULL REFERENCES storage_account (name),
    vault      TEXT NOT NULL REFERENCES vault (name),
    created_at TEXT NOT NULL,
    PRIMARY KEY (account, vault)
) STRICT;

-- Import jobs anew, because a job that was made through the resource manager has neither vault nor seed. Its
-- children move first, so that no reference is broken at any moment.
CREATE TABLE import_job_new (
    name            TEXT PRIMARY KEY,
    subscription    TEXT NOT NULL DEFAULT '',
    resource_group  TEXT NOT NULL DEFAULT '',
    -- Counts changes; every UPDATE compares it, so that of two writers one loses and knows it.
    version         INTEGER NOT NULL,
    -- These six together or none.
    vault           TEXT,
    server          TEXT,
    seed            TEXT,
    seed_set        INTEGER,
    container       TEXT,
    request         TEXT,
    storage_account TEXT NOT NULL REFERENCES storage_account (name),
    state           TEXT NOT NULL,
    -- Normalised; unique over all jobs ever, because a parcel is opened by this number alone.
    tracking_number TEXT UNIQUE,
    -- The state machine's value, as it serialises itself.
    flow            TEXT NOT NULL,
    -- What the customer has said beyond that, as JSON.
    said            TEXT NOT NULL DEFAULT '{}',
    inventory       INTEGER NOT NULL DEFAULT 0,
    created_at      TEXT NOT NULL,
    changed_at      TEXT NOT NULL,
    CHECK ((vault IS NULL) = (request IS NULL)),
    FOREIGN KEY (vault, server) REFERENCES server (vault, name)
) STRICT;
INSERT INTO import_job_new (name, version, vault, server, seed, seed_set, container, request,
        storage_account, state, tracking_number, flow, inventory, created_at, changed_at)
    SELECT name, version, vault, server, seed, seed_set, container, request,
        storage_account, state, tracking_number, flow, inventory, created_at, changed_at
    FROM import_job;

CREATE TABLE drive_new (
    job             TEXT NOT NULL REFERENCES import_job_new (name),
    serial          TEXT NOT NULL,
    position        INTEGER NOT NULL,
    -- Of the manifest that its seed announces.
    manifest_sha256 BLOB CHECK (length(manifest_sha256) = 32),
    -- Set once the manifest is stored and its signature verified, with what it announces.
    repository      BLOB,
    objects         INTEGER NOT NULL DEFAULT 0,
    bytes_total     INTEGER NOT NULL DEFAULT 0,
    -- What did not land, as JSON, bounded; and how many.
    failures        TEXT NOT NULL DEFAULT '[]',
    failure_count   INTEGER NOT NULL DEFAULT 0,
    -- 1 while the job is not at its end.
    open            INTEGER NOT NULL,
    -- Both or neither: neither for a drive that is not encrypted, or not a seed's.
    header_sha256   BLOB CHECK (length(header_sha256) = 32),
    key             INTEGER REFERENCES drive_key (id),
    PRIMARY KEY (job, serial)
) STRICT;
INSERT INTO drive_new (job, serial, position, manifest_sha256, repository, objects, bytes_total, failures,
        failure_count, open, header_sha256, key)
    SELECT job, serial, position, manifest_sha256, repository, objects, bytes_total, failures,
        failure_count, open, header_sha256, key
    FROM drive;
DROP TABLE drive;
DROP TABLE import_job;
ALTER TABLE import_job_new RENAME TO import_job;
ALTER TABLE drive_new RENAME TO drive;

CREATE INDEX import_job_by_seed ON import_job (vault, server, seed);
-- A drive set travels once, unless its job has failed: another could only be a mistake.
CREATE UNIQUE INDEX one_live_job_per_set ON import_job (seed, seed_set)
    WHERE state NOT IN ('Canceled', 'Closed');
CREATE UNIQUE INDEX one_open_job_per_drive ON drive (serial) WHERE open = 1;

-- Passwords of drives that another client announced, in whatever form it has them; sealed as drive_key's are,
-- and as little removed with their job: they outlive it.
CREATE TABLE plain_key (
    id             INTEGER PRIMARY KEY,
    subscription   TEXT NOT NULL,
    resource_group TEXT NOT NULL,
    job            TEXT NOT NULL,
    serial         TEXT NOT NULL,
    sealed         BLOB NOT NULL,
    created_at     TEXT NOT NULL
) STRICT;
CREATE INDEX plain_key_by_drive ON plain_key (job, serial);
-- Who was given such a password: the header is not known of them.
CREATE TABLE plain_key_release (
    id      INTEGER PRIMARY KEY,
    at      TEXT NOT NULL,
    subject TEXT NOT NULL,
    job     TEXT NOT NULL,
    serial  TEXT NOT NULL
) STRICT;

-- Every change and every key that was given out: who, what, from where. Only ever added to.
CREATE TABLE audit (
    id      INTEGER PRIMARY KEY,
    at      TEXT NOT NULL,
    subject TEXT NOT NULL,
    -- The address that the request came from.
    origin  TEXT NOT NULL,
    method  TEXT NOT NULL,
    path    TEXT NOT NULL,
    status  INTEGER NOT NULL,
    request TEXT NOT NULL
) STRICT;
CREATE INDEX audit_by_time ON audit (at);

-- What people should hear of a job. Outlives it.
CREATE TABLE notice (
    id       INTEGER PRIMARY KEY,
    at       TEXT NOT NULL,
    job      TEXT NOT NULL,
    vault    TEXT,
    server   TEXT,
    audience TEXT NOT NULL CHECK (audience IN ('customer', 'operator')),
    text     TEXT NOT NULL
) STRICT;
CREATE INDEX notice_by_job ON notice (job);
