//! The folder of real evidence.

use base64::Engine as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Where real evidence lies.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    #[allow(clippy::print_stderr, reason = "a skip must be seen")]
    pub(crate) fn open() -> Option<Self> {
        let path = std::env::var_os("DONJON_EVIDENCE")
            .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/evidence"), PathBuf::from);
        if path.is_dir() {
            return Some(Self(path));
        }
        let required = std::env::var("DONJON_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|word| word.trim() == "evidence"),
            "DONJON_REQUIRE=evidence, but there is no folder {}",
            path.display()
        );
        eprintln!("skipped: no real evidence at {}: set DONJON_EVIDENCE", path.display());
        None
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.0.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    #[allow(dead_code, reason = "the inventory has this file too, and knows its encodings")]
    /// Bytes, or the bytes that a text means: hexadecimal or base64.
    pub(crate) fn decoded(&self, name: &str, encoding: &str) -> Vec<u8> {
        let bytes = self.read(name);
        let text = || core::str::from_utf8(&bytes).expect("text").trim().to_owned();
        match encoding {
            "binary" => bytes,
            "hex text" => hex::decode(text().trim_start_matches("0x")).expect("hexadecimal"),
            "base64 text" => base64::prelude::BASE64_STANDARD.decode(text()).expect("base64"),
            other => panic!("{name}: unknown encoding {other}"),
        }
    }
}
