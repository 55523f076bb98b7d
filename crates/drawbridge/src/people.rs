//! People and their organisations, as types: roles, what somebody is known by, API tokens.
//!
//! Owns the words in which settings, database and API speak of people. Refuses somebody who is known by nothing, or by two
//! things. Invariant: somebody is always known through one issuer; the same subject of another one is somebody else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use workload::names::{NameError, NameFault, NameKind, Repository};

use crate::login::Scope;

/// Who owns the repositories whose names begin with this name and a slash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Organisation(Repository);

/// What a member of an organisation may do in it; each may what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read what is private.
    Reader,
    /// Push, tag and delete.
    Writer,
    /// Make repositories, say who is a member, and give tokens to machines.
    Owner,
}

/// Somebody, as people call him: by the login of the settings that he comes through, and what it knows him by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "RawSomebody", into = "RawSomebody")]
pub struct Somebody {
    /// The name of a login of the settings.
    pub login: workload::names::Name,
    /// What he is known by.
    pub known: Known,
}

/// What an issuer says of somebody.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
    /// The claim `sub`: never anybody else's.
    Subject(String),
    /// The claim `email`, once the issuer has verified it: may become somebody else's.
    Email(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSomebody {
    login: workload::names::Name,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
}

/// Somebody who logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) id: String,
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// Verified.
    pub(crate) email: Option<String>,
}

/// Whose token it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holder {
    Person(Person),
    Organisation(Organisation),
}

/// An API token, as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ApiToken {
    pub(crate) id: String,
    pub(crate) holder: Holder,
    pub(crate) name: String,
    /// Given for a login.
    pub(crate) session: bool,
    /// The most that it may.
    pub(crate) role: Role,
    pub(crate) scopes: Vec<Scope>,
    /// Unix seconds.
    pub(crate) created: u64,
    pub(crate) expires: u64,
}

impl Organisation {
    /// Whose repository this is, if such an organisation exists.
    pub(crate) fn of(repository: &Repository) -> Self {
        let first = repository.split_once('/').map(|(first, _)| first.parse());
        Self(first.and_then(Result::ok).unwrap_or_else(|| repository.clone()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for Organisation {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let name: Repository = text.parse()?;
        if name.contains('/') {
            let found = text.chars().take(64).collect();
            return Err(NameError { kind: NameKind::Repository, fault: NameFault::Character('/'), found });
        }
        Ok(Self(name))
    }
}

impl TryFrom<String> for Organisation {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Organisation> for String {
    fn from(Organisation(name): Organisation) -> Self {
        name.into()
    }
}

impl fmt::Display for Organisation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl Role {
    /// As it is written everywhere.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Writer => "writer",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Not a role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role: reader, writer and owner are")]
pub struct NoRole(String);

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Self, NoRole> {
        let all = [Self::Reader, Self::Writer, Self::Owner];
        all.into_iter().find(|role| role.as_str() == text).ok_or_else(|| NoRole(text.chars().take(64).collect()))
    }
}

impl Known {
    /// Which claim, and what it says.
    pub(crate) fn pair(&self) -> (&'static str, &str) {
        match self {
            Self::Subject(subject) => ("subject", subject),
            Self::Email(email) => ("email", email),
        }
    }

    pub(crate) fn from_pair(kind: &str, value: String) -> Option<Self> {
        match kind {
            "subject" => Some(Self::Subject(value)),
            "email" => Some(Self::Email(value)),
            _ => None,
        }
    }

    /// Whether this is that person, once it is clear that they have one issuer.
    pub(crate) fn is(&self, person: &Person) -> bool {
        match self {
            Self::Subject(subject) => *subject == person.subject,
            Self::Email(email) => person.email.as_ref() == Some(email),
        }
    }
}

impl TryFrom<RawSomebody> for Somebody {
    type Error = &'static str;

    fn try_from(RawSomebody { login, subject, email }: RawSomebody) -> Result<Self, Self::Error> {
        // Longer ones no issuer has (OpenID Connect Core 1.0, section 2; RFC 5321, section 4.5.3.1).
        let text = |text: String| {
            let printable = text.chars().all(|character| !character.is_control());
            (!text.is_empty() && text.len() <= 255 && printable).then_some(text)
        };
        let known = match (subject.and_then(text), email.and_then(text)) {
            (Some(subject), None) => Known::Subject(subject),
            (None, Some(email)) => Known::Email(email),
            _ => return Err("`subject` or `email`, one of them, of 1 to 255 bytes"),
        };
        Ok(Self { login, known })
    }
}

impl From<Somebody> for RawSomebody {
    fn from(Somebody { login, known }: Somebody) -> Self {
        match known {
            Known::Subject(subject) => Self { login, subject: Some(subject), email: None },
            Known::Email(email) => Self { login, subject: None, email: Some(email) },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_of_the_organisation_its_name_begins_with() {
        for (repository, organisation) in [("acme/shop", "acme"), ("acme/shop/web", "acme"), ("acme", "acme")] {
            assert_eq!(Organisation::of(&repository.parse().unwrap()).as_str(), organisation);
        }
        assert!("acme".parse::<Organisation>().is_ok());
        for odd in ["acme/shop", "Acme", ""] {
            assert!(odd.parse::<Organisation>().is_err(), "{odd}");
        }
    }

    #[test]
    fn roles_grow() {
        assert!(Role::Reader < Role::Writer && Role::Writer < Role::Owner);
        for role in [Role::Reader, Role::Writer, Role::Owner] {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        assert!("admin".parse::<Role>().is_err());
    }

    #[test]
    fn somebody_is_known_by_one_thing() {
        let read = |text: &str| serde_json::from_str::<Somebody>(text);
        assert!(matches!(read(r#"{"login":"corp","subject":"7"}"#).unwrap().known, Known::Subject(_)));
        assert!(matches!(read(r#"{"login":"corp","email":"a@b"}"#).unwrap().known, Known::Email(_)));
        for odd in [
            r#"{"login":"corp"}"#,
            r#"{"login":"corp","subject":"7","email":"a@b"}"#,
            r#"{"login":"corp","subject":""}"#,
            r#"{"login":"corp","email":"a\nb"}"#,
            r#"{"subject":"7"}"#,
        ] {
            assert!(read(odd).is_err(), "{odd}");
        }
    }
}
