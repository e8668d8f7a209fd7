-- Hosts that prune a source server's repository in its stead have tokens, too.
CREATE TABLE principal_of_any (
    subject      TEXT PRIMARY KEY,
    user_name    TEXT NOT NULL,
    role         TEXT NOT NULL CHECK (role IN ('admin', 'agent', 'dock', 'maintenance')),
    vault        TEXT,
    server       TEXT,
    token_sha256 BLOB NOT NULL UNIQUE CHECK (length(token_sha256) = 32),
    created_at   TEXT NOT NULL,
    CHECK ((role IN ('agent', 'maintenance')) = (vault IS NOT NULL AND server IS NOT NULL)),
    FOREIGN KEY (vault, server) REFERENCES server (vault, name)
) STRICT;
INSERT INTO principal_of_any SELECT subject, user_name, role, vault, server, token_sha256, created_at FROM principal;
DROP TABLE principal;
ALTER TABLE principal_of_any RENAME TO principal;
CREATE INDEX principal_by_user ON principal (user_name);
