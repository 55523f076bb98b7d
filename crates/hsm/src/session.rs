//! Sessions with a token: logged in, with the handle of the one key that is meant.
//!
//! Made when they are needed and kept for the next time; where one fails the library is begun anew, so that a token that was away is
//! found again. Invariant: who begins the library anew is alone with it.

use std::fmt;
use std::sync::{Mutex, PoisonError, RwLock};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::KeyUri;

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
    /// No such key has this label, or several have.
    #[error("the token has {found} {what} `{label}`, one of each is expected")]
    Object {
        /// What was looked for.
        what: &'static str,
        /// The label.
        label: String,
        /// How many.
        found: usize,
    },
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    NoRandomness,
    /// What is to be opened is too short to be anything.
    #[error("what is to be opened is damaged")]
    Damaged,
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
            Self::NoRandomness | Self::Damaged => return None,
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

/// What is looked for under a label.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) class: ObjectClass,
    pub(crate) key: KeyType,
    /// For people.
    pub(crate) what: &'static str,
}

/// A key of a token, and who asks for it.
pub(crate) struct Sessions {
    module: Pkcs11,
    label: String,
    object: String,
    pin: Option<AuthPin>,
    kind: Kind,
    /// Held by who uses the library, and alone by who begins it anew.
    library: RwLock<()>,
    /// As many as ask at a time.
    idle: Mutex<Vec<(Session, ObjectHandle)>>,
}

impl Sessions {
    /// Finds the key.
    pub(crate) fn open(uri: &KeyUri, pin: Option<&Zeroizing<String>>, kind: Kind) -> Result<Self, TokenError> {
        let module = Pkcs11::new(&uri.module)?;
        initialize(&module)?;
        let sessions = Self {
            module,
            label: uri.token.clone(),
            object: uri.object.clone(),
            pin: pin.map(|pin| AuthPin::from(pin.as_str())),
            kind,
            library: RwLock::default(),
            idle: Mutex::default(),
        };
        let session = sessions.session()?;
        sessions.put_back(session);
        Ok(sessions)
    }

    /// Does something with the key; once more, with the library begun anew, if that fails.
    pub(crate) fn with<T>(
        &self,
        job: impl Fn(&Session, ObjectHandle) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        self.once(&job).or_else(|_| {
            self.begin_again()?;
            self.once(&job)
        })
    }

    fn once<T>(&self, job: &impl Fn(&Session, ObjectHandle) -> Result<T, TokenError>) -> Result<T, TokenError> {
        let _used = self.library.read().unwrap_or_else(PoisonError::into_inner);
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let (session, key) = match idle {
            Some(idle) => idle,
            None => self.session()?,
        };
        let done = job(&session, key)?;
        self.put_back((session, key));
        Ok(done)
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

    /// A session that is logged in, and the key.
    fn session(&self) -> Result<(Session, ObjectHandle), TokenError> {
        let session = self.module.open_ro_session(self.slot()?)?;
        if let Some(pin) = &self.pin {
            match session.login(UserType::User, Some(pin)) {
                // All sessions of a process with a token are logged in together.
                Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let key = self.one(&session, self.kind)?;
        Ok((session, key))
    }

    fn slot(&self) -> Result<Slot, TokenError> {
        for slot in self.module.get_slots_with_token()? {
            if self.module.get_token_info(slot).is_ok_and(|info| info.label() == self.label) {
                return Ok(slot);
            }
        }
        Err(TokenError::Token(self.label.clone()))
    }

    /// The one of this kind with the key's label.
    pub(crate) fn one(&self, session: &Session, kind: Kind) -> Result<ObjectHandle, TokenError> {
        let Kind { class, key, what } = kind;
        let template =
            [Attribute::Class(class), Attribute::KeyType(key), Attribute::Label(self.object.clone().into_bytes())];
        match session.find_objects(&template)?[..] {
            [one] => Ok(one),
            ref found => Err(TokenError::Object { what, label: self.object.clone(), found: found.len() }),
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

impl fmt::Debug for Sessions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, {}", self.label, self.object)
    }
}
