//! A private key in an HSM, by PKCS#11: it never leaves it.
//!
//! Owns which key is meant (a URI, RFC 7512), and the sessions with the token. Refuses other kinds of keys, several keys of one name,
//! and parts of a URI that would be ignored. Sessions are made when they are needed and kept for the next signature; where one fails
//! the library is begun anew, so that a token that was away is found again. Invariant: nothing of the private key is ever in this process, and the PIN is
//! in no message.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{
        Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use aws_lc_rs::digest;
use const_oid::{
    ObjectIdentifier,
    db::rfc5912::{SECP_256_R_1, SECP_384_R_1},
};
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::Mechanism,
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    slot::Slot,
    types::AuthPin,
};
use der::{
    Decode as _, Encode as _,
    asn1::{AnyRef, BitStringRef, OctetStringRef, UintRef},
};
use identity::keys::{Algorithm, SignError};
use thiserror::Error;
use zeroize::Zeroizing;

/// Which key of which token, and how to get at it: `pkcs11:token=NAME;object=LABEL?module-path=FILE&pin-source=FILE` (RFC 7512).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyUri {
    /// The token's label.
    token: String,
    /// The key's label (CKA_LABEL).
    object: String,
    /// The library that speaks with it.
    module: PathBuf,
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
                "type" if value == "private" => continue,
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

/// Why a token's key was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The library cannot be loaded, or the token does not answer.
    #[error("PKCS#11: {0}")]
    Module(String),
    /// No token has this label.
    #[error("there is no token `{0}`")]
    Token(String),
    /// The PIN is wrong, or there is none.
    #[error("the token does not take the PIN")]
    Pin,
    /// No key pair has this label, or several have.
    #[error("the token has {found} private and public keys `{label}`, one of each is expected")]
    Object {
        /// The label.
        label: String,
        /// How many.
        found: usize,
    },
    /// Neither P-256 nor P-384.
    #[error("the token's key is neither a P-256 nor a P-384 key")]
    Curve,
}

impl TokenError {
    /// What to do about it, in a sentence.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Module(_) => {
                "`pkcs11-tool --module FILE -L` says whether the library works, and which tokens there are"
            }
            Self::Token(_) => "`pkcs11-tool --module FILE -L` lists the tokens with their labels",
            Self::Pin => "`pin-source` names a file that holds the user's PIN and nothing else",
            Self::Object { .. } => {
                "`pkcs11-tool --module FILE --token-label NAME --login -O` lists its keys with their labels"
            }
            Self::Curve => {
                "`pkcs11-tool --keypairgen --key-type EC:prime256v1` makes a key that is taken; EC:secp384r1 too"
            }
        })
    }
}

impl From<Error> for TokenError {
    fn from(error: Error) -> Self {
        match error {
            Error::Pkcs11(
                RvError::PinIncorrect | RvError::PinInvalid | RvError::PinLenRange | RvError::PinLocked,
                _,
            )
            | Error::PinNotSet => Self::Pin,
            other => Self::Module(other.to_string()),
        }
    }
}

/// A key of a token.
pub(super) struct Token {
    module: Pkcs11,
    label: String,
    object: String,
    pin: Option<AuthPin>,
    algorithm: Algorithm,
    /// Whether it did not sign when it was last asked.
    away: AtomicBool,
    /// Held by who uses the library, and alone by who begins it anew.
    library: RwLock<()>,
    /// Logged in, with the private key's handle: as many as sign at a time.
    idle: Mutex<Vec<(Session, ObjectHandle)>>,
}

impl Token {
    /// Finds the key, and its public half in DER.
    pub(super) fn open(uri: &KeyUri, pin: Option<&Zeroizing<String>>) -> Result<(Self, Vec<u8>), TokenError> {
        let module = Pkcs11::new(&uri.module)?;
        initialize(&module)?;
        let mut token = Self {
            module,
            label: uri.token.clone(),
            object: uri.object.clone(),
            pin: pin.map(|pin| AuthPin::from(pin.as_str())),
            algorithm: Algorithm::EcdsaP256Sha256,
            away: AtomicBool::new(false),
            library: RwLock::default(),
            idle: Mutex::default(),
        };
        let (session, private) = token.session()?;
        let public = token.one(&session, ObjectClass::PUBLIC_KEY)?;
        let attributes = session.get_attributes(public, &[AttributeType::EcParams, AttributeType::EcPoint])?;
        let (mut parameters, mut point) = (Vec::new(), Vec::new());
        for attribute in attributes {
            match attribute {
                Attribute::EcParams(bytes) => parameters = bytes,
                Attribute::EcPoint(bytes) => point = bytes,
                _ => {}
            }
        }
        let curve = ObjectIdentifier::from_der(&parameters).map_err(|_| TokenError::Curve)?;
        token.algorithm = match curve {
            SECP_256_R_1 => Algorithm::EcdsaP256Sha256,
            SECP_384_R_1 => Algorithm::EcdsaP384Sha384,
            _ => return Err(TokenError::Curve),
        };
        let spki = spki(curve, &point).ok_or(TokenError::Curve)?;
        if Algorithm::of(&spki) != Ok(token.algorithm) {
            return Err(TokenError::Curve);
        }
        token.put_back((session, private));
        Ok((token, spki))
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether it signs; asks it, if it did not.
    pub(super) fn available(&self) -> bool {
        !self.away.load(Ordering::Relaxed) || self.sign(b"donjon: is the key there?").is_ok()
    }

    /// `ECDSA-Sig-Value` in DER.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let signed = self.signed(message);
        self.away.store(signed.is_err(), Ordering::Relaxed);
        signed
    }

    fn signed(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        let hash = match self.algorithm {
            Algorithm::EcdsaP256Sha256 => digest::digest(&digest::SHA256, message),
            Algorithm::EcdsaP384Sha384 => digest::digest(&digest::SHA384, message),
        };
        let signature = self.raw(hash.as_ref()).or_else(|_| {
            self.begin_again()?;
            self.raw(hash.as_ref())
        });
        let signature = signature.map_err(|error| {
            tracing::error!(%error, "key");
            SignError::Unavailable
        })?;
        in_der(self.algorithm, &signature)
    }

    /// r and s over a hash.
    fn raw(&self, hash: &[u8]) -> Result<Vec<u8>, TokenError> {
        let _used = self.library.read().unwrap_or_else(PoisonError::into_inner);
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let (session, key) = match idle {
            Some(idle) => idle,
            None => self.session()?,
        };
        let signature = session.sign(&Mechanism::Ecdsa, key, hash)?;
        self.put_back((session, key));
        Ok(signature)
    }

    /// A library that has seen its token go may not see it come back until it is told to begin anew. Nobody uses it meanwhile.
    fn begin_again(&self) -> Result<(), TokenError> {
        let _alone = self.library.write().unwrap_or_else(PoisonError::into_inner);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        // It may not know any more that it was begun.
        let _ = self.module.clone().finalize();
        initialize(&self.module)
    }

    fn put_back(&self, session: (Session, ObjectHandle)) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
    }

    /// A session that is logged in, and the private key.
    fn session(&self) -> Result<(Session, ObjectHandle), TokenError> {
        let session = self.module.open_ro_session(self.slot()?)?;
        if let Some(pin) = &self.pin {
            match session.login(UserType::User, Some(pin)) {
                // All sessions of a process with a token are logged in together.
                Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let private = self.one(&session, ObjectClass::PRIVATE_KEY)?;
        Ok((session, private))
    }

    fn slot(&self) -> Result<Slot, TokenError> {
        for slot in self.module.get_slots_with_token()? {
            if self.module.get_token_info(slot).is_ok_and(|info| info.label() == self.label) {
                return Ok(slot);
            }
        }
        Err(TokenError::Token(self.label.clone()))
    }

    fn one(&self, session: &Session, class: ObjectClass) -> Result<ObjectHandle, TokenError> {
        let template = [
            Attribute::Class(class),
            Attribute::KeyType(KeyType::EC),
            Attribute::Label(self.object.clone().into_bytes()),
        ];
        match session.find_objects(&template)?[..] {
            [one] => Ok(one),
            ref found => Err(TokenError::Object { label: self.object.clone(), found: found.len() }),
        }
    }
}

fn initialize(module: &Pkcs11) -> Result<(), TokenError> {
    match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // A library is initialized once for a process.
        Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}, {})", self.label, self.object)
    }
}

/// SubjectPublicKeyInfo (RFC 5480 section 2) of a point as tokens have it: in an OCTET STRING, or as it is.
fn spki(curve: ObjectIdentifier, point: &[u8]) -> Option<Vec<u8>> {
    let point = <&OctetStringRef>::from_der(point).map_or(point, OctetStringRef::as_bytes);
    let algorithm = vec![const_oid::db::rfc5912::ID_EC_PUBLIC_KEY, curve].to_der().ok()?;
    let key = BitStringRef::from_bytes(point).ok()?.to_der().ok()?;
    vec![AnyRef::from_der(&algorithm).ok()?, AnyRef::from_der(&key).ok()?].to_der().ok()
}

/// Tokens give r and s, each of the curve's length (PKCS#11 section 2.3.1).
fn in_der(algorithm: Algorithm, signature: &[u8]) -> Result<Vec<u8>, SignError> {
    let half = match algorithm {
        Algorithm::EcdsaP256Sha256 => 32,
        Algorithm::EcdsaP384Sha384 => 48,
    };
    let (r, s) = signature.split_at_checked(half).filter(|(_, s)| s.len() == half).ok_or(SignError::Signature)?;
    let number = |bytes| UintRef::new(bytes).map_err(|_| SignError::Signature);
    vec![number(r)?, number(s)?].to_der().map_err(|_| SignError::Signature)
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

    #[test]
    fn a_signature_of_a_token_becomes_der() {
        let signature = [[0x80; 32], [0x01; 32]].concat();
        let der = in_der(Algorithm::EcdsaP256Sha256, &signature).unwrap();
        assert_eq!(der[..5], [0x30, 0x45, 0x02, 0x21, 0]);
        for length in [0, 63, 65, 96] {
            assert_eq!(in_der(Algorithm::EcdsaP256Sha256, &vec![1; length]), Err(SignError::Signature), "{length}");
        }
        assert!(in_der(Algorithm::EcdsaP384Sha384, &[1; 96]).is_ok());
    }
}
