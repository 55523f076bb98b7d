//! Secrets (trust rules 14 and 16): who sets them, who gets which, how versions follow each other, and that nobody reads them.

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use drawbridge::{Limits, SecretsKey};
use http::{Method, StatusCode};
use identity::ReleasePolicy;
use identity::release::Allowed;
use serde_json::{Value, json};
use workload::Digest;
use workload::names::Name;
use workload::package::Built;

use crate::confidential::{enforce, put};
use crate::support::{Answer, Keep, Key, World, now, package, request, settings};

const HUSH: &str = "swordfish swordfish";

/// A Drawbridge that keeps secrets, with a workload in `secret/a` that may have `db` and `tls`.
struct Site {
    world: World,
    built: Built,
    policy: ReleasePolicy,
}

impl Site {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let key = directory.path().join("secrets.key");
        SecretsKey::make(&key).unwrap();
        Self::with(SecretsKey::File(key)).await
    }

    async fn with(key: SecretsKey) -> Self {
        let world = World::with_secrets(Limits::default(), key).await;
        let built = package("with secrets");
        world.package("secret/a", "v1", &built).await;
        let workloads = || [built.digest.into()].into();
        let secrets = ["db", "tls"].map(|name| (name.parse::<Name>().unwrap(), workloads())).into();
        let policy = ReleasePolicy { secrets, workloads: Allowed::Any, ..world.policy() };
        assert_eq!(enforce(&world, &policy).await.status, StatusCode::CREATED);
        Self { world, built, policy }
    }

    async fn set(&self, name: &str, given: &Value) -> Answer {
        let path = format!("/api/v1/secret/{name}/secret/a");
        self.world.write(Method::PUT, &path, &[], given.to_string().as_bytes()).await
    }

    async fn value(&self, name: &str, value: &str, overlap: u64) -> Answer {
        self.set(name, &json!({ "value": BASE64_STANDARD.encode(value), "overlap_seconds": overlap })).await
    }

    fn keep(&self) -> Keep {
        self.world.keep(self.world.ear(self.built.digest))
    }

    async fn ask(&self, keep: Option<&Keep>, repository: &str, names: &[&str]) -> Answer {
        let body = json!({ "secrets": names }).to_string();
        let path = format!("/api/v1/release/{repository}");
        request(self.world.server.local_addr, keep, "http/1.1", Method::POST, &path, &[], body.as_bytes()).await
    }

    /// What a Keep gets: version in use, version before.
    async fn got(&self, keep: &Keep, name: &str) -> (String, Option<String>) {
        let answer = self.ask(Some(keep), "secret/a", &[name]).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.header("cache-control"), "no-store");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let text = |value: &Value| String::from_utf8(BASE64_STANDARD.decode(value.as_str()?).unwrap()).ok();
        let secret = &body["secrets"][name];
        (text(&secret["current"]).unwrap(), text(&secret["previous"]))
    }
}

#[tokio::test]
async fn a_keep_gets_what_its_policy_gives_its_workload() {
    let site = Site::new().await;
    assert_eq!(site.value("db", HUSH, 60).await.status, StatusCode::CREATED);
    assert_eq!(site.value("other", HUSH, 60).await.status, StatusCode::CREATED);
    let keep = site.keep();
    assert_eq!(site.got(&keep, "db").await, (HUSH.to_owned(), None));
    // Who may not, and what is not there, look the same.
    let other = package("another workload");
    site.world.package("secret/a", "v2", &other).await;
    let wrong = site.world.keep(site.world.ear(other.digest));
    let fetched = site.world.read_as(&wrong, Method::GET, &format!("/v2/secret/a/manifests/{}", other.digest)).await;
    assert_eq!(fetched.status, StatusCode::OK, "control: it may have its workload");
    let absent = site.ask(Some(&keep), "absent/a", &["db"]).await;
    assert_eq!(absent.status, StatusCode::NOT_FOUND);
    for (why, keep, repository, names) in [
        ("another workload", Some(&wrong), "secret/a", &["db"][..]),
        ("a secret that is not given to it", Some(&keep), "secret/a", &["other"]),
        ("one of two", Some(&keep), "secret/a", &["db", "other"]),
        ("a secret that nobody has set", Some(&keep), "secret/a", &["tls"]),
        ("another repository", Some(&keep), "secret/b", &["db"]),
        ("a public repository", Some(&keep), "open/a", &["db"]),
        ("no certificate", None, "secret/a", &["db"]),
    ] {
        let answer = site.ask(keep, repository, names).await;
        assert_eq!(answer.appearance(), absent.appearance(), "{why}");
    }
    // A token opens nothing, whoever's it is.
    let path = "/api/v1/release/secret/a";
    let body = json!({ "secrets": ["db"] }).to_string();
    let answer = site.world.write(Method::POST, path, &[], body.as_bytes()).await;
    assert_eq!(answer.appearance(), absent.appearance(), "a writer");
    // A policy without them takes them back.
    let next = ReleasePolicy {
        version: 2,
        previous: Some(Digest::of(&identity::signed::Document::encode(&site.policy))),
        secrets: Default::default(),
        ..site.policy.clone()
    };
    assert_eq!(put(&site.world, "secret/a", &next.seal(&site.world.owner).unwrap()).await.status, StatusCode::CREATED);
    assert_eq!(site.ask(Some(&keep), "secret/a", &["db"]).await.appearance(), absent.appearance(), "revoked");
}

#[tokio::test]
async fn an_old_certificate_opens_a_workload_but_no_secret() {
    let site = Site::new().await;
    site.value("db", HUSH, 60).await;
    let old = site.world.keep_since(site.world.ear(site.built.digest), now() - 1000);
    let path = format!("/v2/secret/a/manifests/{}", site.built.digest);
    assert_eq!(site.world.read_as(&old, Method::GET, &path).await.status, StatusCode::OK, "control");
    assert_eq!(site.ask(Some(&old), "secret/a", &["db"]).await.status, StatusCode::NOT_FOUND);
    let young = site.world.keep_since(site.world.ear(site.built.digest), now() - 800);
    assert_eq!(site.ask(Some(&young), "secret/a", &["db"]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn versions_overlap_and_end() {
    let site = Site::new().await;
    let keep = site.keep();
    for (value, overlap) in [("one", 3600), ("two", 3600), ("three", 0)] {
        assert_eq!(site.value("db", value, overlap).await.status, StatusCode::CREATED);
    }
    assert_eq!(site.got(&keep, "db").await, ("three".to_owned(), None), "no overlap was wanted");
    assert_eq!(site.value("db", "four", 3600).await.status, StatusCode::CREATED);
    assert_eq!(site.got(&keep, "db").await, ("four".to_owned(), Some("three".to_owned())));
    let listed = site.world.write(Method::GET, "/api/v1/secrets/secret/a", &[], b"").await;
    let listed: Value = serde_json::from_slice(&listed.body).unwrap();
    let versions: Vec<_> = listed["secrets"].as_array().unwrap().iter().map(|one| one["version"].as_u64()).collect();
    assert_eq!(versions, [Some(4), Some(3)]);
    assert!(listed["secrets"][0].get("until").is_none() && listed["secrets"][1]["until"].as_u64() > Some(now()));
    // A pair of keys that nobody has seen, and its next version.
    let made = site.set("tls", &json!({ "generate": "p256" })).await;
    let made: Value = serde_json::from_slice(&made.body).unwrap();
    let public = made["public"].as_str().unwrap().to_owned();
    assert!(public.starts_with("-----BEGIN PUBLIC KEY-----"), "{public}");
    let (private, _) = site.got(&keep, "tls").await;
    let key =
        <rustls::pki_types::PrivateKeyDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(private.as_bytes());
    let pair = rcgen::KeyPair::try_from(&key.unwrap()).unwrap();
    let der = rcgen::PublicKeyData::subject_public_key_info(&pair);
    assert!(
        public.replace('\n', "").contains(&BASE64_STANDARD.encode(der)),
        "the public half is that of the private one"
    );
    let rotated = site.world.write(Method::POST, "/api/v1/secret/tls/secret/a", &[], b"").await;
    assert_eq!(rotated.status, StatusCode::CREATED);
    let (next, before) = site.got(&keep, "tls").await;
    assert!(next != private && before == Some(private));
    let given = site.world.write(Method::POST, "/api/v1/secret/db/secret/a", &[], b"").await;
    assert_eq!(given.status, StatusCode::BAD_REQUEST, "what was given has no next version by itself");
    // Gone is gone.
    let gone = site.world.write(Method::DELETE, "/api/v1/secret/db/secret/a", &[], b"").await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert_eq!(site.ask(Some(&keep), "secret/a", &["db"]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn writers_set_secrets_of_what_is_confidential_within_bounds() {
    let site = Site::new().await;
    let given = json!({ "value": BASE64_STANDARD.encode(HUSH) });
    let put = async |token: Option<&drawbridge::Secret>, path: &str, given: &Value| {
        let body = given.to_string();
        match token {
            Some(token) => site.world.write_as(token, Method::PUT, path, &[], body.as_bytes()).await,
            None => {
                request(site.world.server.local_addr, None, "http/1.1", Method::PUT, path, &[], body.as_bytes()).await
            }
        }
        .status
    };
    let path = "/api/v1/secret/db/secret/a";
    assert_eq!(put(Some(&site.world.token), path, &given).await, StatusCode::CREATED, "control");
    assert_eq!(put(None, path, &given).await, StatusCode::UNAUTHORIZED);
    assert_eq!(put(Some(&site.world.narrow), path, &given).await, StatusCode::FORBIDDEN);
    let token = Some(&site.world.token);
    assert_eq!(
        put(token, "/api/v1/secret/db/open/a", &given).await,
        StatusCode::BAD_REQUEST,
        "no release policy there"
    );
    assert_eq!(put(token, "/api/v1/secret/db/absent/a", &given).await, StatusCode::NOT_FOUND);
    assert_eq!(put(token, "/api/v1/secret/../secret/a", &given).await, StatusCode::BAD_REQUEST);
    let most = json!({ "value": BASE64_STANDARD.encode("x".repeat(65_536)) });
    assert_eq!(put(token, path, &most).await, StatusCode::CREATED);
    let more = json!({ "value": BASE64_STANDARD.encode("x".repeat(65_537)) });
    assert_eq!(put(token, path, &more).await, StatusCode::PAYLOAD_TOO_LARGE);
    for odd in [
        json!({}),
        json!({ "value": "swordfish!" }),
        json!({ "value": "", "generate": "random" }),
        json!({ "generate": "given" }),
        json!({ "generate": "rsa" }),
        json!({ "value": "", "overlap_seconds": 99_999_999_999_u64 }),
        json!({ "value": "", "other": 1 }),
        json!([]),
    ] {
        assert_eq!(put(token, path, &odd).await, StatusCode::BAD_REQUEST, "{odd}");
    }
    let no_key = World::new().await;
    let answer = no_key.write(Method::PUT, path, &[], given.to_string().as_bytes()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    assert!(String::from_utf8_lossy(&answer.body).contains("[secrets]"), "the operator is to name a key");
}

#[tokio::test]
async fn nothing_of_a_secret_lies_on_the_disk() {
    let site = Site::new().await;
    site.value("db", HUSH, 60).await;
    let keep = site.keep();
    assert_eq!(site.got(&keep, "db").await.0, HUSH, "control");
    fn files(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            if entry.path().is_dir() {
                files(&entry.path(), found);
            } else {
                found.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
            }
        }
    }
    let mut all = Vec::new();
    files(site.world.directory.path(), &mut all);
    let named = |(_, bytes): &(String, Vec<u8>)| bytes.windows(8).any(|part| part == b"secret/a");
    assert!(all.iter().any(named), "control: the database is there");
    for needle in [HUSH.as_bytes(), BASE64_STANDARD.encode(HUSH).as_bytes()] {
        for (file, bytes) in &all {
            assert!(!bytes.windows(needle.len()).any(|part| part == needle), "{file}");
        }
    }
}

/// SoftHSM reads a variable when it is loaded, and a process has one for all its tests: so this is a process of its own.
#[tokio::test]
#[expect(clippy::print_stderr, reason = "a skip must be seen")]
async fn an_hsm_seals_and_keeps_its_key() {
    use std::process::Command;

    const FOLDER: &str = "DONJON_TEST_TOKEN";
    const TEST: &str = "secrets::an_hsm_seals_and_keeps_its_key";
    const MODULES: [&str; 2] = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"];
    let Some(module) = MODULES.into_iter().find(|module| Path::new(module).exists()) else {
        eprintln!("skipped: softhsm2: it is not installed");
        return;
    };
    let with = |command: &mut Command, folder: &Path| {
        let output = command
            .env("SOFTHSM2_CONF", folder.join("softhsm2.conf"))
            .env(FOLDER, folder)
            .output()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "{said}");
        said
    };
    let Some(folder) = std::env::var_os(FOLDER).map(std::path::PathBuf::from) else {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("tokens")).unwrap();
        let settings = format!("directories.tokendir = {}/tokens\n", folder.path().display());
        std::fs::write(folder.path().join("softhsm2.conf"), settings).unwrap();
        let init = ["--init-token", "--free", "--label", "our token", "--pin", "4711", "--so-pin", "4711"];
        with(Command::new("softhsm2-util").args(init), folder.path());
        // The key as operators make it.
        let tool = ["--module", module, "--token-label", "our token", "--login", "--pin", "4711"];
        let make = ["--keygen", "--key-type", "AES:32", "--label", "secrets", "--sensitive"];
        with(Command::new("pkcs11-tool").args(tool).args(make), folder.path());
        let own = std::env::current_exe().unwrap();
        let said = with(Command::new(own).args(["--exact", TEST, "--nocapture"]), folder.path());
        assert!(said.contains("1 passed"), "{said}");
        return;
    };
    let pin = folder.join("pin");
    std::fs::write(&pin, "4711\n").unwrap();
    let open = |mode| std::fs::set_permissions(&pin, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    let key = |object: &str| -> SecretsKey {
        let uri = format!("pkcs11:token=our%20token;object={object}?module-path={module}&pin-source={}", pin.display());
        SecretsKey::Pkcs11(uri.parse().unwrap())
    };
    let refused = async |object: &str| {
        let (owner, steward) = (Key::new(), Key::new());
        let tokens = [(); 3].map(|()| drawbridge::Secret::generate().unwrap());
        let mut settings = settings(drawbridge::Storage::memory(), &owner, &steward, &tokens, Limits::default());
        settings.declared.secrets = Some(key(object));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        drawbridge::serve(settings, listener).await.unwrap_err().to_string()
    };
    open(0o644);
    assert!(refused("secrets").await.contains("its mode is 644"));
    open(0o600);
    assert!(refused("other").await.contains("0 AES keys `other`"));

    let site = Site::with(key("secrets")).await;
    let keep = site.keep();
    assert_eq!(site.value("db", HUSH, 60).await.status, StatusCode::CREATED);
    assert_eq!(site.got(&keep, "db").await.0, HUSH);
    // A token that is away opens nothing, and is found again.
    let (tokens, away) = (folder.join("tokens"), folder.join("away"));
    std::fs::rename(&tokens, &away).unwrap();
    let mut closed = site.ask(Some(&keep), "secret/a", &["db"]).await;
    if closed.status == StatusCode::OK {
        // What it holds in memory may do once more.
        closed = site.ask(Some(&keep), "secret/a", &["db"]).await;
    }
    assert_eq!(closed.status, StatusCode::SERVICE_UNAVAILABLE);
    std::fs::rename(&away, &tokens).unwrap();
    assert_eq!(site.got(&keep, "db").await.0, HUSH);
}

/// A process that ends with this value.
struct Process(std::process::Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
#[expect(clippy::print_stderr, reason = "a skip must be seen")]
async fn an_openbao_seals_and_keeps_its_key() {
    use std::process::{Command, Stdio};

    if Command::new("bao").arg("version").output().is_err() {
        assert!(!std::env::var("DONJON_REQUIRE").is_ok_and(|list| list.split(',').any(|one| one == "bao")), "no bao");
        eprintln!("skipped: bao: there is no such command");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let home = directory.path();
    let mut server = Command::new("bao");
    server.args(["server", "-dev", "-dev-no-store-token", "-dev-root-token-id=opensesame-root-token"]);
    server.arg(format!("-dev-listen-address={free}")).env("HOME", home);
    let server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let process = Process(server);
    let bao = |arguments: &[&str]| {
        let mut command = Command::new("bao");
        command.args(arguments).env("HOME", home).env("BAO_TOKEN", "opensesame-root-token").stdin(Stdio::null());
        let output = command.env("BAO_ADDR", format!("http://{free}")).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    // Only ends a test that has failed anyway.
    let up = (0..600).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        bao(&["status"]).0
    });
    assert!(up, "the OpenBao does not answer");
    assert!(bao(&["secrets", "enable", "transit"]).0 && bao(&["write", "-f", "transit/keys/drawbridge"]).0);
    // A token that may do this much, and no more.
    let rules = "path \"transit/encrypt/drawbridge\" { capabilities = [\"update\"] }\n\
                 path \"transit/decrypt/drawbridge\" { capabilities = [\"update\"] }\n";
    std::fs::write(home.join("rules.hcl"), rules).unwrap();
    assert!(bao(&["policy", "write", "drawbridge", &home.join("rules.hcl").display().to_string()]).0);
    let (_, token) = bao(&["token", "create", "-policy=drawbridge", "-field=token"]);
    let token_file = home.join("token");
    std::fs::write(&token_file, &token).unwrap();
    let of = drawbridge::OpenBao {
        url: format!("http://{free}"),
        key: "drawbridge".to_owned(),
        mount: "transit".to_owned(),
        token_file: token_file.clone(),
    };
    let site = Site::with(SecretsKey::OpenBao(of)).await;
    let keep = site.keep();
    assert_eq!(site.value("db", HUSH, 60).await.status, StatusCode::CREATED);
    assert_eq!(site.got(&keep, "db").await.0, HUSH);
    // Its key is changed over there, and what was sealed before is still opened.
    assert!(bao(&["write", "-f", "transit/keys/drawbridge/rotate"]).0);
    assert_eq!(site.got(&keep, "db").await.0, HUSH);
    assert_eq!(site.value("db", "another", 60).await.status, StatusCode::CREATED);
    assert_eq!(site.got(&keep, "db").await, ("another".to_owned(), Some(HUSH.to_owned())));
    // Without it nothing opens, and why is the operator's to know.
    std::fs::write(&token_file, "wrong").unwrap();
    let closed = site.ask(Some(&keep), "secret/a", &["db"]).await;
    assert_eq!(closed.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!String::from_utf8_lossy(&closed.body).contains("403"), "{}", String::from_utf8_lossy(&closed.body));
    std::fs::write(&token_file, &token).unwrap();
    assert_eq!(site.got(&keep, "db").await.0, "another", "control");
    drop(process);
    assert_eq!(site.ask(Some(&keep), "secret/a", &["db"]).await.status, StatusCode::SERVICE_UNAVAILABLE);
}
