//! The rows of people: who came, who is a member of what, and whose tokens there are.
//!
//! Owns what of a token is kept: its digest. Refuses to decide anything: what somebody may, `login` says. Invariant: an ID token is
//! spent at most once, whichever Drawbridge it is shown to.

use sqlx::any::AnyRow;
use sqlx::{FromRow, Row as _};
use workload::Digest;

use super::content::Object;
use super::{Store, StoreError, parse, signed, unsigned};
use crate::login::Scope;
use crate::people::{ApiToken, Holder, Known, Organisation, Person, Role};

/// How many tokens one holder may have.
const TOKENS: i64 = 1000;
/// How many members one organisation may have.
const MEMBERS: i64 = 100_000;

/// A row of `tokens`, beside that of its person.
const TOKEN: &str = "SELECT tokens.id, tokens.organisation, tokens.name, tokens.session, tokens.role, tokens.scopes, \
                     tokens.created, tokens.expires, people.id AS person, people.issuer, people.subject, people.email \
                     FROM tokens LEFT JOIN people ON people.id = tokens.person";

impl Store {
    /// Somebody logged in: who that is here. `email`: one that the issuer has verified, at this time.
    pub(crate) async fn came(
        &self,
        issuer: &str,
        subject: &str,
        email: Option<&str>,
        now: u64,
    ) -> Result<Person, StoreError> {
        let sql = "INSERT INTO people (id, issuer, subject, email, seen) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT (issuer, subject) DO UPDATE SET email = excluded.email, seen = excluded.seen \
                   RETURNING id";
        let mut transaction = self.database.begin().await?;
        let (id,): (String,) = sqlx::query_as(sql)
            .bind(Object::new()?.as_str())
            .bind(issuer)
            .bind(subject)
            .bind(email)
            .bind(signed(now))
            .fetch_one(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(Person { id, issuer: issuer.to_owned(), subject: subject.to_owned(), email: email.map(str::to_owned) })
    }

    /// Takes note that this ID token, which is good `until` then, was shown. False: it was before.
    pub(crate) async fn spend(&self, token: &Digest, until: u64, now: u64) -> Result<bool, StoreError> {
        let mut transaction = self.database.begin().await?;
        sqlx::query("DELETE FROM spent WHERE until < $1").bind(signed(now)).execute(&mut *transaction).await?;
        let sql = "INSERT INTO spent (sha256, until) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let spent = sqlx::query(sql).bind(token.to_string()).bind(signed(until)).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(spent.rows_affected() == 1)
    }

    /// What somebody is in this organisation, by all that he is known by.
    pub(crate) async fn role(&self, person: &Person, organisation: &Organisation) -> Result<Option<Role>, StoreError> {
        let roles = self.roles(person, Some(organisation)).await?;
        Ok(roles.into_iter().map(|(_, role)| role).max())
    }

    /// What somebody is, in this organisation or in all; in each as often as there are entries for him.
    pub(crate) async fn roles(
        &self,
        person: &Person,
        organisation: Option<&Organisation>,
    ) -> Result<Vec<(Organisation, Role)>, StoreError> {
        let sql = "SELECT organisation, role FROM members WHERE issuer = $1 \
                   AND ((kind = 'subject' AND value = $2) OR (kind = 'email' AND value = $3)) \
                   AND ($4 = '' OR organisation = $4) ORDER BY organisation";
        let rows: Vec<(String, String)> = sqlx::query_as(sql)
            .bind(person.issuer.as_str())
            .bind(person.subject.as_str())
            // No entry has an empty one.
            .bind(person.email.as_deref().unwrap_or_default())
            .bind(organisation.map(Organisation::as_str).unwrap_or_default())
            .fetch_all(self.database.read())
            .await?;
        rows.iter().map(|(name, role)| Ok((parse(name, "an organisation")?, parse(role, "a role")?))).collect()
    }

    /// The members of an organisation: by which issuer, known by what.
    pub(crate) async fn members(&self, organisation: &Organisation) -> Result<Vec<(String, Known, Role)>, StoreError> {
        let sql = "SELECT issuer, kind, value, role FROM members WHERE organisation = $1 ORDER BY issuer, kind, value";
        let rows: Vec<(String, String, String, String)> =
            sqlx::query_as(sql).bind(organisation.as_str()).fetch_all(self.database.read()).await?;
        let member = |(issuer, kind, value, role): (String, String, String, String)| {
            let damaged = || StoreError::Damaged { what: "a member in the database".to_owned() };
            Ok((issuer, Known::from_pair(&kind, value).ok_or_else(damaged)?, parse(&role, "a role")?))
        };
        rows.into_iter().map(member).collect()
    }

    /// Makes somebody a member, or changes what he is. False: there are too many.
    pub(crate) async fn set_member(
        &self,
        organisation: &Organisation,
        issuer: &str,
        known: &Known,
        role: Role,
    ) -> Result<bool, StoreError> {
        let (kind, value) = known.pair();
        let sql = "INSERT INTO members (organisation, issuer, kind, value, role) SELECT $1, $2, $3, $4, $5 \
                   WHERE (SELECT COUNT(*) FROM members WHERE organisation = $1) < $6 \
                   ON CONFLICT (organisation, issuer, kind, value) DO UPDATE SET role = excluded.role";
        let mut transaction = self.database.begin().await?;
        let set = sqlx::query(sql)
            .bind(organisation.as_str())
            .bind(issuer)
            .bind(kind)
            .bind(value)
            .bind(role.as_str())
            .bind(MEMBERS)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(set.rows_affected() == 1)
    }

    /// Takes a member out. False: he was none.
    pub(crate) async fn remove_member(
        &self,
        organisation: &Organisation,
        issuer: &str,
        known: &Known,
    ) -> Result<bool, StoreError> {
        let (kind, value) = known.pair();
        let sql = "DELETE FROM members WHERE organisation = $1 AND issuer = $2 AND kind = $3 AND value = $4";
        let mut transaction = self.database.begin().await?;
        let removed = sqlx::query(sql).bind(organisation.as_str()).bind(issuer).bind(kind).bind(value);
        let removed = removed.execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(removed.rows_affected() == 1)
    }

    /// Keeps the digest of a new token, and forgets those of the past. False: its holder has too many.
    pub(crate) async fn keep_token(&self, token: &ApiToken, digest: &Digest, now: u64) -> Result<bool, StoreError> {
        let ApiToken { id, holder, name, session, role, scopes, created, expires } = token;
        let (person, organisation) = match holder {
            Holder::Person(person) => (Some(person.id.as_str()), None),
            Holder::Organisation(organisation) => (None, Some(organisation.as_str())),
        };
        let scopes = scopes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let mut transaction = self.database.begin().await?;
        sqlx::query("DELETE FROM tokens WHERE expires <= $1").bind(signed(now)).execute(&mut *transaction).await?;
        let sql = "INSERT INTO tokens (id, sha256, person, organisation, name, session, role, scopes, created, expires) \
                   SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 WHERE \
                   (SELECT COUNT(*) FROM tokens WHERE person = $3 OR organisation = $4) < $11";
        let kept = sqlx::query(sql)
            .bind(id.as_str())
            .bind(digest.to_string())
            .bind(person)
            .bind(organisation)
            .bind(name.as_str())
            .bind(i64::from(*session))
            .bind(role.as_str())
            .bind(scopes)
            .bind(signed(*created))
            .bind(signed(*expires))
            .bind(TOKENS)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(kept.rows_affected() == 1)
    }

    /// The token with this digest, if it is still good.
    pub(crate) async fn token(&self, digest: &Digest, now: u64) -> Result<Option<ApiToken>, StoreError> {
        self.one_token("tokens.sha256", &digest.to_string(), now).await
    }

    /// The token of this id, if it is still good.
    pub(crate) async fn token_of_id(&self, id: &str, now: u64) -> Result<Option<ApiToken>, StoreError> {
        self.one_token("tokens.id", id, now).await
    }

    async fn one_token(&self, column: &'static str, value: &str, now: u64) -> Result<Option<ApiToken>, StoreError> {
        let sql = format!("{TOKEN} WHERE {column} = $1 AND tokens.expires > $2");
        let found = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(value).bind(signed(now));
        found.fetch_optional(self.database.read()).await?.map(Row::token).transpose()
    }

    /// All tokens of one holder that are still good.
    pub(crate) async fn tokens(&self, holder: &Holder, now: u64) -> Result<Vec<ApiToken>, StoreError> {
        let (column, value) = holder_column(holder);
        let sql =
            format!("{TOKEN} WHERE tokens.{column} = $1 AND tokens.expires > $2 ORDER BY tokens.created, tokens.id");
        let rows = sqlx::query_as(sqlx::AssertSqlSafe(sql)).bind(value).bind(signed(now));
        rows.fetch_all(self.database.read()).await?.into_iter().map(Row::token).collect()
    }

    /// Ends a token of this holder. False: he has none of this id.
    pub(crate) async fn revoke(&self, holder: &Holder, id: &str) -> Result<bool, StoreError> {
        let (column, value) = holder_column(holder);
        let mut transaction = self.database.begin().await?;
        let sql = format!("DELETE FROM tokens WHERE id = $1 AND {column} = $2");
        let revoked = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(id).bind(value).execute(&mut *transaction).await?;
        transaction.commit().await?;
        Ok(revoked.rows_affected() == 1)
    }
}

fn holder_column(holder: &Holder) -> (&'static str, &str) {
    match holder {
        Holder::Person(person) => ("person", &person.id),
        Holder::Organisation(organisation) => ("organisation", organisation.as_str()),
    }
}

/// A row of [`TOKEN`], but for its person.
type Columns = (String, Option<String>, String, i64, String, String, i64, i64);
/// A person in it.
type Somebody = (Option<String>, Option<String>, Option<String>, Option<String>);

struct Row(Columns, Somebody);

impl<'r> FromRow<'r, AnyRow> for Row {
    fn from_row(row: &'r AnyRow) -> Result<Self, sqlx::Error> {
        let person = (row.try_get("person")?, row.try_get("issuer")?, row.try_get("subject")?, row.try_get("email")?);
        Ok(Self(Columns::from_row(row)?, person))
    }
}

impl Row {
    fn token(self) -> Result<ApiToken, StoreError> {
        let Self((id, organisation, name, session, role, scopes, created, expires), person) = self;
        let holder = match (organisation, person) {
            (Some(organisation), _) => Holder::Organisation(parse(&organisation, "an organisation")?),
            (None, (Some(id), Some(issuer), Some(subject), email)) => {
                Holder::Person(Person { id, issuer, subject, email })
            }
            (None, _) => return Err(StoreError::Damaged { what: format!("token {id}") }),
        };
        let scopes: Vec<Scope> = scopes.split(' ').map(|scope| parse(scope, "a scope")).collect::<Result<_, _>>()?;
        let (role, created, expires) = (parse(&role, "a role")?, unsigned(created)?, unsigned(expires)?);
        Ok(ApiToken { id, holder, name, session: session != 0, role, scopes, created, expires })
    }
}
