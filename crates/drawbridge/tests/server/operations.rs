//! What an operator looks at: whether it lives, whether it can serve, what it does; and a copy that is put back.

use std::num::NonZeroU32;
use std::path::Path;

use drawbridge::client::{Client, ClientError, Trust};
use drawbridge::{Limits, Secret, SecretsKey, ServeError, Storage, serve};
use http::{Method, StatusCode};
use sqlx::{AnyConnection, Connection as _};
use tokio::net::TcpListener;

use crate::places::{Place, postgresql};
use crate::support::{Answer, Key, World, package, request, settings};

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_serve_says_so() {
    let world = World::new().await;
    for (path, text) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let answer = world.read(Method::GET, path).await;
        assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::OK, text.as_bytes()));
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    std::fs::remove_dir_all(world.directory.path().join("store")).unwrap();
    assert_eq!(world.read(Method::GET, "/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(world.read(Method::GET, "/healthz").await.status, StatusCode::OK, "the process itself is well");
}

/// Who asks too often is told when to come again, and everybody else does not notice; who may do what is not asked before.
#[tokio::test(flavor = "multi_thread")]
async fn one_client_does_not_take_all_the_time() {
    let world = World::with(Limits { rate: NonZeroU32::new(1), ..Limits::default() }).await;
    let mut often = Vec::new();
    // Ten at once, and one a second: more than sixty of them only if this test takes a minute.
    for _ in 0..70 {
        let answer = world.read(Method::GET, "/v2/open/a/tags/list").await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            often.push(answer);
        }
    }
    assert!((1..=60).contains(&often.len()), "{}", often.len());
    for answer in often {
        assert_eq!((answer.code().as_str(), answer.header("retry-after")), ("TOOMANYREQUESTS", "1"));
    }
    let other = World::with(Limits::default()).await;
    for _ in 0..70 {
        assert_ne!(
            other.read(Method::GET, "/v2/open/a/tags/list").await.status,
            StatusCode::TOO_MANY_REQUESTS,
            "control"
        );
    }
}

/// They say how much was asked for and how that ended; what was asked for they do not know.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_for_who_wants_them_and_name_nothing() {
    let none = World::new().await;
    assert_eq!(none.read(Method::GET, "/metrics").await.status, StatusCode::NOT_FOUND, "nobody asked for them");

    let (owner, steward) = (Key::new(), Key::new());
    let tokens = [(); 3].map(|()| Secret::generate().unwrap());
    let mut settings = settings(Storage::memory(), &owner, &steward, &tokens, Limits::default());
    settings.declared.metrics = true;
    let server = serve(settings, TcpListener::bind("127.0.0.1:0").await.unwrap()).await.unwrap();
    let ask = async |method: Method, path: &str| -> Answer {
        request(server.local_addr, None, "http/1.1", method, path, &[], b"").await
    };
    for name in ["alpha", "beta"] {
        assert_eq!(ask(Method::GET, &format!("/v2/{name}/tags/list")).await.status, StatusCode::UNAUTHORIZED);
    }
    ask(Method::GET, "/nowhere/gamma").await;
    ask(Method::from_bytes(b"DELTA").unwrap(), "/v2/").await;
    let answer = ask(Method::GET, "/metrics").await;
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
    let text = String::from_utf8(answer.body).unwrap();
    let tags = "donjon_drawbridge_answers_total{method=\"GET\",path=\"/v2/{name}/tags/list\",status=\"401\"} 2\n";
    assert!(text.contains(tags) && text.ends_with("# EOF\n"), "{text}");
    assert!(text.contains("path=\"other\",status=\"404\"} 1") && text.contains("method=\"other\""), "{text}");
    for name in ["alpha", "beta", "gamma", "DELTA"] {
        assert!(!text.contains(name), "{text}");
    }
}

/// A token that the operator took out of his file opens nothing from then on, on a connection that was there before neither.
#[tokio::test(flavor = "multi_thread")]
async fn other_settings_count_at_once_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let store = || Storage::directory(directory.path().join("store"));
    let (owner, steward) = (Key::new(), Key::new());
    let tokens = || [(); 3].map(|()| Secret::generate().unwrap());
    let (before, after) = (tokens(), tokens());
    let first = settings(store(), &owner, &steward, &before, Limits::default());
    let tls = first.tls.clone();
    let mut server = serve(first, TcpListener::bind("127.0.0.1:0").await.unwrap()).await.unwrap();
    let at = server.local_addr;
    let ask = async |token: &Secret| {
        let bearer = format!("Bearer {}", token.expose());
        request(at, None, "http/1.1", Method::GET, "/v2/", &[("authorization", &bearer)], b"").await.status
    };
    let old = Client::new(at.to_string().parse().unwrap(), Trust::Pins(vec![server.pin])).unwrap();
    let old = old.with_token(Secret::new(before[0].expose().to_owned()));
    let name = "open/a".parse().unwrap();
    let pushed = package("first");
    old.push(&name, &pushed, None, |_| {}).await.unwrap();
    assert_eq!((ask(&before[0]).await, ask(&after[0]).await), (StatusCode::OK, StatusCode::UNAUTHORIZED), "control");

    let mut next = settings(store(), &owner, &steward, &after, Limits::default());
    next.tls = tls;
    let elsewhere = drawbridge::Settings { store: Storage::memory(), ..next.clone() };
    assert!(matches!(server.reload(elsewhere).await, Err(ServeError::OtherStore { .. })));
    let mut broken = next.clone();
    broken.declared.secrets = Some(SecretsKey::File(directory.path().join("absent")));
    assert!(matches!(server.reload(broken).await, Err(ServeError::Key(_))));
    assert_eq!((ask(&before[0]).await, ask(&after[0]).await), (StatusCode::OK, StatusCode::UNAUTHORIZED), "as before");

    server.reload(next).await.unwrap();
    assert_eq!((ask(&before[0]).await, ask(&after[0]).await), (StatusCode::UNAUTHORIZED, StatusCode::OK));
    let refused = old.push(&name, &package("second"), None, |_| {}).await.unwrap_err();
    assert!(matches!(refused, ClientError::Unauthorized { shown: true, .. }), "{refused:?}");
    let new = old.with_token(Secret::new(after[0].expose().to_owned()));
    new.push(&name, &package("third"), None, |_| {}).await.unwrap();
    let path = format!("/v2/open/a/manifests/{}", pushed.digest);
    let found = request(at, None, "http/1.1", Method::GET, &path, &[], b"");
    assert_eq!(found.await.body, pushed.manifest, "what was pushed before is there");
    server.shutdown().await;
}

/// As the manual says: the database first, by itself, then the objects, while others push.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_has_what_was_acknowledged_before_it() {
    let world = World::new().await;
    let (store, copy) = (world.directory.path().join("store"), world.directory.path().join("copy"));
    let backing = async {
        std::fs::create_dir(&copy).unwrap();
        sqlx::any::install_default_drivers();
        let url = format!("sqlite://{}", store.join("drawbridge.sqlite").display());
        let mut database = AnyConnection::connect(&url).await.unwrap();
        let into = copy.join("drawbridge.sqlite").display().to_string();
        sqlx::query("VACUUM INTO $1").bind(into).execute(&mut database).await.unwrap();
        database.close().await.unwrap();
        tree(&store.join("objects"), &copy.join("objects"));
    };
    // The disk is lost, the copy is put in its place.
    let restoring = async {
        std::fs::remove_dir_all(&store).unwrap();
        std::fs::rename(&copy, &store).unwrap();
        restrict(&store);
        Storage::directory(store.clone())
    };
    comes_back(world, backing, restoring).await;
}

/// The same with PostgreSQL, put back on another server.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_postgresql_has_it_too() {
    let Some(((place, other), programs)) = Place::postgres().zip(Place::postgres()).zip(postgresql()) else { return };
    let run = async |program: &str, options: &[&str], url: &Option<String>, dump: &Path| {
        let mut command = tokio::process::Command::new(programs.join(program));
        let database = format!("--dbname={}", url.as_deref().unwrap());
        assert!(command.arg(database).args(options).arg(dump).status().await.unwrap().success(), "{program}");
    };
    let copy = tempfile::tempdir().unwrap();
    let (dump, objects) = (copy.path().join("dump"), copy.path().join("objects"));
    let backing = async {
        run("pg_dump", &["--format=custom", "--file"], &place.database, &dump).await;
        tree(&Path::new(&place.content).join("objects"), &objects);
    };
    let restoring = async {
        run("pg_restore", &["--exit-on-error", "--single-transaction"], &other.database, &dump).await;
        std::fs::create_dir(&other.content).unwrap();
        restrict(Path::new(&other.content));
        tree(&objects, &Path::new(&other.content).join("objects"));
        other.storage()
    };
    comes_back(World::at(place.storage(), Limits::default()).await, backing, restoring).await;
}

/// Backs up while somebody pushes, ends the server, and starts one with what was restored.
async fn comes_back(world: World, backing: impl Future<Output = ()>, restoring: impl Future<Output = Storage>) {
    let large = "long enough to be an object ".repeat(1024);
    let built = package(&large);
    world.package("open/a", "before", &built).await;
    let secret = package("another one");
    world.package("secret/a", "before", &secret).await;
    let policy = world.policy().seal(&world.owner).unwrap();
    let policy = world.blob(&world.token, "secret/a", &policy).await;

    let pushing = async {
        for number in 0..20 {
            world.package("open/b", &format!("n{number}"), &package(&format!("{number} {large}"))).await;
        }
    };
    tokio::join!(pushing, backing);
    world.package("open/a", "after", &package("too late")).await;

    let World { directory, server, owner, steward, token, second, narrow } = world;
    server.shutdown().await;
    let tokens = [token, second, narrow];
    let settings = settings(restoring.await, &owner, &steward, &tokens, Limits::default());
    let server = serve(settings, TcpListener::bind("127.0.0.1:0").await.unwrap()).await.unwrap();
    let [token, second, narrow] = tokens;
    let world = World { directory, server, owner, steward, token, second, narrow };
    let answer = world.read(Method::GET, "/v2/open/a/manifests/before").await;
    assert_eq!((answer.status, &answer.body), (StatusCode::OK, &built.manifest));
    for (descriptor, bytes) in &built.blobs {
        let digest = descriptor.digest;
        let answer = world.read(Method::GET, &format!("/v2/open/a/blobs/{digest}")).await;
        assert!(answer.status == StatusCode::OK && answer.body == *bytes, "{digest}: {}", answer.status);
    }
    assert_eq!(world.read(Method::GET, "/v2/open/a/manifests/after").await.status, StatusCode::NOT_FOUND, "control");
    // Whatever of the others is named is whole.
    let listed = world.read(Method::GET, "/v2/open/b/tags/list").await;
    let listed: serde_json::Value = serde_json::from_slice(&listed.body).unwrap();
    for tag in listed["tags"].as_array().into_iter().flatten() {
        let manifest = world.read(Method::GET, &format!("/v2/open/b/manifests/{}", tag.as_str().unwrap())).await;
        let manifest: serde_json::Value = serde_json::from_slice(&manifest.body).unwrap();
        for layer in manifest["layers"].as_array().unwrap() {
            let path = format!("/v2/open/b/blobs/{}", layer["digest"].as_str().unwrap());
            assert_eq!(world.read(Method::GET, &path).await.status, StatusCode::OK, "{tag}");
        }
    }
    // It goes on from there, and what is confidential still is.
    world.package("open/a", "after", &package("again")).await;
    assert_eq!(world.read(Method::GET, &format!("/v2/secret/a/blobs/{policy}")).await.status, StatusCode::UNAUTHORIZED);
}

fn tree(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in from.read_dir().unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            tree(&entry.path(), &to);
        } else {
            // One that is being written goes to its own name meanwhile; no row names it yet.
            _ = std::fs::copy(entry.path(), to);
        }
    }
}

fn restrict(directory: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).unwrap();
}
