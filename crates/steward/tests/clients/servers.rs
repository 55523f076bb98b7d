//! Servers that show a Keep's certificate, and servers that ask for one.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use super::{Party, has, run, text};

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
