//! What a program finds in its file system: files that came with the package, secrets, and places to write to.
//!
//! Owns the paths of a Keep ([`Place`]). Refuses paths that could be written in another way, and mounts
//! of kinds this version does not have.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ManifestError, Size};
use crate::names::Name;

/// The most files of a package.
pub const FILES: usize = 4096;
/// The most bytes of a file in a package.
pub const FILE_LIMIT: u64 = 512 * 1024 * 1024;
/// The most mounts.
pub const MOUNTS: usize = 64;
/// What a mount may hold if the manifest does not say.
pub const MOUNT_SIZE: Size = Size::bytes(64 * 1024 * 1024);

/// A file that came with the package, covered by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Where the program finds it.
    pub path: Place,
    /// Where `donjon pack` finds it, relative to `Donjon.toml`; a folder is all that is in it. Never in a package: there it
    /// is a layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

/// A place where a program finds more than files of the package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// Where.
    pub path: Place,
    /// What is there.
    pub kind: MountKind,
    /// How much of the Keep's memory it may take; `None` = [`MOUNT_SIZE`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
}

/// What is at a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountKind {
    /// The Keep's memory, for as long as the Keep runs.
    Memory,
    /// A folder of the host, as it is when the program starts; nothing of it is believed.
    Host,
}

/// A secret of the Drawbridge that is a file, which no package has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretFile {
    /// What the Drawbridge calls it.
    pub name: Name,
    /// Where the program finds it.
    pub path: Place,
    /// Where it finds the version before, as long as others may still use that; there is no such file otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<Place>,
}

impl SecretFile {
    /// Both paths.
    pub fn paths(&self) -> impl Iterator<Item = &Place> {
        [&self.path].into_iter().chain(&self.previous)
    }
}

/// An absolute path in the one way in which it can be written: `/` alone, or `/` and names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Place(String);

/// Why a text is no [`Place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a path begins with `/`, has no empty name, no `.` and no `..`, and at most 4096 bytes, 255 in each name")]
pub struct PlaceError;

impl Place {
    /// The path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names on the way.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|name| !name.is_empty())
    }

    /// The directories it lies in, but for `/`.
    fn directories(&self) -> impl Iterator<Item = Self> {
        self.0.match_indices('/').skip(1).filter_map(|(end, _)| self.0.get(..end)).map(|path| Self(path.to_owned()))
    }

    /// What is left of it from `root` on, if it lies there.
    #[must_use]
    pub fn below(&self, root: &Self) -> Option<&str> {
        let rest = self.0.strip_prefix(root.0.trim_end_matches('/'))?;
        (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_start_matches('/'))
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Self, PlaceError> {
        let name = |name: &str| !matches!(name, "" | "." | "..") && name.len() <= 255 && !name.contains('\0');
        let names = text.strip_prefix('/').ok_or(PlaceError)?;
        let right = text.len() <= 4096 && (names.is_empty() || names.split('/').all(name));
        if right { Ok(Self(text.to_owned())) } else { Err(PlaceError) }
    }
}

impl TryFrom<String> for Place {
    type Error = PlaceError;

    fn try_from(text: String) -> Result<Self, PlaceError> {
        text.parse()
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(&self.0)
    }
}

/// The rules between files and mounts. What has a `source` may be a folder, of which nothing is known yet.
pub(super) fn consistent(file: &[File], mount: &[Mount], secret: &[SecretFile]) -> Result<(), ManifestError> {
    for (what, found, limit) in [("file", file.len(), FILES), ("mount", mount.len(), MOUNTS)] {
        if found > limit {
            return Err(ManifestError::TooMany { what, limit, found });
        }
    }
    let mut paths = BTreeSet::new();
    let layers = file.iter().filter(|file| file.source.is_none()).map(|File { path, source: _ }| path);
    for path in layers.chain(secret.iter().flat_map(SecretFile::paths)) {
        if path.as_str() == "/" {
            return Err(ManifestError::Root);
        }
        if !paths.insert(path) {
            return Err(ManifestError::PathTwice { path: path.clone() });
        }
    }
    // A file is no directory of another.
    if let Some(path) = paths.iter().find(|path| path.directories().any(|directory| paths.contains(&directory))) {
        return Err(ManifestError::PathTwice { path: (*path).clone() });
    }
    let mut mounts = BTreeSet::new();
    for Mount { path, kind: _, size: _ } in mount {
        let inside_a_file = paths.iter().any(|file| path.below(file).is_some());
        if inside_a_file || !mounts.insert(path) {
            return Err(ManifestError::PathTwice { path: path.clone() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;
    use crate::Manifest;

    fn read(json: &str) -> Result<Manifest, ManifestError> {
        Manifest::from_json(json.as_bytes())
    }

    #[test]
    fn a_path_has_one_spelling() {
        let name = "x".repeat(255);
        let longest = format!("/{}", ["x"; 2048].join("/"));
        for path in ["/", "/a", "/a/b.c", "/\u{fc}", &format!("/{name}"), &longest] {
            assert_eq!(path.parse::<Place>().map(|place| place.to_string()).as_deref(), Ok(path));
        }
        for path in [
            "",
            "a",
            "a/b",
            "//",
            "/a/",
            "/a//b",
            "/.",
            "/a/..",
            "/a/./b",
            "/\0",
            &format!("/{name}x"),
            &format!("{longest}/"),
        ] {
            assert_eq!(path.parse::<Place>(), Err(PlaceError), "{path}");
        }
    }

    #[test]
    fn what_lies_below() {
        let below = |path: &str, root: &str| {
            let (path, root): (Place, Place) = (path.parse().unwrap(), root.parse().unwrap());
            path.below(&root).map(ToString::to_string)
        };
        assert_eq!(below("/a/b", "/").as_deref(), Some("a/b"));
        assert_eq!(below("/a/b", "/a").as_deref(), Some("b"));
        assert_eq!(below("/a", "/a").as_deref(), Some(""));
        assert_eq!(below("/ab", "/a"), None);
        assert_eq!(below("/a", "/a/b"), None);
    }

    #[test]
    fn files_and_mounts_have_their_own_places() {
        let file = |paths: &[&str]| {
            let files: Vec<_> = paths.iter().map(|path| format!(r#"{{"path":"{path}"}}"#)).collect();
            files.join(",")
        };
        let mount = |paths: &[&str]| {
            let mounts: Vec<_> = paths.iter().map(|path| format!(r#"{{"path":"{path}","kind":"memory"}}"#)).collect();
            mounts.join(",")
        };
        let both = |files: &[&str], mounts: &[&str]| {
            let list = |key: &str, items: &alloc::string::String| {
                if items.is_empty() { None } else { Some(format!("\"{key}\":[{items}]")) }
            };
            let keys: Vec<_> =
                [list("file", &file(files)), list("mount", &mount(mounts))].into_iter().flatten().collect();
            read(&format!("{{{}}}", keys.join(",")))
        };
        assert!(both(&["/a", "/a-b", "/b/c"], &["/", "/tmp", "/b"]).is_ok(), "control");
        let twice = |path: &str| Err(ManifestError::PathTwice { path: path.parse().unwrap() });
        assert_eq!(both(&["/a", "/a"], &[]), twice("/a"));
        assert_eq!(both(&["/a", "/a-b", "/a/b/c"], &[]), twice("/a/b/c"), "a file in a file");
        assert_eq!(both(&[], &["/a", "/a"]), twice("/a"));
        assert_eq!(both(&["/a"], &["/a/b"]), twice("/a/b"));
        assert_eq!(both(&["/a"], &["/a"]), twice("/a"));
        assert_eq!(both(&["/"], &[]), Err(ManifestError::Root));
        let many: Vec<_> = (0..=MOUNTS).map(|index| format!("/{index}")).collect();
        let many: Vec<_> = many.iter().map(alloc::string::String::as_str).collect();
        assert_eq!(both(&[], &many), Err(ManifestError::TooMany { what: "mount", limit: 64, found: 65 }));
        assert_eq!(read(r#"{"file":[{"path":"/a","source":"a"}]}"#), Err(ManifestError::SourceInPackage { index: 0 }));
    }

    #[cfg(feature = "settings")]
    #[test]
    fn a_file_of_a_project_has_a_source() {
        let toml = |text: &str| Manifest::from_toml("Donjon.toml", text);
        let folder = toml(
            "[[file]]\npath = \"/\"\nsource = \"web\"\n[[mount]]\npath = \"/tmp\"\nkind = \"memory\"\nsize = \"1 KiB\"\n",
        );
        assert_eq!(folder.unwrap().mount.first().unwrap().size, Some(Size::bytes(1024)));
        let error = toml("[[file]]\npath = \"/a\"\n").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Donjon.toml:1:1: `file[0].source` is missing: where the file is, relative to Donjon.toml"
        );
        let error = toml("[[mount]]\npath = \"tmp\"\nkind = \"memory\"\n").unwrap_err().to_string();
        assert!(error.starts_with("Donjon.toml:2:8: a path begins with `/`"), "{error}");
        let error = toml("[[mount]]\npath = \"/tmp\"\nkind = \"memry\"\n").unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("did you mean `memory`?"));
    }
}
