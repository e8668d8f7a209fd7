-- When a seed was announced, and when a copy computer was given its credentials, by the time that was seen to pass. None: from before
-- it was kept, when both clocks are taken to be the same.
ALTER TABLE seed ADD COLUMN announced_seen TEXT;
ALTER TABLE copy_computer ADD COLUMN created_seen TEXT;
