//! The Deployment: what an owner says may run under which name (trust rules 3, 4 and 13).
//!
//! Owns its deterministic CBOR and the question whether it covers a brief. Refuses roles without workloads, peers that are
//! no roles, and the reserved name of anonymous Keeps. Invariant: [`OwnerSigned<Deployment>::covers`] is the only way from
//! a Deployment to a granted name, and it starts from a verified signature.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::ToString;
use alloc::vec::Vec;
use core::str::FromStr;

use workload::names::{DnsName, Name, NameError, TrustDomain};
use workload::{Brief, Digest};

use crate::cbor::{Reader, Writer};
use crate::keys::{Algorithm, Signer, Verifier};
use crate::names::{ANONYMOUS_DEPLOYMENT, SpiffeId};
use crate::publisher::{self, Accepted, Published};
use crate::signed::{self, Document, DocumentError, OpenError, OwnerSigned, SealError};

/// The media type of a signed Deployment.
pub const DEPLOYMENT_MEDIA_TYPE: &str = "application/vnd.donjon.deployment+cose";

/// The version of the format, key 0.
const FORMAT: u64 = 1;

/// What an owner signs. Sets and maps have one order, so one value has one encoding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// Its name; not `anonymous`.
    pub id: Name,
    /// Counts from 1.
    pub version: u64,
    /// [`OwnerSigned::digest`] of the version before; `None` exactly for version 1.
    pub previous: Option<Digest>,
    /// The owner's public key, SPKI in DER.
    pub owner: Vec<u8>,
    /// Where its names are valid.
    pub trust_domain: TrustDomain,
    /// The roles; at least one.
    pub roles: BTreeMap<Name, Role>,
}

/// One role of a Deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// The workloads that may play it; at least one.
    pub workloads: BTreeSet<Accepted>,
    /// The DNS names it gets.
    pub names: BTreeSet<DnsName>,
    /// The roles it may talk to.
    pub peers: BTreeSet<Name>,
}

/// Why a Deployment does not cover a brief.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotCovered {
    /// The brief names no owner, so nobody can have signed for it.
    #[error("the brief names no owner")]
    NoOwner,
    /// Another owner signed.
    #[error("the brief names owner {expected}, the Deployment is signed by {found}")]
    Owner {
        /// The brief's.
        expected: Digest,
        /// The Deployment's.
        found: Digest,
    },
    /// For another trust domain.
    #[error("the brief is for trust domain {expected}, the Deployment for {found}")]
    TrustDomain {
        /// The brief's.
        expected: TrustDomain,
        /// The Deployment's.
        found: TrustDomain,
    },
    /// Another deployment.
    #[error("the brief is for deployment {expected}, this is Deployment {found}")]
    Deployment {
        /// The brief's.
        expected: Name,
        /// The Deployment's.
        found: Name,
    },
    /// It has no such role.
    #[error("the Deployment has no role {role}")]
    Role {
        /// The brief's.
        role: Name,
    },
    /// The role may be played by other workloads only.
    #[error("role {role} may not be played by workload {workload}, which is {}", publisher::said(published.as_deref()))]
    Workload {
        /// The role.
        role: Name,
        /// The brief's workload.
        workload: Digest,
        /// What its publisher says of it.
        published: Option<Box<Published>>,
    },
}

impl Deployment {
    /// Signs with the owner's key: the bytes of the envelope.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn seal(&self, signer: &dyn Signer) -> Result<Vec<u8>, SealError> {
        signed::seal(self, signer)
    }

    /// Opens an envelope; the same as [`OwnerSigned::open`].
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(bytes: &[u8], verifier: &dyn Verifier) -> Result<OwnerSigned<Self>, OpenError> {
        OwnerSigned::open(bytes, verifier)
    }

    /// The SPIFFE ID of a role.
    #[must_use]
    pub fn spiffe_id(&self, role: &Name) -> SpiffeId {
        SpiffeId { trust_domain: self.trust_domain.clone(), deployment: self.id.clone(), role: role.clone() }
    }

    fn consistent(&self) -> Result<(), DocumentError> {
        let Self { id, version, previous, owner, trust_domain: _, roles } = self;
        if id.as_str() == ANONYMOUS_DEPLOYMENT {
            return Err(DocumentError::Reserved);
        }
        if *version == 0 || (*version == 1) != previous.is_none() {
            return Err(DocumentError::Version(*version));
        }
        Algorithm::of(owner)?;
        if roles.is_empty() {
            return Err(DocumentError::Empty("roles"));
        }
        for (name, Role { workloads, names: _, peers }) in roles {
            if workloads.is_empty() {
                return Err(DocumentError::Empty("workloads of a role"));
            }
            if let Some(peer) = peers.iter().find(|peer| !roles.contains_key(*peer)) {
                return Err(DocumentError::UnknownPeer { role: name.to_string(), peer: peer.to_string() });
            }
        }
        Ok(())
    }
}

impl OwnerSigned<Deployment> {
    /// The role under which this Deployment lets the brief's Keep be named. `published` is what was verified of the brief's
    /// workload. The caller must still ask whether this owner is the one registered for the names (trust rule 3).
    ///
    /// # Errors
    /// See [`NotCovered`].
    pub fn covers(&self, brief: &Brief, published: Option<&Published>) -> Result<&Role, NotCovered> {
        let owner = brief.owner.ok_or(NotCovered::NoOwner)?;
        if owner != *self.owner() {
            return Err(NotCovered::Owner { expected: owner, found: *self.owner() });
        }
        if brief.trust_domain != self.trust_domain {
            let (expected, found) = (brief.trust_domain.clone(), self.trust_domain.clone());
            return Err(NotCovered::TrustDomain { expected, found });
        }
        if brief.deployment != self.id {
            return Err(NotCovered::Deployment { expected: brief.deployment.clone(), found: self.id.clone() });
        }
        let role = self.roles.get(&brief.role).ok_or_else(|| NotCovered::Role { role: brief.role.clone() })?;
        if !publisher::accepts(&role.workloads, &brief.workload, published) {
            let (role, published) = (brief.role.clone(), published.cloned().map(Box::new));
            return Err(NotCovered::Workload { role, workload: brief.workload, published });
        }
        Ok(role)
    }
}

impl Document for Deployment {
    const CONTENT_TYPE: &'static str = "application/vnd.donjon.deployment+cbor";
    const LIMIT: usize = 64 * 1024;

    fn owner(&self) -> &[u8] {
        &self.owner
    }

    fn subject(&self) -> &str {
        &self.id
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn previous(&self) -> Option<Digest> {
        self.previous
    }

    fn encode(&self) -> Vec<u8> {
        let Self { id, version, previous, owner, trust_domain, roles } = self;
        let mut out = Writer::default();
        out.map(if previous.is_some() { 7 } else { 6 });
        out.uint(0).uint(FORMAT).uint(1).text(id).uint(2).uint(*version);
        if let Some(previous) = previous {
            out.uint(3).bytes(previous.as_bytes());
        }
        out.uint(4).bytes(owner).uint(5).text(trust_domain).uint(6).map(roles.len());
        // Text keys in the order of their encodings: shorter first.
        let mut sorted: Vec<_> = roles.iter().collect();
        sorted.sort_by_key(|(name, _)| (name.len(), *name));
        for (name, Role { workloads, names, peers }) in sorted {
            out.text(name).map(3).uint(1).array(workloads.len());
            workloads.iter().for_each(|workload| workload.write(&mut out));
            out.uint(2).array(names.len());
            for name in names {
                out.text(name);
            }
            out.uint(3).array(peers.len());
            for peer in peers {
                out.text(peer);
            }
        }
        out.finish()
    }

    fn decode(bytes: &[u8]) -> Result<Self, DocumentError> {
        if bytes.len() > Self::LIMIT {
            return Err(DocumentError::TooLong { limit: Self::LIMIT, found: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        let keys = reader.map("the map")?;
        header(&mut reader, FORMAT)?;
        key(&mut reader, 1, "key 1")?;
        let id = name(&mut reader, "id")?;
        key(&mut reader, 2, "key 2")?;
        let version = reader.uint("version")?;
        let previous = match keys {
            6 => None,
            7 => {
                key(&mut reader, 3, "key 3")?;
                Some(digest(&mut reader, "previous")?)
            }
            _ => return Err(DocumentError::Malformed("the map")),
        };
        key(&mut reader, 4, "key 4")?;
        let owner = reader.bytes("owner")?.to_vec();
        key(&mut reader, 5, "key 5")?;
        let trust_domain = name(&mut reader, "trust domain")?;
        key(&mut reader, 6, "key 6")?;
        let mut roles = BTreeMap::new();
        for _ in 0..reader.map("roles")? {
            let role = name(&mut reader, "role")?;
            if reader.map("role")? != 3 {
                return Err(DocumentError::Malformed("role"));
            }
            key(&mut reader, 1, "role, key 1")?;
            let workloads = set(&mut reader, "workloads", Accepted::read)?;
            key(&mut reader, 2, "role, key 2")?;
            let names = set(&mut reader, "names", name)?;
            key(&mut reader, 3, "role, key 3")?;
            let peers = set(&mut reader, "peers", name)?;
            roles.insert(role, Role { workloads, names, peers });
        }
        reader.done("end of the document")?;
        let deployment = Self { id, version, previous, owner, trust_domain, roles };
        deployment.consistent()?;
        if deployment.encode() != bytes {
            return Err(DocumentError::NotCanonical);
        }
        Ok(deployment)
    }
}

/// Key 0 and the format's version.
pub(crate) fn header(reader: &mut Reader<'_>, expected: u64) -> Result<(), DocumentError> {
    key(reader, 0, "key 0")?;
    match reader.uint("format")? {
        found if found == expected => Ok(()),
        found => Err(DocumentError::Format { expected, found }),
    }
}

pub(crate) fn key(reader: &mut Reader<'_>, expected: u64, place: &'static str) -> Result<(), DocumentError> {
    if reader.uint(place)? == expected { Ok(()) } else { Err(DocumentError::Malformed(place)) }
}

pub(crate) fn name<T: FromStr<Err = NameError>>(
    reader: &mut Reader<'_>,
    place: &'static str,
) -> Result<T, DocumentError> {
    reader.text(place)?.parse().map_err(|error| DocumentError::Name { place, error })
}

pub(crate) fn digest(reader: &mut Reader<'_>, place: &'static str) -> Result<Digest, DocumentError> {
    Digest::try_from(reader.bytes(place)?).map_err(|_| DocumentError::Malformed(place))
}

/// An array as a set; order and duplicates show when the document is encoded again.
pub(crate) fn set<T: Ord>(
    reader: &mut Reader<'_>,
    place: &'static str,
    item: impl Fn(&mut Reader<'_>, &'static str) -> Result<T, DocumentError>,
) -> Result<BTreeSet<T>, DocumentError> {
    let mut items = BTreeSet::new();
    for _ in 0..reader.array(place)? {
        items.insert(item(reader, place)?);
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use workload::brief::Source;

    use super::*;
    use crate::testing::{P256, Software, brief, deployment};

    fn signed(document: &Deployment, owner: &P256) -> OwnerSigned<Deployment> {
        Deployment::open(&document.seal(owner).unwrap(), &Software).unwrap()
    }

    #[test]
    fn rule_3_covers_exactly_what_the_owner_said() {
        let owner = P256::new(1);
        let document = signed(&deployment(&owner), &owner);
        let good = brief(&owner);
        assert_eq!(document.covers(&good, None).unwrap().names.first().unwrap(), "shop.example.org");
        assert_eq!(document.spiffe_id(&good.role).to_string(), "spiffe://example.org/shop/web");

        let refused = |change: fn(&mut Brief)| {
            let mut changed = good.clone();
            change(&mut changed);
            document.covers(&changed, None).unwrap_err()
        };
        assert_eq!(refused(|brief| brief.owner = None), NotCovered::NoOwner);
        assert!(matches!(refused(|brief| brief.owner = Some(Digest::of(b"x"))), NotCovered::Owner { .. }));
        assert!(matches!(
            refused(|brief| brief.trust_domain = "other.org".parse().unwrap()),
            NotCovered::TrustDomain { .. }
        ));
        assert!(matches!(refused(|brief| brief.deployment = "shop2".parse().unwrap()), NotCovered::Deployment { .. }));
        assert!(matches!(refused(|brief| brief.role = "admin".parse().unwrap()), NotCovered::Role { .. }));
        assert!(matches!(refused(|brief| brief.workload = Digest::of(b"x")), NotCovered::Workload { .. }));
        // A workload of one role does not play another.
        assert!(matches!(refused(|brief| brief.role = "db".parse().unwrap()), NotCovered::Workload { .. }));
        // What the Deployment does not speak about does not matter to it.
        let mut elsewhere = good.clone();
        elsewhere.source = Source::Host;
        assert!(document.covers(&elsewhere, None).is_ok());
    }

    #[test]
    fn rule_13_a_role_may_be_a_product_of_a_publisher_from_a_version_on() {
        let owner = P256::new(1);
        let (signer, product) = (Digest::of(b"publisher"), "shop".parse::<Name>().unwrap());
        let mut document = deployment(&owner);
        let accepted = Accepted::Product { signer, product: product.clone(), minimum: 3 };
        let role = document.roles.get_mut("web").unwrap();
        role.workloads = [Digest::of(b"exactly this").into(), accepted].into();
        assert_eq!(Deployment::decode(&document.encode()), Ok(document.clone()));
        let document = signed(&document, &owner);
        let brief = brief(&owner);
        let version = |svn| Published { signer, product: product.clone(), svn };
        assert!(document.covers(&brief, Some(&version(3))).is_ok());
        assert!(document.covers(&brief, Some(&version(4))).is_ok());
        let exact = Brief { workload: Digest::of(b"exactly this"), ..brief.clone() };
        assert!(document.covers(&exact, None).is_ok());

        let refused = |published: Option<&Published>| document.covers(&brief, published).unwrap_err().to_string();
        assert!(refused(None).ends_with("signed by no publisher"));
        assert!(refused(Some(&version(2))).ends_with("version 2"));
        assert!(refused(Some(&Published { signer: Digest::of(b"other"), ..version(3) })).contains("of publisher"));
        assert!(refused(Some(&Published { product: "db".parse().unwrap(), ..version(3) })).contains("db of"));
        // Of another role's product.
        let db = Brief { role: "db".parse().unwrap(), ..brief.clone() };
        assert!(matches!(document.covers(&db, Some(&version(3))), Err(NotCovered::Workload { .. })));
    }

    #[test]
    fn rule_4_peers_are_roles_of_the_deployment() {
        let owner = P256::new(1);
        let mut document = deployment(&owner);
        assert!(document.seal(&owner).is_ok(), "control");
        document.roles.get_mut("web").unwrap().peers.insert("cache".parse().unwrap());
        let error = DocumentError::UnknownPeer { role: "web".into(), peer: "cache".into() };
        assert_eq!(document.seal(&owner), Err(SealError::Document(error)));
    }

    #[test]
    fn rule_3_the_anonymous_name_is_nobodys() {
        let owner = P256::new(1);
        let mut document = deployment(&owner);
        document.id = ANONYMOUS_DEPLOYMENT.parse().unwrap();
        assert_eq!(document.seal(&owner), Err(SealError::Document(DocumentError::Reserved)));
    }

    #[test]
    fn inconsistent_documents_are_not_signed() {
        let owner = P256::new(1);
        let refused = |change: fn(&mut Deployment)| {
            let mut changed = deployment(&owner);
            change(&mut changed);
            match changed.seal(&owner) {
                Err(SealError::Document(error)) => error,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(|document| document.version = 0), DocumentError::Version(0));
        assert_eq!(refused(|document| document.version = 2), DocumentError::Version(2));
        assert_eq!(refused(|document| document.previous = Some(Digest::of(b""))), DocumentError::Version(1));
        assert_eq!(refused(|document| document.roles.clear()), DocumentError::Empty("roles"));
        let empty = DocumentError::Empty("workloads of a role");
        assert_eq!(refused(|document| document.roles.get_mut("db").unwrap().workloads.clear()), empty);
        assert!(matches!(refused(|document| document.owner[26] = 2), DocumentError::Owner(_)));
    }

    #[test]
    fn one_encoding_and_no_panic() {
        let owner = P256::new(1);
        let document = deployment(&owner);
        let bytes = document.encode();
        assert_eq!(Deployment::decode(&bytes), Ok(document.clone()), "control");
        // `db` and `web` in the other order.
        let mut swapped = Writer::default();
        swapped.map(6).uint(0).uint(1).uint(1).text("shop").uint(2).uint(1).uint(4).bytes(&document.owner);
        swapped.uint(5).text("example.org").uint(6).map(2);
        for (name, role) in document.roles.iter().rev() {
            swapped.text(name).map(3).uint(1).array(role.workloads.len());
            role.workloads.iter().for_each(|workload| workload.write(&mut swapped));
            swapped.uint(2).array(role.names.len());
            role.names.iter().for_each(|name| {
                swapped.text(name);
            });
            swapped.uint(3).array(role.peers.len());
            role.peers.iter().for_each(|peer| {
                swapped.text(peer);
            });
        }
        assert_eq!(Deployment::decode(&swapped.finish()), Err(DocumentError::NotCanonical));
        for length in 0..bytes.len() {
            assert!(Deployment::decode(&bytes[..length]).is_err());
        }
        let mut later = bytes.clone();
        later[2] = 2;
        assert_eq!(Deployment::decode(&later), Err(DocumentError::Format { expected: 1, found: 2 }));
        assert!(matches!(Deployment::decode(&alloc::vec![0; 70_000]), Err(DocumentError::TooLong { .. })));
    }
}
