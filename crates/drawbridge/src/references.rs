//! What an OCI manifest refers to.
//!
//! Owns the little that a registry must understand of image manifests, image indexes and their Docker ancestors. Refuses
//! documents that are two of these at once (OCI image-spec advisory GHSA-77vh-xpmg-72qh) and a `mediaType` inside that
//! differs from the one outside. A `subject` need not be there (distribution-spec 1.1, "Pushing Manifests with Subject"),
//! and neither need layers that say of themselves that they are fetched from elsewhere. Platforms are nobody's business here.
//! Invariant: a manifest is stored only after all it refers to was found, and a confidential blob is released only
//! through a manifest that refers to it.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::digest::Digest;
use crate::http::Refusal;

/// The kinds of manifest: those with config and layers, and those with manifests.
const IMAGES: [&str; 2] = [workload::package::MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"];
const INDEXES: [&str; 2] = [INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"];
/// The media type of an image index.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// More than anybody needs, and few enough to look each up.
const MOST: usize = 1024;
/// The longest annotations of what has a subject, as JSON: a list of referrers repeats them.
const ANNOTATIONS: usize = 256 * 1024;
/// Layers of these types are not in registries (OCI image-spec 1.1, "Non-Distributable Layers", and Docker's foreign ones).
const ELSEWHERE: [&str; 2] =
    ["application/vnd.oci.image.layer.nondistributable.", "application/vnd.docker.image.rootfs.foreign."];

/// What a blob or manifest is, what it is called, and how many bytes it has (OCI image-spec 1.1, "Content Descriptors").
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

/// What a manifest refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct References {
    /// `artifactType`, or else the type of the config, as a list of referrers has it.
    pub(crate) artifact_type: Option<String>,
    /// What it is about.
    pub(crate) subject: Option<Descriptor>,
    /// Its annotations, a JSON object.
    pub(crate) annotations: Option<String>,
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
            subject: Option<Descriptor>,
            annotations: Option<BTreeMap<String, String>>,
            config: Option<Descriptor>,
            layers: Option<Vec<Descriptor>>,
            manifests: Option<Vec<Descriptor>>,
        }
        let (image, index) = (IMAGES.contains(&media_type), INDEXES.contains(&media_type));
        if !image && !index {
            return Err(Refusal::MediaType);
        }
        let raw = serde_json::from_slice(bytes);
        let Raw { schema_version, media_type: inside, artifact_type, subject, annotations, config, layers, manifests } =
            raw.map_err(|_| Refusal::ManifestInvalid("not JSON of a manifest with sha256 or sha512 descriptors"))?;
        if inside.is_some_and(|inside| inside != media_type) {
            return Err(Refusal::MediaType);
        }
        if schema_version != 2 {
            return Err(Refusal::ManifestInvalid("schemaVersion is not 2"));
        }
        let artifact_type = artifact_type
            .filter(|kind| !kind.is_empty())
            .or_else(|| config.as_ref().map(|config| config.media_type.clone()));
        let annotations = annotations.filter(|annotations| !annotations.is_empty());
        let annotations = annotations.and_then(|annotations| serde_json::to_string(&annotations).ok());
        if subject.is_some() && annotations.as_ref().is_some_and(|annotations| annotations.len() > ANNOTATIONS) {
            return Err(Refusal::ManifestInvalid("it has a subject, and annotations of more than 256 KiB"));
        }
        let here = |layer: &Descriptor| !ELSEWHERE.iter().any(|elsewhere| layer.media_type.starts_with(elsewhere));
        let (blobs, manifests) = match (config, layers, manifests) {
            (Some(config), Some(layers), None) if image => {
                ([config].into_iter().chain(layers.into_iter().filter(here)).collect::<Vec<_>>(), Vec::new())
            }
            (None, None, Some(manifests)) if index => (Vec::new(), manifests),
            _ => return Err(Refusal::ManifestInvalid("it has exactly config and layers, an index exactly manifests")),
        };
        if blobs.len().saturating_add(manifests.len()) > MOST {
            return Err(Refusal::ManifestInvalid("it refers to more than 1024 things"));
        }
        Ok(Self { artifact_type, subject, annotations, blobs, manifests })
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
        let other = image.replace("sha256:ba", "sha384:ba");
        for bad in [&both, &typed, &old, &many, &other, "{}", "[]", ""] {
            assert_eq!(counts(IMAGES[0], bad), None, "{}", &bad[..bad.len().min(80)]);
        }
        assert_eq!(counts("text/plain", &image), None);
    }

    #[test]
    fn what_it_is_about_and_what_it_says_of_itself() {
        let parse = |more: &str, layers: &str| {
            let text = format!(r#"{{"schemaVersion":2,{more}"config":{BLOB},"layers":[{layers}]}}"#);
            References::parse(IMAGES[0], text.as_bytes())
        };
        let plain = parse("", "").unwrap();
        assert_eq!((plain.artifact_type.as_deref(), plain.subject, plain.annotations), (Some("a/b"), None, None));
        let more = format!(r#""artifactType":"x/y","subject":{BLOB},"annotations":{{"k":"v"}},"#);
        let found = parse(&more, "").unwrap();
        assert_eq!((found.artifact_type.as_deref(), found.annotations.as_deref()), (Some("x/y"), Some(r#"{"k":"v"}"#)));
        assert_eq!(found.subject.unwrap().size, 3);
        let long = format!(r#""annotations":{{"k":"{}"}},"#, "v".repeat(ANNOTATIONS));
        assert!(parse(&long, "").is_ok());
        let long = format!(r#""subject":{BLOB},{long}"#);
        assert!(matches!(parse(&long, ""), Err(Refusal::ManifestInvalid(_))));
        let foreign = BLOB.replace("a/b", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
        assert_eq!(parse("", &format!("{BLOB},{foreign}")).unwrap().blobs.len(), 2, "config and one layer");
    }
}
