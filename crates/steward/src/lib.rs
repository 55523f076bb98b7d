//! The Steward: a certificate authority that understands evidence.
//!
//! A CSR with evidence comes in; a certificate goes out, or the reasons why not. Stateless: what it must
//! remember of a client it seals into the nonce. What it is not: it fetches nothing, stores nothing, and
//! decides nothing that the policy does not say. Collateral comes with the request, or out of a folder that is
//! read in the background ([`collateral`]).
//!
//! ```text
//!   http ---- bytes, now ----> judge ------------------> issue
//!    |  nonce: seal              | carried, nonce: open     | signer: key, chain, class
//!    |  problem <--- refusal <---| identity: CSR, brief,    | identity: EAR, certificate profile
//!    v                           |   binding, Deployment    | after record: the leaf is stored
//!   serve (TCP, TLS)             | collateral: what is here |
//!    |  collateral: read again   | evidence: Verified<_>    v
//!                                v policy: reference values, platforms, names                    chain
//! ```
//!
//! The judge is a function of bytes, policy, keys and `now`; the clock is read in [`http`], once a request, and
//! at start. Only a `evidence::Verified` can be issued for, and only a verified Deployment whose owner the
//! policy registers gives a name (`spec/trust.md`).
//!
//! With the feature `server`, which is there by default:
//!
//! ```no_run
//! # #[cfg(feature = "server")]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use std::path::Path;
//! use steward::{Settings, listen, policy::Policy, serve};
//!
//! let policy = Policy::read(Path::new("policy.toml"))?;
//! let listener = listen("127.0.0.1:3000".parse()?).await?;
//! let steward = serve(Settings::new(policy), listener).await?;
//! let anchor_for_briefs = steward.anchor;
//! steward.shutdown().await;
//! # Ok(())
//! # }
//! ```
//! Without it there is the issuing core, free of sockets, files and threads; it is built for WebAssembly, with `rustcrypto`.
#![forbid(unsafe_code)]

pub mod carried;
pub mod collateral;
mod crypto;
mod enarx;
pub mod explain;
#[cfg(feature = "server")]
pub mod http;
pub mod judge;
#[cfg(feature = "server")]
mod metrics;
pub mod nonce;
pub mod pem;
pub mod policy;
pub mod published;
pub mod record;
pub mod refusal;
mod remembered;
#[cfg(feature = "server")]
pub mod serve;
#[cfg(feature = "server")]
pub mod settings;
pub mod signer;
#[cfg(feature = "server")]
pub mod tls;

use std::sync::{Arc, PoisonError, RwLock};

use identity::{binding::Purpose, ear::Class, enrol::Challenge, keys::Verifier};
use thiserror::Error;
use workload::names::DnsName;

use crate::{
    collateral::Cache,
    judge::{Asked, Decided, Issued},
    nonce::{NoRandomness, NonceKey, Nonces},
    policy::Policy,
    record::Recorded,
    refusal::Refusal,
    remembered::{Objects, Remembered},
    signer::{Authority, Signatures},
};
#[cfg(feature = "server")]
pub use crate::{
    http::open_api,
    serve::{Handle, Limits, ListenError, listen, serve},
    settings::{AuthoritySource, Clock, NonceKeySource, Settings, SettingsError, TlsSource},
};

/// Why policy and authority do not go together.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unfit {
    /// They are of different trust classes (trust.md rule 7).
    #[error("the policy is of the class {expected}, the certificate authority of the class {found}")]
    Class {
        /// The policy's.
        expected: Class,
        /// The authority's.
        found: Class,
    },
    /// The policy gives names that the authority may not certify.
    #[error(
        "the policy gives names that the certificate authority may not certify ({}): its name constraints permit {permitted}",
        refusal::list(.names)
    )]
    Names {
        /// In words, which it may.
        permitted: String,
        /// The policy's that it may not.
        names: Vec<DnsName>,
    },
}

impl Unfit {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Class { .. } => "give key and certificates of the policy's class, or none: they are made at start",
            Self::Names { .. } => {
                "take these `dns` out of the policy, or give a root that is for them: `donjon steward init --dns`"
            }
        }
    }
}

/// A Steward without its network: policy and keys of one trust class.
#[derive(Debug)]
pub struct Steward {
    policy: Policy,
    authority: Authority,
    nonces: Nonces,
    provider: Remembered<crypto::Evidence>,
    owners: Remembered<Signatures>,
    objects: Objects,
    /// Another one in its place now and then; a request has the one that is there when it is judged.
    collateral: RwLock<Arc<Cache>>,
}

impl Steward {
    /// Joins policy and keys.
    ///
    /// # Errors
    /// [`Unfit`]: they do not go together.
    pub fn new(policy: Policy, authority: Authority, nonce_key: &NonceKey) -> Result<Self, Unfit> {
        if policy.class() != authority.class() {
            return Err(Unfit::Class { expected: policy.class(), found: authority.class() });
        }
        let mut names: Vec<_> =
            policy.names().all_dns().filter(|dns| !authority.issuer().may_name(dns)).cloned().collect();
        if !names.is_empty() {
            names.sort();
            names.dedup();
            let permitted = authority.permitted();
            return Err(Unfit::Names { permitted, names });
        }
        let nonces = Nonces::new(nonce_key, policy.trust_domain().clone(), policy.class());
        let (provider, owners) = (Remembered::new(crypto::Evidence), Remembered::new(Signatures));
        let (objects, collateral) = (Objects::new(), RwLock::default());
        Ok(Self { policy, authority, nonces, provider, owners, objects, collateral })
    }

    /// A nonce for a certificate request, issued at `now` (seconds since 1970).
    ///
    /// # Errors
    /// [`NoRandomness`] when the system gives no random bytes.
    pub fn nonce(&self, now: u64) -> Result<Challenge, NoRandomness> {
        self.nonces.seal(Purpose::Issue, now)
    }

    /// Judges a CSR (DER) at `now` (seconds since 1970): what is to be recorded, and then signed.
    ///
    /// # Errors
    /// [`Refusal`], with every reason that can be told.
    pub fn decide(&self, csr: &[u8], asked: Asked, now: u64) -> Result<Decided, Refusal> {
        judge::judge(csr, asked, self, now)
    }

    /// The same with the Keep's certificate that comes of it, for who keeps no record.
    ///
    /// # Errors
    /// As [`Self::decide`], and [`Refusal::Issue`].
    pub fn judge(&self, csr: &[u8], now: u64) -> Result<Issued, Refusal> {
        let decided = self.decide(csr, Asked::Keep, now)?;
        let recorded = Recorded::nowhere(decided.leaf());
        decided.sign(self, &recorded)
    }

    /// The collateral at hand.
    #[must_use]
    pub fn collateral(&self) -> Arc<Cache> {
        Arc::clone(&self.collateral.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Judges by this collateral from now on, beside what requests bring.
    pub fn put_collateral(&self, cache: Arc<Cache>) {
        *self.collateral.write().unwrap_or_else(PoisonError::into_inner) = cache;
    }

    /// What it is asked to enforce.
    #[must_use]
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Key and chain it signs with.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(crate) fn provider(&self) -> &dyn evidence::Provider {
        &self.provider
    }

    /// Who verifies what owners signed.
    pub(crate) fn owners(&self) -> &dyn Verifier {
        &self.owners
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    pub(crate) fn nonces(&self) -> &Nonces {
        &self.nonces
    }
}
