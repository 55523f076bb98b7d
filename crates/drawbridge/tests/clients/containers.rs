//! skopeo, podman and buildah: one library, three programs.

use serde_json::Value;
use workload::Digest;

use crate::image::{BIG, Layout, blobs};
use crate::{WRONG, World, find, is_root, skip};

/// What these programs say of a login that is not taken.
const REFUSED: [&str; 3] = ["authentication required", "unauthorized", "invalid username/password"];

#[test]
fn skopeo_copies_lists_inspects_and_deletes() {
    let Some(skopeo) = find("skopeo") else { return };
    let world = World::new();
    let layout = Layout::make(world.folder.path());
    let (ca, right) = (world.ca(), world.right());
    let docker = |rest: &str| format!("docker://{}", world.name(rest));
    let skopeo = |arguments: &[&str]| world.run(&skopeo, arguments);
    let push = |creds: &str, from: &str, to: &str| {
        skopeo(&["copy", "--all", "--dest-cert-dir", &ca, "--dest-creds", creds, from, &docker(to)])
    };
    // Without the CA it is nobody whom skopeo knows.
    skopeo(&["inspect", &docker("open/a:one")]).refused(&["certificate signed by unknown authority"]);
    push(WRONG, &layout.oci("one"), "open/a:one").refused(&REFUSED);
    push(&right, &layout.oci("one"), "open/a:one").good();
    let (sent, _) = world.line.traffic();
    assert!(sent > BIG as u64, "control: it went over, {sent} bytes");
    push(&right, &layout.oci("many"), "open/a:many").good();
    let (sent, _) = world.line.traffic();
    assert!(sent < BIG as u64, "layers that are there are not sent again: {sent} bytes");

    // Back, by nobody in particular, to the byte.
    let back = world.path("back");
    skopeo(&[
        "copy",
        "--all",
        "--src-cert-dir",
        &ca,
        "--src-no-creds",
        &docker("open/a:many"),
        &format!("oci:{back}:many"),
    ])
    .good();
    let (from, to) = (blobs(&layout.folder), blobs(back.as_ref()));
    assert!(from == to, "{:?} {:?}", from.keys(), to.keys());

    // To another repository: mounted, not sent.
    world.line.traffic();
    let between =
        ["copy", "--all", "--src-cert-dir", &ca, "--dest-cert-dir", &ca, "--src-creds", &right, "--dest-creds", &right];
    skopeo(&[&between[..], &[&docker("open/a:many"), &docker("open/b:many")]].concat()).good();
    let (sent, received) = world.line.traffic();
    assert!(sent + received < BIG as u64, "{sent} and {received} bytes");

    // As Docker has it.
    let old = ["copy", "--format", "v2s2", "--dest-cert-dir", &ca, "--dest-creds", &right];
    skopeo(&[&old[..], &[&layout.oci("one"), &docker("open/b:docker")]].concat()).good();
    let raw = skopeo(&["inspect", "--raw", "--cert-dir", &ca, &docker("open/b:docker")]).good();
    let raw: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(raw["mediaType"], "application/vnd.docker.distribution.manifest.v2+json");

    let tags = skopeo(&["list-tags", "--cert-dir", &ca, &docker("open/b")]).good();
    let tags: Value = serde_json::from_str(&tags).unwrap();
    assert_eq!(tags["Tags"], serde_json::json!(["docker", "many"]));
    let inspected = skopeo(&["inspect", "--cert-dir", &ca, &docker("open/a:one")]).good();
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Digest"], serde_json::json!(layout.one));
    assert_eq!(inspected["Labels"]["made"], "on the spot");

    // Confidential: a writer pushes, and sees nothing of it.
    push(&right, &layout.oci("one"), "secret/a:one").good();
    let hidden = ["inspect", "--cert-dir", &ca, "--creds", &right, &docker("secret/a:one")];
    skopeo(&hidden).refused(&["manifest unknown", "not found"]);

    // Private: for who logs in.
    push(&right, &layout.oci("one"), "ours/a:one").good();
    skopeo(&["inspect", "--cert-dir", &ca, &docker("ours/a:one")]).refused(&REFUSED);
    skopeo(&["inspect", "--cert-dir", &ca, "--creds", &right, &docker("ours/a:one")]).good();

    skopeo(&["delete", "--cert-dir", &ca, "--creds", WRONG, &docker("open/a:one")]).refused(&REFUSED);
    skopeo(&["delete", "--cert-dir", &ca, "--creds", &right, &docker("open/b:docker")]).good();
    skopeo(&["inspect", "--cert-dir", &ca, &docker("open/b:docker")]).refused(&["manifest unknown", "not found"]);
    push(&right, &layout.oci("one"), "open/b:docker").good();

    // Logged in once, for all that follows.
    let login = |creds: &str| {
        let (name, password) = creds.split_once(':').unwrap();
        let arguments = ["login", "--cert-dir", &ca, "-u", name, "-p", password, &world.registry()];
        skopeo(&arguments)
    };
    login(WRONG).refused(&REFUSED);
    login(&right).good();
    skopeo(&["copy", "--dest-cert-dir", &ca, &layout.oci("one"), &docker("open/a:logged-in")]).good();
    skopeo(&["logout", &world.registry()]).good();
    skopeo(&["copy", "--dest-cert-dir", &ca, &layout.oci("one"), &docker("open/a:logged-out")]).refused(&REFUSED);
}

#[test]
fn podman_pushes_and_pulls() {
    runs("podman", &["--cgroup-manager", "cgroupfs"]);
}

#[test]
fn buildah_pushes_and_pulls() {
    runs("buildah", &[]);
}

/// What the two that keep images have in common.
fn runs(program: &str, more: &[&str]) {
    let Some(file) = find(program) else { return };
    if !is_root() {
        return skip(program, "it takes root here, or user namespaces");
    }
    let world = World::new();
    let layout = Layout::make(world.folder.path());
    let (ca, right) = (world.ca(), world.right());
    let run = |arguments: &[&str]| world.run(&file, &[more, arguments].concat());
    let name = |rest: &str| format!("docker://{}", world.name(rest));
    run(&["pull", "-q", &layout.oci("one")]).good();
    let image = run(&["images", "-q"]).good();
    let image = image.lines().next().unwrap();
    let push = |creds: &str, to: &str| {
        let digest = world.path("digest");
        let ran = run(&["push", "-q", "--cert-dir", &ca, "--creds", creds, "--digestfile", &digest, image, &name(to)]);
        (ran, digest)
    };
    push(WRONG, "open/a:one").0.refused(&REFUSED);
    let (ran, digest) = push(&right, "open/a:one");
    ran.good();
    let digest: Digest = String::from_utf8(crate::read(digest)).unwrap().trim().parse().unwrap();
    run(&["rmi", "-f", image]).good();
    assert!(!run(&["images", "-q"]).good().contains(image), "control: it is gone here");
    // By nobody in particular, by tag and by digest.
    run(&["pull", "-q", "--cert-dir", &ca, &name("open/a:one")]).good();
    let by_digest = format!("open/a@{digest}");
    run(&["pull", "-q", "--cert-dir", &ca, &name(&by_digest)]).good();
    assert!(run(&["images", "-q"]).good().contains(image), "the same image came back");
    run(&["pull", "-q", "--cert-dir", &ca, &name("open/a:absent")]).refused(&["manifest unknown", "not found"]);
    let (user, password) = right.split_once(':').unwrap();
    let login = |password: &str| {
        let authority = world.registry();
        run(&["login", "--cert-dir", &ca, "-u", user, "-p", password, &authority])
    };
    login("wrong").refused(&REFUSED);
    login(password).good();
    run(&["push", "-q", "--cert-dir", &ca, image, &name("open/b:logged-in")]).good();
}
