-- A row for each restore by this agent, written when it begins.
CREATE TABLE restored (
    id       INTEGER PRIMARY KEY,
    grp      TEXT,                        -- the group of the recovery point, where that names one
    snapshot TEXT NOT NULL,
    target   TEXT,                        -- none for the original place
    started  INTEGER NOT NULL,
    ended    INTEGER,
    state    TEXT NOT NULL,               -- running, done, partial, failed, interrupted
    message  TEXT,
    files    INTEGER NOT NULL DEFAULT 0,
    bytes    INTEGER NOT NULL DEFAULT 0,  -- written
    problems INTEGER NOT NULL DEFAULT 0
) STRICT;
