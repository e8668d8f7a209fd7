-- The custody log of each seed: only ever added to, in the order in which entries came. A log outlives the jobs and
-- the announcement of its seed.
CREATE TABLE custody_entry (
    seed   TEXT NOT NULL,
    -- Of all entries of the seed, from 0.
    place  INTEGER NOT NULL,
    -- Who wrote it: the first key that comes under a name is the only one.
    kind   TEXT NOT NULL,
    name   TEXT NOT NULL,
    key    BLOB NOT NULL CHECK (length(key) = 32),
    -- Of that actor's entries, from 0; and the hash by which the next one names it.
    number INTEGER NOT NULL,
    hash   BLOB NOT NULL CHECK (length(hash) = 32),
    -- The entry with both signatures, as it stands in the log.
    line   TEXT NOT NULL,
    PRIMARY KEY (seed, place)
) STRICT;
CREATE UNIQUE INDEX one_custody_entry_per_number ON custody_entry (seed, kind, name, number);
