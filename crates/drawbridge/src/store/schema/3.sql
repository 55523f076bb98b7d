-- Secrets for workloads. `sealed` is a value under a key of its own, `wrapped` that key under the operator's, which `sealed_by` names.
-- `until`: how long a version that another one has followed is still delivered beside it; of the one in use there is none.
CREATE TABLE secrets (
    repository {TEXT} NOT NULL REFERENCES repositories (name),
    name {TEXT} NOT NULL,
    version BIGINT NOT NULL,
    kind {TEXT} NOT NULL,
    public {TEXT},
    sealed {BYTES} NOT NULL,
    wrapped {TEXT} NOT NULL,
    sealed_by {TEXT} NOT NULL,
    created BIGINT NOT NULL,
    writer {TEXT} NOT NULL,
    until BIGINT,
    PRIMARY KEY (repository, name, version)
);
