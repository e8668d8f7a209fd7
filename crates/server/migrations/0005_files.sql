-- The application that a vault's credentials file speaks for: it can register machines, and nothing else. Its one
-- certificate is that of the newest file.
CREATE TABLE vault_registration (
    vault       TEXT PRIMARY KEY REFERENCES vault (name) ON DELETE CASCADE,
    application TEXT NOT NULL UNIQUE REFERENCES application (object_id) ON DELETE CASCADE
) STRICT;

-- The application that a registered machine is: it has a certificate of its own, and is the agent of that server.
CREATE TABLE machine (
    vault       TEXT NOT NULL,
    server      TEXT NOT NULL,
    application TEXT NOT NULL UNIQUE REFERENCES application (object_id) ON DELETE CASCADE,
    PRIMARY KEY (vault, server),
    FOREIGN KEY (vault, server) REFERENCES server (vault, name)
) STRICT;
