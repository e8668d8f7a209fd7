-- Whether the revision leaves out a snapshot of the list before it; NULL, of earlier versions, where that is not known.
ALTER TABLE revision ADD COLUMN repaired INTEGER CHECK (repaired IS NULL OR repaired IN (0, 1));
