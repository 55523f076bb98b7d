//! A certificate or a revocation list as it came, read once, however often it is asked about.
//!
//! Owns bytes and what they were read as. Refuses nothing by itself: what cannot be read says why, each time. What is longer than
//! genuine ones are is read each time, and not kept: read, it may have thirty times its length. Invariant: what it says
//! is what [`Certificate::parse`] and [`Crl::parse`] say of the same bytes.

use super::{Certificate, Crl, PkiError, Scheme};
use std::sync::{Arc, OnceLock};

/// The longest that is kept: AMD's and Intel's certificates have less than half of it, and their lists are shorter.
const KEPT: usize = 4 * 1024;

/// Bytes that may be a certificate or a list.
#[derive(Debug, Default)]
pub struct Object {
    der: Vec<u8>,
    certificates: [OnceLock<Result<Certificate, PkiError>>; 2],
    lists: [OnceLock<Result<Arc<Crl>, PkiError>>; 2],
}

impl Object {
    /// Takes bytes, and looks at none of them.
    pub fn new(der: &[u8]) -> Self {
        Self { der: der.to_vec(), ..Self::default() }
    }

    /// The bytes.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Whether what it was read as is kept.
    pub fn is_kept(&self) -> bool {
        self.der.len() <= KEPT
    }

    pub(crate) fn certificate(&self, scheme: Scheme) -> Result<Certificate, PkiError> {
        let [amd, intel] = &self.certificates;
        self.read(of(scheme, amd, intel), |der| Certificate::parse(der, scheme))
    }

    pub(crate) fn list(&self, scheme: Scheme) -> Result<Arc<Crl>, PkiError> {
        let [amd, intel] = &self.lists;
        self.read(of(scheme, amd, intel), |der| Crl::parse(der, scheme).map(Arc::new))
    }

    fn read<T: Clone>(&self, kept: &OnceLock<T>, read: impl FnOnce(&[u8]) -> T) -> T {
        if self.is_kept() { kept.get_or_init(|| read(&self.der)).clone() } else { read(&self.der) }
    }
}

impl PartialEq for Object {
    fn eq(&self, other: &Self) -> bool {
        self.der == other.der
    }
}

impl Eq for Object {}

fn of<T>(scheme: Scheme, amd: T, intel: T) -> T {
    match scheme {
        Scheme::RsaPssSha384 => amd,
        Scheme::EcdsaP256Sha256 => intel,
    }
}
