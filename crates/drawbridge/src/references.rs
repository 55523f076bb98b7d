//! What an OCI manifest refers to.
//!
//! Owns the little that a registry must understand of image manifests, image indexes and their Docker ancestors. Refuses
//! documents that are two of these at once (OCI image-spec advisory GHSA-77vh-xpmg-72qh) and a `mediaType` inside that
//! differs from the one outside; and what readers take in more than one way: text that is no UTF-8, a field that is there twice,
//! a list of values in the place of an object. A `subject` need not be there (distribution-spec 1.1, "Pushing Manifests with Subject"),
//! and neither need layers that say of themselves that they are fetched from elsewhere. Platforms are nobody's business here.
//! Invariant: a manifest is stored only after all it refers to was found, and a confidential blob is released only
//! through a manifest that refers to it.

mod json;

use serde::Deserialize;

use json::{First, Object, Texts};

use crate::digest::Digest;
use crate::http::Refusal;

/// The kinds of manifest: those with config and layers, and those with manifests.
const IMAGES: [&str; 2] = [workload::package::MANIFEST, "application/vnd.docker.distribution.manifest.v2+json"];
const INDEXES: [&str; 2] = [INDEX, "application/vnd.docker.distribution.manifest.list.v2+json"];
/// The media type of an image index.
pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// More than anybody needs, and few enough to look each up.
const MOST: usize = 1024;
/// The longest `artifactType` (RFC 6838, section 4.2), which a list of referrers repeats too.
const TYPE: usize = 255;
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
            subject: Option<Object<Descriptor>>,
            annotations: Option<Texts>,
            config: Option<Object<Descriptor>>,
            layers: Option<First<Object<Descriptor>, MOST>>,
            manifests: Option<First<Object<Descriptor>, MOST>>,
        }
        let (image, index) = (IMAGES.contains(&media_type), INDEXES.contains(&media_type));
        if !image && !index {
            return Err(Refusal::MediaType);
        }
        // What nobody looks at serde does not look at either.
        let text = std::str::from_utf8(bytes).map_err(|_| Refusal::ManifestInvalid("not UTF-8"))?;
        let Object(raw) = serde_json::from_str(text)
            .map_err(|_| Refusal::ManifestInvalid("not JSON of a manifest with sha256 or sha512 descriptors"))?;
        let Raw { schema_version, media_type: inside, artifact_type, subject, annotations, config, layers, manifests } =
            raw;
        if inside.is_some_and(|inside| inside != media_type) {
            return Err(Refusal::MediaType);
        }
        if schema_version != 2 {
            return Err(Refusal::ManifestInvalid("schemaVersion is not 2"));
        }
        let (subject, config) = (subject.map(|Object(subject)| subject), config.map(|Object(config)| config));
        let artifact_type = artifact_type
            .filter(|kind| !kind.is_empty())
            .or_else(|| config.as_ref().map(|config| config.media_type.clone()));
        if artifact_type.as_ref().is_some_and(|kind| !is_type(kind)) {
            return Err(Refusal::ManifestInvalid(
                "its artifactType, or else the type of its config, is not a media type",
            ));
        }
        let annotations = annotations.map(|Texts(text)| text).filter(|annotations| !annotations.is_empty());
        if subject.is_some() && annotations.as_ref().is_some_and(|annotations| annotations.len() > ANNOTATIONS) {
            return Err(Refusal::ManifestInvalid("it has a subject, and annotations of more than 256 KiB"));
        }
        let more = [&layers, &manifests].into_iter().flatten().any(|list| list.more);
        let all = |list: First<_, MOST>| list.kept.into_iter().map(|Object(descriptor)| descriptor);
        let here = |layer: &Descriptor| !ELSEWHERE.iter().any(|elsewhere| layer.media_type.starts_with(elsewhere));
        let (blobs, manifests) = match (config, layers, manifests) {
            (Some(config), Some(layers), None) if image => {
                ([config].into_iter().chain(all(layers).filter(here)).collect::<Vec<_>>(), Vec::new())
            }
            (None, None, Some(manifests)) if index => (Vec::new(), all(manifests).collect()),
            _ => return Err(Refusal::ManifestInvalid("it has exactly config and layers, an index exactly manifests")),
        };
        if more || blobs.len().saturating_add(manifests.len()) > MOST {
            return Err(Refusal::ManifestInvalid("it refers to more than 1024 things"));
        }
        Ok(Self { artifact_type, subject, annotations, blobs, manifests })
    }
}

/// Whether something may be of this type. Longer ones, and what is no letter, lists of referrers and databases are spared.
pub(crate) fn is_type(text: &str) -> bool {
    text.len() <= TYPE && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
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
        let twice = image.replace("\"config\"", "\"config\":null,\"config\"");
        // What serde takes for a struct, too.
        let values = BLOB
            .replace(['{', '}'], "")
            .replace("\"mediaType\":", "[")
            .replace("\"digest\":", "")
            .replace("\"size\":3", "3]");
        assert_eq!(
            serde_json::from_str::<Descriptor>(&values).unwrap(),
            serde_json::from_str(BLOB).unwrap(),
            "control"
        );
        let (list, lists) = (format!("[2,null,null,null,null,{BLOB},[],null]"), image.replacen(BLOB, &values, 1));
        for bad in [&both, &typed, &old, &many, &other, &twice, &list, &lists, "{}", "[]", ""] {
            assert_eq!(counts(IMAGES[0], bad), None, "{}", &bad[..bad.len().min(80)]);
        }
        assert_eq!(counts("text/plain", &image), None);
        let more = |bytes: &[u8]| [b"{\"x\":\"", bytes, b"\",", &image.as_bytes()[1..]].concat();
        assert!(References::parse(IMAGES[0], &more("\u{e4}".as_bytes())).is_ok(), "control");
        assert!(matches!(References::parse(IMAGES[0], &more(b"\xe4")), Err(Refusal::ManifestInvalid("not UTF-8"))));
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
        let typed = |kind: &str| parse(&format!("\"artifactType\":\"{kind}\","), "").is_ok();
        assert!(typed(&"t".repeat(TYPE)) && !typed(&"t".repeat(TYPE + 1)) && !typed("a\\u0000") && !typed("\u{e4}"));
        let foreign = BLOB.replace("a/b", "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip");
        assert_eq!(parse("", &format!("{BLOB},{foreign}")).unwrap().blobs.len(), 2, "config and one layer");
    }
}
