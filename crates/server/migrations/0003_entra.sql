-- Who this server is to Azure's clients, and the applications that may call it with certificates or
-- secrets. Ids are GUIDs in lower case.

-- Subscriptions, each a container of resource groups.
CREATE TABLE subscription (
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;

-- An application and, once it is one that may call, its service principal: the object that grants
-- name. Without one it gets no token.
CREATE TABLE application (
    object_id         TEXT PRIMARY KEY,
    app_id            TEXT NOT NULL UNIQUE,
    display_name      TEXT NOT NULL,
    service_principal TEXT UNIQUE,
    -- Object id of the service principal that made it. It may be gone; then nobody is the owner.
    owner             TEXT NOT NULL,
    created_at        TEXT NOT NULL
) STRICT;

-- One row, drawn at the first start and never changed: clients have these ids in their files.
CREATE TABLE instance (
    one                INTEGER PRIMARY KEY CHECK (one = 1),
    tenant             TEXT NOT NULL,
    first_subscription TEXT NOT NULL REFERENCES subscription (id),
    -- The server's own application, whose certificate is in the data folder.
    admin_application  TEXT NOT NULL REFERENCES application (object_id)
) STRICT;

-- Certificates that an application's assertions may be signed with. A row that goes ends the tokens
-- that were given for it.
CREATE TABLE app_certificate (
    key_id       TEXT PRIMARY KEY,
    application  TEXT NOT NULL REFERENCES application (object_id) ON DELETE CASCADE,
    der          BLOB NOT NULL,
    sha1         BLOB NOT NULL CHECK (length(sha1) = 20),
    sha256       BLOB NOT NULL CHECK (length(sha256) = 32),
    -- As the caller has named it, or the SHA-1 thumbprint.
    custom_id    TEXT NOT NULL,
    display_name TEXT NOT NULL,
    starts_at    TEXT NOT NULL,
    ends_at      TEXT NOT NULL
) STRICT;
CREATE INDEX app_certificate_by_application ON app_certificate (application);

-- Secrets were shown once; only their hashes are kept, and the first characters, for people to tell
-- them apart.
CREATE TABLE app_secret (
    key_id       TEXT PRIMARY KEY,
    application  TEXT NOT NULL REFERENCES application (object_id) ON DELETE CASCADE,
    sha256       BLOB NOT NULL UNIQUE CHECK (length(sha256) = 32),
    hint         TEXT NOT NULL,
    display_name TEXT NOT NULL,
    starts_at    TEXT NOT NULL,
    ends_at      TEXT NOT NULL
) STRICT;
CREATE INDEX app_secret_by_application ON app_secret (application);

-- What a service principal may do, and where: a role at a scope, for all below it.
CREATE TABLE role_grant (
    id         TEXT PRIMARY KEY,
    principal  TEXT NOT NULL REFERENCES application (service_principal),
    role       TEXT NOT NULL CHECK (role IN ('Owner', 'Contributor', 'Reader')),
    -- A resource manager path, as it was written; compared without case. '/' is everything.
    scope      TEXT NOT NULL,
    created_at TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX one_grant ON role_grant (principal, role, scope COLLATE NOCASE);

-- Assertions that were taken, until they would be refused for their age anyway. One is taken once for
-- each resource: some clients keep an assertion for minutes and ask for several resources with it.
CREATE TABLE assertion_seen (
    application TEXT NOT NULL REFERENCES application (object_id) ON DELETE CASCADE,
    jti         TEXT NOT NULL,
    resource    TEXT NOT NULL,
    until       TEXT NOT NULL,
    PRIMARY KEY (application, jti, resource)
) STRICT;
CREATE INDEX assertion_seen_by_end ON assertion_seen (until);
