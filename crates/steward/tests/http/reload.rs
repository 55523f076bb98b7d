//! Other settings while it serves: all of them, or none.

use std::fs;

use hyper::StatusCode;
use identity::{Algorithm, ear::Class};
use steward::{
    AuthoritySource, Handle, NonceKeySource, Settings, SettingsError, Unfit, policy::Policy, signer::Authority,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{NOW, POLICY, World, asked, clock, connect, get, send, start, translate};

/// Settings whose keys are in files, by this policy.
pub(super) fn settings(world: &World, policy: &str) -> Settings {
    let folder = world.folder.path();
    let (key, certificates, nonce) = (folder.join("ca.key"), folder.join("ca.pem"), folder.join("nonce.key"));
    if !key.exists() {
        let pair = Authority::generate(Class::Insecure, Algorithm::EcdsaP256Sha256, &[], NOW - 60).unwrap();
        fs::write(&key, pair.key.as_bytes()).unwrap();
        fs::write(&certificates, pair.certificates).unwrap();
        fs::write(&nonce, "7".repeat(64)).unwrap();
    }
    let text = policy.replace("{owner}", &world.owner_digest().to_string());
    let mut settings = Settings::new(Policy::parse("policy.toml", &text, folder).unwrap());
    settings.clock = clock;
    settings.authority = AuthoritySource::Files { key, certificates };
    settings.nonce_key = NonceKeySource::File(nonce);
    settings
}

/// How a request of a good Keep ends.
async fn ends(world: &World, handle: &Handle) -> Result<(), String> {
    let key = steward::signer::Key::random(Algorithm::EcdsaP256Sha256).unwrap();
    let (request, _) = asked(world, handle, &key, |_| {}).await.unwrap();
    let answer = send(connect(handle).await, translate(request)).await;
    if answer.status == StatusCode::OK { Ok(()) } else { Err(answer.cause()) }
}

#[tokio::test]
async fn a_policy_is_replaced_whole_or_not_at_all() {
    let world = World::new();
    let mut handle = start(&world, |default| *default = settings(&world, POLICY)).await;
    let (policy, anchor) = (handle.policy, handle.anchor);
    assert_eq!(ends(&world, &handle).await, Ok(()), "control");

    let denies = format!("{POLICY}\n[deny]\nmeasurements = [\"{}\"]\n", "aa".repeat(48));
    handle.reload(settings(&world, &denies)).await.unwrap();
    assert_eq!(ends(&world, &handle).await, Err("deny.measurement".to_owned()));
    assert_ne!(handle.policy, policy);
    assert_eq!(handle.anchor, anchor, "its key is in a file");
    let description: serde_json::Value =
        serde_json::from_slice(&send(connect(&handle).await, get("/")).await.body).unwrap();
    assert_eq!(description["policy"], handle.policy.to_string());

    // Anything that is wrong, and it goes on as before.
    let denied = handle.policy;
    let mut bad = settings(&world, POLICY);
    bad.nonce_key = NonceKeySource::File(world.folder.path().join("none"));
    assert!(matches!(handle.reload(bad).await, Err(SettingsError::File { .. })));
    let hardware =
        settings(&world, "trust_domain = \"example.org\"\nany_platform = true\n[snp]\nany_measurement = true\n");
    assert!(matches!(handle.reload(hardware).await, Err(SettingsError::Authority { .. })));
    assert_eq!(handle.policy, denied);
    assert_eq!(ends(&world, &handle).await, Err("deny.measurement".to_owned()));

    handle.reload(settings(&world, POLICY)).await.unwrap();
    assert_eq!(ends(&world, &handle).await, Ok(()));
    handle.shutdown().await;
}

/// trust.md rule 7: it has another root, and another process.
#[tokio::test]
async fn rule_7_a_steward_never_becomes_one_of_the_other_class() {
    let world = World::new();
    let mut handle = start(&world, |default| *default = settings(&world, POLICY)).await;
    let mut other =
        settings(&world, "trust_domain = \"example.org\"\nany_platform = true\n[snp]\nany_measurement = true\n");
    other.authority = AuthoritySource::Random;
    let error = handle.reload(other).await.unwrap_err();
    assert_eq!(error, SettingsError::Unfit(Unfit::Class { expected: Class::Insecure, found: Class::Hardware }));
    assert_eq!(ends(&world, &handle).await, Ok(()));
}

/// Nobody goes on being served by what was replaced.
#[tokio::test]
async fn connections_end_with_what_they_began_by() {
    let world = World::new();
    let mut handle = start(&world, |default| *default = settings(&world, POLICY)).await;
    let mut idle = connect(&handle).await;
    let ask = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n";
    let mut answer = vec![0; 1024];
    idle.write_all(ask).await.unwrap();
    assert!(idle.read(&mut answer).await.unwrap() > 0);
    // Kept: the same connection again.
    idle.write_all(ask).await.unwrap();
    assert!(idle.read(&mut answer).await.unwrap() > 0);
    handle.reload(settings(&world, POLICY)).await.unwrap();
    assert_eq!(super::soon(idle.read(&mut answer)).await.unwrap(), 0, "closed");
    assert_eq!(send(connect(&handle).await, get("/healthz")).await.status, StatusCode::OK);
}
