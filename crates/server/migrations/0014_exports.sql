-- What an export job brings onto drives, as JSON; none for an import job.
ALTER TABLE import_job ADD COLUMN export TEXT;
