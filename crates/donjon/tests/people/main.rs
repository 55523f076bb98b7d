//! People: logging in by OpenID Connect, what each may, tokens, quotas – with issuers of others, `oidc-provider` of npm and
//! `oidc-provider-mock` of PyPI, as they are. What cannot be installed is skipped, and said.

#[path = "../support/mod.rs"]
mod support;
#[path = "../tools/mod.rs"]
mod tools;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Mutex;

use drawbridge::Secret;
use drawbridge::client::{Client, ClientError, Trust};
use serde_json::Value;
use support::{Input, Ran, donjon, eventually, finish, folder, skip, wat};
use tempfile::TempDir;
use tools::{done, kept, last_words, shell};
use workload::reference::Reference;

const NPM: &str = "9.13.3";
const PYPI: &str = "0.3.4";

/// A process that ends with this value.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// An issuer of ID tokens.
struct Issuer {
    url: String,
    _process: Process,
}

/// Installs what an issuer needs, once, whichever test comes first.
fn installed(what: &str, version: &str, install: &str) -> Option<PathBuf> {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock();
    let home = kept(&format!("{what}-{version}"));
    let ran = done(shell(&format!("test -e done || {{ {install} && touch done; }}"), &home));
    if ran.status.success() {
        return Some(home);
    }
    let registry = if install.starts_with("npm") { "npm" } else { "pypi" };
    skip(registry, &format!("{what} cannot be installed: {}", last_words(&ran)));
    None
}

impl Issuer {
    /// That of npm, with our script around it.
    fn npm() -> Option<Self> {
        let install = format!("npm install --silent --no-save --prefix . oidc-provider@{NPM}");
        let home = installed("oidc-provider", NPM, &install)?;
        std::fs::write(home.join("issuer.mjs"), include_str!("issuer.mjs")).unwrap();
        let mut child = shell("exec node issuer.mjs", &home);
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut url = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut url).unwrap();
        assert!(url.starts_with("http://127.0.0.1:"), "the issuer does not start: {url:?}");
        // It says more, and ends if nobody listens.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Some(Self { url: url.trim().to_owned(), _process: Process(child) })
    }

    /// That of PyPI.
    fn pypi() -> Option<Self> {
        let install = format!("python3 -m venv . && bin/pip install --quiet oidc-provider-mock=={PYPI}");
        let home = installed("oidc-provider-mock", PYPI, &install)?;
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut child = shell(&format!("exec bin/oidc-provider-mock --port {}", free.port()), &home);
        let process = Process(child.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        eventually("the issuer listens", || TcpStream::connect(free).is_ok());
        Some(Self { url: format!("http://{free}"), _process: process })
    }

    /// A form that is posted: the headers of the answer, and its body.
    fn post(&self, path: &str, form: &[(&str, &str)]) -> (String, String) {
        let body = form.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&");
        let host = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(host).unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {}\r\n\
             content-type: application/x-www-form-urlencoded\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        (head.to_owned(), body.to_owned())
    }

    fn json(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let (head, body) = self.post(path, form);
        // Some send it in chunks.
        let text = &body[body.find('{').unwrap_or(0)..=body.rfind('}').unwrap_or(0)];
        serde_json::from_str(text).unwrap_or_else(|_| panic!("{head}\n\n{body}"))
    }

    /// What somebody does in a browser.
    fn says(&self, what: &str, query: &str) {
        let (head, body) = self.post(&format!("/test/{what}?{query}"), &[]);
        assert!(head.starts_with("HTTP/1.1 204"), "{head}\n\n{body}");
    }

    /// An ID token for this client, got without `donjon`.
    fn id_token(&self, client: &str, account: &str) -> String {
        let form = [("client_id", client), ("scope", "openid email"), ("claims", r#"{"id_token":{"email":null}}"#)];
        let begun = self.json("/device/auth", &form);
        self.says("approve", &format!("user_code={}&account={account}", begun["user_code"].as_str().unwrap()));
        let grant = "urn:ietf:params:oauth:grant-type:device_code";
        let code = begun["device_code"].as_str().unwrap();
        let token = self.json("/token", &[("client_id", client), ("device_code", code), ("grant_type", grant)]);
        token["id_token"].as_str().unwrap().to_owned()
    }
}

/// A value of a form.
fn encoded(text: &str) -> String {
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    text.bytes().map(|byte| if safe(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// A Drawbridge of the organisation `acme`, whose settings say who owns it.
struct Site {
    dir: TempDir,
    host: String,
    pin: String,
    log: PathBuf,
    _drawbridge: Process,
}

impl Site {
    fn new(settings: &str) -> Self {
        let program = wat("(module (memory (export \"memory\") 1) (func (export \"_start\")))");
        let dir = folder(&[("drawbridge.toml", settings.as_bytes()), ("main.wasm", &program)]);
        let log = dir.path().join("log");
        let arguments = "drawbridge serve --settings drawbridge.toml --store store --listen 127.0.0.1:0 \
                         --tls-self-made localhost";
        let mut command = donjon(dir.path(), arguments.split_whitespace());
        // Everything that it could ever say, but for what others' libraries say of bytes.
        command.env("RUST_LOG", "trace").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut fact = |name: &str| lines.next().unwrap().strip_prefix(name).unwrap().trim().to_owned();
        let host = fact("url").strip_prefix("https://").unwrap().to_owned();
        let pin = fact("pin");
        Self { dir, host, pin, log, _drawbridge: Process(child) }
    }

    /// A command of somebody, whose keys and logins lie in a folder of his own.
    fn of(&self, who: &str, line: &str) -> Command {
        let words = line.split_whitespace().map(|word| word.replace("HOST", &self.host));
        let mut command = donjon(self.dir.path(), words);
        command.env("DONJON_HOME", self.home(who));
        command
    }

    fn home(&self, who: &str) -> PathBuf {
        self.dir.path().join("home").join(who)
    }

    fn ran(&self, who: &str, line: &str) -> Ran {
        finish(self.of(who, line), Input::Nothing)
    }

    /// Runs a command that must succeed.
    #[track_caller]
    fn done(&self, who: &str, line: &str) -> String {
        let ran = self.ran(who, line);
        assert_eq!(ran.code(), 0, "{line}: {}", ran.stderr);
        ran.text().trim().to_owned()
    }

    /// Runs a command that must fail, and say this, and what to do.
    #[track_caller]
    fn fails(&self, who: &str, line: &str, why: &str) {
        let ran = self.ran(who, line);
        assert!(ran.code() == 125 && ran.stderr.contains(why), "{line}: {}: {}", ran.code(), ran.stderr);
    }

    /// Begins `donjon login`, and reads the code that somebody is to enter.
    fn login(&self, who: &str, more: &str) -> (Process, BufReader<ChildStderr>, String) {
        let mut command = self.of(who, &format!("login HOST --pin {} {more}", self.pin));
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let code = line.trim().rsplit_once(" and enter ").unwrap_or_else(|| panic!("{line}")).1.to_owned();
        (Process(child), said, code)
    }

    /// The whole of it.
    fn log_in(&self, issuer: &Issuer, who: &str, more: &str) {
        let (mut process, mut said, code) = self.login(who, more);
        issuer.says("approve", &format!("user_code={code}&account={who}"));
        let mut rest = String::new();
        said.read_to_string(&mut rest).unwrap();
        assert!(process.0.wait().unwrap().success(), "{rest}");
        assert!(rest.contains(&format!("logged in to {} as ", self.host)), "{rest}");
    }

    fn log_in_by(&self, who: &str, more: &str, id_token: &str) -> Ran {
        let command = self.of(who, &format!("login HOST --pin {} --id-token-stdin {more}", self.pin));
        finish(command, Input::Bytes(id_token.as_bytes().to_vec()))
    }

    /// The token that was saved for somebody.
    fn saved(&self, who: &str) -> String {
        let file = self.home(who).join("logins").join(format!("{}.toml", self.host));
        let login: toml::Table = std::fs::read_to_string(file).unwrap().parse().unwrap();
        login["token"].as_str().unwrap().to_owned()
    }

    /// What a client with this token gets of a repository's tag.
    fn read(&self, token: Option<&str>, repository: &str) -> Result<(), ClientError> {
        let client = Client::new(self.host.parse().unwrap(), Trust::Pins(vec![self.pin.parse().unwrap()])).unwrap();
        let client = match token {
            Some(token) => client.with_token(Secret::new(token.to_owned())),
            None => client,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let reference = Reference::Tag("v1".parse().unwrap());
        runtime.block_on(client.manifest(&repository.parse().unwrap(), &reference)).map(|_| ())
    }
}

fn settings(issuer: &Issuer, more: &str) -> String {
    let login =
        |name: &str, client: &str| format!("[login.{name}]\nissuer = \"{}\"\nclient = \"{client}\"\n", issuer.url);
    login("corp", "donjon") + more
}

const ACME: &str =
    "[organisation.acme]\nquota_bytes = 20000\nowners = [{ login = \"corp\", email = \"ada@example.org\" }]\n";

#[test]
fn an_organisation_and_its_people() {
    let Some(issuer) = Issuer::npm() else { return };
    let site = Site::new(&settings(&issuer, ACME));

    // Ada, whom the settings name, makes a repository and members.
    site.log_in(&issuer, "ada", "");
    let me = site.done("ada", "whoami HOST");
    assert!(me.starts_with("ada@example.org (corp), until 2") && me.ends_with("\nowner of acme"), "{me}");
    site.done("ada", "repository create HOST/acme/shop --private");
    site.done("ada", "member set HOST/acme writer --email bob@example.org");
    site.done("ada", "member set HOST/acme reader --subject cy");

    // Bob pushes; what is pushed Cy reads, and nobody else.
    site.log_in(&issuer, "bob", "");
    assert_eq!(site.done("bob", "push HOST/acme/shop:v1 main.wasm").len(), 71);
    for who in ["cy", "dan"] {
        site.log_in(&issuer, who, "");
    }
    assert_eq!(site.read(Some(&site.saved("cy")), "acme/shop"), Ok(()));
    let absent = site.read(Some(&site.saved("dan")), "acme/shop");
    assert!(matches!(absent, Err(ClientError::Absent { .. })), "{absent:?}");
    let nobody = site.read(None, "acme/shop");
    assert!(matches!(nobody, Err(ClientError::Unauthorized { .. })), "{nobody:?}");
    site.done("ada", "repository create HOST/acme/shop --public");
    assert_eq!(site.read(None, "acme/shop"), Ok(()), "control: opened");
    site.done("ada", "repository create HOST/acme/shop --private");

    // Each may what he is.
    site.fails("cy", "push HOST/acme/shop:v2 main.wasm", "may not write to acme/shop");
    site.fails(
        "bob",
        "repository create HOST/acme/web --public",
        "only owners of acme may do this; this login is a writer",
    );
    site.fails("bob", "member set HOST/acme owner --email bob@example.org", "only owners of acme");
    site.fails("dan", "member list HOST/acme", "no such organisation");
    site.fails("dan", "member list HOST/nobody", "no such organisation");
    let members = site.done("bob", "member list HOST/acme");
    let expected =
        "owner  ada@example.org  (corp)  by the operator\nwriter  bob@example.org  (corp)\nreader  cy  (corp)\n";
    assert!(members.starts_with(expected) && members.ends_with(" of 20000 bytes kept"), "{members}");
    // An address that its issuer has not verified is nobody's.
    site.done("ada", "member set HOST/acme owner --email new-eve@example.org");
    site.log_in(&issuer, "new-eve", "");
    site.fails("new-eve", "member list HOST/acme", "no such organisation");
    // What is confidential stays so, and is not made of what was there.
    let owner = format!("sha256:{}", "0".repeat(64));
    site.done("ada", &format!("repository create HOST/acme/secret --confidential --owner {owner}"));
    site.fails("ada", "repository create HOST/acme/secret --public", "only what is private or public changes");
    site.fails(
        "ada",
        &format!("repository create HOST/acme/shop --confidential --owner {owner}"),
        "acme/shop is there",
    );
    let listed = site.done("cy", "repository list HOST/acme");
    assert_eq!(listed, format!("acme/secret  confidential, owner {owner}\nacme/shop  private"));

    // The organisation keeps what it may.
    std::fs::write(
        site.dir.path().join("big.wasm"),
        wat(&format!("(module (memory 1) (data (i32.const 0) \"{}\"))", "x".repeat(30_000))),
    )
    .unwrap();
    site.fails("bob", "push HOST/acme/shop:v2 big.wasm", "organisation acme may keep no more");
    site.done("bob", "push HOST/acme/shop:v2 main.wasm");

    // Tokens: less than their maker, for a while; none makes another.
    let token = site.done("bob", "token create HOST laptop acme/* --role reader --days 1");
    assert_eq!(site.read(Some(&token), "acme/shop"), Ok(()));
    let with = |token: &str, line: &str| {
        let mut command = site.of("nobody", line);
        command.env("DONJON_TOKEN", token).arg("--pin").arg(&site.pin);
        finish(command, Input::Nothing)
    };
    let refused = with(&token, "push HOST/acme/shop:v3 main.wasm");
    assert!(refused.code() == 125 && refused.stderr.contains("may not write"), "{}", refused.stderr);
    let refused = with(&token, "token create HOST more acme/*");
    assert!(refused.code() == 125 && refused.stderr.contains("tokens make no tokens"), "{}", refused.stderr);
    let machine = site.done("ada", "token create HOST builder acme/shop --role writer --organisation acme");
    let pushed = with(&machine, "push HOST/acme/shop:v3 main.wasm");
    assert_eq!(pushed.code(), 0, "{}", pushed.stderr);
    site.fails("bob", "token list HOST --organisation acme", "only owners");
    let id = site.done("ada", "token list HOST --organisation acme").split("  ").next().unwrap().to_owned();
    site.fails("bob", &format!("token revoke HOST {id}"), "no such token");
    site.done("ada", &format!("token revoke HOST {id} --organisation acme"));
    assert_eq!(with(&machine, "whoami HOST").code(), 125, "revoked");

    // Who is out is out at once, with every token of his.
    site.done("ada", "member remove HOST/acme --email bob@example.org");
    site.fails("bob", "push HOST/acme/shop:v4 main.wasm", "may not write");
    assert!(matches!(site.read(Some(&token), "acme/shop"), Err(ClientError::Absent { .. })));

    // A login that has ended opens nothing, wherever a copy of it lies.
    let copy = site.saved("cy");
    site.done("cy", "logout HOST");
    assert!(matches!(site.read(Some(&copy), "acme/shop"), Err(ClientError::Unauthorized { .. })));
    site.fails("cy", "logout HOST", "there is no login for");

    silent(&site, &[token, machine, copy, site.saved("ada"), site.saved("bob")]);
}

/// None of these stands in the log, which says everything it can.
fn silent(site: &Site, secrets: &[String]) {
    let log = std::fs::read_to_string(&site.log).unwrap();
    assert!(log.contains("TRACE") && log.contains("logged in"), "control: the log is whole");
    for secret in secrets {
        assert!(secret.len() > 20 && !log.contains(secret.as_str()), "a token stands in the log");
    }
}

#[test]
fn id_tokens_are_good_once_for_one_client_and_by_one_issuer() {
    let Some(issuer) = Issuer::npm() else { return };
    let other = Issuer::npm().expect("there was one");
    let ec = format!("[login.curves]\nissuer = \"{}\"\nclient = \"donjon-ec\"\n", issuer.url);
    let site = Site::new(&settings(&issuer, &ec));

    // One confirms, another refuses.
    let (mut process, mut said, code) = site.login("ada", "--login corp");
    issuer.says("deny", &format!("user_code={code}"));
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    assert!(!process.0.wait().unwrap().success() && rest.contains("did not say who you are"), "{rest}");
    site.fails("ada", &format!("login HOST --pin {}", site.pin), "several logins: corp, curves");
    site.log_in(&issuer, "ada", "--login curves");

    let by = |token: &str| {
        let ran = site.log_in_by("ada", "--login corp", token);
        (ran.code(), ran.stderr)
    };
    let good = issuer.id_token("donjon", "ada");
    assert_eq!(by(&good).0, 0, "control");
    let refused = |token: &str, why: &str| {
        let (code, said) = by(token);
        assert!(code == 125 && said.contains(why), "expected {why}: {said}");
    };
    refused(&good, "somebody has logged in with this ID token before");
    refused(&issuer.id_token("another", "ada"), "Invalid audiences");
    refused(&other.id_token("donjon", "ada"), "");
    let parts: Vec<&str> = good.split('.').collect();
    let payload = issuer.id_token("donjon", "eve");
    let payload = payload.split('.').nth(1).unwrap();
    refused(&format!("{}.{payload}.{}", parts[0], parts[2]), "Signature verification failed");
    // {"alg":"none"}
    refused(&format!("eyJhbGciOiJub25lIn0.{payload}."), "the ID token is not good");
    for odd in ["x", "a.b.c", "..", &"x".repeat(60_000)] {
        refused(odd, "the ID token is not one");
    }

    // Issuers change their keys: the new one is asked for, the old one is over.
    let late = issuer.id_token("donjon", "ada");
    issuer.says("rotate", "");
    let fresh = issuer.id_token("donjon", "ada");
    eventually("the new key is asked for", || by(&fresh).0 == 0);
    refused(&late, "Signature verification failed");
    silent(&site, &[good, late, fresh, site.saved("ada")]);
}

#[test]
fn another_issuer() {
    let Some(issuer) = Issuer::pypi() else { return };
    let owner = "[organisation.acme]\nowners = [{ login = \"corp\", subject = \"mia\" }]\n";
    let site = Site::new(&settings(&issuer, owner));
    let token = |account: &str, client: &str| {
        let back = "http://127.0.0.1:9/back";
        let path =
            format!("/oauth2/authorize?response_type=code&client_id={client}&scope=openid%20email&redirect_uri={back}");
        let (head, _) = issuer.post(&path, &[("sub", account)]);
        let location = head.lines().find(|line| line.to_ascii_lowercase().starts_with("location: "));
        let code = location.and_then(|line| line.split_once("code=")).unwrap_or_else(|| panic!("{head}")).1;
        let form = [
            ("client_id", client),
            ("code", code),
            ("redirect_uri", back),
            ("grant_type", "authorization_code"),
            ("client_secret", "x"),
        ];
        issuer.json("/oauth2/token", &form)["id_token"].as_str().unwrap().to_owned()
    };
    let good = token("mia", "donjon");
    let ran = site.log_in_by("mia", "", &good);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    assert!(site.done("mia", "whoami HOST").ends_with("owner of acme"));
    let ran = site.log_in_by("nina", "", &token("nina", "donjon"));
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    site.fails("nina", "member list HOST/acme", "no such organisation");
    let other = site.log_in_by("mia", "", &token("mia", "another"));
    assert!(other.code() == 125 && other.stderr.contains("Invalid audiences"), "{}", other.stderr);
    // It has no device flow, and that is said.
    let ran = site.ran("mia", &format!("login HOST --pin {}", site.pin));
    assert!(ran.code() == 125 && ran.stderr.contains("does not begin a login"), "{}", ran.stderr);
    // An issuer that is gone is not there for logging in; who is logged in stays so.
    let late = token("mia", "donjon");
    drop(issuer);
    assert!(site.done("mia", "whoami HOST").contains("mia"));
    assert_eq!(site.log_in_by("mia", "", &late).code(), 0, "its keys are known for an hour");
    silent(&site, &[good, late, site.saved("mia")]);
}

#[test]
fn a_login_that_others_can_read_is_not_used() {
    let dir = folder(&[]);
    let file = dir.path().join("logins/localhost:1.toml");
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "name = \"x\"\nsession = true\ntoken = \"opensesame\"\n").unwrap();
    let whoami = |mode: u32| {
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        let mut command = donjon(Path::new("."), ["whoami", "localhost:1"]);
        command.env("DONJON_HOME", dir.path());
        finish(command, Input::Nothing)
    };
    let open = whoami(0o644);
    assert!(open.code() == 125 && open.stderr.contains("its mode is 644, expected 600"), "{}", open.stderr);
    let closed = whoami(0o600);
    assert!(closed.code() == 125 && closed.stderr.contains("cannot reach localhost:1"), "control: {}", closed.stderr);
    std::fs::write(&file, "token = \"opensesame").unwrap();
    let odd = whoami(0o600);
    assert!(odd.stderr.contains("is not a login") && !odd.stderr.contains("opensesame"), "{}", odd.stderr);
}
