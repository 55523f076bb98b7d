//! What the owner signed before: where it lies, what follows it, and when it is replaced.
//!
//! Beside `Deployment.toml` lies `deployment.cose`, one for all registries, because its versions belong to its id; and a
//! folder `signed/` with the release policy of each repository of each registry, because each counts its own versions.
//! Refuses to go on from what another owner signed, or from what is about something else.
//! Invariant: a file here is replaced only after the registry took its successor, by a rename and with fsync. Whatever
//! the disk can refuse, it refuses before the push.

use std::fs::{File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use identity::deployment::Deployment;
use identity::release::ReleasePolicy;
use identity::signed::{Document, OwnerSigned};
use steward::signer::Signatures;
use tempfile::NamedTempFile;
use workload::Digest;
use workload::reference::Location;

use crate::failure::Failure;
use crate::owner::Owner;

/// The file names, beside `Deployment.toml`.
const DEPLOYMENT: &str = "deployment.cose";
const SIGNED: &str = "signed";
/// No part of a repository's name begins with `_`, so this is never the folder of a repository.
const RELEASE: &str = "_release.cose";

/// Where the documents of one project for one repository lie.
pub(crate) struct Places {
    pub(crate) deployment: PathBuf,
    pub(crate) release: PathBuf,
}

impl Places {
    pub(crate) fn of(project: &Path, location: &Location) -> Self {
        let repository = project.join(SIGNED).join(location.authority.as_str()).join(location.repository.as_str());
        Self { deployment: project.join(DEPLOYMENT), release: repository.join(RELEASE) }
    }

    /// What lies there. A release policy to `follow` is believed instead of the one on the disk.
    pub(crate) fn before(
        &self,
        owner: &Owner,
        follow: Option<Follow>,
        revoked: Vec<Digest>,
    ) -> Result<Before, Failure> {
        Ok(Before {
            deployment: last(&self.deployment, owner)?,
            release: if follow.is_some() { None } else { last(&self.release, owner)? },
            follow,
            revoked,
        })
    }
}

/// What was signed before, if anything, and how the owner departs from it.
#[derive(Default)]
pub(crate) struct Before {
    pub(crate) deployment: Option<Last<Deployment>>,
    pub(crate) release: Option<Last<ReleasePolicy>>,
    /// In force in place of `release`.
    pub(crate) follow: Option<Follow>,
    /// Plays no role any more.
    pub(crate) revoked: Vec<Digest>,
}

/// The last of a chain, and the bytes it was read from.
pub(crate) struct Last<T> {
    pub(crate) document: OwnerSigned<T>,
    bytes: Vec<u8>,
    file: PathBuf,
}

/// A version and its digest, `VERSION:sha256:…`: what the owner says is in force, where the file that knew it is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Follow {
    version: u64,
    digest: Digest,
}

impl FromStr for Follow {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.split_once(':').and_then(|(version, digest)| {
            Some(Self { version: version.parse().ok().filter(|version| *version > 0)?, digest: digest.parse().ok()? })
        });
        parsed.ok_or_else(|| "expected VERSION:sha256:…, as the refused push told it".to_owned())
    }
}

fn last<T: Document>(file: &Path, owner: &Owner) -> Result<Option<Last<T>>, Failure> {
    let shown = file.display();
    let bytes = match std::fs::read(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| Failure::caused(format_args!("cannot read {shown}"), &error))?,
    };
    let document = OwnerSigned::<T>::open(&bytes, &Signatures).map_err(|error| {
        Failure::caused(format_args!("{shown} is not what an owner signed"), &error)
            .hint("versions count on from it: restore the file, or move it away to begin at version 1")
    })?;
    if *document.owner() != owner.digest() {
        let (expected, found) = (document.owner(), owner.digest());
        return Err(Failure::new(format_args!(
            "{shown} was signed by owner {expected}, the owner key here is {found}"
        ))
        .hint("name the right key with --owner-key, or move the file away if the owner shall be another"));
    }
    Ok(Some(Last { document, bytes, file: file.to_owned() }))
}

/// A document whose version can be set.
pub(crate) trait Numbered: Document + Clone + PartialEq {
    fn numbered(self, version: u64, previous: Option<Digest>) -> Self;
}

impl Numbered for Deployment {
    fn numbered(self, version: u64, previous: Option<Digest>) -> Self {
        Self { version, previous, ..self }
    }
}

impl Numbered for ReleasePolicy {
    fn numbered(self, version: u64, previous: Option<Digest>) -> Self {
        Self { version, previous, ..self }
    }
}

/// The document after the last one: the same bytes if nothing changed, else the next version.
pub(crate) fn next<T: Numbered>(document: T, owner: &Owner, last: Option<&Last<T>>) -> Result<Vec<u8>, Failure> {
    let Some(Last { document: last, bytes, file }) = last else { return owner.seal(&document) };
    if last.subject() != document.subject() {
        let (file, found, expected) = (file.display(), last.subject(), document.subject());
        return Err(Failure::new(format_args!("{file} is about `{found}`, not `{expected}`"))
            .hint("name it as before, or move the file away to begin at version 1"));
    }
    if document.clone().numbered(last.version(), last.previous()) == **last {
        return Ok(bytes.clone());
    }
    after(document, owner, Follow { version: last.version(), digest: *last.digest() })
}

/// The document after this one, whatever is in it.
pub(crate) fn after<T: Numbered>(document: T, owner: &Owner, last: Follow) -> Result<Vec<u8>, Failure> {
    let version = last.version.checked_add(1).ok_or_else(|| Failure::new("no version comes after the last one"))?;
    owner.seal(&document.numbered(version, Some(last.digest)))
}

/// A file that is written but not in its place yet; dropped, it is gone.
pub(crate) struct Staged {
    file: NamedTempFile,
    place: PathBuf,
    made: Vec<PathBuf>,
}

impl Staged {
    pub(crate) fn new(place: &Path, bytes: &[u8]) -> Result<Self, Failure> {
        let failed = |error| cannot_write(place, &error);
        let dir = place.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let made = dir.ancestors().take_while(|above| !above.as_os_str().is_empty() && !above.exists());
        let made: Vec<_> = made.map(Path::to_owned).collect();
        std::fs::create_dir_all(dir).map_err(failed)?;
        // Nothing in it is a secret: as readable as the umask lets any file be.
        let mut file =
            tempfile::Builder::new().permissions(Permissions::from_mode(0o666)).tempfile_in(dir).map_err(failed)?;
        file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        Ok(Self { file, place: place.to_owned(), made })
    }

    pub(crate) fn commit(self) -> Result<(), Failure> {
        let Self { file, place, made } = self;
        let failed = |error| cannot_write(&place, &error).hint("the registry took it: push again");
        file.persist(&place).map_err(|error| failed(error.error))?;
        let parents = made.iter().filter_map(|dir| dir.parent());
        for dir in place.parent().into_iter().chain(parents) {
            let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
        }
        Ok(())
    }
}

fn cannot_write(file: &Path, error: &std::io::Error) -> Failure {
    Failure::caused(format_args!("cannot write {}", file.display()), error)
        .hint("the folder of Deployment.toml must be writable: versions count on from what is kept there")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_repository_of_each_registry_has_a_place_of_its_own() {
        let place = |location: &str| Places::of(Path::new("p"), &location.parse().unwrap()).release;
        let places = ["a.example:1/x", "a.example:2/x", "b.example:1/x", "a.example:1/x/y"].map(place);
        assert_eq!(places[0], Path::new("p/signed/a.example:1/x/_release.cose"));
        let different: std::collections::BTreeSet<_> = places.iter().collect();
        assert_eq!(different.len(), places.len());
        assert_eq!(place("a.example:1/x:tag"), places[0], "control: a tag is no other place");
    }

    #[test]
    fn what_is_not_committed_was_never_there() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("a/b/file");
        drop(Staged::new(&place, b"one").unwrap());
        assert_eq!(place.parent().unwrap().read_dir().unwrap().count(), 0);
        Staged::new(&place, b"two").unwrap().commit().unwrap();
        drop(Staged::new(&place, b"three").unwrap());
        assert_eq!(std::fs::read(&place).unwrap(), b"two");
    }

    #[test]
    fn what_to_follow_is_written_as_it_is_told() {
        let digest = Digest::of(b"policy");
        let parse = |text: String| text.parse::<Follow>();
        assert_eq!(parse(format!("3:{digest}")), Ok(Follow { version: 3, digest }));
        for wrong in [format!("0:{digest}"), digest.to_string(), format!("3{digest}"), "3:".to_owned()] {
            assert!(parse(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
