-- Where an account's objects are: a name from the operator's configuration. Never changed, as nothing moves them.
ALTER TABLE storage_account ADD COLUMN backend TEXT NOT NULL DEFAULT 'default';
