//! containerd's `ctr`, and the Python package `oras`.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::image::{Layout, noise};
use crate::{WRONG, World, find, is_root, skip};

const ORAS: &str = "0.2.43";

/// A process that ends with this value.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn containerd_pushes_and_pulls() {
    let (Some(containerd), Some(ctr)) = (find("containerd"), find("ctr")) else { return };
    if !is_root() {
        return skip("containerd", "it takes root");
    }
    let world = World::new();
    let layout = Layout::make(world.folder.path());
    let settings = format!(
        "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
         [grpc]\naddress = \"{0}/socket\"\n",
        world.path("containerd")
    );
    std::fs::create_dir(world.path("containerd")).unwrap();
    std::fs::write(world.path("containerd/config.toml"), settings).unwrap();
    let mut server = Command::new(containerd);
    server.args(["--config", &world.path("containerd/config.toml")]).env("HOME", world.folder.path());
    let server = server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _server = Server(server);
    let socket = world.path("containerd/socket");
    let ctr = |arguments: &[&str]| world.run(&ctr, &[&["--address", &socket], arguments].concat());
    // Only ends a test that has failed anyway.
    let up = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        Path::new(&socket).exists() && ctr(&["version"]).good
    });
    assert!(up, "containerd does not answer");
    // Of loopback addresses ctr believes that they speak no TLS, unless it is told.
    let (right, hosts, tar) = (world.right(), world.path("hosts"), layout.tar().display().to_string());
    let host = Path::new(&hosts).join(world.registry());
    std::fs::create_dir_all(&host).unwrap();
    let url = format!("https://{}", world.registry());
    let ca = format!("{}/ca.crt", world.ca());
    let told = format!("server = {url:?}\nca = {ca:?}\n[host.{url:?}]\nca = {ca:?}\n");
    std::fs::write(host.join("hosts.toml"), told).unwrap();
    ctr(&["images", "import", "--base-name", "made", "--all-platforms", "--no-unpack", &tar]).good();
    let push = |creds: &str, to: &str| {
        ctr(&["images", "push", "--hosts-dir", &hosts, "--user", creds, &world.name(to), "made:one"])
    };
    push(WRONG, "open/a:one").refused(&["unauthorized", "401", "authorization failed"]);
    push(&right, "open/a:one").good();
    push(&right, "ours/a:one").good();
    ctr(&["images", "remove", "made:one", "made:many"]).good();
    let pull =
        |from: &str| ctr(&["images", "pull", "--hosts-dir", &hosts, "--snapshotter", "native", &world.name(from)]);
    pull("open/a:absent").refused(&["not found"]);
    pull("open/a:one").good();
    let listed = ctr(&["images", "list"]).good();
    assert!(listed.contains(&layout.one.to_string()), "{listed}");
    ctr(&["images", "check", "--snapshotter", "native"]).good();
    // Private: told to log in, and what is not there as well.
    for private in ["ours/a:one", "absent/a:one"] {
        pull(private).refused(&["unauthorized", "401", "authorization failed"]);
    }
    let ours = ["images", "pull", "--hosts-dir", &hosts, "--snapshotter", "native", "--user", &right];
    ctr(&[&ours[..], &[&world.name("ours/a:one")]].concat()).good();
}

#[test]
fn oras_pushes_and_pulls() {
    let Some(python) = oras() else { return };
    let world = World::new();
    std::fs::write(world.path("artifact.bin"), noise()).unwrap();
    std::fs::write(world.path("script.py"), SCRIPT).unwrap();
    let ran = |token: &str| {
        let mut command = world.command(&python, &["script.py", &world.registry(), token]);
        command.env("REQUESTS_CA_BUNDLE", format!("{}/ca.crt", world.ca()));
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (good, said) = ran("wrong");
    assert!(!good && (said.contains("authentication")), "{said}");
    let (good, said) = ran(world.token.expose());
    assert!(good, "{said}");
    let listed: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(listed, serde_json::json!(["v1"]));
    assert!(crate::read(world.path("back/artifact.bin")) == noise());
}

const SCRIPT: &str = r#"
import json, os, sys, time
import oras.client
# It waits for a minute and more before it gives up.
time.sleep = lambda seconds: None
registry, token = sys.argv[1:]
client = oras.client.OrasClient(hostname=registry, auth_backend="token")
client.login(hostname=registry, username="anybody", password=token)
target = f"{registry}/open/a:v1"
answer = client.push(target=target, files=["artifact.bin:application/vnd.example.file"])
assert answer.status_code in (200, 201), answer.status_code
os.makedirs("back")
files = client.pull(target=target, outdir="back")
assert len(files) == 1, files
print(json.dumps(client.get_tags(f"{registry}/open/a")))
"#;

/// A Python that has it.
fn oras() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("tools/oras-{ORAS}"));
    let (python, done) = (folder.join("bin/python3"), folder.join("installed"));
    if !done.is_file() {
        let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).output();
        let made = made.is_ok_and(|made| made.status.success());
        let pip = || {
            let mut pip = Command::new(folder.join("bin/pip"));
            pip.args(["install", "--quiet", "--disable-pip-version-check", &format!("oras=={ORAS}")]);
            pip.output().is_ok_and(|installed| installed.status.success())
        };
        if !made || !pip() {
            skip("pypi", "oras cannot be installed: it takes python3 with venv, and PyPI");
            return None;
        }
        std::fs::write(done, "").unwrap();
    }
    Some(python)
}
