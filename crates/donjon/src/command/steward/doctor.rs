//! `donjon steward doctor`: whether it would serve, what is missing, and how to mend it.

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use evidence::time;
use identity::Signer as _;
use steward::Settings;
use steward::collateral::Reader;
use steward::record::writer::{RecordSource, probe};

use super::{Serve, read};
use crate::command::{listen, runtime, say};
use crate::failure::Failure;

/// In seconds.
const DAY: u64 = 24 * 3600;
/// When an authority's certificates should have been renewed, in days before their end.
const SOON: u64 = 30;

/// What the folder of collateral is good for.
fn collateral(reader: Option<&Reader>, now: u64) -> Result<String, Failure> {
    let Some(reader) = reader else { return Ok("none: requests bring it".to_owned()) };
    if let Some(trouble) = reader.troubles().first() {
        let others = reader.troubles().len().saturating_sub(1);
        let others = if others == 0 { String::new() } else { format!(", and {others} more") };
        return Err(Failure::new(format!("{trouble}{others}")).hint("take it away, and run `donjon collateral fetch`"));
    }
    let Some(first) = reader.cache().pieces().min_by_key(|piece| piece.until()) else {
        return Err(Failure::new("the folder is empty").hint("`donjon collateral fetch` fills it"));
    };
    let (place, until) = (first.need().place(), time::date(first.until()));
    if !first.valid_at(now) {
        let valid = format!("{place} is valid from {} until {until}", time::date(first.since()));
        return Err(Failure::new(valid).hint("`donjon collateral fetch` refreshes it"));
    }
    Ok(format!("{} pieces, the first until {until} ({place})", reader.cache().len()))
}

/// Everything that serving would need, a line each.
pub(super) fn run(serve: &Serve) -> ExitCode {
    let mut well = true;
    let mut line = |what: &str, found: Result<String, Failure>| match found {
        Ok(found) => say(&format!("ok      {what:<10} {found}")),
        Err(failure) => {
            well = false;
            failure.prefixed(what).show();
        }
    };
    let policy = read(&serve.policy);
    let opened = policy.is_ok().then(|| {
        let open = |settings: Settings| settings.open().map_err(|error| Failure::hinted(&error, error.hint()));
        serve.settings().and_then(open)
    });
    line(
        "policy",
        policy.map(|policy| match policy.explain().weak.len() {
            0 => policy.digest().to_string(),
            weak => format!("{}, weak in {weak}: donjon steward check-policy", policy.digest()),
        }),
    );
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    match opened {
        None => {}
        Some(Err(failure)) => line("keys", Err(failure)),
        Some(Ok(opened)) => {
            let authority = opened.steward.authority();
            let (end, days) = (authority.not_after(), authority.not_after().saturating_sub(now) / DAY);
            let kind = if serve.ca_key.is_some() { "" } else { ", made at each start: nobody can list its root" };
            line("authority", Ok(format!("{} {}{kind}", authority.class(), authority.anchor())));
            let ends = format!("until {} ({days} days)", time::date(end));
            line(
                "chain",
                if days < SOON {
                    Err(Failure::new(format!("it is valid {ends}")).hint("renew the authority's certificates"))
                } else {
                    Ok(ends)
                },
            );
            let roots = authority.roots().count();
            line(
                "roots",
                Ok(if roots == 1 { "its own".to_owned() } else { format!("its own, and {} beside it", roots - 1) }),
            );
            line("names", Ok(format!("it certifies {}", authority.permitted())));
            let signed = authority.key().sign(b"donjon steward doctor").map(|_| "it signs".to_owned());
            line("key", signed.map_err(|error| Failure::new(error).hint("look whether the HSM answers")));
            line(
                "nonces",
                match serve.nonce_key {
                    Some(_) => Ok("shared by who has the file".to_owned()),
                    None => Ok("a key of this process: other Stewards do not take them".to_owned()),
                },
            );
            line("collateral", collateral(opened.collateral.as_ref(), now));
            line(
                "https",
                Ok(opened.tls.map_or_else(|| "none: plain HTTP".to_owned(), |tls| format!("key {}", tls.pin))),
            );
        }
    }
    let (record, listening) = (serve.record(), serve.listen);
    let none = record == RecordSource::None;
    let tried = runtime().and_then(|runtime| {
        runtime.block_on(async {
            let listens = listen(listening).await.map(|_| format!("{listening} is free"));
            let record = probe(record).await.map_err(|error| Failure::new(error).hint("make it writable"));
            Ok((listens, record))
        })
    });
    match tried {
        Err(failure) => line("runtime", Err(failure)),
        Ok((listens, record)) => {
            line("record", record.map(|()| if none { "none" } else { "it is written" }.to_owned()));
            line("listen", listens);
        }
    }
    line("clock", Ok(time::date(now)));
    ExitCode::from(u8::from(!well))
}
