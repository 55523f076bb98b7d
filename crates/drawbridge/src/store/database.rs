//! The database: SQLite for one machine, PostgreSQL for many.
//!
//! Owns connections, transactions and the version of the schema. Everything above speaks one SQL, in which only types and
//! the beginning of a transaction differ. Refuses a database that a newer program has written to, and any that does not
//! keep what it has said it keeps: SQLite writes ahead and syncs with each commit. Several processes may use one SQLite file, on one
//! machine. Invariant: at most one transaction of a process writes to SQLite at a time, so none of ours fails for another.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Any, AnyConnection, AnyPool, AssertSqlSafe, Executor as _, Row as _, Transaction};

use super::StoreError;

/// What each version of the schema adds to the one before; the last one's number stands in the database. Never changed once
/// it was released, only added to.
const SCHEMA: [&str; 3] = [include_str!("schema/1.sql"), include_str!("schema/2.sql"), include_str!("schema/3.sql")];
/// Two processes that begin at once make the schema one after the other: the number of the lock, of no meaning.
const SCHEMA_LOCK: i64 = 0x646f_6e6a_6f6e;
/// How many may read at once, or, of PostgreSQL, be connected. More would only wait for the same two processors.
const READERS: u32 = 8;
const CONNECTIONS: u32 = 16;
/// How long one waits for a connection or for another process's transaction.
const PATIENCE: Duration = Duration::from_secs(15);

/// Where the database is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum At {
    /// A file, for any number of processes on this machine.
    File(std::path::PathBuf),
    /// In memory, for one process.
    Memory,
    /// `postgres://…`, for any number of processes anywhere.
    Postgres(String),
}

/// Connections to it.
#[derive(Debug)]
pub(crate) struct Database {
    readers: AnyPool,
    writers: AnyPool,
    begin: &'static str,
}

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DatabaseError {
    /// It does not answer, or not as asked.
    #[error("{0}")]
    Engine(#[from] sqlx::Error),
    /// A newer program has written to it.
    #[error("the database has format {found}, this program knows {known}")]
    Format {
        /// What it says.
        found: i64,
        /// The last one that this program knows.
        known: usize,
    },
}

impl Database {
    /// Connects, and brings the schema to the version of this program.
    pub(crate) async fn open(at: &At) -> Result<Self, DatabaseError> {
        Self::open_as(at, SCHEMA.len()).await
    }

    /// The same, as the program of another version does.
    pub(super) async fn open_as(at: &At, format: usize) -> Result<Self, DatabaseError> {
        sqlx::any::install_default_drivers();
        let options = || AnyPoolOptions::new().acquire_timeout(PATIENCE).test_before_acquire(false);
        let database = match at {
            At::Postgres(url) => {
                let options = options().max_connections(CONNECTIONS).test_before_acquire(true);
                let pool = options.connect_with(AnyConnectOptions::from_str(url)?).await?;
                Self { readers: pool.clone(), writers: pool, begin: "BEGIN" }
            }
            At::Memory => {
                // Each connection would have a database of its own.
                let options = options().max_connections(1).idle_timeout(None).max_lifetime(None);
                let pool = options.connect_with(AnyConnectOptions::from_str("sqlite::memory:")?).await?;
                Self { readers: pool.clone(), writers: pool, begin: "BEGIN IMMEDIATE" }
            }
            At::File(file) => {
                let url = AnyConnectOptions::from_str(&format!("sqlite://{}?mode=rwc", in_url(file)))?;
                let options = || {
                    options().after_connect(|connection, _| {
                        Box::pin(async move {
                            // What was acknowledged is on the disk: FULL syncs with each commit.
                            let settings = "PRAGMA busy_timeout = 15000; PRAGMA journal_mode = WAL; \
                                            PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON";
                            connection.execute(settings).await.map(|_| ())
                        })
                    })
                };
                let writers = options().max_connections(1).connect_with(url.clone()).await?;
                let readers = options().max_connections(READERS).connect_lazy_with(url);
                Self { readers, writers, begin: "BEGIN IMMEDIATE" }
            }
        };
        database.make(format).await?;
        Ok(database)
    }

    /// To read from. What was committed before is seen.
    pub(crate) const fn read(&self) -> &AnyPool {
        &self.readers
    }

    /// A transaction. Dropped without commit, it never was.
    pub(crate) async fn begin(&self) -> Result<Transaction<'static, Any>, StoreError> {
        Ok(self.writers.begin_with(self.begin).await?)
    }

    async fn make(&self, format: usize) -> Result<(), DatabaseError> {
        let postgres = self.begin == "BEGIN";
        let mut transaction = self.writers.begin_with(self.begin).await?;
        if postgres {
            sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(SCHEMA_LOCK).execute(&mut *transaction).await?;
        }
        transaction.execute("CREATE TABLE IF NOT EXISTS format (version BIGINT NOT NULL)").await?;
        let found = version(&mut transaction).await?;
        let found = found.unwrap_or(0);
        let missing = usize::try_from(found).ok().and_then(|found| SCHEMA.get(found..format));
        let missing = missing.ok_or(DatabaseError::Format { found, known: format })?;
        if missing.is_empty() {
            return Ok(());
        }
        let (text, bytes) = if postgres { ("TEXT COLLATE \"C\"", "BYTEA") } else { ("TEXT", "BLOB") };
        for step in missing {
            let step = step.replace("{TEXT}", text).replace("{BYTES}", bytes);
            sqlx::raw_sql(AssertSqlSafe(step)).execute(&mut *transaction).await?;
        }
        transaction.execute("DELETE FROM format").await?;
        sqlx::query("INSERT INTO format (version) VALUES ($1)")
            .bind(i64::try_from(format).unwrap_or(i64::MAX))
            .execute(&mut *transaction)
            .await?;
        Ok(transaction.commit().await?)
    }
}

async fn version(connection: &mut AnyConnection) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query("SELECT version FROM format").fetch_optional(connection).await?.map(|row| row.try_get(0)).transpose()
}

/// A path as a URL has it.
fn in_url(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    let bytes = path.as_os_str().as_bytes().iter();
    bytes.fold(String::new(), |text, byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => text + &char::from(*byte).to_string(),
        other => text + &format!("%{other:02X}"),
    })
}

impl std::fmt::Debug for At {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(file) => out.debug_tuple("File").field(file).finish(),
            Self::Memory => out.write_str("Memory"),
            // It may have a password.
            Self::Postgres(_) => out.write_str("Postgres(…)"),
        }
    }
}
