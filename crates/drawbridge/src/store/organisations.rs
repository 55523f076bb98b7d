//! The rows of organisations and of the repositories that their members made; and how much each may keep.
//!
//! Owns the count of what an organisation keeps: whatever adds or removes bytes of a repository calls [`charge`] or [`credit`] in its
//! own transaction, so the count is right whoever pushes beside whom. Refuses to make a repository out of one that was there: what
//! is in it was meant for others. Invariant: no organisation with a quota keeps more than that.

use sqlx::AnyConnection;
use workload::names::Repository;

use super::{Store, StoreError, parse, signed, unsigned};
use crate::people::Organisation;
use crate::settings::Access;

/// How much an organisation has, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) quota: Option<u64>,
    pub(crate) used: u64,
}

/// Why nothing more is kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChargeError {
    #[error("organisation {organisation} may keep {quota} bytes and has {used}")]
    Full { organisation: Organisation, quota: u64, used: u64 },
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<sqlx::Error> for ChargeError {
    fn from(error: sqlx::Error) -> Self {
        Self::Store(error.into())
    }
}

impl Store {
    /// Says that this organisation exists, and how many bytes it may keep.
    pub(crate) async fn declare_organisation(
        &self,
        organisation: &Organisation,
        quota: Option<u64>,
    ) -> Result<(), StoreError> {
        // What its repositories had before there was a count.
        let sql = "INSERT INTO organisations (name, quota, used) SELECT $1, $2, \
                   CAST((SELECT COALESCE(SUM(blobs.size), 0) FROM links JOIN blobs ON blobs.digest = links.digest \
                    WHERE repository = $1 OR substr(repository, 1, length($1) + 1) = $1 || '/') \
                   + (SELECT COALESCE(SUM(size), 0) FROM manifests \
                    WHERE repository = $1 OR substr(repository, 1, length($1) + 1) = $1 || '/') AS BIGINT) \
                   WHERE TRUE ON CONFLICT (name) DO UPDATE SET quota = excluded.quota";
        let mut transaction = self.database.begin().await?;
        let declared = sqlx::query(sql).bind(organisation.as_str()).bind(quota.map(signed));
        declared.execute(&mut *transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// How much an organisation has; `None`: it does not exist.
    pub(crate) async fn space(&self, organisation: &Organisation) -> Result<Option<Space>, StoreError> {
        let mut connection = self.database.read().acquire().await?;
        space(&mut connection, organisation).await
    }

    /// How many more bytes may be taken for this repository, as it looks now: uploads that are under way count too.
    pub(crate) async fn room(&self, repository: &Repository) -> Result<u64, StoreError> {
        let organisation = Organisation::of(repository);
        let Some(Space { quota: Some(quota), used }) = self.space(&organisation).await? else { return Ok(u64::MAX) };
        let sql = "SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM uploads \
                   WHERE repository = $1 OR substr(repository, 1, length($1) + 1) = $1 || '/'";
        let under_way = sqlx::query_as(sql).bind(organisation.as_str()).fetch_one(self.database.read());
        let (under_way,): (i64,) = under_way.await?;
        Ok(quota.saturating_sub(used).saturating_sub(unsigned(under_way)?))
    }

    /// Who may read a repository that a member of an organisation made; `None`: there is no such repository.
    pub(crate) async fn access(&self, repository: &Repository) -> Result<Option<Access>, StoreError> {
        let sql = "SELECT access, owner FROM repositories WHERE name = $1 AND access IS NOT NULL";
        let found = sqlx::query_as(sql).bind(repository.as_str()).fetch_optional(self.database.read()).await?;
        found.map(|(access, owner): (String, Option<String>)| read(&access, owner.as_deref())).transpose()
    }

    /// Makes a repository. False: there is one, or there was one of the settings.
    pub(crate) async fn create(&self, repository: &Repository, access: Access) -> Result<bool, StoreError> {
        let (access, owner) = written(access);
        let sql = "INSERT INTO repositories (name, access, owner) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
        let mut transaction = self.database.begin().await?;
        let created = sqlx::query(sql).bind(repository.as_str()).bind(access).bind(owner);
        let created = created.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(created.rows_affected() == 1)
    }

    /// Opens or closes a repository that is not confidential. False: there is none such.
    pub(crate) async fn set_public(&self, repository: &Repository, public: bool) -> Result<bool, StoreError> {
        let access = if public { Access::Public } else { Access::Private };
        let sql = "UPDATE repositories SET access = $2 WHERE name = $1 AND access IN ('public', 'private')";
        let mut transaction = self.database.begin().await?;
        let set = sqlx::query(sql).bind(repository.as_str()).bind(written(access).0).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(set.rows_affected() == 1)
    }

    /// The repositories that members of an organisation made, by name.
    pub(crate) async fn repositories(
        &self,
        organisation: &Organisation,
    ) -> Result<Vec<(Repository, Access)>, StoreError> {
        let sql = "SELECT name, access, owner FROM repositories WHERE access IS NOT NULL \
                   AND (name = $1 OR substr(name, 1, length($1) + 1) = $1 || '/') ORDER BY name LIMIT 10000";
        let rows: Vec<(String, String, Option<String>)> =
            sqlx::query_as(sql).bind(organisation.as_str()).fetch_all(self.database.read()).await?;
        let repository = |(name, access, owner): &(String, String, Option<String>)| {
            Ok((parse(name, "a repository")?, read(access, owner.as_deref())?))
        };
        rows.iter().map(repository).collect()
    }
}

/// Counts bytes that a repository has from now on.
pub(super) async fn charge(
    connection: &mut AnyConnection,
    repository: &Repository,
    bytes: u64,
) -> Result<(), ChargeError> {
    let organisation = Organisation::of(repository);
    let sql = "UPDATE organisations SET used = used + $2 WHERE name = $1 AND (quota IS NULL OR used + $2 <= quota)";
    let charged = sqlx::query(sql).bind(organisation.as_str()).bind(signed(bytes)).execute(&mut *connection).await?;
    if charged.rows_affected() == 1 {
        return Ok(());
    }
    match space(connection, &organisation).await? {
        Some(Space { quota: Some(quota), used }) => Err(ChargeError::Full { organisation, quota, used }),
        _ => Ok(()),
    }
}

/// Counts bytes that a repository has no longer.
pub(super) async fn credit(connection: &mut AnyConnection, repository: &str, bytes: i64) -> Result<(), StoreError> {
    let organisation = repository.split('/').next().unwrap_or_default();
    let sql = "UPDATE organisations SET used = used - $2 WHERE name = $1";
    sqlx::query(sql).bind(organisation).bind(bytes).execute(connection).await?;
    Ok(())
}

async fn space(connection: &mut AnyConnection, organisation: &Organisation) -> Result<Option<Space>, StoreError> {
    let sql = "SELECT quota, used FROM organisations WHERE name = $1";
    let found = sqlx::query_as(sql).bind(organisation.as_str()).fetch_optional(connection).await?;
    let space = |(quota, used): (Option<i64>, i64)| {
        Ok(Space { quota: quota.map(unsigned).transpose()?, used: unsigned(used)? })
    };
    found.map(space).transpose()
}

fn written(access: Access) -> (&'static str, Option<String>) {
    match access {
        Access::Public => ("public", None),
        Access::Private => ("private", None),
        Access::Confidential { owner } => ("confidential", Some(owner.to_string())),
    }
}

fn read(access: &str, owner: Option<&str>) -> Result<Access, StoreError> {
    match (access, owner) {
        ("public", None) => Ok(Access::Public),
        ("private", None) => Ok(Access::Private),
        ("confidential", Some(owner)) => Ok(Access::Confidential { owner: parse(owner, "an owner")? }),
        _ => Err(StoreError::Damaged { what: "who may read a repository".to_owned() }),
    }
}
