//! `donjon pull`, `tag`, `list`, `delete`, and `inspect` of a location: what is in a registry.
//!
//! Works with any OCI registry. Refuses bytes that are not what their digest says. A pull that broke off goes on where it was, within a
//! command and with the next one.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use drawbridge::client::{Client, ClientError};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Deserialize;
use workload::Digest;
use workload::names::{Repository, Tag as TagName};
use workload::package::{Descriptor, MANIFEST};
use workload::reference::{Location, Reference};

use crate::command::{runtime, say};
use crate::failure::Failure;
use crate::layout::Layout;
use crate::registry::{At, Registry};

/// How long to wait before a download that broke off goes on, as long as nothing comes.
const PAUSES: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(10)];

/// Pull a workload, or anything else that is one manifest, into an OCI image layout; prints its digest.
///
/// What is confidential nobody pulls but Keeps.
#[derive(Debug, clap::Args)]
pub(crate) struct Pull {
    /// What: HOST:PORT/REPOSITORY:TAG, or @sha256:… for a digest; port 443 may be left out, and so may the tag `latest`.
    location: Location,
    /// Where to: a folder that is not there or is empty, or where an earlier pull broke off.
    #[arg(value_name = "DIR")]
    layout: PathBuf,
    #[command(flatten)]
    registry: Registry,
}

/// Give what is in a repository another tag.
#[derive(Debug, clap::Args)]
pub(crate) struct Tag {
    /// What: HOST:PORT/REPOSITORY:TAG, or @sha256:… for a digest.
    location: Location,
    /// The new tag, in the same repository.
    tag: TagName,
    #[command(flatten)]
    registry: Registry,
}

/// List the tags of a repository.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// The repository: HOST:PORT/NAME; port 443 may be left out.
    repository: At<Repository>,
    /// For machines.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    registry: Registry,
}

/// Delete a tag; or, named by its digest, a manifest with all tags that point at it.
#[derive(Debug, clap::Args)]
pub(crate) struct Delete {
    /// What: HOST:PORT/REPOSITORY:TAG, or @sha256:… for a digest.
    location: Location,
    #[command(flatten)]
    registry: Registry,
}

/// The blobs of a manifest, whatever else it is (image-spec 1.1, "Image Manifest").
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Blobs {
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
}

impl Pull {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let Self { location, layout, registry } = self;
        let client = registry.client(&location.authority)?;
        let cannot = |error: std::io::Error| {
            Failure::caused(format_args!("cannot write the image layout {}", layout.display()), &error)
                .hint("name a folder that does not exist yet, or one in which a pull broke off")
        };
        let digest = runtime()?.block_on(async {
            let (digest, manifest) = found(&client, &location).await?;
            let blobs = read(&location, &manifest)?;
            let into = Layout::new(&layout).map_err(cannot)?;
            let all: Vec<&Descriptor> = blobs.config.iter().chain(&blobs.layers).collect();
            let bar = ProgressBar::new(all.iter().map(|blob| blob.size).sum());
            bar.set_style(
                ProgressStyle::with_template("{msg} {bar:30} {bytes}/{total_bytes}")
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.set_message("pulling");
            for blob in all {
                self::blob(&client, &location.repository, blob, &into, &bar).await?;
            }
            bar.finish_and_clear();
            into.put(&digest, &manifest).map_err(cannot)?;
            into.end(blobs.media_type.as_deref().unwrap_or(MANIFEST), &digest, manifest.len()).map_err(cannot)?;
            Ok::<_, Failure>(digest)
        })?;
        say(&digest.to_string());
        Ok(ExitCode::SUCCESS)
    }
}

/// One blob, however often the connection breaks, as long as something comes.
async fn blob(
    client: &Client,
    repository: &Repository,
    blob: &Descriptor,
    into: &Layout,
    bar: &ProgressBar,
) -> Result<(), Failure> {
    let cannot = |error: std::io::Error| {
        Failure::caused(format_args!("cannot keep the blob {}", blob.digest), &error).hint(
            "if it is not what its digest says, it was changed on the way or in the store: nothing of it was used",
        )
    };
    let Some(mut partial) = into.begin(&blob.digest, blob.size).map_err(cannot)? else {
        bar.inc(blob.size);
        return Ok(());
    };
    bar.inc(partial.at());
    let mut pauses = PAUSES.iter();
    while partial.at() < blob.size {
        let from = partial.at();
        let mut wrong = None;
        let mut sink = |bytes: &[u8]| {
            bar.inc(bytes.len() as u64);
            partial.write(bytes).inspect_err(|error| wrong = Some(error.to_string()))
        };
        let fetched = client.fetch(repository, blob, from, &mut sink).await;
        if let Some(wrong) = wrong {
            return Err(cannot(std::io::Error::other(wrong)));
        }
        match fetched {
            Ok(came) if came > 0 => pauses = PAUSES.iter(),
            Ok(_) | Err(ClientError::Broken { .. } | ClientError::Unreachable { .. }) => match pauses.next() {
                Some(pause) => tokio::time::sleep(*pause).await,
                None => {
                    fetched.map_err(|error| {
                        Failure::from_client("the pull broke off", &error).hint("the same command goes on where it was")
                    })?;
                    return Err(Failure::new("the pull broke off: the registry sends less than it says")
                        .hint("the same command goes on where it was"));
                }
            },
            Err(error) => return Err(Failure::from_client("the pull failed", &error)),
        }
    }
    partial.end().map_err(cannot)
}

/// What a location names: the digest, or what the tag points at now.
async fn found(client: &Client, location: &Location) -> Result<(Digest, Vec<u8>), Failure> {
    let found = client.manifest(&location.repository, &reference(location)?).await;
    found.map_err(|error| Failure::from_client(format_args!("cannot read {location}"), &error))
}

fn reference(location: &Location) -> Result<Reference, Failure> {
    match (&location.digest, &location.tag) {
        (Some(digest), _) => Ok(Reference::Digest(*digest)),
        (None, Some(tag)) => Ok(Reference::Tag(tag.clone())),
        (None, None) => {
            let latest = "latest".parse().map_err(|error| Failure::caused("the tag", &error))?;
            Ok(Reference::Tag(latest))
        }
    }
}

fn read(location: &Location, manifest: &[u8]) -> Result<Blobs, Failure> {
    let blobs: Blobs = serde_json::from_slice(manifest)
        .map_err(|error| Failure::caused(format_args!("{location} has no manifest that this reads"), &error))?;
    if blobs.config.is_none() {
        return Err(Failure::new(format_args!("{location} is an index of several manifests"))
            .hint("name one of them by its digest, HOST/REPOSITORY@sha256:…"));
    }
    Ok(blobs)
}

/// What a manifest says, and what is about it.
pub(crate) fn show(location: &Location, registry: &Registry, json: bool) -> Result<ExitCode, Failure> {
    let client = registry.client(&location.authority)?;
    let (digest, manifest, about) = runtime()?.block_on(async {
        let (digest, manifest) = found(&client, location).await?;
        let about = client.referrers(&location.repository, &digest).await;
        let about = match about {
            // A registry of before has no such list.
            Err(ClientError::Absent { .. }) => Vec::new(),
            listed => {
                listed.map_err(|error| Failure::from_client(format_args!("cannot ask about {location}"), &error))?
            }
        };
        Ok::<_, Failure>((digest, manifest, about))
    })?;
    if json {
        let manifest: serde_json::Value = serde_json::from_slice(&manifest)
            .map_err(|error| Failure::caused(format_args!("{location} has no manifest that this reads"), &error))?;
        let about: Vec<_> = about
            .iter()
            .map(|one| serde_json::json!({ "digest": one.digest, "artifactType": one.artifact_type }))
            .collect();
        say(&serde_json::json!({ "digest": digest, "manifest": manifest, "referrers": about }).to_string());
        return Ok(ExitCode::SUCCESS);
    }
    let Blobs { media_type, artifact_type, config, layers } = read(location, &manifest)?;
    let clean = |text: &str| text.chars().filter(|character| !character.is_control()).collect::<String>();
    say(&format!(
        "{location}: {}",
        clean(artifact_type.as_ref().or(media_type.as_ref()).map_or("a manifest", |kind| kind))
    ));
    say(&format!("  digest    {digest}"));
    let named = config.iter().map(|config| ("config", config)).chain(layers.iter().map(|layer| ("layer", layer)));
    for (what, Descriptor { media_type, digest, size }) in named {
        say(&format!("  {what:<9} {digest}, {size} bytes, {}", clean(media_type)));
    }
    for one in about {
        say(&format!("  about it  {}, {}", one.digest, clean(&one.artifact_type)));
    }
    Ok(ExitCode::SUCCESS)
}

impl Tag {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let Self { location, tag, registry } = self;
        let client = registry.client(&location.authority)?;
        let digest = runtime()?.block_on(async {
            let (_, manifest) = found(&client, &location).await?;
            #[derive(Deserialize)]
            #[serde(rename_all = "camelCase")]
            struct Kind {
                media_type: Option<String>,
            }
            let kind = serde_json::from_slice::<Kind>(&manifest).ok().and_then(|kind| kind.media_type);
            let put =
                client.put_manifest(&location.repository, kind.as_deref().unwrap_or(MANIFEST), &manifest, Some(&tag));
            put.await.map_err(|error| Failure::from_client(format_args!("cannot tag {location}"), &error))
        })?;
        say(&digest.to_string());
        Ok(ExitCode::SUCCESS)
    }
}

impl List {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let Self { repository: At { host, name }, json, registry } = self;
        let tags = runtime()?.block_on(registry.client(&host)?.tags(&name));
        let tags =
            tags.map_err(|error| Failure::from_client(format_args!("cannot list the tags of {name}"), &error))?;
        if json {
            say(&serde_json::to_string(&tags).map_err(|error| Failure::caused("cannot say it", &error))?);
        } else {
            tags.iter().for_each(|tag| say(tag));
        }
        Ok(ExitCode::SUCCESS)
    }
}

impl Delete {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let Self { location, registry } = self;
        if location.digest.is_none() && location.tag.is_none() {
            return Err(Failure::new("nothing is named").hint("add :TAG or @sha256:…"));
        }
        let client = registry.client(&location.authority)?;
        let deleted = runtime()?.block_on(client.delete(&location.repository, &reference(&location)?));
        deleted.map_err(|error| {
            let failure = Failure::from_client(format_args!("cannot delete {location}"), &error);
            match error {
                ClientError::Refused { status: 405, .. } => {
                    failure.hint("first what refers to it: the index, or the release policy in force")
                }
                _ => failure,
            }
        })?;
        Ok(ExitCode::SUCCESS)
    }
}
