//! Images made on the spot, as an OCI image layout (image-spec 1.1) that clients read and write.
//!
//! Two layers: one small, one of 6 MB that does not compress, so that it goes over in several parts. `one` is the image for
//! amd64, `many` an index of amd64 and arm64. Invariant: a blob's file has the digest that it is called by.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use workload::Digest;

use crate::read;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// What is in the big layer, in bytes.
pub(crate) const BIG: usize = 6_000_000;

/// A layout in a folder.
pub(crate) struct Layout {
    pub(crate) folder: PathBuf,
    /// The digest of the manifest `one`.
    pub(crate) one: Digest,
}

impl Layout {
    pub(crate) fn make(folder: &Path) -> Self {
        let folder = folder.join("layout");
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        let store = |kind: &str, bytes: &[u8]| -> Value {
            let digest = Digest::of(bytes);
            fs::write(blob(&folder, &digest), bytes).unwrap();
            json!({ "mediaType": kind, "digest": digest, "size": bytes.len() })
        };
        let layers = [layer(&folder, "small.txt", b"small\n"), layer(&folder, "big.bin", &noise())];
        let manifest = |architecture: &str| {
            let diffs = layers.each_ref().map(|(tar, _)| Digest::of(tar));
            let config = json!({
                "architecture": architecture, "os": "linux", "config": { "Labels": { "made": "on the spot" } },
                "rootfs": { "type": "layers", "diff_ids": diffs },
            });
            let config = store("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes());
            let layers = layers.each_ref().map(|(_, gzip)| store("application/vnd.oci.image.layer.v1.tar+gzip", gzip));
            let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
            let mut stored = store(MANIFEST, manifest.to_string().as_bytes());
            stored["platform"] = json!({ "architecture": architecture, "os": "linux" });
            stored
        };
        let (amd, arm) = (manifest("amd64"), manifest("arm64"));
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [amd, arm] });
        let index = store(INDEX, index.to_string().as_bytes());
        let named = |descriptor: &Value, name: &str| {
            let mut named = descriptor.clone();
            named["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
            named
        };
        let entries = [named(&amd, "one"), named(&index, "many")];
        let top = json!({ "schemaVersion": 2, "manifests": entries });
        fs::write(folder.join("index.json"), top.to_string()).unwrap();
        fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let digest = |descriptor: &Value| descriptor["digest"].as_str().unwrap().parse().unwrap();
        Self { one: digest(&amd), folder }
    }

    /// `oci:FOLDER:TAG`, as skopeo, podman and buildah write it.
    pub(crate) fn oci(&self, tag: &str) -> String {
        format!("oci:{}:{tag}", self.folder.display())
    }

    /// The layout in one file.
    pub(crate) fn tar(&self) -> PathBuf {
        let file = self.folder.with_extension("tar");
        tar(&file, &self.folder, &["oci-layout", "index.json", "blobs"]);
        file
    }
}

/// The bytes in the big layer: the same in each run, and nothing that compresses.
pub(crate) fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let step = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(step).flatten().take(BIG).collect()
}

/// All blobs of a layout, whose names are checked.
pub(crate) fn blobs(layout: &Path) -> BTreeMap<Digest, Vec<u8>> {
    let files = fs::read_dir(layout.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    let blobs = files.map(|file| {
        let bytes = read(&file);
        let digest = Digest::of(&bytes);
        assert_eq!(blob(layout, &digest), file, "the name is the digest");
        (digest, bytes)
    });
    blobs.collect()
}

fn blob(layout: &Path, digest: &Digest) -> PathBuf {
    layout.join("blobs").join(digest.to_string().replace(':', "/"))
}

/// A layer with one file, as tar and compressed.
fn layer(folder: &Path, name: &str, bytes: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let work = tempfile::tempdir_in(folder).unwrap();
    fs::write(work.path().join(name), bytes).unwrap();
    let file = work.path().join("layer.tar");
    tar(&file, work.path(), &[name]);
    let done = Command::new("gzip").args(["--no-name", "--keep", "--fast"]).arg(&file).status().unwrap();
    assert!(done.success(), "gzip");
    (read(&file), read(file.with_extension("tar.gz")))
}

fn tar(file: &Path, folder: &Path, names: &[&str]) {
    let mut command = Command::new("tar");
    command
        .args(["--create", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--mode=0644", "--file"])
        .arg(file);
    let done = command.arg("--directory").arg(folder).args(names).status().unwrap();
    assert!(done.success(), "tar");
}
