//! What a manifest says to Keeps that have a Steward: whom they know, what they want of their launcher, how long a
//! certificate is used.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as STANDARD;
use identity::certificate::KeepCertificate;
use identity::pem;
use rustls::pki_types::CertificateDer;

use crate::site::{Server, Site, done, donjon, fails, run, words};
use crate::support;

/// Keep to Keep by role ("Keep to Keep" in trust.md): both sides of a connection are Keeps of one owner, in the roles that
/// manifest and Deployment name.
#[test]
pub(crate) fn keeps_know_each_other_by_their_roles() {
    let site = Site::new(true);
    let plan = format!(
        "deployment = \"exit\"\ntrust_domain = \"test.internal\"\n\
         [role.server]\npeers = [\"client\"]\n[role.client]\npeers = [\"server\"]\n[role.stranger]\npeers = [\"server\"]\n\
         [role.lonely]\n[release]\nclass = \"insecure\"\nanchors = [\"{}\"]\n",
        site.steward.fact("anchor")
    );
    site.write("project/Deployment.toml", plan);
    site.write("project/main.wasm", std::fs::read(support::probe(support::Form::Component)).unwrap());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (token, signed) = (site.path("token"), site.path("project/deployment.cose"));
    // Each push is the next version of the Deployment; this is what each role was signed with.
    let push = |role: &str, manifest: String| {
        site.write(
            "project/Donjon.toml",
            format!("program = \"main.wasm\"\nstdout = \"host\"\nstderr = \"host\"\n{manifest}"),
        );
        done(&words(&site.push(&["--token-file", &token, "--role", role])))
    };
    let listen = "args = [\"echo\", \"127.0.0.1:5432\"]\n[[listen]]\nname = \"db\"\nport = 5432\nprotocol = \"tls\"\n\
                  clients = [\"steward\"]\nroles = [\"client\"]\n";
    let dial = |role: &str| {
        format!(
            "args = [\"dial\", \"{free}\", \"{role}\"]\n[[connect]]\nname = \"db\"\nto = \"{free}\"\nprotocol = \"tls\"\n\
             trust = [\"steward\"]\nroles = [\"server\"]\n"
        )
    };
    let server = push("server", listen.to_owned());
    let keeps: Vec<_> = ["client", "stranger", "lonely"].map(|role| (role, push(role, dial(role)))).into();
    let at = |digest: &str| format!("{}@{digest}", site.location);
    let deploy = |role: &str, digest: &str, extra: &[&str]| {
        let arguments = site.deploy(&at(digest), &[&["--deployment", &signed, "--role", role], extra].concat());
        donjon(&words(&arguments))
    };

    let bound = format!("db={free}");
    let mut keep = deploy("server", &server, &["--listen", &bound]);
    let mut keep = keep.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    support::eventually("the server listens", || {
        assert_eq!(keep.try_wait().unwrap(), None, "it still runs");
        std::net::TcpStream::connect(free).is_ok()
    });

    let run = |role: &str| {
        let (_, digest) = keeps.iter().find(|(known, _)| *known == role).unwrap();
        let output = deploy(role, digest, &[]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    // The Deployment lets it, the server's manifest does not name it.
    let (code, out, err) = run("stranger");
    assert!(code == Some(1) && out.is_empty(), "{out}{err}");
    // Its own Deployment does not let it talk to anybody: it does not come so far as to try.
    let (code, out, err) = run("lonely");
    assert!(code == Some(125) && out.is_empty() && err.contains("[trust.steward]"), "{out}{err}");
    // Somebody who is no Keep.
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &free.to_string(), "-tls1_3", "-ign_eof"])
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("certificate required") || said.contains("certificate_required"), "{said}");
        }
        Err(_) => support::skip("openssl", "there is no openssl to come without a certificate"),
    }
    assert_eq!(keep.try_wait().unwrap(), None, "nobody was accepted yet");
    let (code, out, err) = run("client");
    assert_eq!((code, out.as_str()), (Some(0), "client"), "{err}");
    assert_eq!(keep.wait().unwrap().code(), Some(0));
    let mut out = String::new();
    std::io::Read::read_to_string(&mut keep.stdout.take().unwrap(), &mut out).unwrap();
    assert_eq!(out, "6\n", "the server had one connection, with six bytes");
}

/// What a manifest wants of whoever launches it: values of variables, names of the certificate; and what he is told of it,
/// though the Keep alone sees the manifest.
#[test]
pub(crate) fn a_deployed_manifest_asks_its_launcher() {
    let site = Site::new(true);
    site.write("project/main.wasm", std::fs::read(support::probe(support::Form::Component)).unwrap());
    let plan = |role: &str| {
        let anchor = site.steward.fact("anchor");
        format!(
            "deployment = \"exit\"\ntrust_domain = \"test.internal\"\n[role.main]\n{role}\
             [release]\nclass = \"insecure\"\nanchors = [\"{anchor}\"]\n"
        )
    };
    let deploy = |manifest: &str, role: &str, extra: &[&str]| {
        let manifest = format!("program = \"main.wasm\"\nargs = [\"env\"]\nstdout = \"host\"\n{manifest}");
        site.write("project/Donjon.toml", manifest);
        site.write("project/Deployment.toml", plan(role));
        done(&words(&site.push(&["--token-file", &site.path("token")])));
        let deployment = site.path("project/deployment.cose");
        let output = donjon(&words(&site.deploy(&site.location, &[&["--deployment", &deployment], extra].concat())))
            .env("ON_THE_HOST", "of the host")
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let weak = "donjon: INSECURE: the program reaches everybody ([debug] insecure_network)\n";

    let wants = "[env]\nA = { host = \"ON_THE_HOST\" }\nB = { host = \"NO_SUCH\", default = \"b\" }\n";
    let (code, out, err) = deploy(wants, "", &["--env", "A=given"]);
    assert_eq!((code, out.as_str()), (Some(0), "A=given\nB=b\n"), "{err}");
    assert!(!err.contains(weak), "{err}");
    let (code, out, err) = deploy(wants, "", &[]);
    assert_eq!((code, out.as_str()), (Some(125), ""), "{err}");
    assert!(err.contains("[env.absent]\nhint: launch with `--env A=VALUE`"), "{err}");

    let named = "[identity]\nnames = [\"exit.test.internal\"]\n";
    let (code, _, err) = deploy(named, "names = [\"exit.test.internal\"]\n", &[]);
    assert_eq!(code, Some(0), "{err}");
    let (code, out, err) = deploy(named, "", &[]);
    assert_eq!((code, out.as_str()), (Some(125), ""), "{err}");
    assert!(
        err.contains("the DNS name exit.test.internal, this one has none [identity.name]\nhint: names are"),
        "{err}"
    );

    let (code, _, err) = deploy("[debug]\ninsecure_network = true\n", "", &[]);
    assert_eq!(code, Some(0), "{err}");
    let (before, _) = err.split_once("step 13").expect("it ran");
    assert!(before.contains(weak), "{err}");
}

/// trust.md rule 16: a certificate is followed by another, for another key, without anybody waiting; the connections that it
/// opened go on until its own end, and no longer.
#[test]
pub(crate) fn rule_16_a_certificate_is_renewed_before_its_end() {
    let site = Site::new(true);
    site.write("project/main.wasm", std::fs::read(env!("DONJON_GREETER")).unwrap());
    let manifest = "program = \"main.wasm\"\n[identity]\nlifetime = \"15 s\"\n\
                    [[listen]]\nname = \"web\"\nport = 0\nprotocol = \"https\"\n";
    site.write("project/Donjon.toml", manifest);
    done(&words(&site.push(&["--token-file", &site.path("token")])));
    let deployment = site.path("project/deployment.cose");
    let arguments = site.deploy(&site.location, &["--deployment", &deployment, "--listen", "web=127.0.0.1:0"]);
    let mut child = donjon(&words(&arguments)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let address = said.find_map(|line| Some(line.strip_prefix("donjon: web listens on ")?.to_owned()));
    let _server = Server::of(child);
    let address: std::net::SocketAddr = address.expect("it listens").parse().unwrap();
    std::thread::spawn(move || said.for_each(drop));

    let first = Caller::come(address);
    let mut kept = first.1;
    let mut next = None;
    support::eventually("a new certificate is shown", || {
        assert!(kept.asks(), "the connection goes on");
        let (leaf, _) = Caller::come(address);
        next = Some(leaf).filter(|leaf| *leaf != first.0);
        next.is_some()
    });
    let [old, new] = [first.0, next.unwrap()].map(|leaf| KeepCertificate::read(&leaf).unwrap());
    assert_eq!(old.id, new.id);
    assert_ne!(old.spki, new.spki, "another key");
    assert_eq!(old.ear.brief, new.ear.brief, "the same brief");
    assert_ne!(old.ear.nonce, new.ear.nonce);
    assert!(kept.asks(), "the old connection outlasts the renewal");
    support::eventually("the old connection ends", || !kept.asks());
    let (_, mut last) = Caller::come(address);
    assert!(last.asks(), "the control: others go on");
}

#[test]
pub(crate) fn secrets_reach_the_program_and_nobody_else() {
    let site = Site::new(true);
    let token = site.path("token");
    let secret = |command: &str, name: &str, more: &[&str]| {
        let pin = site.drawbridge.fact("pin");
        let arguments = ["secret", command, &site.location, name, "--token-file", &token, "--pin", pin];
        done(&[&arguments[..], more].concat())
    };
    let plan = std::fs::read_to_string(site.path("project/Deployment.toml")).unwrap();
    let grant = |secrets: &str| {
        let plan = plan.replace("[role.main]\n", &format!("[role.main]\nsecrets = [{secrets}]\n"));
        site.write("project/Deployment.toml", plan);
    };
    std::fs::copy(support::probe(support::Form::Module), site.path("project/main.wasm")).unwrap();
    let manifest = |arguments: &str| {
        site.write(
            "project/Donjon.toml",
            format!(
                "program = \"main.wasm\"\nstdout = \"host\"\nargs = {arguments}\n[env]\nTOKEN = {{ secret = \"token\" }}\n\
                 [[secret]]\nname = \"db\"\npath = \"/run/secrets/db\"\nprevious = \"/run/secrets/db.old\"\n"
            ),
        );
        done(&words(&site.push(&["--token-file", &token])))
    };
    let deployment = site.path("project/deployment.cose");
    let deploy = || run(&words(&site.deploy(&site.location, &["--deployment", &deployment])));

    grant("\"db\", \"token\"");
    manifest("[\"file\", \"/run/secrets/db\", \"/run/secrets/db.old\"]");
    let (code, _, err) = deploy();
    assert!(code == Some(125) && err.contains("the secrets db, token of team/exit"), "nobody has set them: {err}");
    for value in ["first-of-all", "second-to-none"] {
        secret("set", "db", &["--from-file", &site.write("value", value)]);
    }
    secret("set", "token", &["--generate", "random"]);
    let (code, out, err) = deploy();
    assert_eq!((code, out.as_str()), (Some(0), "second-to-nonefirst-of-all"), "{err}");
    assert!(err.contains("2 secrets") && !err.contains("first-of-all") && !err.contains("second-to-none"), "{err}");
    manifest("[\"env\"]");
    let (code, out, err) = deploy();
    let made = out.lines().find_map(|line| line.strip_prefix("TOKEN=")).unwrap_or_default();
    assert!(code == Some(0) && made.len() == 43, "256 bits as text: {err}");
    secret("rotate", "token", &[]);
    let (_, out, _) = deploy();
    let again = out.lines().find_map(|line| line.strip_prefix("TOKEN=")).unwrap();
    assert_ne!(again, made);
    let listed = secret("list", "--json", &[]);
    assert!(listed.contains("\"db\"") && !listed.contains("second") && !listed.contains(made), "{listed}");
    let bearer = std::fs::read_to_string(&token).unwrap();
    assert!(site.drawbridge.logged().contains("DEBUG"), "control: its libraries speak too");
    for (who, log) in [("Steward", site.steward.logged()), ("Drawbridge", site.drawbridge.logged())] {
        assert!(log.contains(" INFO "), "control: the {who} says something");
        for value in ["first-of-all", "second-to-none", made, again, bearer.trim()] {
            let coded = STANDARD.encode(value);
            assert!(!value.is_empty() && !log.contains(value) && !log.contains(&coded), "the {who} tells a secret");
        }
    }

    // What the owner does not give stays there; nor does the host have a say.
    grant("\"db\"");
    done(&words(&site.push(&["--token-file", &token])));
    let (code, _, err) = deploy();
    assert!(code == Some(125) && err.contains("the Drawbridge answers 404 for the secrets"), "{err}");
    let more = ["--deployment", &deployment, "--env", "TOKEN=of-the-host"];
    let (code, _, err) = run(&words(&site.deploy(&site.location, &more)));
    assert!(code == Some(125) && err.contains("the Drawbridge answers 404 for the secrets"), "{err}");
    // To try it out, without a Steward, it is the host's; files are nobody's then.
    let project = site.path("project");
    let missing = fails(&["run", &project]);
    assert!(missing.contains("the secret"), "{missing}");
}

/// A listener may show what a public authority has certified, with a key that comes as a secret; and nothing else in its place.
#[test]
pub(crate) fn a_listener_shows_a_secret() {
    let site = Site::new(true);
    let (token, pin) = (site.path("token"), site.drawbridge.fact("pin"));
    let plan = std::fs::read_to_string(site.path("project/Deployment.toml")).unwrap();
    site.write("project/Deployment.toml", plan.replace("[role.main]\n", "[role.main]\nsecrets = [\"web\"]\n"));
    site.write("project/main.wasm", std::fs::read(env!("DONJON_GREETER")).unwrap());
    let manifest = "program = \"main.wasm\"\n\
                    [[listen]]\nname = \"web\"\nport = 0\nprotocol = \"https\"\ncertificate = \"web\"\n";
    site.write("project/Donjon.toml", manifest);
    done(&words(&site.push(&["--token-file", &token])));
    let set = |value: &str| {
        let file = site.write("value", value);
        done(&["secret", "set", &site.location, "web", "--from-file", &file, "--token-file", &token, "--pin", pin]);
    };
    let deployment = site.path("project/deployment.cose");
    let arguments = site.deploy(&site.location, &["--deployment", &deployment, "--listen", "web=127.0.0.1:0"]);
    let pair = rcgen::KeyPair::generate().unwrap();
    let certified = rcgen::CertificateParams::new(["shop.example.org".to_owned()]).unwrap().self_signed(&pair).unwrap();
    let certificate = pem::encode(&[certified.der().to_vec()]);
    for odd in [certificate.clone(), pem::encode_key(&pair.serialize_der()), "swordfish".to_owned()] {
        set(&odd);
        let (code, _, err) = run(&words(&arguments));
        assert!(code == Some(125) && err.contains("the secret `web` is nothing that a listener could show"), "{err}");
        assert!(!err.contains("swordfish"), "{err}");
    }
    set(&(certificate + &pem::encode_key(&pair.serialize_der())));
    let mut child = donjon(&words(&arguments)).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let address = said.find_map(|line| Some(line.strip_prefix("donjon: web listens on ")?.to_owned()));
    let _server = Server::of(child);
    std::thread::spawn(move || said.for_each(drop));
    let (leaf, mut caller) = Caller::come(address.expect("it listens").parse().unwrap());
    assert!(leaf == certified.der().to_vec() && caller.asks());
}

/// Who opens a file after a renewal finds what is new; who had it open keeps what he had.
#[test]
pub(crate) fn rule_16_a_renewed_certificate_is_in_the_files() {
    let site = Site::new(true);
    let (token, deployment) = (site.path("token"), site.path("project/deployment.cose"));
    for form in support::Form::BOTH {
        site.write("project/main.wasm", std::fs::read(support::probe(form)).unwrap());
        let manifest = "program = \"main.wasm\"\nstdout = \"host\"\nstderr = \"host\"\n\
                        args = [\"renewed\", \"/run/donjon/certificates.pem\"]\n\
                        [identity]\nlifetime = \"5 s\"\nfiles = true\n";
        site.write("project/Donjon.toml", manifest);
        done(&words(&site.push(&["--token-file", &token])));
        let said = done(&words(&site.deploy(&site.location, &["--deployment", &deployment])));
        let chain = pem::decode(&format!("{said}\n")).unwrap();
        let [new, old] = [0, 2].map(|leaf| KeepCertificate::read(&chain[leaf]).unwrap());
        assert!(new.id == old.id && new.spki != old.spki, "{form:?}");
    }
}

/// Somebody who takes every certificate, and asks one thing after the other.
struct Caller(rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream>);

impl Caller {
    /// The Keep's certificate, and the connection.
    fn come(address: std::net::SocketAddr) -> (Vec<u8>, Self) {
        use rustls::crypto::aws_lc_rs;
        #[derive(Debug)]
        struct Anybody;
        impl rustls::client::danger::ServerCertVerifier for Anybody {
            fn verify_server_cert(
                &self,
                _: &CertificateDer<'_>,
                _: &[CertificateDer<'_>],
                _: &rustls::pki_types::ServerName<'_>,
                _: &[u8],
                _: rustls::pki_types::UnixTime,
            ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
                Ok(rustls::client::danger::ServerCertVerified::assertion())
            }

            fn verify_tls12_signature(
                &self,
                _: &[u8],
                _: &CertificateDer<'_>,
                _: &rustls::DigitallySignedStruct,
            ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
                Err(rustls::Error::General("TLS 1.2".to_owned()))
            }

            fn verify_tls13_signature(
                &self,
                message: &[u8],
                certificate: &CertificateDer<'_>,
                signed: &rustls::DigitallySignedStruct,
            ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
                let algorithms = aws_lc_rs::default_provider().signature_verification_algorithms;
                rustls::crypto::verify_tls13_signature(message, certificate, signed, &algorithms)
            }

            fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
                aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
            }
        }
        let config = rustls::ClientConfig::builder_with_provider(std::sync::Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(std::sync::Arc::new(Anybody))
            .with_no_client_auth();
        let name = "localhost".try_into().unwrap();
        let tls = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
        let mut caller = Self(rustls::StreamOwned::new(tls, std::net::TcpStream::connect(address).unwrap()));
        assert!(caller.asks());
        // X25519MLKEM768 (draft-ietf-tls-ecdhe-mlkem): what is said today is not to be read in years.
        let group = caller.0.conn.negotiated_key_exchange_group().unwrap().name();
        assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
        (caller.0.conn.peer_certificates().unwrap()[0].to_vec(), caller)
    }

    /// Whether it gets an answer.
    fn asks(&mut self) -> bool {
        use std::io::{Read, Write};
        let mut answer = [0; 12];
        let request = b"GET /time HTTP/1.1\r\nhost: localhost\r\n\r\n";
        if self.0.write_all(request).and_then(|()| self.0.read_exact(&mut answer)).is_err() {
            return false;
        }
        let mut rest = Vec::new();
        let mut byte = [0];
        // Head and a body of 21 bytes.
        while !rest.ends_with(b"Z\n") {
            if self.0.read_exact(&mut byte).is_err() {
                return false;
            }
            rest.push(byte[0]);
        }
        &answer == b"HTTP/1.1 200"
    }
}
