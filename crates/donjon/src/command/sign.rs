//! `donjon sign`: a publisher says which product in which version a workload is.
//!
//! Owns the arguments that `push` shares. The signature goes into the registry as cosign has it, and into a file, because `deploy`
//! cannot ask a repository that looks absent. Invariant: what is signed is the digest of a manifest whose bytes were here.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use drawbridge::client::Client;
use identity::publisher::{Claim, Published, Signature};
use steward::signer::Signatures;
use workload::names::{Name, Repository};
use workload::package::{Descriptor, MANIFEST};
use workload::reference::{Location, Reference};

use crate::command::{runtime, say};
use crate::failure::Failure;
use crate::owner::{Owner, read_key};
use crate::registry::Registry;
use crate::signed::Staged;

/// The file's name, unless another is given.
pub(crate) const SIGNATURE: &str = "workload.sig";

/// As what a workload is signed, and by whom.
#[derive(Debug, clap::Args)]
pub(crate) struct Publisher {
    /// Which product it is a version of, as Deployments name it.
    #[arg(long, value_name = "NAME")]
    pub(crate) product: Name,
    /// Its security version number: count it up where no older version must run any more.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) svn: u64,
    /// The publisher's private key, PKCS#8 in PEM; without it the owner key.
    #[arg(long, value_name = "FILE")]
    pub(crate) publisher_key: Option<PathBuf>,
}

/// Sign a workload that is in a registry, as its publisher; prints the digest of the signature's manifest.
///
/// Owners accept it by `products` of a role, from a version on, in place of a digest. What is confidential is signed as it is
/// pushed: `donjon push --product NAME --svn NUMBER`.
#[derive(Debug, clap::Args)]
pub(crate) struct Sign {
    /// What: HOST:PORT/REPOSITORY@sha256:…, or :TAG.
    location: Location,
    #[command(flatten)]
    publisher: Publisher,
    /// Where to put the signature, for `donjon deploy`.
    #[arg(long, value_name = "FILE", default_value = SIGNATURE)]
    out: PathBuf,
    #[command(flatten)]
    registry: Registry,
}

/// What a publisher signed, and about which manifest.
pub(crate) struct Signed {
    pub(crate) signature: Signature,
    pub(crate) published: Published,
    workload: Descriptor,
}

impl Sign {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let Self { location, publisher, out, registry } = self;
        let client = registry.client(&location.authority)?;
        let reference = match (location.digest, &location.tag) {
            (Some(digest), _) => Reference::Digest(digest),
            (None, Some(tag)) => Reference::Tag(tag.clone()),
            (None, None) => {
                return Err(Failure::new(format_args!("{location} names no workload")).hint("add @sha256:… or :TAG"));
            }
        };
        let digest = runtime()?.block_on(async {
            let (_, manifest) = client.manifest(&location.repository, &reference).await.map_err(|error| {
                Failure::from_client(format_args!("cannot read {location}"), &error)
                    .hint("sign what is confidential as it is pushed: `donjon push --product NAME --svn NUMBER`")
            })?;
            let signed = publisher.sign(&location, &Descriptor::of(MANIFEST, &manifest), Owner::home)?;
            let saved = Staged::new(&out, &signed.signature.encode())?;
            let digest = signed.push(&client, &location.repository).await?;
            saved.commit().map(|()| digest)
        })?;
        say(&digest.to_string());
        Ok(ExitCode::SUCCESS)
    }
}

impl Publisher {
    /// Signs the manifest that is described, with the owner's key unless there is another.
    pub(crate) fn sign(
        &self,
        location: &Location,
        workload: &Descriptor,
        owner: impl FnOnce() -> Result<PathBuf, Failure>,
    ) -> Result<Signed, Failure> {
        let Self { product, svn, publisher_key } = self;
        let key = match publisher_key {
            Some(file) => read_key(file, "publisher's key", "--publisher-key names it"),
            None => Owner::read(&owner()?).map(Owner::into_key),
        }?;
        let claim = Claim {
            reference: format!("{}/{}", location.authority, location.repository),
            workload: workload.digest,
            product: product.clone(),
            svn: *svn,
        };
        let signature = Signature::make(&claim, &key).map_err(|error| Failure::caused("cannot sign", &error))?;
        let published = signature
            .verify(&workload.digest, &Signatures)
            .map_err(|error| Failure::caused("what was signed does not hold", &error))?;
        Ok(Signed { signature, published, workload: workload.clone() })
    }
}

impl Signed {
    /// Puts it beside the workload.
    pub(crate) async fn push(&self, client: &Client, repository: &Repository) -> Result<workload::Digest, Failure> {
        client
            .put_signature(repository, &self.workload, &self.signature)
            .await
            .map_err(|error| Failure::from_client("the signature was not accepted", &error))
    }
}

/// Reads what `push` or `sign` wrote.
pub(crate) fn read(file: &Path) -> Result<Signature, Failure> {
    let shown = file.display();
    let hint = "`donjon push --product` and `donjon sign` write it as workload.sig";
    let bytes =
        std::fs::read(file).map_err(|error| Failure::caused(format_args!("cannot read {shown}"), &error).hint(hint))?;
    Signature::decode(&bytes)
        .map_err(|error| Failure::caused(format_args!("{shown} is not a workload's signature"), &error).hint(hint))
}
