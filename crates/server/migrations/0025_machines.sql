-- When an agent has called last, to the minute, and which version it was.
ALTER TABLE server ADD COLUMN heard_at TEXT;
ALTER TABLE server ADD COLUMN version TEXT;
