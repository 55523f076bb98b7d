//! Certificates and revocation lists as Intel's service issues them, under simulated names.
//!
//! Intel "SGX PCK Certificate and Certificate Revocation List Profile Specification", revision 2.1.

use const_oid::ObjectIdentifier;

use super::{Key, SUFFIX};
use crate::der;

pub(super) const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
pub(super) const PRIME256V1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const BASIC_CONSTRAINTS: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.19");
const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
const SGX: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113741.1.13.1");

/// 2018-05-21T10:45:10Z and fifteen years later, as Intel's own.
const VALIDITY: (u64, u64) = (1_526_899_510, 2_000_284_510);

/// An X.509 certificate before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The key that is certified.
    pub key: Key,
    /// Subject common name, without the suffix of all simulated names.
    pub subject: String,
    /// Issuer common name, without it.
    pub issuer: String,
    /// The key that signs.
    pub signer: Key,
    /// Serial number.
    pub serial: u64,
    /// Unix seconds.
    pub not_before: u64,
    /// Unix seconds.
    pub not_after: u64,
    /// Whether it is a CA, and with which path length.
    pub authority: Option<u64>,
    /// Whether a CA may sign revocation lists.
    pub lists: bool,
    /// Value of Intel's extension, if there is one.
    pub sgx: Option<Vec<u8>>,
}

const ROOT: &str = "Intel SGX Root CA";

impl Certificate {
    /// The root's.
    pub fn root() -> Self {
        Self {
            key: Key::Root,
            subject: ROOT.into(),
            issuer: ROOT.into(),
            signer: Key::Root,
            serial: 1,
            not_before: VALIDITY.0,
            not_after: VALIDITY.1,
            authority: Some(1),
            lists: true,
            sgx: None,
        }
    }

    /// A CA of PCKs, by its key.
    pub fn ca(key: Key) -> Self {
        let name = if key == Key::ProcessorCa { "Intel SGX PCK Processor CA" } else { "Intel SGX PCK Platform CA" };
        Self { key, subject: name.into(), serial: 2, authority: Some(0), ..Self::root() }
    }

    /// Of the key that signs TCB info and QE identities.
    pub fn tcb_signer() -> Self {
        Self {
            key: Key::TcbSigning,
            subject: "Intel SGX TCB Signing".into(),
            serial: 3,
            authority: None,
            ..Self::root()
        }
    }

    /// DER.
    pub fn der(&self) -> Vec<u8> {
        let constraints = match self.authority {
            Some(length) => der::sequence(&[&[0x01, 0x01, 0xff], &der::integer(length)]),
            None => der::sequence(&[]),
        };
        // keyCertSign and cRLSign, keyCertSign alone, or digitalSignature and nonRepudiation.
        let usage: &[u8] = match (self.authority, self.lists) {
            (Some(_), true) => &[3, 2, 1, 0x06],
            (Some(_), false) => &[3, 2, 2, 0x04],
            (None, _) => &[3, 2, 6, 0xc0],
        };
        let mut extensions =
            [der::extension(KEY_USAGE, true, usage), der::extension(BASIC_CONSTRAINTS, true, &constraints)].concat();
        if let Some(sgx) = &self.sgx {
            extensions.extend(der::extension(SGX, false, sgx));
        }
        let tbs = der::sequence(&[
            &der::explicit(0, &der::integer(2)),
            &der::integer(self.serial),
            &algorithm(),
            &name(&self.issuer),
            &der::sequence(&[&der::time(self.not_before), &der::time(self.not_after)]),
            &name(&self.subject),
            &self.key.spki(),
            &der::explicit(3, &der::sequence(&[&extensions])),
        ]);
        signed(&tbs, self.signer)
    }
}

/// What a PCK's certificate says of the platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pck {
    /// Provisioning id.
    pub ppid: [u8; 16],
    /// SGX TCB component SVN 1 to 16.
    pub components: [u8; 16],
    /// PCESVN.
    pub pce: u16,
    /// PCE-ID.
    pub pce_id: [u8; 2],
    /// FMSPC.
    pub fmspc: [u8; 6],
    /// SGX Type.
    pub sgx_type: u8,
    /// Dynamic platform, cached keys, SMT; absent on platforms with one processor.
    pub configuration: Option<[bool; 3]>,
}

impl Pck {
    /// The extension's value.
    pub fn extension(&self) -> Vec<u8> {
        let at = |path: &[u32], value: &[u8]| {
            let oid = path.iter().try_fold(SGX, |oid, arc| oid.push_arc(*arc)).expect("a short path");
            der::sequence(&[&der::oid(oid), value])
        };
        let mut tcb: Vec<u8> =
            (1..).zip(self.components).flat_map(|(number, svn)| at(&[2, number], &der::integer(svn.into()))).collect();
        tcb.extend(at(&[2, 17], &der::integer(self.pce.into())));
        tcb.extend(at(&[2, 18], &der::octet_string(&self.components)));
        let mut fields = [
            at(&[1], &der::octet_string(&self.ppid)),
            at(&[2], &der::sequence(&[&tcb])),
            at(&[3], &der::octet_string(&self.pce_id)),
            at(&[4], &der::octet_string(&self.fmspc)),
            at(&[5], &[0x0a, 1, self.sgx_type]),
        ]
        .concat();
        if let Some(flags) = self.configuration {
            let flag = |(number, flag): (u32, bool)| at(&[7, number], &[1, 1, if flag { 0xff } else { 0 }]);
            let flags: Vec<u8> = (1..).zip(flags).flat_map(flag).collect();
            fields.extend(at(&[6], &der::octet_string(&self.ppid)));
            fields.extend(at(&[7], &der::sequence(&[&flags])));
        }
        der::sequence(&[&fields])
    }

    /// Its certificate, for this key.
    pub fn certificate(&self, key: Key) -> Certificate {
        let ca = Certificate::ca(Key::PlatformCa);
        Certificate {
            key,
            subject: "Intel SGX PCK Certificate".into(),
            issuer: ca.subject,
            signer: ca.key,
            serial: 4,
            authority: None,
            sgx: Some(self.extension()),
            ..Certificate::root()
        }
    }
}

/// A revocation list before it is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Crl {
    /// Issuer common name, without the suffix.
    pub issuer: String,
    /// The key that signs.
    pub signer: Key,
    /// Unix seconds.
    pub this_update: u64,
    /// Unix seconds; a list without it would be good for ever.
    pub next_update: Option<u64>,
    /// Serial numbers.
    pub revoked: Vec<u64>,
}

impl Crl {
    /// One that revokes nothing, of the root or of a CA.
    pub fn new(signer: Key, this_update: u64, next_update: u64) -> Self {
        let issuer = if signer == Key::Root { ROOT.into() } else { Certificate::ca(signer).subject };
        Self { issuer, signer, this_update, next_update: Some(next_update), revoked: Vec::new() }
    }

    /// DER.
    pub fn der(&self) -> Vec<u8> {
        let entry = |serial: &u64| der::sequence(&[&der::integer(*serial), &der::time(self.this_update)]);
        let entries: Vec<u8> = self.revoked.iter().flat_map(entry).collect();
        let entries = if entries.is_empty() { Vec::new() } else { der::sequence(&[&entries]) };
        let tbs = der::sequence(&[
            &der::integer(1),
            &algorithm(),
            &name(&self.issuer),
            &der::time(self.this_update),
            &self.next_update.map(der::time).unwrap_or_default(),
            &entries,
            &der::explicit(0, &der::sequence(&[&der::extension(CRL_NUMBER, false, &der::integer(1))])),
        ]);
        signed(&tbs, self.signer)
    }
}

/// RFC 7468.
pub fn pem(certificate: &[u8]) -> String {
    der::pem(certificate)
}

fn algorithm() -> Vec<u8> {
    der::sequence(&[&der::oid(ECDSA_SHA256)])
}

fn signed(tbs: &[u8], signer: Key) -> Vec<u8> {
    der::sequence(&[tbs, &algorithm(), &der::bit_string(&signer.sign_der(tbs))])
}

/// Intel's distinguished name with this common name, in Intel's order, under a simulated organization.
fn name(common_name: &str) -> Vec<u8> {
    const CN: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
    const O: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
    const L: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.7");
    const ST: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.8");
    const C: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.6");
    let attribute = |oid, value: &[u8]| der::set(&der::sequence(&[&der::oid(oid), value]));
    der::sequence(&[
        &attribute(CN, &der::utf8(&format!("{common_name}{SUFFIX}"))),
        &attribute(O, &der::utf8("Donjon silicon SIMULATED-PUBLIC")),
        &attribute(L, &der::utf8("Santa Clara")),
        &attribute(ST, &der::utf8("CA")),
        &attribute(C, &der::printable("US")),
    ])
}
