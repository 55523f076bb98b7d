//! Servers that show a Keep's certificate, and servers that ask for one.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use super::{Party, find, has, run, text};

/// A port nobody has.
fn free() -> SocketAddr {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap()
}

/// A server that ends with the test.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    /// Waits until it listens.
    fn start(command: &mut Command, address: SocketAddr) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let server = Self { child, address };
        let until = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < until, "{command:?} does not listen");
            sleep(Duration::from_millis(20));
        }
        server
    }

    /// nginx with the certificate of `party`; it asks clients for one under the root of `party`.
    fn nginx(party: &Party, clients: &str) -> Self {
        let address = free();
        let folder = party.path();
        let configuration = format!(
            "daemon off; error_log stderr; pid nginx.pid; events {{}}
             http {{
               access_log off; client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
               server {{
                 listen {address} ssl; server_name shop.example.org;
                 ssl_certificate chain.pem; ssl_certificate_key key.pem;
                 ssl_client_certificate root.pem; ssl_verify_client {clients};
                 location / {{ return 200 \"hello $ssl_client_verify\\n\"; }}
               }}
             }}"
        );
        fs::write(folder.join("nginx.conf"), configuration).unwrap();
        let mut command = Command::new("nginx");
        command.args(["-p", &folder.display().to_string(), "-c", "nginx.conf"]);
        Self::start(&mut command, address)
    }

    /// What curl gets of it by this name, believing this root; with a certificate, if there is one.
    fn curl(&self, name: &str, root: &Path, with: Option<&Party>) -> (bool, String) {
        let port = self.address.port();
        let (resolve, url) = (format!("{name}:{port}:127.0.0.1"), format!("https://{name}:{port}/"));
        let root = root.display().to_string();
        let mut arguments = vec!["-sS", "--fail", "--noproxy", "*", "--resolve", &resolve, "--cacert", &root];
        let files = with.map(|party| [party.file("chain.pem"), party.file("key.pem")]);
        if let Some([chain, key]) = &files {
            arguments.extend(["--cert", chain, "--key", key]);
        }
        arguments.push(&url);
        let ran = run("curl", &arguments);
        (ran.status.success(), text(&ran))
    }
}

/// A command by somebody who is not root: PostgreSQL does not run as root.
fn unprivileged(program: &Path) -> Command {
    if !rustix::process::geteuid().is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program);
    command
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

#[test]
fn curl_believes_a_server_with_a_keeps_certificate_under_its_names_and_root_only() {
    if !(has("curl") && has("nginx")) {
        return;
    }
    let (party, other) = (Party::new(), Party::new());
    let server = Server::nginx(&party, "off");
    let (root, others) = (party.path().join("root.pem"), other.path().join("root.pem"));
    for name in ["shop.example.org", "www.example.org"] {
        let (good, said) = server.curl(name, &root, None);
        assert!(good && said.starts_with("hello"), "{name}: {said}");
    }
    for (name, root) in [("bank.example.org", &root), ("shop.example.org", &others)] {
        let (good, said) = server.curl(name, root, None);
        assert!(!good && said.contains("SSL"), "{name}: {said}");
    }
}

#[test]
fn nginx_lets_in_clients_with_a_keeps_certificate_only() {
    if !(has("curl") && has("nginx")) {
        return;
    }
    let (party, other) = (Party::new(), Party::new());
    let server = Server::nginx(&party, "on");
    let root = party.path().join("root.pem");
    let (good, said) = server.curl("shop.example.org", &root, Some(&party));
    assert!(good && said == "hello SUCCESS\n", "{said}");
    for with in [None, Some(&other)] {
        let (good, said) = server.curl("shop.example.org", &root, with);
        assert!(!good && said.contains("400"), "{said}");
    }
}

#[test]
fn postgresql_lets_in_clients_with_a_keeps_certificate_only() {
    let (Some(initdb), Some(postgres), Some(psql)) = (find("initdb"), find("postgres"), find("psql")) else { return };
    let (party, other) = (Party::new(), Party::new());
    for party in [&party, &other] {
        party.give_away();
    }
    let data = party.file("data");
    let made = unprivileged(&initdb).args(["-D", &data, "-U", "keep", "-A", "trust", "--no-sync"]).output().unwrap();
    assert!(made.status.success(), "{}", text(&made));
    let address = free();
    let access = party.path().join("pg_hba.conf");
    fs::write(&access, "hostssl all all 127.0.0.1/32 trust clientcert=verify-ca\n").unwrap();
    let mut command = unprivileged(&postgres);
    command.args(["-D", &data, "-c", "ssl=on", "-c", "unix_socket_directories=", "-c", "listen_addresses=127.0.0.1"]);
    for (name, value) in [
        ("port", address.port().to_string()),
        ("hba_file", access.display().to_string()),
        ("ssl_cert_file", party.file("chain.pem")),
        ("ssl_key_file", party.file("key.pem")),
        ("ssl_ca_file", party.file("root.pem")),
    ] {
        command.args(["-c", &format!("{name}={value}")]);
    }
    let _server = Server::start(&mut command, address);
    let ask = |name: &str, root: &Party, with: Option<&Party>| {
        let mut place = format!(
            "user=keep dbname=postgres hostaddr=127.0.0.1 port={} host={name} sslmode=verify-full sslrootcert={}",
            address.port(),
            root.file("root.pem"),
        );
        if let Some(with) = with {
            place += &format!(" sslcert={} sslkey={}", with.file("chain.pem"), with.file("key.pem"));
        }
        let ran = unprivileged(&psql).args(["-At", "-c", "select 6 * 7", &place]).output().unwrap();
        (ran.status.success(), text(&ran))
    };
    let (good, said) = ask("shop.example.org", &party, Some(&party));
    assert!(good && said == "42\n", "{said}");
    for (name, root, with) in [
        ("shop.example.org", &party, None),
        ("shop.example.org", &party, Some(&other)),
        ("bank.example.org", &party, Some(&party)),
        ("shop.example.org", &other, Some(&party)),
    ] {
        let (good, said) = ask(name, root, with);
        assert!(!good && (said.contains("SSL") || said.contains("certificate")), "{name}: {said}");
    }
}

/// As a browser shows it: the page, or its own page of what is wrong.
#[test]
fn chromium_shows_a_page_of_a_keep_under_its_names_and_root_only() {
    let (Some(chromium), true, true) = (find("chromium"), has("certutil"), has("nginx")) else { return };
    let (party, other) = (Party::new(), Party::new());
    let server = Server::nginx(&party, "off");
    let show = |name: &str, root: &Party| {
        let home = tempfile::tempdir().unwrap();
        let database = home.path().join(".pki/nssdb");
        fs::create_dir_all(&database).unwrap();
        let database = format!("sql:{}", database.display());
        let made = run("certutil", &["-d", &database, "-N", "--empty-password"]);
        assert!(made.status.success(), "{}", text(&made));
        let made = run("certutil", &["-d", &database, "-A", "-t", "C,,", "-n", "root", "-i", &root.file("root.pem")]);
        assert!(made.status.success(), "{}", text(&made));
        let mut command = Command::new(&chromium);
        command.env("HOME", home.path()).stdin(Stdio::null());
        command.args(["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"]);
        command.arg(format!("--user-data-dir={}/profile", home.path().display()));
        command.args(["--no-proxy-server", "--host-resolver-rules=MAP * 127.0.0.1"]);
        let output = command.arg(format!("https://{name}:{}/", server.address.port())).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let page = show("shop.example.org", &party);
    assert!(page.contains("hello NONE"), "{page}");
    for (name, root) in [("bank.example.org", &party), ("shop.example.org", &other)] {
        let page = show(name, root);
        assert!(!page.contains("hello"), "{name}: {page}");
    }
}
#[test]
fn openbao_logs_in_a_keep_by_its_certificate_and_its_name() {
    let (Some(bao), true) = (find("bao"), has("openssl")) else { return };
    let (party, other) = (Party::new(), Party::new());
    let (address, home) = (free(), party.file("home"));
    fs::create_dir(&home).unwrap();
    let settings = party.file("bao.hcl");
    fs::write(
        &settings,
        format!(
            "storage \"inmem\" {{}}\n\
             listener \"tcp\" {{ address = \"{address}\" tls_cert_file = \"{}\" tls_key_file = \"{}\" }}\n",
            party.file("chain.pem"),
            party.file("key.pem")
        ),
    )
    .unwrap();
    let _server = Server::start(Command::new(&bao).args(["server", "-config", &settings]).env("HOME", &home), address);
    let ask = |token: &str, arguments: &[&str]| {
        let mut command = Command::new(&bao);
        command.args(arguments).env("HOME", &home).env("BAO_TOKEN", token).stdin(Stdio::null());
        command.env("BAO_ADDR", format!("https://{address}")).env("BAO_TLS_SERVER_NAME", "shop.example.org");
        let output = command.env("BAO_CACERT", party.file("root.pem")).output().unwrap();
        (output.status.success(), text(&output))
    };
    let done = |token: &str, arguments: &[&str]| {
        let (good, said) = ask(token, arguments);
        assert!(good, "{arguments:?}: {said}");
        said
    };
    let keys = done("", &["operator", "init", "-key-shares=1", "-key-threshold=1", "-format=json"]);
    let keys: serde_json::Value = serde_json::from_str(&keys).unwrap();
    let (key, root) = (keys["unseal_keys_b64"][0].as_str().unwrap(), keys["root_token"].as_str().unwrap());
    done("", &["operator", "unseal", key]);
    done(root, &["auth", "enable", "cert"]);
    let certificate = format!("certificate=@{}", party.file("root.pem"));
    let write = |name: &str, uri: &str| {
        let (path, uri) = (format!("auth/cert/certs/{name}"), format!("allowed_uri_sans={uri}"));
        done(root, &["write", &path, &certificate, &uri, "token_policies=default"]);
    };
    write("shop", "spiffe://example.org/shop/*");
    write("bank", "spiffe://example.org/bank/*");
    let login = |name: &str, with: &Party| {
        let (name, chain, key) = (format!("name={name}"), with.file("leaf.pem"), with.file("key.pem"));
        ask("", &["login", "-no-store", "-method=cert", "-client-cert", &chain, "-client-key", &key, &name])
    };
    let (good, said) = login("shop", &party);
    assert!(good && said.contains("token_policies"), "{said}");
    for (name, with) in [("bank", &party), ("shop", &other)] {
        let (good, said) = login(name, with);
        assert!(!good, "{name}: {said}");
    }
}
