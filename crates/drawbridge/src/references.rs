//! What an OCI manifest refers to.
//!
//! Owns the little that a registry must understand of image manifests, image indexes and their Docker ancestors. Refuses
//! documents that are two of these at once (OCI image-spec advisory GHSA-77vh-xpmg-72qh) and a `mediaType` inside that
//! differs from the one outside. Annotations, `subject` and platform are nobody's business here.
//! Invariant: a manifest is stored only after all it refers to was found, and a confidential blob is released only
//! through a manifest that refers to it.

use serde::Deserialize;
use workload::package::Descriptor;

use crate::http::Refusal;

/// The kinds of manifest: those with config and layers, and those with manifests.
const IMAGES: [&str; 2] = [workload::package::MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"];
const INDEXES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
/// More than anybody needs, and few enough to look each up.
const MOST: usize = 1024;

/// What a manifest refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct References {
    /// `artifactType`, if it says one.
    pub(crate) artifact_type: Option<String>,
    /// Config and layers.
    pub(crate) blobs: Vec<Descriptor>,
    /// The manifests of an index.
    pub(crate) manifests: Vec<Descriptor>,
}

impl References {
    /// Reads a manifest that came, or was stored, with this media type.
    pub(crate) fn parse(media_type: &str, bytes: &[u8]) -> Result<Self, Refusal> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Raw {
            schema_version: u64,
            media_type: Option<String>,
            artifact_type: Option<String>,
            config: Option<Descriptor>,
            layers: Option<Vec<Descriptor>>,
            manifests: Option<Vec<Descriptor>>,
        }
        let (image, index) = (IMAGES.contains(&media_type), INDEXES.contains(&media_type));
        if !image && !index {
            return Err(Refusal::MediaType);
        }
        let Raw { schema_version, media_type: inside, artifact_type, config, layers, manifests } =
            serde_json::from_slice(bytes)
                .map_err(|_| Refusal::ManifestInvalid("not JSON of a manifest with sha256 descriptors"))?;
        if inside.is_some_and(|inside| inside != media_type) {
            return Err(Refusal::MediaType);
        }
        if schema_version != 2 {
            return Err(Refusal::ManifestInvalid("schemaVersion is not 2"));
        }
        let (blobs, manifests) = match (config, layers, manifests) {
            (Some(config), Some(layers), None) if image => ([config].into_iter().chain(layers).collect(), Vec::new()),
            (None, None, Some(manifests)) if index => (Vec::new(), manifests),
            _ => return Err(Refusal::ManifestInvalid("it has exactly config and layers, an index exactly manifests")),
        };
        if blobs.len().saturating_add(manifests.len()) > MOST {
            return Err(Refusal::ManifestInvalid("it refers to more than 1024 things"));
        }
        Ok(Self { artifact_type, blobs, manifests })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOB: &str = r#"{"mediaType":"a/b","digest":"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad","size":3}"#;

    #[test]
    fn one_kind_at_a_time() {
        let image = format!(r#"{{"schemaVersion":2,"config":{BLOB},"layers":[{BLOB},{BLOB}]}}"#);
        let index = format!(r#"{{"schemaVersion":2,"manifests":[{BLOB}]}}"#);
        let counts = |media_type: &str, text: &str| {
            References::parse(media_type, text.as_bytes()).ok().map(|found| (found.blobs.len(), found.manifests.len()))
        };
        for kind in IMAGES {
            assert_eq!((counts(kind, &image), counts(kind, &index)), (Some((3, 0)), None));
        }
        for kind in INDEXES {
            assert_eq!((counts(kind, &image), counts(kind, &index)), (None, Some((0, 1))));
        }
        let both = format!(r#"{{"schemaVersion":2,"config":{BLOB},"layers":[],"manifests":[]}}"#);
        let typed = image.replace("\"config\"", "\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"config\"");
        let old = image.replace("\"schemaVersion\":2", "\"schemaVersion\":1");
        let many = image.replace("[", &("[".to_owned() + &format!("{BLOB},").repeat(1024)));
        let other = image.replace("sha256:ba", "sha512:ba");
        for bad in [&both, &typed, &old, &many, &other, "{}", "[]", ""] {
            assert_eq!(counts(IMAGES[0], bad), None, "{}", &bad[..bad.len().min(80)]);
        }
        assert_eq!(counts("text/plain", &image), None);
    }
}
