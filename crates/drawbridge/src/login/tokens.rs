//! The operator's API tokens, of which only the SHA-256 is kept.
//!
//! Owns the tokens file. Refuses two entries with one name or one token. Invariant: a token is compared by its digest, with all
//! entries and in constant time, and is printed by nothing here.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use workload::Digest;
use workload::names::{Name, Repository};
use workload::settings::{self, SettingsError};
use zeroize::Zeroizing;

use super::Caller;

/// A bearer token in clear. Its `Debug` shows nothing and it has no `Display`.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A new token of 256 random bits.
    ///
    /// # Errors
    /// [`NoRandomness`] if the operating system gives none.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut bytes = Zeroizing::new([0; 32]);
        rand::fill(&mut *bytes).map_err(|_| NoRandomness)?;
        Ok(Self(Zeroizing::new(BASE64_URL_SAFE_NO_PAD.encode(bytes.as_slice()))))
    }

    /// A token somebody was given.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self(Zeroizing::new(token))
    }

    /// The token itself, for the one header it belongs into.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What the tokens file keeps of it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Secret(…)")
    }
}

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct NoRandomness;

/// Which repositories a token may write to: `*`, `team/*` (everything below `team/`) or one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// `*`
    All,
    /// `team/*`
    Below(Repository),
    /// `team/app`
    One(Repository),
}

impl FromStr for Scope {
    type Err = workload::names::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.strip_suffix("/*")) {
            ("*", _) => Ok(Self::All),
            (_, Some(parent)) => parent.parse().map(Self::Below),
            (name, None) => name.parse().map(Self::One),
        }
    }
}

impl TryFrom<String> for Scope {
    type Error = workload::names::NameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.to_string()
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => out.write_str("*"),
            Self::Below(parent) => write!(out, "{parent}/*"),
            Self::One(name) => name.fmt(out),
        }
    }
}

impl Scope {
    pub(super) fn covers(&self, repository: &Repository) -> bool {
        match self {
            Self::All => true,
            Self::Below(parent) => repository.strip_prefix(parent.as_str()).is_some_and(|below| below.starts_with('/')),
            Self::One(name) => name == repository,
        }
    }
}

/// The operator's tokens. Empty = nobody's.
#[derive(Debug, Clone, Default)]
pub struct Tokens {
    entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    sha256: Digest,
    name: Name,
    scopes: Arc<[Scope]>,
}

/// Why a tokens file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokensError {
    /// Not the TOML it should be.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Two entries with one name or one token: nobody could tell who wrote.
    #[error("{what}: `{name}` is there twice, by name or by token")]
    Twice {
        /// The file.
        what: String,
        /// The later entry.
        name: Name,
    },
}

impl TokensError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Settings(error) => error.hint(),
            Self::Twice { what: _, name: _ } => {
                Some("one token, one name: make another with `donjon drawbridge token`".to_owned())
            }
        }
    }
}

impl Tokens {
    /// Reads a tokens file:
    /// ```toml
    /// [[token]]
    /// name = "ci"
    /// sha256 = "sha256:…"                # of the token's text
    /// repositories = ["acme/shop", "team/*"]
    /// ```
    ///
    /// # Errors
    /// See [`TokensError`]. `what` is what messages call the file.
    pub fn parse(what: &str, text: &str) -> Result<Self, TokensError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            #[serde(default)]
            token: Vec<Raw>,
        }
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            name: Name,
            sha256: Digest,
            repositories: Vec<Scope>,
        }
        let File { token } = settings::parse(what, text)?;
        token.into_iter().try_fold(Self::default(), |mut tokens, Raw { name, sha256, repositories }| {
            if tokens.entries.iter().any(|entry| entry.sha256 == sha256 || entry.name == name) {
                return Err(TokensError::Twice { what: what.to_owned(), name });
            }
            tokens.entries.push(Entry { sha256, name, scopes: repositories.into() });
            Ok(tokens)
        })
    }

    /// The lines of a tokens file for this token.
    #[must_use]
    pub fn entry(name: &Name, token: &Secret, scopes: &[Scope]) -> String {
        let scopes: Vec<_> = scopes.iter().map(|scope| format!("\"{scope}\"")).collect();
        let (digest, scopes) = (token.digest(), scopes.join(", "));
        format!("[[token]]\nname = \"{name}\"\nsha256 = \"{digest}\"\nrepositories = [{scopes}]\n")
    }

    /// Whose token this is.
    pub(super) fn find(&self, token: &Secret) -> Option<Caller> {
        let shown = token.digest();
        // No early exit: neither which entry matched nor how far may show in the time.
        let mut found = None;
        for entry in &self.entries {
            if verify_slices_are_equal(entry.sha256.as_bytes(), shown.as_bytes()).is_ok() {
                found = Some(entry);
            }
        }
        found.map(Entry::caller)
    }

    /// The bearer of the token with this name.
    pub(super) fn named(&self, name: &str) -> Option<Caller> {
        self.entries.iter().find(|entry| entry.name == *name).map(Entry::caller)
    }
}

impl Entry {
    fn caller(&self) -> Caller {
        Caller::operators(&self.name, Arc::clone(&self.scopes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes() {
        for (scope, repository, expected) in [
            ("*", "acme/shop", true),
            ("acme/*", "acme/shop", true),
            ("acme/*", "acme/shop/web", true),
            ("acme/*", "acme", false),
            ("acme/*", "acmeshop", false),
            ("acme/shop", "acme/shop", true),
            ("acme/shop", "acme/shop/web", false),
            ("acme/shop", "acme/shopping", false),
        ] {
            let scope: Scope = scope.parse().unwrap();
            assert_eq!(scope.covers(&repository.parse().unwrap()), expected, "{scope} {repository}");
        }
        assert!("Acme/*".parse::<Scope>().is_err());
        assert!("a*".parse::<Scope>().is_err());
    }

    #[test]
    fn a_file_names_each_writer_and_token_once() {
        let one = Secret::new("one".to_owned());
        let two = Secret::new("two".to_owned());
        let entry = |name: &str, token| Tokens::entry(&name.parse().unwrap(), token, &[Scope::All]);
        assert_eq!(Tokens::parse("t", &(entry("a", &one) + &entry("b", &two))).unwrap().entries.len(), 2);
        for twice in [entry("a", &one) + &entry("a", &two), entry("a", &one) + &entry("b", &one)] {
            assert!(matches!(Tokens::parse("t", &twice), Err(TokensError::Twice { .. })));
        }
        let error = Tokens::parse("t", "[[token]]\nname = \"a\"\nsha265 = \"\"\n").unwrap_err();
        let TokensError::Settings(error) = error else { panic!("{error}") };
        assert_eq!(error.hint().unwrap(), "did you mean `sha256`?");
    }

    #[test]
    fn a_secret_does_not_print() {
        let secret = Secret::new("swordfish".to_owned());
        assert!(!format!("{secret:?}").contains("swordfish"));
        assert_eq!(secret.expose(), "swordfish");
    }
}
