-- What was rebuilt with a parity drive, and from what: JSON, as its dock has reported it.
ALTER TABLE drive ADD COLUMN rebuilt TEXT;
