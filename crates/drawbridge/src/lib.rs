//! The Drawbridge: an OCI registry that lets workloads out only to Keeps that proved themselves.
//!
//! Owns the server ([`serve`]) and a small client ([`client`]). Speaks OCI Distribution 1.1 over TLS 1.3, so that unmodified
//! registry clients push, and pull what is public. A confidential repository shows its content only to a client certificate
//! that satisfies the release policy which the repository's owner signed (`design: trust rules 13-16`); to everybody else,
//! writers and owners included, it looks absent. Refuses to be the authority on anything: what a Keep runs, its brief says.
//!
//! ```text
//!   serve (TLS, connections) -> http (OCI) -> release (who sees what) -> store (objects: directory or S3; rows: SQLite or PostgreSQL)
//!                                   |-> login (who asks, and what he may)
//! ```
//!
//! Does not hide content from its own operator: he sees all that is not encrypted to Keeps. Any number of them serve one
//! store. Invariant: an acknowledged push is on the disk; nothing else has a name.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use drawbridge::{Access, Declared, Repositories, Settings, Storage, Tls, Tokens, serve};
//!
//! let settings = Settings {
//!     tls: Tls::self_made(&["localhost".to_owned()])?,
//!     store: Storage::directory("registry".into()),
//!     tokens: Tokens::parse("tokens.toml", &std::fs::read_to_string("tokens.toml")?)?,
//!     declared: Declared {
//!         repositories: Repositories::default().with("acme/shop".parse()?, Access::Public),
//!         ..Default::default()
//!     },
//!     limits: Default::default(),
//! };
//! let server = serve(settings, tokio::net::TcpListener::bind("127.0.0.1:0").await?).await?;
//! println!("https://{} pin {}", server.local_addr, server.pin);
//! server.shutdown().await;
//! # Ok(()) }
//! ```
#![forbid(unsafe_code)]

pub mod client;

mod digest;
mod http;
mod login;
mod metrics;
mod oidc;
mod people;
mod references;
mod release;
mod secrets;
mod serve;
mod settings;
mod store;
mod tls;
pub mod wire;

pub use login::{NoRandomness, Scope, Secret, Tokens, TokensError};
pub use people::{Known, NoRole, Organisation, Role, Somebody};
pub use release::{RELEASE_ARTIFACT_TYPE, RELEASE_TAG};
pub use secrets::{KeyError, Kind, OpenBao, SecretsKey};
pub use serve::{Handle, ServeError, routes, serve};
pub use settings::{Access, Declared, Hint, Limits, Login, ReadError, Repositories, Settings, Terms, read};
pub use store::{DatabaseError, OpenError, Storage, StorageError};
pub use tls::{Tls, TlsError};

/// Unix seconds. Before 1970 no certificate is valid.
fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
