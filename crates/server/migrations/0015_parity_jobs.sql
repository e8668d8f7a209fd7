-- Parity drives may travel in a job of their own, beside that of their set's data drives.
ALTER TABLE import_job ADD COLUMN parity INTEGER NOT NULL DEFAULT 0;
DROP INDEX one_live_job_per_set;
CREATE UNIQUE INDEX one_live_job_per_set ON import_job (seed, seed_set, parity)
    WHERE state NOT IN ('Canceled', 'Closed');
