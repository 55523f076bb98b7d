//! `Donjon.toml`: reading it, and where in it a fault is.
//!
//! Owns the way from a [`ManifestError`], which knows keys, to a line and a column. Host side only: a Keep reads JSON.
//! Invariant: an error has a place, unless nothing in the file is at fault.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Manifest, ManifestError, Place};
use crate::settings::{self, Position, SettingsError, Step};

/// Why a `Donjon.toml` is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestFileError {
    /// Not TOML, unknown or missing keys, wrong types.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Keys that do not go together.
    #[error("{file}:{}{error}", colon(*.at))]
    Manifest {
        /// The file's name.
        file: String,
        /// Where.
        at: Option<Position>,
        /// What is wrong.
        error: ManifestError,
    },
}

fn colon(at: Option<Position>) -> String {
    at.map_or_else(|| " ".into(), |at| alloc::format!("{at}: "))
}

impl ManifestFileError {
    /// What to do about it, in a sentence.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Settings(error) => error.hint(),
            Self::Manifest { error, .. } => error.hint().map(Into::into),
        }
    }

    /// Where; nowhere if the whole file is the fault.
    #[must_use]
    pub const fn at(&self) -> Option<Position> {
        match self {
            Self::Settings(error) => error.at(),
            Self::Manifest { at, .. } => *at,
        }
    }
}

impl Manifest {
    /// Reads `Donjon.toml`; `file` is how messages call it.
    ///
    /// # Errors
    /// See [`ManifestFileError`].
    pub fn from_toml(file: &str, text: &str) -> Result<Self, ManifestFileError> {
        let manifest: Self = settings::parse(file, text)?;
        let sourced = match manifest.file.iter().position(|file| file.source.is_none()) {
            Some(index) => Err(ManifestError::NoSource { index }),
            None => manifest.consistent(),
        };
        sourced.map_err(|error| ManifestFileError::Manifest {
            file: file.into(),
            at: Position::find(text, &manifest.path(&error)),
            error,
        })?;
        Ok(manifest)
    }

    /// The keys that lead to what an error of this manifest is about; none, if it is about none.
    #[must_use]
    pub fn path<'a>(&self, error: &'a ManifestError) -> Vec<Step<'a>> {
        use ManifestError as E;
        use Step::{Index, Key};
        let nth = |what, index: usize| [Key(what), Index(index)].to_vec();
        let key = |what, index: usize, key| [Key(what), Index(index), Key(key)].to_vec();
        let at = |wanted: &Place| {
            let mount = self.mount.iter().rposition(|mount| mount.path == *wanted).map(|index| ("mount", index));
            mount.or_else(|| Some(("file", self.file.iter().rposition(|file| file.path == *wanted)?)))
        };
        match error {
            E::TooLong { .. } | E::Json { .. } | E::NotCanonical | E::Root => Vec::new(),
            E::ProgramInPackage => [Key("program")].to_vec(),
            E::SourceInPackage { index } => key("file", *index, "source"),
            E::NoSource { index } => nth("file", *index),
            E::TooMany { what, limit, found: _ } => what.split('.').map(Key).chain([Index(*limit)]).collect(),
            E::PathTwice { path } | E::Reserved { path } => {
                at(path).map_or_else(Vec::new, |(what, index)| key(what, index, "path"))
            }
            E::Invoke { .. } => [Key("invoke")].to_vec(),
            E::Name => [Key("arg0")].to_vec(),
            E::Argument { index } => nth("args", *index),
            E::Variable { name } => [Key("env"), Key(name)].to_vec(),
            E::ListenerOfCommand { index, .. } => key("listen", *index, "protocol"),
            E::NoListener => [Key("kind")].to_vec(),
            // One of another protocol, or the second.
            E::Listeners { found: 1 } => key("listen", 0, "protocol"),
            E::Listeners { .. } => nth("listen", 1),
            E::ListenTwice { index } => nth("listen", *index),
            E::ConnectTwice { index } => nth("connect", *index),
            E::WebClients { index } => key("listen", *index, "clients"),
            E::Clear { what, index, key: name, protocol: _ } | E::Roles { what, index, key: name } => {
                key(what, *index, name)
            }
            E::Lifetime => [Key("identity"), Key("lifetime")].to_vec(),
            E::Zero { key } => [Key("limits"), Key(key)].to_vec(),
            E::NoSuchFile { what, index, path: _ } => nth(what, *index),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn keys_that_do_not_go_together_have_a_place() {
        let listen = "[[listen]]\nname = \"web\"\nport = 1\nprotocol = ";
        for (text, place) in [
            ("kind = \"http\"\n", "a:1:8: "),
            ("[identity]\nlifetime = \"1 s\"\n", "a:2:12: "),
            ("[identity]\nfiles = true\n[[mount]]\npath = \"/run/donjon\"\nkind = \"memory\"\n", "a:4:8: "),
            ("[limits]\ntime = \"0 s\"\n", "a:2:8: "),
            ("\narg0 = \"\"\n", "a:2:8: "),
            ("args = [\"x\", \"\\u0000\"]\n", "a:1:14: "),
            ("[env]\n\"a=b\" = \"x\"\n", "a:2:9: "),
            ("[[file]]\npath = \"/a\"\n", "a:1:1: "),
            ("[[mount]]\npath = \"/a\"\nkind = \"memory\"\n[[mount]]\nkind = \"memory\"\npath = \"/a\"\n", "a:6:8: "),
            (&[r#"kind = "command""#, "\n", listen, "\"http\"\n"].concat(), "a:5:12: "),
            (&[r#"kind = "http""#, "\n", listen, "\"tcp\"\n"].concat(), "a:5:12: "),
            (&[listen, "\"http\"\n", listen, "\"http\"\n"].concat(), "a:5:1: "),
            (&[listen, "\"tls\"\nclients = [\"web\"]\n"].concat(), "a:5:11: "),
            (&[listen, "\"tls\"\nclients = [\"steward\"]\n"].concat(), "a:5:11: "),
            (&[listen, "\"tls\"\nroles = [\"x\"]\n"].concat(), "a:1:1: "),
            (&[listen, "\"tls\"\nclients = [\"/ca\"]\n"].concat(), "a:1:1: "),
        ] {
            let error = Manifest::from_toml("a", text).unwrap_err();
            assert!(error.to_string().starts_with(place), "{error}, expected at {place}\n{text}");
            assert_eq!(alloc::format!("a:{}: ", error.at().unwrap()), place);
        }
    }
}
