//! Who asks: by an API token, or by an access token that one got for an API token.
//!
//! Owns the reading of `Authorization`, and what a client is told that has to log in (RFC 6750 bearer, RFC 7617 basic with
//! the token as password, and the token authentication of Distribution, by which ordinary registry clients log in). Refuses a
//! bad login before anything else is looked at, with one answer for every repository. Reading what is confidential is never a
//! matter of tokens: no login opens a confidential repository (`trust.md`, 14).
//! Invariant: nothing here prints a token.

mod access;
mod tokens;

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use workload::names::{Authority, Name, Repository};
use zeroize::Zeroizing;

use access::Action;
pub(crate) use access::{AccessTokens, LIFETIME, MOST, Wanted};
pub use tokens::{NoRandomness, Scope, Secret, Tokens, TokensError};

/// Everybody's logins.
#[derive(Debug)]
pub(crate) struct Login {
    tokens: Tokens,
    access: AccessTokens,
}

/// One who logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Writer {
    name: Name,
    grants: Grants,
}

/// What he may.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Grants {
    /// All that his API token says.
    Scopes(Arc<[Scope]>),
    /// What he asked for when he got his access token, as far as his API token said so.
    Access(Vec<Wanted>),
}

/// `Authorization` is there but unreadable, unknown, or of the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadLogin;

impl Login {
    pub(crate) const fn new(tokens: Tokens, access: AccessTokens) -> Self {
        Self { tokens, access }
    }

    /// Who asks `service` (the authority he named us by) at `now` (Unix seconds): nobody in particular without a login.
    pub(crate) fn writer(
        &self,
        headers: &HeaderMap,
        service: Option<&Authority>,
        now: u64,
    ) -> Result<Option<Writer>, BadLogin> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Ok(None),
            (Some(value), None) => value.to_str().map_err(|_| BadLogin)?,
            (Some(_), Some(_)) => return Err(BadLogin),
        };
        let (scheme, rest) = value.split_once(' ').ok_or(BadLogin)?;
        if scheme.eq_ignore_ascii_case("bearer") {
            let token = Secret::new(rest.trim().to_owned());
            match (self.tokens.find(&token), service) {
                (Some(writer), _) => Ok(Some(writer)),
                (None, Some(service)) => self.access.verify(&token, service, now),
                (None, None) => Err(BadLogin),
            }
        } else if scheme.eq_ignore_ascii_case("basic") {
            let pair = Zeroizing::new(BASE64_STANDARD.decode(rest.trim()).map_err(|_| BadLogin)?);
            let pair = std::str::from_utf8(&pair).map_err(|_| BadLogin)?;
            // What skopeo, podman and buildah send once they were asked for a login and have none.
            if pair == ":" {
                return Ok(None);
            }
            let token = Secret::new(pair.split_once(':').ok_or(BadLogin)?.1.to_owned());
            self.tokens.find(&token).map(Some).ok_or(BadLogin)
        } else {
            Err(BadLogin)
        }
    }

    /// An access token for who logged in, or for nobody, to do at `service` what he wants, as far as he may.
    pub(crate) fn access_token(
        &self,
        writer: Option<&Writer>,
        service: &Authority,
        wanted: Vec<Wanted>,
        now: u64,
    ) -> Option<Secret> {
        let allowed = wanted.into_iter().map(|Wanted { repository, actions }| {
            // Whether somebody may read, the repository says and not the token.
            let may = |action: &Action| *action == Action::Pull || writer.is_some_and(|writer| writer.may(&repository));
            let actions = actions.into_iter().filter(may).collect();
            Wanted { repository, actions }
        });
        self.access.issue(writer.map(Writer::name), service, allowed.collect(), now)
    }
}

impl Writer {
    /// Who it is, for the log.
    pub(crate) const fn name(&self) -> &Name {
        &self.name
    }

    /// Whether he may write to this repository.
    pub(crate) fn may(&self, repository: &Repository) -> bool {
        match &self.grants {
            Grants::Scopes(scopes) => scopes.iter().any(|scope| scope.covers(repository)),
            Grants::Access(access) => {
                access.iter().any(|one| one.repository == *repository && one.actions.contains(&Action::Push))
            }
        }
    }

    /// Whether he may get another access token that lets him do more.
    pub(crate) const fn may_ask_for_more(&self) -> bool {
        matches!(self.grants, Grants::Access(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn login(scopes: &[&str]) -> (Secret, Login) {
        let token = Secret::generate().unwrap();
        let scopes: Vec<Scope> = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
        let file = Tokens::entry(&"ci".parse().unwrap(), &token, &scopes);
        (token, Login::new(Tokens::parse("tokens.toml", &file).unwrap(), AccessTokens::new(&[7; 32])))
    }

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    fn service(text: &str) -> Authority {
        text.parse().unwrap()
    }

    #[test]
    fn bearer_and_basic_open_and_everything_else_does_not() {
        let (token, login) = login(&["*"]);
        let clear = token.expose();
        let basic = |pair: String| format!("Basic {}", BASE64_STANDARD.encode(pair));
        let writer = |headers: &HeaderMap| login.writer(headers, Some(&service("registry:443")), NOW);
        for good in [format!("Bearer {clear}"), format!("bearer {clear}"), basic(format!("me:{clear}"))] {
            assert_eq!(writer(&headers(&good)).unwrap().unwrap().name(), &"ci");
        }
        let other = Secret::generate().unwrap();
        for bad in [
            format!("Bearer {}", other.expose()),
            format!("Bearer {clear}x"),
            format!("Bearer {}", &clear[1..]),
            format!("Bearer {}", token.digest()),
            basic(format!("{clear}:")),
            basic(clear.to_owned()),
            format!("Digest {clear}"),
            clear.to_owned(),
            "Basic !!".to_owned(),
            "Bearer a.b.c".to_owned(),
        ] {
            assert_eq!(writer(&headers(&bad)), Err(BadLogin));
        }
        for nobody in [HeaderMap::new(), headers(&basic(":".to_owned()))] {
            assert_eq!(writer(&nobody), Ok(None), "nobody is not somebody with a wrong token");
        }
        let mut twice = headers(&format!("Bearer {clear}"));
        twice.append(AUTHORIZATION, "Bearer x".parse().unwrap());
        assert_eq!(writer(&twice), Err(BadLogin));
    }

    #[test]
    fn an_access_token_is_for_a_while_a_service_and_what_was_asked_for() {
        let (token, login) = login(&["acme/*"]);
        let here = service("registry:443");
        let bearer = |token: &Secret| headers(&format!("Bearer {}", token.expose()));
        let wanted = |text: &str| Wanted::parse(text).unwrap();
        let ask = |writer: Option<&Writer>, scopes: &[&str]| {
            let wanted = scopes.iter().map(|scope| wanted(scope)).collect();
            login.access_token(writer, &here, wanted, NOW).unwrap()
        };
        let ci = login.writer(&bearer(&token), None, NOW).unwrap().unwrap();
        assert!(!ci.may_ask_for_more());
        let asked = ["repository:acme/shop:pull,push", "repository:other/shop:pull,push", "repository:acme/web:pull"];
        let access = ask(Some(&ci), &asked);
        let with = login.writer(&bearer(&access), Some(&here), NOW + 1).unwrap().unwrap();
        assert!(with.may_ask_for_more() && *with.name() == "ci");
        for (repository, may) in [("acme/shop", true), ("other/shop", false), ("acme/web", false), ("acme/more", false)]
        {
            assert_eq!(with.may(&repository.parse().unwrap()), may, "{repository}");
        }
        let nobody = ask(None, &["repository:acme/shop:pull,push"]);
        assert_eq!(login.writer(&bearer(&nobody), Some(&here), NOW), Ok(None));
        // Too late, too early, elsewhere, from elsewhere, changed.
        assert!(login.writer(&bearer(&access), Some(&here), NOW + LIFETIME - 1).is_ok(), "control");
        assert_eq!(login.writer(&bearer(&access), Some(&here), NOW + LIFETIME), Err(BadLogin));
        assert_eq!(login.writer(&bearer(&access), Some(&here), NOW - 61), Err(BadLogin));
        assert_eq!(login.writer(&bearer(&access), Some(&service("other:443")), NOW), Err(BadLogin));
        let (_, another) = self::login(&["*"]);
        assert!(another.writer(&bearer(&access), Some(&here), NOW).is_ok(), "control: the same key");
        let other = Login::new(Tokens::default(), AccessTokens::new(&[8; 32]));
        assert_eq!(other.writer(&bearer(&access), Some(&here), NOW), Err(BadLogin));
        let parts: Vec<&str> = access.expose().split('.').collect();
        let nobodys: Vec<&str> = nobody.expose().split('.').collect();
        let none = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"none"}"#);
        for forged in [
            format!("{}.{}.{}", parts[0], parts[1], nobodys[2]),
            format!("{}.{}.{}", parts[0], nobodys[1], parts[2]),
            format!("{none}.{}.", parts[1]),
            format!("{}.{}", parts[0], parts[1]),
        ] {
            assert_eq!(login.writer(&bearer(&Secret::new(forged)), Some(&here), NOW), Err(BadLogin));
        }
    }

    #[test]
    fn scopes_as_clients_write_them() {
        let actions = |text: &str| Wanted::parse(text).map(|wanted| wanted.actions.into_iter().collect::<Vec<_>>());
        assert_eq!(actions("repository:a/b:pull"), Some(vec![Action::Pull]));
        assert_eq!(actions("repository:a/b:pull,push,delete,*"), Some(vec![Action::Pull, Action::Push]));
        assert_eq!(actions("repository:a/b:"), Some(vec![]));
        assert_eq!(actions("repository:a/b:*"), Some(vec![Action::Pull, Action::Push]));
        for odd in ["", "repository", "repository:a/b", "repository:A:pull", "registry:catalog:*", "x:a/b:pull"] {
            assert_eq!(actions(odd), None, "{odd}");
        }
    }
}
