//! The store by itself: what lasts, what shows, what goes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path as FilePath, PathBuf};

use futures_util::TryStreamExt as _;

use super::content::PART;
use super::*;
use crate::people::Organisation;

/// A root as we make them ourselves.
fn directory() -> tempfile::TempDir {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

async fn open(directory: &FilePath) -> Store {
    let store = Store::open(&Storage::directory(directory.to_owned()), 3).await.unwrap();
    store.declare(&name()).await.unwrap();
    store
}

fn name() -> Repository {
    "acme/shop".parse().unwrap()
}

fn objects(directory: &FilePath) -> usize {
    let entries = |path: PathBuf| fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    entries(directory.join("objects")).flat_map(entries).count()
}

async fn put(store: &Store, bytes: &[u8]) -> Digest {
    let mut upload = store.single(&name(), "ci").unwrap();
    upload.write(&Bytes::copy_from_slice(bytes)).await.unwrap();
    let digest = Digest::of(bytes);
    upload.publish(&digest).await.unwrap();
    digest
}

async fn all(store: &Store, digest: &Digest, range: Range<u64>) -> Option<Vec<u8>> {
    let blob = store.blob(&name(), digest).await.unwrap()?;
    let read: Vec<Bytes> = store.read(blob, range).await.unwrap().try_collect().await.unwrap();
    assert!(read.iter().all(|chunk| chunk.len() <= 4 * CHUNK));
    Some(read.concat())
}

/// An image of one blob.
fn image(digest: &Digest, size: usize) -> (StoredManifest, References) {
    let text = serde_json::json!({
        "schemaVersion": 2,
        "config": { "mediaType": "a/b", "digest": digest, "size": size }, "layers": [],
    });
    let bytes = Bytes::from(text.to_string());
    let media_type = workload::package::MANIFEST.to_owned();
    let references = References::parse(&media_type, &bytes).unwrap();
    (StoredManifest { digest: Digest::of(&bytes), media_type, bytes }, references)
}

const NONE: Grace = Grace { upload: 0, blob: 0, object: 0 };

#[test]
fn nobody_else_on_the_host_enters_the_store() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let directory = directory();
    let root = directory.path().join("a/b/store");
    let mode = |path: &FilePath| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let open = || runtime.block_on(Store::open(&Storage::directory(root.clone()), 3));
    drop(open().unwrap());
    assert_eq!(mode(&root), 0o700, "whatever the umask is");
    for others in [0o750, 0o705, 0o711] {
        fs::set_permissions(&root, fs::Permissions::from_mode(others)).unwrap();
        assert!(matches!(open(), Err(OpenError::Open { mode, .. }) if mode == others), "{others:o}");
    }
    fs::set_permissions(&root, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(open().is_ok(), "control");
    let newer = runtime.block_on(async {
        let store = open_at(&root).await;
        let mut transaction = store.database.begin().await.unwrap();
        sqlx::query("UPDATE format SET version = 99").execute(&mut *transaction).await.unwrap();
        transaction.commit().await.unwrap();
        Store::open(&Storage::directory(root.clone()), 3).await
    });
    assert!(matches!(newer, Err(OpenError::Database(DatabaseError::Format { found: 99, .. }))), "{newer:?}");
}

async fn open_at(root: &FilePath) -> Store {
    Store::open(&Storage::directory(root.to_owned()), 3).await.unwrap()
}

#[test]
fn places_are_said_as_people_say_them() {
    let none = || std::iter::empty();
    let parse = |content: &str, database: Option<&str>| Storage::parse(content, database, none());
    assert_eq!(parse("/srv/store", None), Ok(Storage::directory("/srv/store".into())));
    assert_eq!(parse("memory:", None), Ok(Storage::memory()));
    assert_eq!(parse("s3://bucket/below", None), Err(StorageError::NoDatabase));
    let bucket = parse("s3://bucket/below", Some("postgres://me:swordfish@db/x")).unwrap();
    assert_eq!(bucket.to_string(), "s3://bucket/below");
    let keys = [("AWS_SECRET_ACCESS_KEY".to_owned(), "swordfish".to_owned())];
    let keyed = Storage::parse("s3://bucket", Some("sqlite:/srv/db"), keys).unwrap();
    for printed in [format!("{bucket:?} {bucket}"), format!("{keyed:?} {keyed}")] {
        assert!(!printed.contains("swordfish"), "{printed}");
    }
    for odd in ["", "s3://", "gs://bucket", "https://x"] {
        assert!(matches!(parse(odd, Some("sqlite:/x")), Err(StorageError::Content(_))), "{odd}");
    }
    for odd in ["mysql://x", "sqlite:", "x"] {
        assert_eq!(parse("/srv", Some(odd)), Err(StorageError::Database), "{odd}");
    }
}

#[tokio::test]
async fn a_blob_shows_only_when_it_is_complete_and_right() {
    let directory = directory();
    let store = open(directory.path()).await;
    // A row; an object; an object in parts, across their border, in odd pieces.
    for length in [0, 1, 16 * 1024, 16 * 1024 + 1, 2 * PART + 12_345] {
        let bytes = Bytes::from_iter((0..=250).cycle().take(length));
        let digest = Digest::of(&bytes);
        for (expected, good) in [(Digest::of(b"other"), false), (digest, true)] {
            let mut upload = store.single(&name(), "ci").unwrap();
            for piece in bytes.chunks(777_777) {
                upload.write(&Bytes::copy_from_slice(piece)).await.unwrap();
                assert!(store.blob(&name(), &digest).await.unwrap().is_none());
            }
            match upload.publish(&expected).await {
                Ok(()) => assert!(good),
                Err(UploadFault::Digest(mismatch)) => assert!(!good && mismatch.found == digest),
                Err(fault) => panic!("{fault}"),
            }
            if !good {
                store.collect(NONE, now() + 1000).await.unwrap();
                assert_eq!(objects(directory.path()), 0, "nothing is left of what was wrong");
            }
        }
        assert_eq!(objects(directory.path()), usize::from(length > 16 * 1024), "{length}");
        assert!(all(&store, &digest, 0..length as u64).await.unwrap() == bytes);
        if length > 10_000_000 {
            let range = 1_000_000..7_000_001;
            assert!(all(&store, &digest, range).await.unwrap() == bytes[1_000_000..7_000_001]);
        }
        let other: Repository = "acme".parse().unwrap();
        assert!(store.blob(&other, &digest).await.unwrap().is_none());
        assert!(store.is_pushed(&name(), &digest, "ci").await.unwrap());
        assert!(!store.is_pushed(&name(), &digest, "eve").await.unwrap());
        // Nothing refers to it: so it goes, before the next one comes.
        store.collect(NONE, now() + 1000).await.unwrap();
        assert!(store.blob(&name(), &digest).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn an_upload_goes_on_at_another_drawbridge() {
    let directory = directory();
    let (one, two) = (open(directory.path()).await, open(directory.path()).await);
    let chunks: [Vec<u8>; 4] = [vec![1; 10], vec![2; 20_000], vec![3; PART + 1], vec![4; 5]];
    let whole = chunks.concat();
    let id = one.begin(&name(), "ci").await.unwrap();
    for (store, chunk) in [&one, &two].into_iter().cycle().zip(&chunks) {
        let mut upload = store.resume(&id, &name(), "ci").await.unwrap();
        upload.write(&chunk.clone().into()).await.unwrap();
        upload.pause().await.unwrap();
    }
    assert_eq!(two.standing(&id, &name(), "ci").await.unwrap(), whole.len() as u64);
    let upload = two.resume(&id, &name(), "ci").await.unwrap();
    upload.publish(&Digest::of(&whole)).await.unwrap();
    assert!(all(&one, &Digest::of(&whole), 0..u64::MAX).await.unwrap() == whole);
    // Across the borders of its objects.
    let (from, to) = (5_u64, whole.len() as u64 - 2);
    let (first, last) = (usize::try_from(from).unwrap(), usize::try_from(to).unwrap());
    assert!(all(&one, &Digest::of(&whole), from..to).await.unwrap() == whole[first..last]);
    assert!(matches!(one.resume(&id, &name(), "ci").await, Err(UploadFault::Absent)), "it ended");
}

#[tokio::test]
async fn an_upload_belongs_to_its_writer_and_to_one_request() {
    let directory = directory();
    let store = open(directory.path()).await;
    let id = store.begin(&name(), "ci").await.unwrap();
    let other: Repository = "acme".parse().unwrap();
    for (id, repository, writer) in [("0", &name(), "ci"), (&id, &other, "ci"), (&id, &name(), "eve")] {
        assert!(matches!(store.standing(id, repository, writer).await, Err(UploadFault::Absent)));
    }
    // Two that began at the same byte, with little and with much: the first to write has it.
    for length in [100, PART + 1] {
        let mut one = store.resume(&id, &name(), "ci").await.unwrap();
        let mut two = store.resume(&id, &name(), "ci").await.unwrap();
        let at = one.size();
        one.write(&vec![1; length].into()).await.unwrap();
        let late = match two.write(&vec![2; length].into()).await {
            Ok(()) => {
                one.pause().await.unwrap();
                two.pause().await.map(|_| ())
            }
            late => {
                one.pause().await.unwrap();
                late
            }
        };
        assert!(matches!(late, Err(UploadFault::Busy)), "{late:?}");
        assert_eq!(store.standing(&id, &name(), "ci").await.unwrap() - at, length as u64);
    }
    let size = store.standing(&id, &name(), "ci").await.unwrap();
    // What a request takes back was never there; what it leaves in the middle is another's after a while.
    let mut upload = store.resume(&id, &name(), "ci").await.unwrap();
    upload.write(&vec![3; PART].into()).await.unwrap();
    upload.take_back().await.unwrap();
    let mut dropped = store.resume(&id, &name(), "ci").await.unwrap();
    dropped.write(&vec![3; PART].into()).await.unwrap();
    drop(dropped);
    assert!(matches!(store.resume(&id, &name(), "ci").await, Err(UploadFault::Busy)));
    let mut transaction = store.database.begin().await.unwrap();
    let later = sqlx::query("UPDATE uploads SET touched = touched - $1").bind(signed(uploads::LEASE + 1));
    later.execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    let mut upload = store.resume(&id, &name(), "ci").await.unwrap();
    assert_eq!(upload.size(), size);
    upload.write(&Bytes::from_static(b"end")).await.unwrap();
    let whole = [vec![1; 100], vec![1; PART + 1], b"end".to_vec()].concat();
    upload.publish(&Digest::of(&whole)).await.unwrap();
    assert!(all(&store, &Digest::of(&whole), 0..u64::MAX).await.unwrap() == whole);

    let ids = [store.begin(&name(), "ci").await.unwrap(), store.begin(&name(), "ci").await.unwrap()];
    store.begin(&name(), "ci").await.unwrap();
    assert!(matches!(store.begin(&name(), "ci").await, Err(UploadFault::TooMany)));
    assert!(store.begin(&name(), "other").await.is_ok(), "control: of one writer");
    store.cancel(&ids[0], &name(), "ci").await.unwrap();
    assert!(store.begin(&name(), "ci").await.is_ok(), "control: one that ended gives its place back");
}

#[tokio::test]
async fn what_nothing_refers_to_goes_and_nothing_else() {
    let directory = directory();
    let store = open(directory.path()).await;
    let (kept, alone) = (vec![1; 50_000], vec![2; 50_000]);
    let (kept_digest, alone_digest) = (put(&store, &kept).await, put(&store, &alone).await);
    let (manifest, references) = image(&kept_digest, kept.len());
    let tag: Tag = "v1".parse().unwrap();
    store.put_manifest(&name(), "ci", &manifest, &references, false, Point::Tag(&tag)).await.unwrap();
    let id = store.begin(&name(), "ci").await.unwrap();
    let mut upload = store.resume(&id, &name(), "ci").await.unwrap();
    upload.write(&vec![3; 50_000].into()).await.unwrap();
    upload.pause().await.unwrap();
    assert_eq!(objects(directory.path()), 3);

    let day = Grace { upload: 86_400, blob: 86_400, object: 86_400 };
    assert_eq!(store.collect(day, now()).await.unwrap(), Collected::default(), "all of it is young");
    // Who asks for it may be about to refer to it.
    let mut transaction = store.database.begin().await.unwrap();
    sqlx::query("UPDATE links SET touched = 0").execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    store.touch(&name(), &alone_digest).await.unwrap();
    assert_eq!(store.collect(day, now()).await.unwrap(), Collected::default(), "touched");
    let collected = store.collect(NONE, now() + 1000).await.unwrap();
    assert_eq!(collected, Collected { uploads: 1, links: 1, blobs: 1, objects: 2 });
    assert_eq!(objects(directory.path()), 1);
    assert!(store.blob(&name(), &alone_digest).await.unwrap().is_none());
    assert!(matches!(store.standing(&id, &name(), "ci").await, Err(UploadFault::Absent)));
    assert!(all(&store, &kept_digest, 0..u64::MAX).await.unwrap() == kept);
    // What is deleted goes too.
    assert_eq!(store.delete_blob(&name(), &kept_digest).await.unwrap(), Deleted::Referenced);
    assert_eq!(store.delete_manifest(&name(), &manifest.digest).await.unwrap(), Deleted::Yes);
    assert!(store.tagged(&name(), &tag).await.unwrap().is_none());
    let collected = store.collect(NONE, now() + 1000).await.unwrap();
    assert_eq!(collected, Collected { uploads: 0, links: 1, blobs: 1, objects: 1 });
    assert_eq!(objects(directory.path()), 0);
}

/// Pushes and deletions beside a collection that knows no grace: what was acknowledged with a manifest is all there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collecting_beside_pushes() {
    let directory = directory();
    let (store, other) = (open(directory.path()).await, open(directory.path()).await);
    let round = async |number: usize| {
        // Few blobs, again and again, so that the same ones come and go.
        let bytes = vec![u8::try_from(number % 7).unwrap(); 20_000];
        let digest = put(&store, &bytes).await;
        let (manifest, references) = image(&digest, bytes.len());
        match store.put_manifest(&name(), "ci", &manifest, &references, false, Point::Nowhere).await {
            // It went in between: no grace. The client is told, and pushes again.
            Err(PutError::Missing(missing)) if missing == digest => return false,
            done => done.unwrap(),
        }
        assert!(all(&store, &digest, 0..u64::MAX).await.unwrap() == bytes);
        if number.is_multiple_of(3) {
            assert_eq!(store.delete_manifest(&name(), &manifest.digest).await.unwrap(), Deleted::Yes);
        }
        true
    };
    let (mut pushed, mut collected) = (0, Collected::default());
    for number in 0..150 {
        let (kept, found) =
            tokio::join!(round(number), other.collect(Grace { upload: 3600, object: 3600, ..NONE }, now() + 1000));
        pushed += usize::from(kept);
        let Collected { uploads, links, blobs, objects } = found.unwrap();
        collected.links += links;
        collected.blobs += blobs;
        assert_eq!((uploads, objects), (0, 0));
    }
    assert!(pushed > 0 && collected.links > 0 && collected.blobs > 0, "control: {pushed} {collected:?}");
}

#[tokio::test]
async fn a_manifest_that_was_damaged_is_not_served() {
    let directory = directory();
    let store = open(directory.path()).await;
    let digest = put(&store, b"config").await;
    let (manifest, references) = image(&digest, 6);
    store.put_manifest(&name(), "ci", &manifest, &references, false, Point::Nowhere).await.unwrap();
    assert_eq!(store.manifest(&name(), &manifest.digest).await.unwrap(), Some(manifest.clone()), "control");
    let mut transaction = store.database.begin().await.unwrap();
    let damage = sqlx::query("UPDATE manifests SET content = $1").bind(&b"{}"[..]);
    damage.execute(&mut *transaction).await.unwrap();
    transaction.commit().await.unwrap();
    assert!(matches!(store.manifest(&name(), &manifest.digest).await, Err(StoreError::Damaged { .. })));
}

#[test]
fn every_directory_with_a_new_entry_is_synced() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    assert_eq!(content::make(&at("a/b/store")).unwrap(), [at("a/b"), at("a"), directory.path().to_owned()]);
    assert_eq!(content::make(&at("a/b/store")).unwrap(), [at("a/b")], "control: only the parent the next time");
    assert!(at("a/b/store").is_dir());
    fs::write(at("file"), b"").unwrap();
    assert!(content::make(&at("file")).is_err(), "a file is no store");
}

#[tokio::test]
async fn what_is_acknowledged_is_synced() {
    let directory = directory();
    let store = open(directory.path()).await;
    // The engine has no getter; its Debug shows the field.
    assert!(format!("{:?}", store.content).contains("fsync: true"), "{:?}", store.content);
    let (synchronous,): (i64,) = sqlx::query_as("PRAGMA synchronous").fetch_one(store.database.read()).await.unwrap();
    assert_eq!(synchronous, 2, "FULL");
}

#[tokio::test]
async fn a_database_of_before_is_brought_up_to_date() {
    let directory = directory();
    let file = directory.path().join("store.sqlite");
    let at = database::At::File(file.clone());
    drop(Database::open_as(&at, 1).await.unwrap());
    let old = Database::open_as(&at, 1).await.unwrap();
    let mut transaction = old.begin().await.unwrap();
    sqlx::query("INSERT INTO repositories (name) VALUES ('acme/shop')").execute(&mut *transaction).await.unwrap();
    assert!(sqlx::query("SELECT * FROM people").fetch_all(&mut *transaction).await.is_err(), "control");
    transaction.commit().await.unwrap();
    drop(old);
    for _ in 0..2 {
        let new = Database::open(&at).await.unwrap();
        let names: Vec<(String, Option<String>)> =
            sqlx::query_as("SELECT name, access FROM repositories").fetch_all(new.read()).await.unwrap();
        assert_eq!(names, [("acme/shop".to_owned(), None)]);
        assert!(sqlx::query("SELECT * FROM people").fetch_all(new.read()).await.is_ok());
    }
    assert!(matches!(Database::open_as(&at, 1).await, Err(DatabaseError::Format { found: 3, .. })), "an older program");
}

#[tokio::test]
async fn an_organisation_keeps_what_it_may() {
    let store = Store::open(&Storage::memory(), 3).await.unwrap();
    let (shop, web): (Repository, Repository) = ("acme/shop".parse().unwrap(), "acme/web".parse().unwrap());
    let acme: Organisation = "acme".parse().unwrap();
    for repository in [&shop, &web] {
        store.declare(repository).await.unwrap();
    }
    let put = async |repository: &Repository, bytes: &'static [u8]| {
        let mut upload = store.single(repository, "w").unwrap();
        upload.write(&Bytes::from_static(bytes)).await.unwrap();
        upload.publish(&Digest::of(bytes)).await
    };
    let used = async || store.space(&acme).await.unwrap().unwrap().used;
    // What was there before there was a count counts.
    put(&shop, b"12345").await.unwrap();
    store.declare_organisation(&acme, Some(10)).await.unwrap();
    assert_eq!((used().await, store.room(&shop).await.unwrap()), (5, 5));
    put(&shop, b"12345").await.unwrap();
    assert_eq!(used().await, 5, "once in one repository");
    assert!(store.mount(&shop, &Digest::of(b"12345"), &web, "w").await.unwrap());
    assert_eq!(used().await, 10, "and once in each");
    let full = put(&web, b"1").await.unwrap_err();
    assert_eq!(full.to_string(), "organisation acme may keep 10 bytes and has 10");
    assert_eq!(store.blob(&web, &Digest::of(b"1")).await.unwrap().map(|blob| blob.size), None);
    assert_eq!(store.delete_blob(&web, &Digest::of(b"12345")).await.unwrap(), Deleted::Yes);
    assert_eq!(store.delete_blob(&web, &Digest::of(b"12345")).await.unwrap(), Deleted::Absent);
    assert_eq!(used().await, 5);
    put(&web, b"1").await.unwrap();
    // Uploads under way take room before they are anything.
    let id = store.begin(&shop, "w").await.unwrap();
    let mut upload = store.resume(&id, &shop, "w").await.unwrap();
    upload.write(&Bytes::from_static(b"123")).await.unwrap();
    upload.pause().await.unwrap();
    assert_eq!((used().await, store.room(&web).await.unwrap()), (6, 1));
    store.cancel(&id, &shop, "w").await.unwrap();
    assert_eq!(store.room(&web).await.unwrap(), 4);
    // What is collected is credited.
    let at_once = Grace { upload: 0, blob: 0, object: 0 };
    assert_eq!(store.collect(at_once, now() + 10).await.unwrap().links, 2);
    assert_eq!(used().await, 0);
    // Others' bytes are others'.
    let other: Repository = "acme2/shop".parse().unwrap();
    store.declare(&other).await.unwrap();
    put(&other, b"0123456789012345").await.unwrap();
    assert_eq!(used().await, 0);
}
