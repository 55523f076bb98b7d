//! The key of the authority in an HSM: SoftHSM, by PKCS#11.

use std::{
    env, fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
};

use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    mechanism::Mechanism,
    object::{Attribute, AttributeInfo, AttributeType, ObjectClass},
    session::{Session, UserType},
    types::AuthPin,
};
use identity::{Signer as _, certificate::KeepCertificate, chain::verify_chain, ear::Class};
use steward::{
    AuthoritySource, NonceKeySource, Settings, Steward, listen,
    nonce::NonceKey,
    policy::Policy,
    serve,
    settings::token,
    signer::{Authority, Key, KeyUri, Signatures},
};

use super::{DAY, POLICY, World, has, now, text};

const MODULES: [&str; 2] = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"];
/// Stands between a program and a library, and writes down what is asked (OpenSC).
const SPIES: [&str; 2] = ["/usr/lib/x86_64-linux-gnu/pkcs11/pkcs11-spy.so", "/usr/lib/x86_64-linux-gnu/pkcs11-spy.so"];
const PIN: &str = "4711";

/// SoftHSM reads a variable when it is loaded, and a process has one for all its tests: so this is a process of its own.
fn own_process(test: &str, body: impl FnOnce(&Path)) {
    const FOLDER: &str = "DONJON_TEST_TOKEN";
    if let Some(folder) = env::var_os(FOLDER) {
        return body(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("tokens")).unwrap();
    let settings = folder.path().join("softhsm2.conf");
    fs::write(&settings, format!("directories.tokendir = {}/tokens\n", folder.path().display())).unwrap();
    let module = MODULES.into_iter().find(|module| Path::new(module).exists()).unwrap();
    let spy = SPIES.into_iter().find(|spy| Path::new(spy).exists()).unwrap_or(module);
    let with = |command: &mut Command| {
        command.env("SOFTHSM2_CONF", &settings).env(FOLDER, folder.path());
        command.env("PKCS11SPY", module).env("PKCS11SPY_OUTPUT", folder.path().join("asked"));
        command.env("DONJON_TEST_MODULE", spy);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
    };
    let init = ["--init-token", "--free", "--label", "my token", "--pin", PIN, "--so-pin", PIN];
    with(Command::new("softhsm2-util").args(init));
    with(Command::new(env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]));
}

/// A session with the token, and a key pair in it that it does not give away.
fn generate(label: &str, curve: &[u8]) -> Session {
    let module = Pkcs11::new(env::var("DONJON_TEST_MODULE").unwrap()).unwrap();
    _ = module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    let slots = module.get_slots_with_token().unwrap();
    let slot = slots.into_iter().find(|slot| module.get_token_info(*slot).unwrap().label() == "my token").unwrap();
    let session = module.open_rw_session(slot).unwrap();
    _ = session.login(UserType::User, Some(&AuthPin::from(PIN)));
    let label = Attribute::Label(label.as_bytes().to_vec());
    let public = [Attribute::Token(true), Attribute::EcParams(curve.to_vec()), label.clone()];
    let private = [
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        label,
    ];
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap();
    session
}

const P256: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x22];

fn uri(folder: &Path, object: &str) -> KeyUri {
    let module = env::var("DONJON_TEST_MODULE").unwrap();
    let pin = folder.join("pin");
    fs::write(&pin, format!("{PIN}\n")).unwrap();
    let text =
        format!("pkcs11:token=my%20token;object={object}?module-path={module}&pin-source=file:{}", pin.display());
    text.parse().unwrap()
}

#[test]
fn certificates_are_signed_in_the_token_and_its_key_never_leaves_it() {
    if !has("softhsm2-util") {
        return;
    }
    own_process("token::certificates_are_signed_in_the_token_and_its_key_never_leaves_it", |folder| {
        for (object, curve) in [("small", P256), ("large", P384)] {
            let session = generate(object, curve);
            let key: Key = token(&uri(folder, object)).unwrap();
            let spki = key.spki().to_vec();
            let root = Authority::root(&key, Class::Insecure, &[], now() - 60).unwrap();
            let authority = Authority::with_key(Class::Insecure, key, root.as_bytes(), now()).unwrap();
            let world = World::build(POLICY, now());
            let policy = POLICY.replace("{owner}", &world.owner_digest().to_string());
            let policy = Policy::parse("p", &policy, world.folder.path()).unwrap();
            let steward = Steward::new(policy, authority, &NonceKey::random().unwrap()).unwrap();
            let world = World { steward, ..world };
            let mut keep = world.keep_at(now());
            keep.crl = Some(world.amd.crl_der(now() - DAY, now() + DAY, &[]));
            let issued = keep.ask_at(now()).unwrap();
            let anchor = world.steward.authority().anchor();
            assert_eq!(anchor, workload::Digest::of(&spki));
            assert!(verify_chain(&issued.chain, &[anchor], now(), &Signatures).is_ok());
            assert!(KeepCertificate::read(&issued.chain[0]).is_ok());

            let template = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(object.into())];
            let private = session.find_objects(&template).unwrap()[0];
            let info = session.get_attribute_info(private, &[AttributeType::Value]).unwrap();
            assert!(matches!(info[..], [AttributeInfo::Sensitive]), "{info:?}");
        }
        // All that the token was ever asked, if there is somebody who listens.
        if let Ok(asked) = fs::read_to_string(folder.join("asked")) {
            assert!(asked.contains("C_Sign"), "{asked}");
            for never in ["C_WrapKey", "C_CopyObject", "C_GetOperationState"] {
                assert!(!asked.contains(never), "{never}");
            }
        }
    });
}

#[test]
fn what_is_no_key_of_the_token_is_said() {
    if !has("softhsm2-util") {
        return;
    }
    own_process("token::what_is_no_key_of_the_token_is_said", |folder| {
        _ = generate("ca", P256);
        let good = uri(folder, "ca");
        assert!(token(&good).is_ok(), "control");
        let error = |uri: &KeyUri| {
            let error = token(uri).unwrap_err();
            assert!(error.hint().is_some(), "{error}");
            error.to_string()
        };
        assert!(error(&uri(folder, "other")).contains("0 private and public keys `other`"));
        let text = |from: &str, to: &str| {
            let module = env::var("DONJON_TEST_MODULE").unwrap();
            let pin = folder.join("pin");
            let good = format!("pkcs11:token=my%20token;object=ca?module-path={module}&pin-source={}", pin.display());
            good.replace(from, to).parse::<KeyUri>().unwrap()
        };
        assert!(error(&text("my%20token", "yours")).contains("no token `yours`"));
        assert!(error(&text(".so", ".none")).contains("PKCS#11"));
        // The same label twice: which of them is meant?
        _ = generate("ca", P256);
        assert!(error(&good).contains("2 private and public keys `ca`"));
    });
}

/// In a process of its own again: a token that is open in a process stays open for all of it.
#[test]
fn a_wrong_pin_opens_nothing_and_is_in_no_message() {
    if !has("softhsm2-util") {
        return;
    }
    own_process("token::a_wrong_pin_opens_nothing_and_is_in_no_message", |folder| {
        let uri = uri(folder, "ca");
        fs::write(folder.join("pin"), "9999").unwrap();
        let error = token(&uri).unwrap_err();
        assert!(error.to_string().contains("does not take the PIN"), "{error}");
        assert!(!format!("{error:?} {error}").contains("9999"));
    });
}

/// What an HTTP server answers, its head and its body.
async fn get(address: SocketAddr, request: Vec<u8>) -> String {
    let ask = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&request).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    tokio::task::spawn_blocking(ask).await.unwrap()
}

#[test]
fn a_token_that_is_away_is_said_and_found_again() {
    if !has("softhsm2-util") {
        return;
    }
    own_process("token::a_token_that_is_away_is_said_and_found_again", |folder| {
        _ = generate("ca", P256);
        let uri = uri(folder, "ca");
        let certificates = folder.join("ca.pem");
        fs::write(&certificates, Authority::root(&token(&uri).unwrap(), Class::Insecure, &[], now() - 60).unwrap())
            .unwrap();
        let world = World::build(POLICY, now());
        let policy = POLICY.replace("{owner}", &world.owner_digest().to_string());
        let mut settings = Settings::new(Policy::parse("p", &policy, world.folder.path()).unwrap());
        settings.authority = AuthoritySource::Token { key: uri, certificates };
        settings.nonce_key = NonceKeySource::File(folder.join("nonce.key"));
        fs::write(folder.join("nonce.key"), "7".repeat(64)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let handle = serve(settings, listen(([127, 0, 0, 1], 0).into()).await.unwrap()).await.unwrap();
            let mut keep = world.keep_at(now());
            keep.crl = Some(world.amd.crl_der(now() - DAY, now() + DAY, &[]));
            keep.brief.steward.as_mut().unwrap().anchors = vec![handle.anchor];
            let csr = keep.csr();
            let ask = async || {
                let head = format!(
                    "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/pkcs10\r\ncontent-length: {}\r\n\r\n",
                    csr.len()
                );
                get(handle.local_addr, [head.as_bytes(), &csr].concat()).await
            };
            let ready = async || {
                let request = b"GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".to_vec();
                get(handle.local_addr, request).await
            };
            let answer = ask().await;
            assert!(answer.starts_with("HTTP/1.1 200"), "control: {answer}");
            assert!(ready().await.starts_with("HTTP/1.1 200"));
            let (tokens, away) = (folder.join("tokens"), folder.join("away"));
            fs::rename(&tokens, &away).unwrap();
            for _ in 0..2 {
                let answer = ask().await;
                assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("authority.key"), "{answer}");
            }
            let answer = ready().await;
            assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("authority.key"), "{answer}");
            fs::rename(&away, &tokens).unwrap();
            assert!(ready().await.starts_with("HTTP/1.1 200"));
            let answer = ask().await;
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            handle.shutdown().await;
        });
    });
}
