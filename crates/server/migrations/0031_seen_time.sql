-- Time that this server has seen pass while it ran, as a moment: it begins at its clock's, and goes on by a clock that nobody sets.
CREATE TABLE seen_time (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at TEXT NOT NULL
) STRICT;

-- The same moments by that time. None: from before it was counted, when both were the same.
ALTER TABLE deletion ADD COLUMN asked_seen TEXT;
ALTER TABLE deletion ADD COLUMN due_seen TEXT;
ALTER TABLE arrival ADD COLUMN seen TEXT;
ALTER TABLE key_removal ADD COLUMN due_seen TEXT;
