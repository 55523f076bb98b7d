//! Who asks, and what he may: by an API token, or by an access token that one got for an API token.
//!
//! Owns the reading of `Authorization`, and what a client is told that has to log in (RFC 6750 bearer, RFC 7617 basic with
//! the token as password, and the token authentication of Distribution, by which ordinary registry clients log in). Tokens are the
//! operator's, from his file, or those of people and organisations, from the database. Refuses a bad login before anything else
//! is looked at, with one answer for every repository. Reading what is confidential is never a matter of tokens: no login opens a
//! confidential repository (`trust.md`, 14).
//! Invariant: nothing here prints a token. What somebody may is what his token says and what he is now, whichever is less.

mod access;
mod issuers;
mod tokens;

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use workload::names::{Authority, Name, Repository};
use zeroize::Zeroizing;

pub(crate) use access::{AccessTokens, Action, LIFETIME, MOST, Wanted};
pub(crate) use issuers::{IdTokenError, Issuers};
pub use tokens::{NoRandomness, Scope, Secret, Tokens, TokensError};

use crate::people::{ApiToken, Holder, Organisation, Person, Role};
use crate::settings::Terms;
use crate::store::{Store, StoreError};

/// Everybody's logins.
#[derive(Debug)]
pub(crate) struct Logins {
    tokens: Tokens,
    access: AccessTokens,
    pub(crate) issuers: Issuers,
    pub(crate) organisations: BTreeMap<Organisation, Terms>,
}

/// One who logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// For the log, and for what is his own; never anybody else's.
    name: String,
    token: Token,
    /// What he asked for when he got his access token.
    asked: Option<Vec<Wanted>>,
}

/// What he logged in with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// One of the operator's file, and what it writes to.
    Operators(Arc<[Scope]>),
    /// One of the database.
    Api(ApiToken),
}

/// Why a login is none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    /// `Authorization` is there but unreadable, unknown, or of the past.
    #[error("not a login")]
    Bad,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Logins {
    pub(crate) const fn new(
        tokens: Tokens,
        access: AccessTokens,
        issuers: Issuers,
        organisations: BTreeMap<Organisation, Terms>,
    ) -> Self {
        Self { tokens, access, issuers, organisations }
    }

    /// Who asks `service` (the authority he named us by) at `now` (Unix seconds): nobody in particular without a login.
    pub(crate) async fn caller(
        &self,
        store: &Store,
        headers: &HeaderMap,
        service: Option<&Authority>,
        now: u64,
    ) -> Result<Option<Caller>, LoginError> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let value = match (values.next(), values.next()) {
            (None, _) => return Ok(None),
            (Some(value), None) => value.to_str().map_err(|_| LoginError::Bad)?,
            (Some(_), Some(_)) => return Err(LoginError::Bad),
        };
        let (scheme, rest) = value.split_once(' ').ok_or(LoginError::Bad)?;
        if scheme.eq_ignore_ascii_case("bearer") {
            let token = Secret::new(rest.trim().to_owned());
            if let Some(caller) = self.api(store, &token, now).await? {
                return Ok(Some(caller));
            }
            let (sub, asked) =
                service.and_then(|service| self.access.verify(&token, service, now)).ok_or(LoginError::Bad)?;
            let Some(sub) = sub else { return Ok(None) };
            // For who gave it back since then, it is no longer good either.
            let caller = self.of_sub(store, &sub, now).await?.ok_or(LoginError::Bad)?;
            Ok(Some(Caller { asked: Some(asked), ..caller }))
        } else if scheme.eq_ignore_ascii_case("basic") {
            let pair = Zeroizing::new(BASE64_STANDARD.decode(rest.trim()).map_err(|_| LoginError::Bad)?);
            let pair = std::str::from_utf8(&pair).map_err(|_| LoginError::Bad)?;
            // What skopeo, podman and buildah send once they were asked for a login and have none.
            if pair == ":" {
                return Ok(None);
            }
            let token = Secret::new(pair.split_once(':').ok_or(LoginError::Bad)?.1.to_owned());
            self.api(store, &token, now).await?.map(Some).ok_or(LoginError::Bad)
        } else {
            Err(LoginError::Bad)
        }
    }

    /// An access token for who logged in, or for nobody, to do at `service` what he wants, as far as he may when he does it.
    pub(crate) fn access_token(
        &self,
        caller: Option<&Caller>,
        service: &Authority,
        wanted: Vec<Wanted>,
        now: u64,
    ) -> Option<Secret> {
        self.access.issue(caller.map(Caller::sub), service, wanted, now)
    }

    /// What somebody is in a repository, by his token and by his membership.
    pub(crate) async fn role(
        &self,
        store: &Store,
        caller: &Caller,
        repository: &Repository,
    ) -> Result<Option<Role>, StoreError> {
        match &caller.token {
            Token::Operators(scopes) => Ok(scopes.iter().any(|scope| scope.covers(repository)).then_some(Role::Writer)),
            Token::Api(token) if token.scopes.iter().any(|scope| scope.covers(repository)) => {
                self.role_in(store, token, &Organisation::of(repository)).await
            }
            Token::Api(_) => Ok(None),
        }
    }

    /// What the holder of this token is in an organisation, as far as the token goes.
    pub(crate) async fn role_in(
        &self,
        store: &Store,
        token: &ApiToken,
        organisation: &Organisation,
    ) -> Result<Option<Role>, StoreError> {
        let role = match &token.holder {
            Holder::Organisation(own) => (own == organisation).then_some(token.role),
            Holder::Person(person) if self.named_owner(person, organisation) => Some(Role::Owner),
            Holder::Person(person) => store.role(person, organisation).await?,
        };
        Ok(role.map(|role| role.min(token.role)))
    }

    /// Whether the settings say that he owns it.
    pub(crate) fn named_owner(&self, person: &Person, organisation: &Organisation) -> bool {
        let Some(Terms { owners, .. }) = self.organisations.get(organisation) else { return false };
        owners.iter().any(|owner| {
            let login = self.issuers.login(&owner.login);
            login.is_some_and(|login| login.issuer == person.issuer) && owner.known.is(person)
        })
    }

    async fn api(&self, store: &Store, token: &Secret, now: u64) -> Result<Option<Caller>, StoreError> {
        if let Some(caller) = self.tokens.find(token) {
            return Ok(Some(caller));
        }
        // An access token is none of these, and has dots.
        if token.expose().contains('.') {
            return Ok(None);
        }
        Ok(store.token(&token.digest(), now).await?.map(Caller::api))
    }

    async fn of_sub(&self, store: &Store, sub: &str, now: u64) -> Result<Option<Caller>, StoreError> {
        match sub.split_once('/') {
            Some(("operator", name)) => Ok(self.tokens.named(name)),
            Some(("token", id)) => Ok(store.token_of_id(id, now).await?.map(Caller::api)),
            _ => Ok(None),
        }
    }
}

impl Caller {
    fn operators(name: &Name, scopes: Arc<[Scope]>) -> Self {
        Self { name: name.to_string(), token: Token::Operators(scopes), asked: None }
    }

    fn api(token: ApiToken) -> Self {
        // No name of the operator's file has a slash.
        let name = match &token.holder {
            Holder::Person(person) => format!("person/{}", person.id),
            Holder::Organisation(organisation) => format!("organisation/{organisation}"),
        };
        Self { name, token: Token::Api(token), asked: None }
    }

    /// Who it is, for the log and for what is his own.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// His API token, if he is one of the people of the database and shows the token itself.
    pub(crate) const fn api_token(&self) -> Option<&ApiToken> {
        match (&self.token, &self.asked) {
            (Token::Api(token), None) => Some(token),
            _ => None,
        }
    }

    /// Whether he shows an API token, or an access token that is for this.
    pub(crate) fn asked_for(&self, repository: &Repository, action: Action) -> bool {
        self.asked
            .as_ref()
            .is_none_or(|asked| asked.iter().any(|one| one.repository == *repository && one.actions.contains(&action)))
    }

    fn sub(&self) -> String {
        match &self.token {
            Token::Operators(_) => format!("operator/{}", self.name),
            Token::Api(token) => format!("token/{}", token.id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::{Known, Somebody};
    use crate::settings::Login;
    use crate::store::Storage;

    const NOW: u64 = 1_800_000_000;
    const ISSUER: &str = "https://login.example.org";

    /// A store, logins with the operator's token of these scopes, and that token.
    struct World {
        store: Store,
        logins: Logins,
        operators: Secret,
    }

    impl World {
        async fn new(scopes: &[&str]) -> Self {
            let operators = Secret::generate().unwrap();
            let scopes: Vec<Scope> = scopes.iter().map(|scope| scope.parse().unwrap()).collect();
            let file = Tokens::entry(&"ci".parse().unwrap(), &operators, &scopes);
            let login =
                Login { issuer: ISSUER.to_owned(), client: "donjon".to_owned(), client_secret: None, session_hours: 1 };
            let boss = Somebody { login: "corp".parse().unwrap(), known: Known::Subject("boss".to_owned()) };
            let terms = Terms { quota_bytes: None, owners: vec![boss] };
            let store = Store::open(&Storage::memory(), 10).await.unwrap();
            let acme: Organisation = "acme".parse().unwrap();
            store.declare_organisation(&acme, None).await.unwrap();
            let logins = Logins::new(
                Tokens::parse("tokens.toml", &file).unwrap(),
                AccessTokens::new(&[7; 32]),
                Issuers::new([("corp".parse().unwrap(), login)].into()).unwrap(),
                [(acme, terms)].into(),
            );
            Self { store, logins, operators }
        }

        async fn ask(
            &self,
            headers: &HeaderMap,
            service: Option<&str>,
            now: u64,
        ) -> Result<Option<Caller>, LoginError> {
            let service: Option<Authority> = service.map(|service| service.parse().unwrap());
            self.logins.caller(&self.store, headers, service.as_ref(), now).await
        }

        async fn is_bad(&self, headers: &HeaderMap, service: Option<&str>, now: u64) -> bool {
            matches!(self.ask(headers, service, now).await, Err(LoginError::Bad))
        }

        async fn role(&self, caller: &Caller, repository: &str) -> Option<Role> {
            self.logins.role(&self.store, caller, &repository.parse().unwrap()).await.unwrap()
        }

        /// A token of the database, from now until an hour later.
        async fn token(&self, holder: Holder, role: Role, scopes: &[&str]) -> (Secret, String) {
            let (secret, id) = (Secret::generate().unwrap(), self.store.new_id().unwrap());
            let token = ApiToken {
                id: id.clone(),
                holder,
                name: "test".to_owned(),
                session: false,
                role,
                scopes: scopes.iter().map(|scope| scope.parse().unwrap()).collect(),
                created: NOW,
                expires: NOW + 3600,
            };
            assert!(self.store.keep_token(&token, &secret.digest(), NOW).await.unwrap());
            (secret, id)
        }

        async fn person(&self, subject: &str, email: Option<&str>) -> Person {
            self.store.came(ISSUER, subject, email, NOW).await.unwrap()
        }
    }

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    fn bearer(token: &Secret) -> HeaderMap {
        headers(&format!("Bearer {}", token.expose()))
    }

    #[tokio::test]
    async fn bearer_and_basic_open_and_everything_else_does_not() {
        let world = World::new(&["*"]).await;
        let clear = world.operators.expose();
        let basic = |pair: String| format!("Basic {}", BASE64_STANDARD.encode(pair));
        let here = Some("registry:443");
        for good in [format!("Bearer {clear}"), format!("bearer {clear}"), basic(format!("me:{clear}"))] {
            assert_eq!(world.ask(&headers(&good), here, NOW).await.unwrap().unwrap().name(), "ci");
        }
        let other = Secret::generate().unwrap();
        for bad in [
            format!("Bearer {}", other.expose()),
            format!("Bearer {clear}x"),
            format!("Bearer {}", &clear[1..]),
            format!("Bearer {}", world.operators.digest()),
            basic(format!("{clear}:")),
            basic(clear.to_owned()),
            format!("Digest {clear}"),
            clear.to_owned(),
            "Basic !!".to_owned(),
            "Bearer a.b.c".to_owned(),
        ] {
            assert!(world.is_bad(&headers(&bad), here, NOW).await, "{bad}");
        }
        for nobody in [HeaderMap::new(), headers(&basic(":".to_owned()))] {
            let asked = world.ask(&nobody, here, NOW).await.unwrap();
            assert_eq!(asked, None, "nobody is not somebody with a wrong token");
        }
        let mut twice = headers(&format!("Bearer {clear}"));
        twice.append(AUTHORIZATION, "Bearer x".parse().unwrap());
        assert!(world.is_bad(&twice, here, NOW).await);
    }

    #[tokio::test]
    async fn an_access_token_is_for_a_while_a_service_and_what_was_asked_for() {
        let world = World::new(&["acme/*"]).await;
        let here = Some("registry:443");
        let ask = |caller: Option<&Caller>, scopes: &[&str]| {
            let wanted = scopes.iter().map(|scope| Wanted::parse(scope).unwrap()).collect();
            world.logins.access_token(caller, &"registry:443".parse().unwrap(), wanted, NOW).unwrap()
        };
        let ci = world.ask(&bearer(&world.operators), None, NOW).await.unwrap().unwrap();
        let asked = ["repository:acme/shop:pull,push", "repository:other/shop:pull,push", "repository:acme/web:pull"];
        let access = ask(Some(&ci), &asked);
        let with = world.ask(&bearer(&access), here, NOW + 1).await.unwrap().unwrap();
        assert!(with.name() == "ci" && with.api_token().is_none());
        for (repository, pull, push, role) in [
            ("acme/shop", true, true, Some(Role::Writer)),
            ("other/shop", true, true, None),
            ("acme/web", true, false, Some(Role::Writer)),
            ("acme/more", false, false, Some(Role::Writer)),
        ] {
            let name = repository.parse().unwrap();
            let asked = [Action::Pull, Action::Push].map(|action| with.asked_for(&name, action));
            assert_eq!((asked, world.role(&with, repository).await), ([pull, push], role), "{repository}");
        }
        let nobody = ask(None, &["repository:acme/shop:pull,push"]);
        assert_eq!(world.ask(&bearer(&nobody), here, NOW).await.unwrap(), None);
        // Too late, too early, elsewhere, from elsewhere, changed.
        assert!(world.ask(&bearer(&access), here, NOW + LIFETIME - 1).await.is_ok(), "control");
        assert!(world.is_bad(&bearer(&access), here, NOW + LIFETIME).await);
        assert!(world.is_bad(&bearer(&access), here, NOW - 61).await);
        assert!(world.is_bad(&bearer(&access), Some("other:443"), NOW).await);
        let mut other = World::new(&["*"]).await;
        assert!(other.ask(&bearer(&access), here, NOW).await.is_ok(), "control: the same key");
        other.logins.access = AccessTokens::new(&[8; 32]);
        assert!(other.is_bad(&bearer(&access), here, NOW).await);
        let parts: Vec<&str> = access.expose().split('.').collect();
        let nobodys: Vec<&str> = nobody.expose().split('.').collect();
        let none = base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT","alg":"none"}"#);
        for forged in [
            format!("{}.{}.{}", parts[0], parts[1], nobodys[2]),
            format!("{}.{}.{}", parts[0], nobodys[1], parts[2]),
            format!("{none}.{}.", parts[1]),
            format!("{}.{}", parts[0], parts[1]),
        ] {
            assert!(world.is_bad(&bearer(&Secret::new(forged)), here, NOW).await);
        }
    }

    #[tokio::test]
    async fn a_token_may_what_it_says_and_what_its_person_is_whichever_is_less() {
        let world = World::new(&[]).await;
        let acme: Organisation = "acme".parse().unwrap();
        let person = world.person("7", Some("ada@example.org")).await;
        let (writer, id) = world.token(Holder::Person(person.clone()), Role::Writer, &["acme/*"]).await;
        let caller = world.ask(&bearer(&writer), None, NOW).await.unwrap().unwrap();
        let role = async || world.role(&caller, "acme/shop").await;
        assert_eq!(role().await, None, "nobody has made her a member");
        let by_mail = Known::Email("ada@example.org".to_owned());
        let by_subject = Known::Subject("7".to_owned());
        let member = async |known, role| assert!(world.store.set_member(&acme, ISSUER, known, role).await.unwrap());
        member(&by_mail, Role::Reader).await;
        assert_eq!(role().await, Some(Role::Reader));
        member(&by_subject, Role::Owner).await;
        assert_eq!(role().await, Some(Role::Writer), "the token says no more");
        assert_eq!(world.role(&caller, "other/shop").await, None, "out of its scopes");
        // What her address was is not hers once the issuer says otherwise.
        assert!(world.store.remove_member(&acme, ISSUER, &by_subject).await.unwrap());
        world.person("7", None).await;
        let caller = world.ask(&bearer(&writer), None, NOW).await.unwrap().unwrap();
        assert_eq!(world.role(&caller, "acme/shop").await, None);
        // An access token goes with the token it was given for.
        let wanted = vec![Wanted::parse("repository:acme/shop:pull").unwrap()];
        let access = world.logins.access_token(Some(&caller), &"r:1".parse().unwrap(), wanted, NOW).unwrap();
        assert!(world.ask(&bearer(&access), Some("r:1"), NOW).await.unwrap().is_some(), "control");
        assert!(!world.store.revoke(&Holder::Organisation(acme), &id).await.unwrap(), "not theirs");
        assert!(world.store.revoke(&Holder::Person(person), &id).await.unwrap());
        assert!(world.is_bad(&bearer(&access), Some("r:1"), NOW).await);
        assert!(world.is_bad(&bearer(&writer), None, NOW).await);
    }

    #[tokio::test]
    async fn tokens_end_and_organisations_have_their_own() {
        let world = World::new(&[]).await;
        let acme: Organisation = "acme".parse().unwrap();
        let (machine, _) = world.token(Holder::Organisation(acme), Role::Reader, &["*"]).await;
        let caller = world.ask(&bearer(&machine), None, NOW + 3599).await.unwrap().unwrap();
        assert_eq!(world.role(&caller, "acme/shop").await, Some(Role::Reader));
        assert_eq!(world.role(&caller, "other/shop").await, None);
        assert!(world.is_bad(&bearer(&machine), None, NOW + 3600).await);
        // Owners whom the settings name, and the same subject of nobody they know.
        let boss = world.person("boss", None).await;
        let (token, _) = world.token(Holder::Person(boss), Role::Owner, &["*"]).await;
        let caller = world.ask(&bearer(&token), None, NOW).await.unwrap().unwrap();
        assert_eq!(world.role(&caller, "acme").await, Some(Role::Owner));
        assert_eq!(world.role(&caller, "acme-not/shop").await, None);
        let other = world.store.came("https://other.example.org", "boss", None, NOW).await.unwrap();
        let (token, _) = world.token(Holder::Person(other), Role::Owner, &["*"]).await;
        let caller = world.ask(&bearer(&token), None, NOW).await.unwrap().unwrap();
        assert_eq!(world.role(&caller, "acme/shop").await, None);
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
