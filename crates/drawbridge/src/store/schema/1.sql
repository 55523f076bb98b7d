-- What the Drawbridge knows, but for the bytes of blobs (content.rs). One text for both databases: {TEXT} compares by bytes,
-- {BYTES} is bytes. Foreign keys are the invariant: what is referred to cannot go, whoever deletes beside whom.

-- Keys that all Drawbridges of this store share, by name, in hex.
CREATE TABLE keys (
    name {TEXT} PRIMARY KEY,
    value {TEXT} NOT NULL
);

CREATE TABLE repositories (
    name {TEXT} PRIMARY KEY
);

-- Bytes by digest, once for all repositories: in `inline`, or in objects "NAME:SIZE NAME:SIZE" in this order.
CREATE TABLE blobs (
    digest {TEXT} PRIMARY KEY,
    size BIGINT NOT NULL,
    inline {BYTES},
    objects {TEXT} NOT NULL
);

-- This repository has this blob. `touched`: when somebody last asked for it in order to refer to it.
CREATE TABLE links (
    repository {TEXT} NOT NULL REFERENCES repositories (name),
    digest {TEXT} NOT NULL REFERENCES blobs (digest),
    touched BIGINT NOT NULL,
    PRIMARY KEY (repository, digest)
);
CREATE INDEX links_digest ON links (digest);

CREATE TABLE manifests (
    repository {TEXT} NOT NULL REFERENCES repositories (name),
    digest {TEXT} NOT NULL,
    media_type {TEXT} NOT NULL,
    artifact_type {TEXT},
    subject {TEXT},
    annotations {TEXT},
    content {BYTES} NOT NULL,
    size BIGINT NOT NULL,
    pushed BIGINT NOT NULL,
    PRIMARY KEY (repository, digest)
);
CREATE INDEX manifests_subject ON manifests (repository, subject, digest);

-- Who pushed it here, blob or manifest: what a writer may learn of a confidential repository.
CREATE TABLE pushed (
    repository {TEXT} NOT NULL REFERENCES repositories (name),
    digest {TEXT} NOT NULL,
    writer {TEXT} NOT NULL,
    PRIMARY KEY (repository, digest, writer)
);

-- What a manifest refers to.
CREATE TABLE manifest_blobs (
    repository {TEXT} NOT NULL,
    manifest {TEXT} NOT NULL,
    blob {TEXT} NOT NULL,
    PRIMARY KEY (repository, manifest, blob),
    FOREIGN KEY (repository, manifest) REFERENCES manifests (repository, digest) ON DELETE CASCADE,
    FOREIGN KEY (repository, blob) REFERENCES links (repository, digest)
);
CREATE INDEX manifest_blobs_blob ON manifest_blobs (repository, blob);
CREATE TABLE manifest_children (
    repository {TEXT} NOT NULL,
    manifest {TEXT} NOT NULL,
    child {TEXT} NOT NULL,
    PRIMARY KEY (repository, manifest, child),
    FOREIGN KEY (repository, manifest) REFERENCES manifests (repository, digest) ON DELETE CASCADE,
    FOREIGN KEY (repository, child) REFERENCES manifests (repository, digest)
);
CREATE INDEX manifest_children_child ON manifest_children (repository, child);

CREATE TABLE tags (
    repository {TEXT} NOT NULL,
    tag {TEXT} NOT NULL,
    digest {TEXT} NOT NULL,
    PRIMARY KEY (repository, tag),
    FOREIGN KEY (repository, digest) REFERENCES manifests (repository, digest) ON DELETE CASCADE
);
CREATE INDEX tags_digest ON tags (repository, digest);

-- The release policy in force, apart from the tags, so that only the check of a policy ever writes it.
CREATE TABLE policies (
    repository {TEXT} PRIMARY KEY,
    digest {TEXT} NOT NULL,
    FOREIGN KEY (repository, digest) REFERENCES manifests (repository, digest)
);

-- What left a confidential repository, written before the first byte of it left. Only ever added to.
CREATE TABLE releases (
    id {TEXT} PRIMARY KEY,
    at BIGINT NOT NULL,
    repository {TEXT} NOT NULL,
    workload {TEXT} NOT NULL,
    what {TEXT} NOT NULL,
    digest {TEXT} NOT NULL,
    serial {TEXT} NOT NULL,
    keep {TEXT} NOT NULL,
    policy BIGINT NOT NULL
);
CREATE INDEX releases_at ON releases (repository, at);

-- Uploads in flight. `hash`: the state of SHA-256 over what is in `objects` or `inline`. `writing`: the object that a request fills now;
-- who finds another one there than his own has lost the upload. `touched`: when it last got on.
CREATE TABLE uploads (
    id {TEXT} PRIMARY KEY,
    repository {TEXT} NOT NULL REFERENCES repositories (name),
    writer {TEXT} NOT NULL,
    size BIGINT NOT NULL,
    hash {TEXT} NOT NULL,
    inline {BYTES},
    objects {TEXT} NOT NULL,
    writing {TEXT},
    touched BIGINT NOT NULL
);
CREATE INDEX uploads_touched ON uploads (touched);
CREATE INDEX uploads_writer ON uploads (writer);

-- Objects that nothing refers to any more. A name is used once, so nothing ever will.
CREATE TABLE garbage (
    object {TEXT} PRIMARY KEY,
    since BIGINT NOT NULL
);
