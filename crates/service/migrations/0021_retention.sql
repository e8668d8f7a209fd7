-- What a group's rules have decided of its recovery points, each time they were applied.
CREATE TABLE retention (
    id        INTEGER PRIMARY KEY,
    grp       TEXT NOT NULL,
    cause     TEXT NOT NULL,                 -- schedule, command
    started   INTEGER NOT NULL,
    ended     INTEGER,
    state     TEXT NOT NULL,                 -- running, done, waiting, failed, interrupted
    message   TEXT,
    pruned    INTEGER NOT NULL,              -- whether unneeded data was to go, too
    kept      INTEGER NOT NULL DEFAULT 0,
    forgotten INTEGER NOT NULL DEFAULT 0,
    freed     INTEGER NOT NULL DEFAULT 0,    -- bytes, once what was asked for is carried out
    deletion  INTEGER,                       -- its number at the vault
    due       INTEGER
) STRICT;
CREATE INDEX retention_of_group ON retention (grp, id);

CREATE TABLE decision (
    retention INTEGER NOT NULL REFERENCES retention (id) ON DELETE CASCADE,
    snapshot  TEXT NOT NULL,
    time      INTEGER NOT NULL,
    why       TEXT                           -- why it is kept; none where it goes
) STRICT;
CREATE INDEX decision_of_retention ON decision (retention);
