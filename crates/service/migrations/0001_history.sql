-- Times are milliseconds since 1970 in UTC: they are compared and subtracted. States are words.

CREATE TABLE run (
    id         INTEGER PRIMARY KEY,
    grp        TEXT NOT NULL,
    cause      TEXT NOT NULL,             -- schedule, retry, command
    scheduled  INTEGER,                   -- the time in the schedule that it is for
    attempt    INTEGER NOT NULL,          -- 1 for the first
    started    INTEGER NOT NULL,
    ended      INTEGER,
    state      TEXT NOT NULL,             -- running, done, partial, waiting, failed, interrupted, skipped
    kind       TEXT,                      -- of the error, where it failed
    message    TEXT,
    place      TEXT,                      -- staging or vault
    snapshot   TEXT,
    seed       TEXT,
    files      INTEGER NOT NULL DEFAULT 0,
    bytes      INTEGER NOT NULL DEFAULT 0,   -- read
    added      INTEGER NOT NULL DEFAULT 0,   -- new in the repository, as stored there
    problems   INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX run_of_group ON run (grp, id);
CREATE INDEX run_scheduled ON run (grp, scheduled);

-- What a run left out: the first of them, by name.
CREATE TABLE problem (
    run  INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    path TEXT NOT NULL,
    why  TEXT NOT NULL
) STRICT;
CREATE INDEX problem_of_run ON problem (run);

-- One row for what is wrong, however often it shows.
CREATE TABLE alert (
    key      TEXT PRIMARY KEY,
    severity TEXT NOT NULL,               -- warning, error
    text     TEXT NOT NULL,
    opened   INTEGER NOT NULL,
    last     INTEGER NOT NULL,
    count    INTEGER NOT NULL,
    told     INTEGER NOT NULL,            -- how much of the count was told
    told_at  INTEGER,
    closed   INTEGER
) STRICT;

-- Messages on their way, one row a channel.
CREATE TABLE outbox (
    id       INTEGER PRIMARY KEY,
    channel  TEXT NOT NULL,
    made     INTEGER NOT NULL,
    message  TEXT NOT NULL,               -- JSON
    attempts INTEGER NOT NULL,
    next     INTEGER NOT NULL,
    error    TEXT
) STRICT;

CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) STRICT;
