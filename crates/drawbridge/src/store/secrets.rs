//! The rows of secrets: versions, sealed.
//!
//! Owns which version is in use, and how long the one before it is still delivered. Refuses a version that somebody else has made
//! meanwhile. Invariant: a secret has one version in use, and versions never go back.

use sqlx::AnyConnection;
use workload::names::{Name, Repository};

use super::{Store, StoreError, parse, signed, unsigned};
use crate::secrets::{Kind, Sealed};

/// How many secrets a repository may have.
const MOST: i64 = 1000;

/// A version of a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SecretRow {
    pub(crate) name: Name,
    pub(crate) version: u64,
    pub(crate) kind: Kind,
    /// SPKI in PEM, of a key pair.
    pub(crate) public: Option<String>,
    pub(crate) sealed: Sealed,
    /// Unix seconds.
    pub(crate) created: u64,
    /// Unix seconds; `None`: in use.
    pub(crate) until: Option<u64>,
}

/// What becomes of a new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    Yes,
    /// Somebody else made one meanwhile.
    Overtaken,
    /// The repository has as many as it may.
    TooMany,
}

type Columns = (String, i64, String, Option<String>, Vec<u8>, String, String, i64, Option<i64>);

const COLUMNS: &str = "SELECT name, version, kind, public, sealed, wrapped, sealed_by, created, until FROM secrets \
                       WHERE repository = $1";

impl Store {
    /// The versions of a repository's secrets that are delivered at `now` (Unix seconds): of each the one in use, then the one
    /// before. `name`: of this one only.
    pub(crate) async fn secrets(
        &self,
        repository: &Repository,
        name: Option<&Name>,
        now: u64,
    ) -> Result<Vec<SecretRow>, StoreError> {
        let sql = format!(
            "{COLUMNS} AND ($2 = '' OR name = $2) AND (until IS NULL OR until > $3) ORDER BY name, version DESC"
        );
        let rows: Vec<Columns> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
            .bind(repository.as_str())
            .bind(name.map(Name::as_str).unwrap_or_default())
            .bind(signed(now))
            .fetch_all(self.database.read())
            .await?;
        rows.into_iter().map(row).collect()
    }

    /// The version in use of this secret, 0 if there is none.
    pub(crate) async fn secret_version(&self, repository: &Repository, name: &Name) -> Result<u64, StoreError> {
        let mut connection = self.database.read().acquire().await?;
        version(&mut connection, repository, name).await
    }

    /// Keeps a new version; the one before it is delivered beside it for `overlap` more seconds.
    pub(crate) async fn keep_secret(
        &self,
        repository: &Repository,
        row: &SecretRow,
        writer: &str,
        overlap: u64,
    ) -> Result<Kept, StoreError> {
        let SecretRow { name, version: number, kind, public, sealed, created, until: _ } = row;
        let mut transaction = self.database.begin().await?;
        let before = version(&mut transaction, repository, name).await?;
        if before.saturating_add(1) != *number {
            return Ok(Kept::Overtaken);
        }
        if before == 0 {
            let sql = "SELECT COUNT(DISTINCT name) FROM secrets WHERE repository = $1";
            let count = sqlx::query_as(sql).bind(repository.as_str()).fetch_one(&mut *transaction);
            let (count,): (i64,) = count.await?;
            if count >= MOST {
                return Ok(Kept::TooMany);
            }
        }
        // Two versions are delivered, never three.
        let sql = "DELETE FROM secrets WHERE repository = $1 AND name = $2 AND version < $3";
        let older = sqlx::query(sql).bind(repository.as_str()).bind(name.as_str()).bind(signed(before));
        older.execute(&mut *transaction).await?;
        let sql = "UPDATE secrets SET until = $4 WHERE repository = $1 AND name = $2 AND version = $3";
        let last = sqlx::query(sql).bind(repository.as_str()).bind(name.as_str()).bind(signed(before));
        last.bind(signed(created.saturating_add(overlap))).execute(&mut *transaction).await?;
        let sql = "INSERT INTO secrets \
                   (repository, name, version, kind, public, sealed, wrapped, sealed_by, created, writer, until) \
                   VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, NULL) ON CONFLICT DO NOTHING";
        let made = sqlx::query(sql)
            .bind(repository.as_str())
            .bind(name.as_str())
            .bind(signed(*number))
            .bind(kind.as_str())
            .bind(public.as_deref())
            .bind(sealed.value.as_slice())
            .bind(sealed.wrapped.as_str())
            .bind(sealed.by.as_str())
            .bind(signed(*created))
            .bind(writer)
            .execute(&mut *transaction)
            .await?;
        if made.rows_affected() == 0 {
            return Ok(Kept::Overtaken);
        }
        transaction.commit().await?;
        Ok(Kept::Yes)
    }

    /// Forgets a secret, all versions. False: there is none.
    pub(crate) async fn delete_secret(&self, repository: &Repository, name: &Name) -> Result<bool, StoreError> {
        let mut transaction = self.database.begin().await?;
        let sql = "DELETE FROM secrets WHERE repository = $1 AND name = $2";
        let deleted = sqlx::query(sql).bind(repository.as_str()).bind(name.as_str()).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(deleted.rows_affected() > 0)
    }
}

async fn version(connection: &mut AnyConnection, repository: &Repository, name: &Name) -> Result<u64, StoreError> {
    let sql = "SELECT COALESCE(MAX(version), 0) FROM secrets WHERE repository = $1 AND name = $2";
    let found = sqlx::query_as(sql).bind(repository.as_str()).bind(name.as_str()).fetch_one(connection);
    let (found,): (i64,) = found.await?;
    unsigned(found)
}

fn row(columns: Columns) -> Result<SecretRow, StoreError> {
    let (name, version, kind, public, value, wrapped, by, created, until) = columns;
    let damaged = || StoreError::Damaged { what: format!("the secret {name}") };
    let kind = Kind::of(&kind).ok_or_else(damaged)?;
    let (version, created, until) = (unsigned(version)?, unsigned(created)?, until.map(unsigned).transpose()?);
    let sealed = Sealed { value, wrapped, by };
    Ok(SecretRow { name: parse(&name, "a secret's name")?, version, kind, public, sealed, created, until })
}
