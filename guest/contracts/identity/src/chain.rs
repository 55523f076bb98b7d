//! From a chain of certificates to a Keep one may believe: the path validation of our small world (RFC 5280 section 6,
//! restricted by `spec/certificate.md`).
//!
//! Owns the walk from the Keep's certificate to an anchor. Refuses chains without a self-signed root whose key is an anchor,
//! names that an authority's name constraints do not permit, and anchors given as nothing at all. Invariant: a
//! [`VerifiedKeep`] is only made here. A root is named by its key, so a root may renew its certificate without anybody's pin
//! changing.

use alloc::vec::Vec;
use core::ops::Deref;

use workload::Digest;
use workload::names::DnsName;

use crate::certificate::{KeepCertificate, ProfileError};
use crate::ear::{Ear, EarError};
use crate::issuer::{Issuer, IssuerError};
use crate::keys::Verifier;
use crate::x509::Received;

/// The most certificates in a chain: Keep, two intermediates, root.
pub const MAX_CHAIN: usize = 4;

/// A Keep whose certificate chains to an anchor, valid at the time asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedKeep {
    certificate: KeepCertificate,
    anchor: Digest,
    valid_from: u64,
    valid_until: u64,
}

impl VerifiedKeep {
    /// The key (SHA-256 of the SPKI) of the root it chains to; one of the anchors that were asked for.
    #[must_use]
    pub const fn anchor(&self) -> &Digest {
        &self.anchor
    }

    /// The first second in which the whole chain is valid, Unix seconds.
    #[must_use]
    pub const fn valid_from(&self) -> u64 {
        self.valid_from
    }

    /// The last one.
    #[must_use]
    pub const fn valid_until(&self) -> u64 {
        self.valid_until
    }

    /// The certificate without the proof.
    #[must_use]
    pub fn into_certificate(self) -> KeepCertificate {
        self.certificate
    }
}

impl Deref for VerifiedKeep {
    type Target = KeepCertificate;

    fn deref(&self) -> &KeepCertificate {
        &self.certificate
    }
}

/// Why a chain is not believed. Positions count from 0, the Keep's own certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// Without an anchor nothing can be believed; certainly not everything.
    #[error("no trust anchor is configured")]
    NoAnchors,
    /// Not a Keep and a root, or too many in between.
    #[error("a chain has 2 to {max} certificates, root included; this one has {found}", max = MAX_CHAIN)]
    Length {
        /// How many there are.
        found: usize,
    },
    /// The first certificate is no Keep's.
    #[error(transparent)]
    Keep(#[from] ProfileError),
    /// One above is no authority's.
    #[error("certificate {position}: {error}")]
    Issuer {
        /// Which.
        position: usize,
        /// Why.
        error: IssuerError,
    },
    /// The last one is not an anchor's.
    #[error("the chain ends at key {found}, which is not an anchor")]
    NotAnchored {
        /// SHA-256 of the last certificate's SPKI.
        found: Digest,
    },
    /// It names another issuer than the certificate above it.
    #[error("certificate {position} was not issued by the one after it")]
    Unlinked {
        /// Which.
        position: usize,
    },
    /// A DNS name that an authority above does not permit.
    #[error("the Keep has the name {name}, which the name constraints of the authorities above it do not permit")]
    Constrained {
        /// The first of them.
        name: DnsName,
    },
    /// More authorities below than it allows.
    #[error("certificate {position} allows {allowed} authorities below it, there are {found}")]
    PathLength {
        /// Which.
        position: usize,
        /// Its limit.
        allowed: u8,
        /// How many there are.
        found: usize,
    },
    /// The signature is wrong.
    #[error("the signature of certificate {position} does not verify")]
    Signature {
        /// Which.
        position: usize,
    },
    /// Not yet.
    #[error("certificate {position} is valid from {not_before}, it is {now} (Unix seconds)")]
    NotYetValid {
        /// Which.
        position: usize,
        /// Unix seconds.
        not_before: u64,
        /// Unix seconds.
        now: u64,
    },
    /// No longer.
    #[error("certificate {position} expired at {not_after}, it is {now} (Unix seconds)")]
    Expired {
        /// Which.
        position: usize,
        /// Unix seconds.
        not_after: u64,
        /// Unix seconds.
        now: u64,
    },
    /// The EAR was signed by somebody else than the certificate.
    #[error("EAR: {0}")]
    Ear(#[from] EarError),
}

/// Verifies a chain, Keep first, root last, each DER, at the time `now` (Unix seconds), against anchors that are SHA-256
/// digests of root keys (SPKI).
///
/// # Errors
/// See [`ChainError`].
pub fn verify_chain<C: AsRef<[u8]>>(
    chain: &[C],
    anchors: &[Digest],
    now: u64,
    verifier: &dyn Verifier,
) -> Result<VerifiedKeep, ChainError> {
    let (keep, authorities) = walk(chain, anchors, verifier)?;
    authorities.valid(now)?;
    validity(0, keep.not_before, keep.not_after, now)?;
    Ok(keep)
}

/// Everything but the time: the Keep is not to be given away before somebody has asked for that.
pub(crate) fn walk<C: AsRef<[u8]>>(
    chain: &[C],
    anchors: &[Digest],
    verifier: &dyn Verifier,
) -> Result<(VerifiedKeep, Authorities), ChainError> {
    if anchors.is_empty() {
        return Err(ChainError::NoAnchors);
    }
    let (Some((keep, above)), 2..=MAX_CHAIN) = (chain.split_first(), chain.len()) else {
        return Err(ChainError::Length { found: chain.len() });
    };
    let certificate = KeepCertificate::read(keep.as_ref())?;
    let authorities = Authorities::walk(above, anchors, verifier)?;
    let issuing = &authorities.issuing;
    if certificate.issuer != issuing.subject || certificate.issuer_key_id != issuing.key_id {
        return Err(ChainError::Unlinked { position: 0 });
    }
    if !certificate.signed_by(&issuing.spki, verifier) {
        return Err(ChainError::Signature { position: 0 });
    }
    if let Some(name) = certificate.dns.iter().find(|name| !issuing.may_name(name)) {
        return Err(ChainError::Constrained { name: name.clone() });
    }
    Ear::verify(&certificate.ear_jwt, &issuing.spki, verifier)?;
    let (mut valid_from, mut valid_until) = (certificate.not_before, certificate.not_after);
    for (not_before, not_after) in &authorities.dates {
        (valid_from, valid_until) = (valid_from.max(*not_before), valid_until.min(*not_after));
    }
    let anchor = authorities.anchor;
    Ok((VerifiedKeep { certificate, anchor, valid_from, valid_until }, authorities))
}

/// What stands above a Keep, up to an anchor.
pub(crate) struct Authorities {
    /// Whose key signs certificates, under all above it.
    pub(crate) issuing: Issuer,
    anchor: Digest,
    /// notBefore and notAfter of each, the issuing one first.
    dates: Vec<(u64, u64)>,
}

impl Authorities {
    /// The issuing certificate first, the root last. The time is not looked at.
    pub(crate) fn walk<C: AsRef<[u8]>>(
        chain: &[C],
        anchors: &[Digest],
        verifier: &dyn Verifier,
    ) -> Result<Self, ChainError> {
        if anchors.is_empty() {
            return Err(ChainError::NoAnchors);
        }
        let read = |(der, position): (&C, _)| {
            Issuer::read(der.as_ref()).map_err(|error| ChainError::Issuer { position, error })
        };
        let issuers = chain.iter().zip(1..).map(read).collect::<Result<Vec<_>, _>>()?;
        let (Some(root), 1..MAX_CHAIN) = (issuers.last(), issuers.len()) else {
            return Err(ChainError::Length { found: chain.len().saturating_add(1) });
        };
        let anchor = root.key();
        if !anchors.contains(&anchor) {
            return Err(ChainError::NotAnchored { found: anchor });
        }
        if !root.is_self_signed(verifier) {
            return Err(ChainError::Signature { position: issuers.len() });
        }
        for ((position, lower), upper) in (1..).zip(&issuers).zip(issuers.iter().skip(1)) {
            if lower.issuer != upper.subject {
                return Err(ChainError::Unlinked { position });
            }
            if !Received::read(&lower.der).is_ok_and(|received| received.signed_by(&upper.spki, verifier)) {
                return Err(ChainError::Signature { position });
            }
        }
        for ((below, issuer), position) in issuers.iter().enumerate().zip(1..) {
            if let Some(allowed) = issuer.path_len
                && below > usize::from(allowed)
            {
                return Err(ChainError::PathLength { position, allowed, found: below });
            }
        }
        let dates = issuers.iter().map(|issuer| (issuer.not_before, issuer.not_after)).collect();
        let mut issuing = root.clone();
        // From the root down, so that each stands under all above it.
        for (index, lower) in issuers.iter().enumerate().rev().skip(1) {
            let position = index.saturating_add(1);
            issuing = lower.clone().under(&issuing).map_err(|error| ChainError::Issuer { position, error })?;
        }
        Ok(Self { issuing, anchor, dates })
    }

    /// Whether all are valid at this instant.
    pub(crate) fn valid(&self, now: u64) -> Result<(), ChainError> {
        (1..).zip(&self.dates).try_for_each(|(position, (from, until))| validity(position, *from, *until, now))
    }
}

fn validity(position: usize, not_before: u64, not_after: u64, now: u64) -> Result<(), ChainError> {
    if now < not_before {
        return Err(ChainError::NotYetValid { position, not_before, now });
    }
    if now > not_after {
        return Err(ChainError::Expired { position, not_after, now });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;
    use crate::asn1::tag;
    use crate::certificate::{self, IssueError, Template};
    use crate::issuer::{self, RootTemplate};
    use crate::jws::JwsError;
    use crate::keys::{Signer, key_digest};
    use crate::testing::{NOW, P256, P384, Software, chain, ear, root, template};
    use crate::x509::{self, Tbs};

    fn anchors(steward: &dyn Signer) -> [Digest; 1] {
        [key_digest(steward.spki())]
    }

    /// Puts `lower`'s key under `upper`: an intermediate.
    fn intermediate(lower: &dyn Signer, upper_der: &[u8], upper: &dyn Signer, path_len: u8) -> Vec<u8> {
        constrained(lower, upper_der, upper, path_len, &[])
    }

    fn constrained(lower: &dyn Signer, upper_der: &[u8], upper: &dyn Signer, path_len: u8, dns: &[&str]) -> Vec<u8> {
        let template = RootTemplate {
            common_name: "Donjon test intermediate".to_string(),
            not_before: NOW - 10,
            not_after: NOW + 86_400,
            serial: [8; 16],
            path_len,
            dns: names(dns),
        };
        let own = issuer::root(&template, lower).unwrap();
        let above = Issuer::read(upper_der).unwrap();
        let tbs = Tbs { algorithm: upper.algorithm(), issuer: &above.subject, ..Received::read(&own).unwrap().tbs };
        x509::sign(&tbs.encode().unwrap(), upper).unwrap()
    }

    fn names(names: &[&str]) -> Vec<DnsName> {
        names.iter().map(|name| name.parse().unwrap()).collect()
    }

    fn root_with(path_len: u8, key: &dyn Signer) -> Vec<u8> {
        root_for(path_len, key, &[])
    }

    fn root_for(path_len: u8, key: &dyn Signer, dns: &[&str]) -> Vec<u8> {
        let template = RootTemplate {
            common_name: "Donjon test root".to_string(),
            not_before: NOW - 86_400,
            not_after: NOW + 365 * 86_400,
            serial: [9; 16],
            path_len,
            dns: names(dns),
        };
        issuer::root(&template, key).unwrap()
    }

    #[test]
    fn rule_11_a_chain_holds_only_against_its_anchor() {
        let (keep, steward, other) = (P256::new(7), P384::new(3), P256::new(4));
        let chain = chain(&keep, &ear(&keep), &steward);
        let verified = verify_chain(&chain, &anchors(&steward), NOW, &Software).unwrap();
        assert_eq!((*verified.anchor(), verified.key()), (key_digest(steward.spki()), key_digest(keep.spki())));
        let found = key_digest(steward.spki());
        assert_eq!(verify_chain(&chain, &anchors(&other), NOW, &Software), Err(ChainError::NotAnchored { found }));
        assert_eq!(verify_chain(&chain, &[], NOW, &Software), Err(ChainError::NoAnchors));
        assert_eq!(verify_chain(&chain[..1], &anchors(&steward), NOW, &Software), Err(ChainError::Length { found: 1 }));
        let none: [&[u8]; 0] = [];
        assert_eq!(verify_chain(&none, &anchors(&steward), NOW, &Software), Err(ChainError::Length { found: 0 }));
    }

    #[test]
    fn rule_7_classes_have_separate_roots() {
        // An insecure Steward certifies what it likes, and may even call it hardware: its root is another one.
        let (keep, hardware, insecure) = (P256::new(7), P256::new(3), P256::new(4));
        assert!(
            verify_chain(&chain(&keep, &ear(&keep), &hardware), &anchors(&hardware), NOW, &Software).is_ok(),
            "control"
        );
        let liar = chain(&keep, &ear(&keep), &insecure);
        assert!(matches!(
            verify_chain(&liar, &anchors(&hardware), NOW, &Software),
            Err(ChainError::NotAnchored { .. })
        ));
        // With the hardware Steward's root certificate put on top of it.
        let mixed = [&liar[0], &root(&hardware)];
        assert_eq!(
            verify_chain(&mixed, &anchors(&hardware), NOW, &Software),
            Err(ChainError::Unlinked { position: 0 })
        );
    }

    #[test]
    fn signatures_count_not_names() {
        let (keep, steward, thief) = (P256::new(7), P256::new(3), P256::new(4));
        let good = chain(&keep, &ear(&keep), &steward);
        // All names and identifiers of the Steward, the signature of somebody else.
        let signed = Received::read(&good[0]).unwrap().signed().to_vec();
        let forged = x509::sign(&signed, &thief).unwrap();
        let error = verify_chain(&[&forged, &good[1]], &anchors(&steward), NOW, &Software);
        assert_eq!(error, Err(ChainError::Signature { position: 0 }));
        // The anchor's key in a certificate that key did not sign: its dates and limits would be anybody's.
        let signed = Received::read(&good[1]).unwrap().signed().to_vec();
        let forged = x509::sign(&signed, &thief).unwrap();
        let error = verify_chain(&[&good[0], &forged], &anchors(&steward), NOW, &Software);
        assert_eq!(error, Err(ChainError::Signature { position: 1 }));
        // An EAR of another Steward inside a good certificate.
        let mut template = template(&keep, &ear(&keep), &steward);
        template.ear = ear(&keep).sign(&thief).unwrap();
        let leaf = certificate::issue(&template, &Issuer::read(&good[1]).unwrap(), &steward).unwrap();
        let error = verify_chain(&[&leaf, &good[1]], &anchors(&steward), NOW, &Software);
        assert!(matches!(error, Err(ChainError::Ear(EarError::Jws(JwsError::Key { .. })))));
    }

    #[test]
    fn rule_12_valid_at_both_ends_and_not_beyond() {
        let (keep, steward) = (P256::new(7), P256::new(3));
        let chain = chain(&keep, &ear(&keep), &steward);
        let at = |now| verify_chain(&chain, &anchors(&steward), now, &Software).map(drop);
        assert_eq!((at(NOW - 60), at(NOW + 3600)), (Ok(()), Ok(())));
        assert_eq!(at(NOW - 61), Err(ChainError::NotYetValid { position: 0, not_before: NOW - 60, now: NOW - 61 }));
        assert_eq!(at(NOW + 3601), Err(ChainError::Expired { position: 0, not_after: NOW + 3600, now: NOW + 3601 }));
        assert!(matches!(at(NOW + 366 * 86_400), Err(ChainError::Expired { position: 1, .. })));
    }

    #[test]
    fn intermediates_count() {
        let (keep, lower, middle, top) = (P256::new(7), P256::new(5), P384::new(6), P256::new(3));
        let build = |top_len, middle_len| {
            let root = root_with(top_len, &top);
            let middle_der = intermediate(&middle, &root, &top, middle_len);
            let lower_der = intermediate(&lower, &middle_der, &middle, 0);
            let template = Template { not_after: NOW + 100, ..template(&keep, &ear(&keep), &lower) };
            let leaf = certificate::issue(&template, &Issuer::read(&lower_der).unwrap(), &lower).unwrap();
            [leaf, lower_der, middle_der, root]
        };
        let good = build(2, 1);
        assert!(verify_chain(&good, &anchors(&top), NOW, &Software).is_ok(), "control");
        let error = verify_chain(&build(1, 1), &anchors(&top), NOW, &Software);
        assert_eq!(error, Err(ChainError::PathLength { position: 3, allowed: 1, found: 2 }));
        let error = verify_chain(&build(2, 0), &anchors(&top), NOW, &Software);
        assert_eq!(error, Err(ChainError::PathLength { position: 2, allowed: 0, found: 1 }));
        let [leaf, lower_der, middle_der, root] = &good;
        let error = verify_chain(&[leaf, middle_der, lower_der, root], &anchors(&top), NOW, &Software);
        assert!(matches!(error, Err(ChainError::Unlinked { .. })), "{error:?}");
        let error = verify_chain(&[leaf, lower_der, middle_der, middle_der, root], &anchors(&top), NOW, &Software);
        assert_eq!(error, Err(ChainError::Length { found: 5 }));
        // A Keep is no authority.
        let error = verify_chain(&[leaf, leaf, root], &anchors(&top), NOW, &Software);
        assert!(matches!(error, Err(ChainError::Issuer { position: 1, .. })), "{error:?}");
        // The middle signed by somebody else than the root.
        let forged = x509::sign(Received::read(middle_der).unwrap().signed(), &keep).unwrap();
        let error = verify_chain(&[leaf, lower_der, &forged, root], &anchors(&top), NOW, &Software);
        assert_eq!(error, Err(ChainError::Signature { position: 2 }));
        assert_eq!(root[0], tag::SEQUENCE);
    }
    /// Each level has its say, and nobody issues what would be refused.
    #[test]
    fn name_constraints_hold_at_every_level() {
        let (keep, lower, top) = (P256::new(7), P256::new(5), P256::new(3));
        let of = |top_dns: &[&str], lower_dns: &[&str], dns: &[&str]| {
            let root = root_for(1, &top, top_dns);
            let lower_der = constrained(&lower, &root, &top, 0, lower_dns);
            let template = Template { dns: names(dns), ..template(&keep, &ear(&keep), &lower) };
            // A Steward that does not look up: only its own certificate binds it.
            let free = Issuer::read(&intermediate(&lower, &root, &top, 0)).unwrap();
            let leaf = certificate::issue(&template, &free, &lower).unwrap();
            let (issuer, above) = (Issuer::read(&lower_der).unwrap(), Issuer::read(&root).unwrap());
            let issued = certificate::issue(&template, &issuer.under(&above).unwrap(), &lower);
            let verified = verify_chain(&[leaf, lower_der, root], &anchors(&top), NOW, &Software);
            match (issued, verified) {
                (Ok(_), Ok(verified)) => {
                    assert_eq!(verified.dns, names(dns));
                    None
                }
                (Err(IssueError::Constrained { name }), Err(ChainError::Constrained { name: same })) => {
                    assert_eq!(name, same);
                    Some(name.to_string())
                }
                other => panic!("{other:?}"),
            }
        };
        let shop = &["shop.example.org"][..];
        for (top, lower) in [(&[][..], &[][..]), (&["example.org"], &[]), (&[], &["shop.example.org"])] {
            assert_eq!(of(top, lower, shop), None, "{top:?} {lower:?}");
        }
        assert_eq!(of(&["example.org"], &["shop.example.org", "bank.example.com"], shop), None);
        for (top, lower, dns, refused) in [
            (&["example.com"][..], &[][..], shop, "shop.example.org"),
            (&[], &["example.com"], shop, "shop.example.org"),
            (&["example.org"], &["bank.example.org"], shop, "shop.example.org"),
            // Wider below than above.
            (&["shop.example.org"], &["example.org"], &["bank.example.org"], "bank.example.org"),
            // One of several.
            (&["example.org"], &[], &["a.example.org", "b.example.com"], "b.example.com"),
        ] {
            assert_eq!(of(top, lower, dns).as_deref(), Some(refused), "{top:?} {lower:?}");
        }
        // Who has no DNS name is within all of them.
        assert_eq!(of(&["example.com"], &["example.com"], &[]), None);
    }
}
