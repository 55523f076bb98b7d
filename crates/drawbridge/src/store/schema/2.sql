-- People: whose repositories these are, and who may do what in them.

-- Who owns the repositories whose names begin with this name. `quota`, `used`: bytes of their blobs and manifests, each counted
-- once in each repository.
CREATE TABLE organisations (
    name {TEXT} PRIMARY KEY,
    quota BIGINT,
    used BIGINT NOT NULL
);

-- Of a repository that a member of an organisation made: public, private or confidential. Without it, the settings say.
ALTER TABLE repositories ADD COLUMN access {TEXT};
-- The digest of the key that owns it, if it is confidential.
ALTER TABLE repositories ADD COLUMN owner {TEXT};

-- Who logged in at least once, as his issuer names him. `email`: one that the issuer has verified.
CREATE TABLE people (
    id {TEXT} PRIMARY KEY,
    issuer {TEXT} NOT NULL,
    subject {TEXT} NOT NULL,
    email {TEXT},
    seen BIGINT NOT NULL,
    UNIQUE (issuer, subject)
);

-- Who is in an organisation; `kind` says what he is known by, subject or email. He need not have logged in before.
CREATE TABLE members (
    organisation {TEXT} NOT NULL REFERENCES organisations (name),
    issuer {TEXT} NOT NULL,
    kind {TEXT} NOT NULL,
    value {TEXT} NOT NULL,
    role {TEXT} NOT NULL,
    PRIMARY KEY (organisation, issuer, kind, value)
);
CREATE INDEX members_value ON members (issuer, kind, value);

-- API tokens, of which only the digest is kept: of a person, or of an organisation. `role`: the most that it may. `session`:
-- it was given for a login, so that it may make and revoke others.
CREATE TABLE tokens (
    id {TEXT} PRIMARY KEY,
    sha256 {TEXT} NOT NULL UNIQUE,
    person {TEXT} REFERENCES people (id),
    organisation {TEXT} REFERENCES organisations (name),
    name {TEXT} NOT NULL,
    session BIGINT NOT NULL,
    role {TEXT} NOT NULL,
    scopes {TEXT} NOT NULL,
    created BIGINT NOT NULL,
    expires BIGINT NOT NULL
);
CREATE INDEX tokens_person ON tokens (person, id);
CREATE INDEX tokens_organisation ON tokens (organisation, id);
CREATE INDEX tokens_expires ON tokens (expires);

-- ID tokens that somebody logged in with: each does so once.
CREATE TABLE spent (
    sha256 {TEXT} PRIMARY KEY,
    until BIGINT NOT NULL
);
CREATE INDEX spent_until ON spent (until);
