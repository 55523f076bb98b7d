//! A certificate or a revocation list as it came, read once, however often it is asked about.
//!
//! Owns bytes and what they were read as. Refuses nothing by itself: what cannot be read says why, each time. Invariant: what it says
//! is what [`Certificate::parse`] and [`Crl::parse`] say of the same bytes.

use super::{Certificate, Crl, PkiError, Scheme};
use std::sync::{Arc, OnceLock};

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

    pub(crate) fn certificate(&self, scheme: Scheme) -> Result<&Certificate, &PkiError> {
        let [amd, intel] = &self.certificates;
        of(scheme, amd, intel).get_or_init(|| Certificate::parse(&self.der, scheme)).as_ref()
    }

    pub(crate) fn list(&self, scheme: Scheme) -> Result<&Arc<Crl>, &PkiError> {
        let [amd, intel] = &self.lists;
        of(scheme, amd, intel).get_or_init(|| Crl::parse(&self.der, scheme).map(Arc::new)).as_ref()
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
