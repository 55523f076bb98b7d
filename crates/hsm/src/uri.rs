//! Which key of which token is meant, as a URI.
//!
//! Owns its grammar, a part of RFC 7512. Refuses what it would not look at, and a PIN in the text. Invariant: every part that is
//! there is used.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::Deserialize;
use thiserror::Error;

/// Which key of which token, and how to get at it: `pkcs11:token=NAME;object=LABEL?module-path=FILE&pin-source=FILE` (RFC 7512).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct KeyUri {
    /// The token's label.
    pub(crate) token: String,
    /// The key's label (CKA_LABEL).
    pub(crate) object: String,
    /// The library that speaks with it.
    pub(crate) module: PathBuf,
    /// A file with the PIN.
    pin: Option<PathBuf>,
}

/// Why a text names no key of a token.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("not pkcs11:token=NAME;object=LABEL?module-path=FILE&pin-source=FILE (RFC 7512): {0}")]
pub struct UriError(String);

impl KeyUri {
    /// How such a text begins.
    pub const SCHEME: &'static str = "pkcs11:";

    /// The token's label.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The key's label.
    #[must_use]
    pub fn object(&self) -> &str {
        &self.object
    }

    /// A file with the PIN, if the text names one.
    #[must_use]
    pub fn pin_file(&self) -> Option<&Path> {
        self.pin.as_deref()
    }
}

impl FromStr for KeyUri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let refused = |why: &str| UriError(why.to_owned());
        let rest = text.strip_prefix(Self::SCHEME).ok_or_else(|| refused("another scheme"))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (mut token, mut object, mut module, mut pin) = (None, None, None, None);
        let parts = path.split(';').chain(query.split('&')).filter(|part| !part.is_empty());
        for part in parts {
            let (name, value) = part.split_once('=').ok_or_else(|| refused("an attribute without a value"))?;
            let value = decoded(value).ok_or_else(|| refused("a value that is not percent-encoded text"))?;
            let slot = match name {
                "token" => &mut token,
                "object" => &mut object,
                "module-path" => &mut module,
                "pin-source" => &mut pin,
                "type" if matches!(value.as_str(), "private" | "secret-key") => continue,
                // A PIN in a command line is everybody's to read.
                "pin-value" => return Err(refused("`pin-value` is not taken: name a file, `pin-source`")),
                other => return Err(UriError(format!("`{}` is not known", other.escape_debug()))),
            };
            if slot.replace(value).is_some() {
                return Err(UriError(format!("`{name}` twice")));
            }
        }
        let missing = |name: &str| UriError(format!("`{name}` is missing"));
        let pin = pin.map(|pin| {
            PathBuf::from(pin.strip_prefix("file:").map_or(pin.as_str(), |path| path.trim_start_matches("//")))
        });
        Ok(Self {
            token: token.ok_or_else(|| missing("token"))?,
            object: object.ok_or_else(|| missing("object"))?,
            module: module.ok_or_else(|| missing("module-path"))?.into(),
            pin,
        })
    }
}

impl TryFrom<String> for KeyUri {
    type Error = UriError;

    fn try_from(text: String) -> Result<Self, UriError> {
        text.parse()
    }
}

/// RFC 3986 section 2.1.
fn decoded(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.extend(hex::decode(digits).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uri_names_token_key_library_and_pin_and_nothing_else() {
        let good =
            "pkcs11:token=my%20token;object=ca;type=private?module-path=/usr/lib/x.so&pin-source=file:///run/pin";
        let uri: KeyUri = good.parse().unwrap();
        assert_eq!((uri.token.as_str(), uri.object.as_str()), ("my token", "ca"));
        assert_eq!(
            (uri.module.to_str().unwrap(), uri.pin_file().unwrap().to_str().unwrap()),
            ("/usr/lib/x.so", "/run/pin")
        );
        for (bad, why) in [
            ("file:/ca.key", "scheme"),
            ("pkcs11:token=a?module-path=/x", "`object`"),
            ("pkcs11:object=a?module-path=/x", "`token`"),
            ("pkcs11:token=a;object=b", "`module-path`"),
            ("pkcs11:token=a;object=b;token=c?module-path=/x", "twice"),
            ("pkcs11:token=a;object=b;slot-id=1?module-path=/x", "`slot-id`"),
            ("pkcs11:token=a;object=b;type=public?module-path=/x", "`type`"),
            ("pkcs11:token=a;object=b?module-path=/x&pin-value=1234", "`pin-source`"),
            ("pkcs11:token=%zz;object=b?module-path=/x", "percent"),
            ("pkcs11:token;object=b?module-path=/x", "without a value"),
        ] {
            let error = bad.parse::<KeyUri>().unwrap_err().to_string();
            assert!(error.contains(why), "{bad}: {error}");
            assert!(!error.contains("1234"), "{error}");
        }
    }
}
