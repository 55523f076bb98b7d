//! Steward, Drawbridge, owner and administrator as separate processes, with the commands of the guide: what an operator
//! would do, and the mistakes that people make on the way, each beside the same command done right.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use identity::binding::{Purpose, report_data};
use identity::certificate::KeepCertificate;
use identity::pem;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ParsedCertificate;
use workload::Digest;

use site::{Site, done, donjon, fails, program, run, words};

mod keeps;
mod site;
#[path = "../support/mod.rs"]
mod support;

#[test]
fn push_and_deploy_and_the_mistakes_on_the_way() {
    let site = Site::new(true);

    // Without a token, with a wrong one, and right.
    let without = fails(&words(&site.push(&[])));
    assert!(without.contains("token"), "{without}");
    site.write("wrong-token", "not-a-token-of-this-registry");
    let wrong = fails(&words(&site.push(&["--token-file", &site.path("wrong-token")])));
    assert!(wrong.contains("unknown"), "{wrong}");
    let digest = done(&words(&site.push(&["--token-file", &site.path("token")])));
    assert!(digest.starts_with("sha256:"), "{digest}");
    let again = done(&words(&site.push(&["--token-file", &site.path("token")])));
    assert_eq!(again, digest, "the same project is the same workload");

    // The program's own status comes through all thirteen steps.
    let deployment = site.path("project/deployment.cose");
    let (code, _, err) = run(&words(&site.deploy(&site.location, &["--deployment", &deployment])));
    assert_eq!(code, Some(7), "{err}");
    assert!(err.contains("step 13"), "{err}");

    // A certificate that is not the owner's Keep's finds nothing, and who shows none is told to log in: the repository looks absent.
    let tagged = format!("{}:latest", site.location);
    let absent = fails(&words(&site.deploy(&tagged, &["--trust-domain", "test.internal"])));
    assert!(absent.contains("nobody sees the tags of what is private or confidential"), "{absent}");
    let anonymous = format!("{}@{digest}", site.location);
    let denied = fails(&words(&site.deploy(&anonymous, &["--trust-domain", "test.internal"])));
    assert!(denied.contains("step 10") || denied.contains("drawbridge.denied"), "{denied}");

    // Another digest than the Deployment's.
    let other = format!("{}@sha256:{}", site.location, "0".repeat(64));
    let unsigned = fails(&words(&site.deploy(&other, &["--deployment", &deployment])));
    assert!(unsigned.contains("step 3"), "{unsigned}");

    // Another machine's key where the Drawbridge's is expected.
    let pin = format!("sha256:{}", "1".repeat(64));
    let impostor = fails(&["deploy", &site.location, "--backend", "sim", "--pin", &pin, "--deployment", &deployment]);
    assert!(impostor.contains("another key"), "{impostor}");
}

/// SIGHUP, as the manual has it.
#[test]
fn a_drawbridge_reads_its_files_again() {
    let site = Site::new(false);
    let entry = donjon(&["drawbridge", "token", "new", "team/*"]).output().unwrap();
    site.write("new", entry.stdout);
    let push = |token: &str| run(&words(&site.push(&["--token-file", &site.path(token)]))).0 == Some(0);
    let again = |text: &[u8]| {
        site.write("tokens.toml", text);
        let told = std::process::Command::new("kill").args(["-HUP", &site.drawbridge.child.id().to_string()]).status();
        assert!(told.unwrap().success());
    };
    assert!(push("token") && !push("new"), "control");
    again(&entry.stderr);
    support::eventually("the new token is known", || push("new"));
    assert!(!push("token"));
    again(b"[[tokn]]");
    support::eventually("it says so", || site.drawbridge.logged().contains("not reloaded, nothing has changed"));
    assert!(push("new"), "as before");
}

/// Native code outlives a deployed Keep as it does any other, for a program large enough to be worth it.
#[test]
fn a_second_deploy_compiles_nothing() {
    let site = Site::new(true);
    let large = [program(7), b"\0\x82\x80\x04\x01x".to_vec(), vec![0; 64 * 1024]].concat();
    site.write("project/main.wasm", large);
    done(&words(&site.push(&["--token-file", &site.path("token")])));
    let deployment = site.path("project/deployment.cose");
    let deploy = |extra: &[&str]| {
        let mut command = donjon(&words(&site.deploy(&site.location, &["--deployment", &deployment])));
        command.args(extra).env_remove("DONJON_NO_CACHE").env("XDG_CACHE_HOME", site.path("cache"));
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(7), "{said}");
        said.contains("donjon: the program was compiled at an earlier start\n")
    };
    assert_eq!([deploy(&[]), deploy(&[]), deploy(&["--no-cache"])], [false, true, false]);
}

/// A native program gets its identity as files: key and chain are one, and the chain ends at the anchor of the brief.
#[test]
fn a_native_program_finds_its_identity() {
    let site = Site::new(true);
    site.write("project/main", std::fs::read(support::probe(support::Form::Native)).unwrap());
    let read = |files: &[&str]| {
        let arguments: Vec<_> = files.iter().map(|file| format!("\"/donjon/identity/{file}\"")).collect();
        let manifest = format!("program = \"main\"\nargs = [\"file\", {}]\nstdout = \"host\"\n", arguments.join(", "));
        site.write("project/Donjon.toml", manifest);
        done(&words(&site.push(&["--token-file", &site.path("token")])));
        let deployment = site.path("project/deployment.cose");
        let (code, out, err) = run(&words(&site.deploy(&site.location, &["--deployment", &deployment])));
        assert_eq!(code, Some(0), "{err}");
        assert!(err.contains("step 13"), "{err}");
        out
    };
    let all = read(&["key.pem", "certificates.pem", "anchors.pem"]);
    let end = "-----END PRIVATE KEY-----\n";
    let (key, rest) = all.split_at(all.find(end).unwrap() + end.len());
    let mut chain = pem::decode(rest).unwrap();
    let anchor = chain.pop().unwrap();
    assert_eq!(chain.last(), Some(&anchor), "the chain ends at the anchor");
    let leaf = KeepCertificate::read(&chain[0]).unwrap();
    assert_eq!(leaf.id.to_string(), "spiffe://test.internal/exit/main");

    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let key = rustls::crypto::aws_lc_rs::sign::any_ecdsa_type(&key).unwrap();
    let matches = |certificate: &[u8]| {
        let certificates = vec![CertificateDer::from(certificate.to_vec())];
        rustls::sign::CertifiedKey::new(certificates, key.clone()).keys_match().is_ok()
    };
    assert!(matches(&chain[0]));
    assert!(!matches(&chain[1]), "control: another's certificate");
    let anchor = CertificateDer::from(anchor);
    let spki = ParsedCertificate::try_from(&anchor).unwrap().subject_public_key_info();
    assert_eq!(site.steward.fact("anchor"), Digest::of(&spki).to_string());

    // Another Keep of the same workload has another key.
    assert_ne!(read(&["key.pem"]), all[..all.find(end).unwrap() + end.len()]);
}

/// What a Keep with a certificate has for its program: files, signatures that another Keep of the same owner believes by their
/// role, evidence over what the program says.
#[test]
fn a_program_has_its_keeps_identity() {
    let site = Site::new(true);
    let plan = format!(
        "deployment = \"exit\"\ntrust_domain = \"test.internal\"\n[role.signer]\n[role.other]\n\
         [role.checker]\npeers = [\"signer\", \"other\"]\n[release]\nclass = \"insecure\"\nanchors = [\"{}\"]\n",
        site.steward.fact("anchor")
    );
    site.write("project/Deployment.toml", plan);
    let manifest = "program = \"main.wasm\"\nstdin = \"host\"\nstdout = \"host\"\nstderr = \"host\"\n\
                    [identity]\nfiles = true\n";
    site.write("project/Donjon.toml", manifest);
    let (token, signed) = (site.path("token"), site.path("project/deployment.cose"));
    let push = |role, form| {
        site.write("project/main.wasm", std::fs::read(support::attested(form)).unwrap());
        done(&words(&site.push(&["--token-file", &token, "--role", role])))
    };
    // Of both forms, so that each believes the other.
    let roles =
        [("other", support::Form::Module), ("signer", support::Form::Module), ("checker", support::Form::Component)];
    let digests = roles.map(|(role, form)| (role, push(role, form)));
    let keep = |role: &str, arguments: &[&str], input: &str| {
        let digest = digests.iter().find(|(known, _)| *known == role).map(|(_, digest)| digest).unwrap();
        let mut command = donjon(&words(&site.deploy(
            &format!("{}@{digest}", site.location),
            &[&["--deployment", &signed, "--role", role, "--"], arguments].concat(),
        )));
        let input = std::fs::File::open(site.write("input", input)).unwrap();
        let output = command.stdin(input).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        match output.status.code() {
            Some(0) => Ok(output.stdout),
            // Before it are the steps.
            Some(1) => Err(said.lines().last().unwrap().to_owned()),
            other => panic!("{other:?}: {said}"),
        }
    };

    let says =
        |role: &str, arguments: &[&str], input: &str| String::from_utf8(keep(role, arguments, input).unwrap()).unwrap();

    let names = ["anchors.pem", "brief", "certificates.pem", "claims.json", "evidence.csr"];
    for (role, more) in [("signer", &["connect", "listen"][..]), ("checker", &[])] {
        let mut all: Vec<_> = names.iter().chain(more).map(|name| format!("{name}\n")).collect();
        all.sort();
        assert_eq!(says(role, &["files"], ""), all.concat());
    }
    let anchors = pem::decode(&says("signer", &["cat", "anchors.pem"], "")).unwrap();
    let anchor =
        ParsedCertificate::try_from(&CertificateDer::from(anchors[0].clone())).unwrap().subject_public_key_info();
    assert_eq!(Digest::of(&anchor).to_string(), site.steward.fact("anchor"));
    let claims: serde_json::Value = serde_json::from_str(&says("checker", &["cat", "claims.json"], "")).unwrap();
    assert_eq!(claims["submods"]["keep"]["donjon.role"], "checker");

    // A signature, for whoever has the certificate and the specification, and for another Keep.
    let answer = says("signer", &["sign", "hello"], "");
    let (signature, certificates) = answer.split_once('\n').unwrap();
    let leaf = KeepCertificate::read(&pem::decode(certificates).unwrap()[0]).unwrap();
    assert_eq!(leaf.id.to_string(), "spiffe://test.internal/exit/signer");
    let key =
        aws_lc_rs::signature::ParsedPublicKey::new(&aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1, &leaf.spki).unwrap();
    let bytes = hex::decode(signature).unwrap();
    assert!(key.verify_sig(b"donjon-user-signature\x01hello", &bytes).is_ok());
    assert!(key.verify_sig(b"hello", &bytes).is_err(), "control: the data alone is not signed");
    let believed = says("checker", &["verify", "hello", signature, "other", "signer"], certificates);
    let believed: serde_json::Value = serde_json::from_str(&believed).unwrap();
    assert_eq!(believed["submods"]["keep"]["donjon.role"], "signer");
    let refused = |role, arguments: &[&str], certificates: &str| {
        let error = keep(role, &[&["verify"], arguments].concat(), certificates).unwrap_err();
        error.strip_prefix("error: ").unwrap().to_owned()
    };
    let (wrong, untrusted) = (
        "the signature is not of these bytes by that Keep",
        "the certificates are of no Keep that this one may believe",
    );
    assert_eq!(refused("checker", &["hallo", signature, "signer"], certificates), wrong);
    assert_eq!(refused("checker", &["hello", &format!("{signature}00"), "signer"], certificates), wrong);
    assert_eq!(refused("checker", &["hello", signature, "other"], certificates), untrusted, "in another role");
    assert_eq!(refused("checker", &["hello", signature], certificates), untrusted, "in no role");
    let root_alone = certificates.split_inclusive("-----END CERTIFICATE-----\n").last().unwrap();
    assert_eq!(refused("checker", &["hello", signature, "signer"], root_alone), untrusted);
    let not_a_peer = "the Deployment does not let this Keep talk to that role";
    assert_eq!(refused("checker", &["hello", signature, "checker"], certificates), not_a_peer);
    assert_eq!(refused("signer", &["hello", signature, "signer"], certificates), not_a_peer, "not even itself");
    let malformed = "no chain of certificates in PEM, or no name of a role";
    assert_eq!(refused("checker", &["hello", signature, "signer"], "x"), malformed);
    // Whose Steward is another's.
    let elsewhere = Site::new(true);
    let project = "program = \"main.wasm\"\nstdout = \"host\"\n";
    elsewhere.write("project/Donjon.toml", project);
    elsewhere.write("project/main.wasm", std::fs::read(support::attested(support::Form::Module)).unwrap());
    done(&words(&elsewhere.push(&["--token-file", &elsewhere.path("token")])));
    let deployment = elsewhere.path("project/deployment.cose");
    let theirs =
        done(&words(&elsewhere.deploy(&elsewhere.location, &["--deployment", &deployment, "--", "sign", "hello"])));
    let (signature, certificates) = theirs.split_once('\n').unwrap();
    let certificates = format!("{certificates}\n");
    assert_eq!(refused("checker", &["hello", signature, "signer", "other"], &certificates), untrusted);

    // Evidence: what the certificate was issued for, and over the program's own words.
    let policy = site.path("steward.toml");
    for role in ["signer", "checker"] {
        let request = site.write("evidence.csr", keep(role, &["cat", "evidence.csr"], "").unwrap());
        let (code, out, err) = run(&["verify", &request, "--policy", &policy]);
        assert_eq!(code, Some(0), "{out}{err}");
        let bundle = says(role, &["evidence", "hello"], "");
        let file = site.write("own.json", &bundle);
        let judged = |more: &[&str]| run(&[&["verify", &file, "--policy", &policy][..], more].concat());
        let (code, out, err) = judged(&[]);
        assert_eq!(code, Some(0), "{out}{err}");
        let bundle: serde_json::Value = serde_json::from_str(&bundle).unwrap();
        let launched = hex::decode(bundle["launch_field"].as_str().unwrap()).unwrap().try_into().unwrap();
        let binding = |purpose, data: &[u8]| hex::encode(report_data(purpose, &[], &launched, data));
        assert_eq!(judged(&["--nonce", &binding(Purpose::User, b"hello")]).0, Some(0));
        assert_eq!(judged(&["--nonce", &binding(Purpose::User, b"hallo")]).0, Some(1), "other words");
        assert_eq!(judged(&["--nonce", &binding(Purpose::Issue, b"hello")]).0, Some(1), "another purpose");
    }
}

#[test]
fn a_changed_program_is_the_next_version() {
    let site = Site::new(true);
    let token = site.path("token");
    let first = done(&words(&site.push(&["--token-file", &token])));
    site.write("project/main.wasm", program(9));
    let second = done(&words(&site.push(&["--token-file", &token])));
    assert_ne!(first, second);
    let (code, _, err) =
        run(&words(&site.deploy(&site.location, &["--deployment", &site.path("project/deployment.cose")])));
    assert_eq!(code, Some(9), "{err}");
}

/// Whatever a push came to, the next one is taken: nobody is locked out of his own repository.
#[test]
fn a_failed_push_does_not_lock_its_owner_out() {
    let site = Site::new(true);
    let token = site.path("token");
    let second = site.location.replace("team/exit", "team/second");
    done(&words(&site.push(&["--token-file", &token])));
    let signed = site.path("project/deployment.cose");
    let before = std::fs::read(&signed).unwrap();

    site.write("project/main.wasm", program(8));
    site.write("wrong-token", "not-a-token-of-this-registry");
    fails(&words(&site.push(&["--token-file", &site.path("wrong-token")])));
    assert_eq!(std::fs::read(&signed).unwrap(), before, "nothing was taken, so nothing is replaced");
    site.write("project/main.wasm", program(9));
    done(&words(&site.push(&["--token-file", &token])));

    // Each repository counts its own versions.
    for status in [10, 11] {
        site.write("project/main.wasm", program(status));
        done(&words(&site.push_to(&second, &["--token-file", &token])));
        done(&words(&site.push(&["--token-file", &token])));
    }
    let (code, _, err) = run(&words(&site.deploy(&second, &["--deployment", &signed])));
    assert_eq!(code, Some(11), "{err}");

    // What the owner lost, or signed on another machine, is continued only when he says so.
    std::fs::remove_dir_all(site.path("project/signed")).unwrap();
    site.write("project/main.wasm", program(12));
    let refused = fails(&words(&site.push(&["--token-file", &token])));
    let from = refused.split_once("--continue-from ").unwrap_or_else(|| panic!("{refused}")).1.trim();
    assert!(from.starts_with("4:sha256:"), "{refused}");
    done(&words(&site.push(&["--token-file", &token, "--continue-from", from])));
    site.write("project/main.wasm", program(13));
    done(&words(&site.push(&["--token-file", &token])));
}

/// A push decides about its own role; the workloads of others stay until they are revoked.
#[test]
fn a_push_of_one_role_leaves_the_others() {
    let site = Site::new(true);
    let token = site.path("token");
    let signed = site.path("project/deployment.cose");
    let plan = std::fs::read_to_string(site.path("project/Deployment.toml")).unwrap();
    site.write("project/Deployment.toml", format!("{plan}\n[role.other]\npeers = [\"main\"]\n"));
    let first = done(&words(&site.push(&["--token-file", &token])));
    site.write("project/main.wasm", program(8));
    let other = done(&words(&site.push(&["--token-file", &token, "--role", "other"])));
    let play = |role: &str| {
        let (code, _, err) = run(&words(&site.deploy(&site.location, &["--deployment", &signed, "--role", role])));
        code.unwrap_or_else(|| panic!("{err}"))
    };
    assert_eq!((play("main"), play("other")), (7, 8));

    // The workload pushed for a role takes the place of the one before, and of that only.
    site.write("project/main.wasm", program(9));
    done(&words(&site.push(&["--token-file", &token])));
    assert_eq!((play("main"), play("other")), (9, 8));
    let replaced = format!("{}@{first}", site.location);
    let replaced = fails(&words(&site.deploy(&replaced, &["--deployment", &signed, "--role", "main"])));
    assert!(replaced.contains("step 3"), "{replaced}");
    done(&words(&site.push(&["--token-file", &token, "--revoke", &other])));
    let revoked = fails(&words(&site.deploy(&site.location, &["--deployment", &signed, "--role", "other"])));
    assert!(revoked.contains("no role `other`"), "{revoked}");
}

/// What a publisher signs goes on under the Deployment that there is, and what is too old does not come back.
#[test]
fn rule_13_a_product_goes_on_from_version_to_version_and_never_back() {
    let site = Site::new(true);
    let token = site.path("token");
    let plan = std::fs::read_to_string(site.path("project/Deployment.toml")).unwrap();
    let least = |minimum: u32| {
        let product = format!("[role.main]\nproducts = [{{ name = \"shop\", minimum = {minimum} }}]\n");
        site.write("project/Deployment.toml", plan.replace("[role.main]\n", &product));
    };
    let push = |status: u8, extra: &[&str]| {
        site.write("project/main.wasm", program(status));
        words(&site.push(&[&["--token-file", &token], extra].concat())).iter().map(ToString::to_string).collect()
    };
    let push = |status, extra: &[&str]| -> Vec<String> { push(status, extra) };
    let published = |status, svn: &str| done(&words(&push(status, &["--product", "shop", "--svn", svn])));
    let signed = |name: &str| std::fs::read(site.path(&format!("project/{name}"))).unwrap();
    let deployment = site.path("project/deployment.cose");
    let deploy = |signature: &[u8]| {
        let signature = site.write("signature", signature);
        run(&words(&site.deploy(&site.location, &["--deployment", &deployment, "--signature", &signature])))
    };

    least(3);
    let unsigned = fails(&words(&push(3, &[])));
    assert!(unsigned.contains("signed by no publisher") && unsigned.contains("--svn"), "{unsigned}");
    let old = fails(&words(&push(3, &["--product", "shop", "--svn", "2"])));
    assert!(old.contains("version 2") && old.contains("from version 3 on"), "{old}");
    let other = fails(&words(&push(3, &["--product", "bank", "--svn", "3"])));
    assert!(other.contains("bank of publisher"), "{other}");
    done(&["init", &site.path(""), "--owner-key", &site.path("publisher.pem")]);
    let key = site.path("publisher.pem");
    let foreign = fails(&words(&push(3, &["--product", "shop", "--svn", "3", "--publisher-key", &key])));
    assert!(foreign.contains("may not be played by what is pushed"), "{foreign}");

    let first = published(3, "3");
    let (third, before) = (signed("workload.sig"), signed("deployment.cose"));
    let (code, _, err) = deploy(&third);
    assert!(code == Some(3) && err.contains("step 13"), "{err}");
    // The next version needs nothing new from the owner; the one before is as good as it was.
    let second = published(4, "4");
    let fourth = signed("workload.sig");
    assert!(first != second && third != fourth);
    assert_eq!(signed("deployment.cose"), before, "the same Deployment");
    assert_eq!((deploy(&fourth).0, deploy(&third).0), (Some(4), Some(3)));

    // Without the signature, with another's, and with one that was changed.
    let location = format!("{}@{second}", site.location);
    let none = fails(&words(&site.deploy(&location, &["--deployment", &deployment])));
    assert!(none.contains("signed by no publisher") && none.contains("--signature"), "{none}");
    let which = fails(&words(&site.deploy(&site.location, &["--deployment", &deployment])));
    assert!(which.contains("shop of publisher") && which.contains("--signature"), "{which}");
    let signature = site.write("signature", &third);
    let others = fails(&words(&site.deploy(&location, &["--deployment", &deployment, "--signature", &signature])));
    assert!(others.contains("is about workload"), "{others}");
    let mut changed = fourth.clone();
    let at = changed.windows(3).rposition(|three| three == b"\"4\"").unwrap();
    changed[at + 1] = b'9';
    let (code, _, err) = deploy(&changed);
    assert!(code == Some(125) && err.contains("does not verify"), "{err}");

    // What anybody can read is signed by anybody, after it was pushed; what is confidential is not there to be signed.
    let open = site.location.replace("/exit", "/open");
    site.write("other/main.wasm", program(5));
    site.write("other/Donjon.toml", "program = \"main.wasm\"\n");
    let pin = site.drawbridge.fact("pin");
    let other = site.path("other");
    let pushed = done(&["push", &open, &other, "--pin", pin, "--token-file", &token]);
    let (at, out) = (format!("{open}@{pushed}"), site.path("other.sig"));
    let sign = |at: &str| -> Vec<String> {
        let arguments = ["sign", at, "--product", "tool", "--svn", "1", "--publisher-key", &key, "--out", &out];
        [&arguments[..], &["--pin", pin, "--token-file", &token]].concat().iter().map(ToString::to_string).collect()
    };
    done(&words(&sign(&at)));
    let signature = identity::publisher::Signature::decode(&std::fs::read(&out).unwrap()).unwrap();
    assert_eq!(signature.workload().unwrap().to_string(), pushed);
    let tag = pushed.replace(':', "-") + ".sig";
    assert!(done(&["list", &open, "--pin", pin]).contains(&tag));
    let hidden = fails(&words(&sign(&location)));
    assert!(hidden.contains("sign what is confidential as it is pushed"), "{hidden}");

    // The owner lets nothing older run any more: the Deployment, whoever holds an old one the Steward's floor, and the release policy.
    least(4);
    let (project, owner) = (site.path("project"), site.path("owner.pem"));
    let set = ["policy", "set", &site.location, &project, "--owner-key", &owner, "--pin", pin, "--token-file", &token];
    done(&set);
    let now = signed("deployment.cose");
    assert_ne!(now, before, "another Deployment");
    done(&set);
    assert_eq!(signed("deployment.cose"), now, "nothing has changed");
    assert_eq!(deploy(&fourth).0, Some(4), "control");
    let (code, _, err) = deploy(&third);
    assert!(code == Some(125) && err.contains("version 3"), "{err}");
    let old = site.write("old.cose", &before);
    let signature = site.write("signature", &third);
    let (code, _, err) = run(&words(&site.deploy(&site.location, &["--deployment", &old, "--signature", &signature])));
    assert!(code == Some(125) && err.contains("drawbridge.denied"), "certified, and not released: {err}");
}

#[test]
fn another_owner_or_subject_overwrites_nothing() {
    let site = Site::new(true);
    let token = site.path("token");
    let push = |key: &str| {
        let arguments = site.push(&["--token-file", &token]);
        arguments.into_iter().map(|one| if one == site.path("owner.pem") { site.path(key) } else { one }).collect()
    };
    let push = |key: &str| -> Vec<String> { push(key) };
    let missing = fails(&words(&push("onwer.pem")));
    assert!(missing.contains("`donjon init`") && !Path::new(&site.path("onwer.pem")).exists(), "{missing}");
    done(&words(&push("owner.pem")));

    done(&["init", &site.path(""), "--owner-key", &site.path("second.pem")]);
    let signed = site.path("project/deployment.cose");
    let before = std::fs::read(&signed).unwrap();
    let foreign = fails(&words(&push("second.pem")));
    assert!(foreign.contains("was signed by owner"), "{foreign}");
    let plan = std::fs::read_to_string(site.path("project/Deployment.toml")).unwrap();
    site.write("project/Deployment.toml", plan.replace("\"exit\"", "\"else\""));
    let renamed = fails(&words(&push("owner.pem")));
    assert!(renamed.contains("is about `exit`, not `else`"), "{renamed}");
    assert_eq!(std::fs::read(&signed).unwrap(), before);
    site.write("project/Deployment.toml", plan);
    done(&words(&push("owner.pem")));
}

/// A misspelled listener would leave the service on all interfaces.
#[test]
fn an_unknown_listener_stops_a_deploy() {
    let site = Site::new(true);
    site.write("project/main.wasm", include_bytes!(env!("DONJON_GREETER")));
    let manifest =
        "program = \"main.wasm\"\nkind = \"http\"\n[[listen]]\nname = \"web\"\nport = 0\nprotocol = \"https\"\n";
    site.write("project/Donjon.toml", manifest);
    done(&words(&site.push(&["--token-file", &site.path("token")])));
    let signed = site.path("project/deployment.cose");
    let deploy = |listen: &str| site.deploy(&site.location, &["--deployment", &signed, "--listen", listen]);
    let unknown = fails(&words(&deploy("wbe=127.0.0.1:0")));
    assert!(unknown.contains("names only wbe") && unknown.contains("--listen web="), "{unknown}");
    assert!(!unknown.contains("step 13"), "it was not served: {unknown}");

    let mut serving = donjon(&words(&deploy("web=127.0.0.1:0"))).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(serving.stderr.take().unwrap()).lines();
    let served = lines.any(|line| line.unwrap().contains("web listens on 127.0.0.1:"));
    _ = serving.kill();
    _ = serving.wait();
    assert!(served, "control");
}

#[test]
fn a_steward_that_is_down_or_knows_no_such_tee() {
    let site = Site::new(false);
    let digest = done(&words(&site.push(&["--token-file", &site.path("token")])));
    assert!(digest.starts_with("sha256:"));
    let deployment = site.path("project/deployment.cose");
    let deploy = site.deploy(&site.location, &["--deployment", &deployment]);
    let refused = fails(&words(&deploy));
    assert!(refused.contains("policy.tee"), "{refused}");

    let mut site = site;
    site.steward.child.kill().unwrap();
    site.steward.child.wait().unwrap();
    let down = fails(&words(&deploy));
    assert!(down.contains("the Steward") && down.contains("cannot be reached"), "{down}");
}

#[test]
fn services_say_what_is_wrong_with_their_settings() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| -> PathBuf {
        let file = dir.path().join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    let serve = |policy: &Path| {
        fails(&["steward", "serve", "--policy", &policy.display().to_string(), "--listen", "127.0.0.1:0"])
    };

    let unknown = serve(&file("unknown.toml", "trust_domian = \"a.b\"\nany_platform = true\n"));
    assert!(unknown.contains("trust_domian") && unknown.contains("`trust_domain`"), "{unknown}");
    let platforms = serve(&file("platforms.toml", "trust_domain = \"a.b\"\n"));
    assert!(platforms.contains("platform"), "{platforms}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let good = file("good.toml", "trust_domain = \"a.b\"\nany_platform = true\n");
    let in_use = fails(&["steward", "serve", "--policy", &good.display().to_string(), "--listen", &address]);
    assert!(in_use.contains(&address), "{in_use}");

    let secrecy = file("drawbridge.toml", "[repository.\"a/b\"]\nacess = \"public\"\n");
    let tokens = file("tokens.toml", "");
    let store = dir.path().join("store").display().to_string();
    let unknown = fails(&[
        "drawbridge",
        "serve",
        "--settings",
        &secrecy.display().to_string(),
        "--tokens",
        &tokens.display().to_string(),
        "--store",
        &store,
        "--listen",
        "127.0.0.1:0",
        "--tls-self-made",
        "localhost",
    ]);
    assert!(unknown.contains("`access`"), "{unknown}");

    let open = file("open.toml", "[repository.\"a/b\"]\naccess = \"public\"\n").display().to_string();
    let drawbridge = |tokens: &str| {
        let store = format!("--store={store}");
        fails(&[
            "drawbridge",
            "serve",
            "--settings",
            &open,
            "--tokens",
            tokens,
            &store,
            "--listen=127.0.0.1:0",
            "--tls-self-made=localhost",
        ])
    };
    let misspelled = drawbridge(&file("misspelled.toml", "[[tokn]]\n").display().to_string());
    assert!(misspelled.contains("did you mean `token`?"), "{misspelled}");
    drawbridge(&dir.path().join("absent.toml").display().to_string());
    std::fs::create_dir(&store).unwrap();
    std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o755)).unwrap();
    let tokens = tokens.display().to_string();
    let others = drawbridge(&tokens);
    assert!(others.contains("755") && others.contains("chmod 700"), "{others}");
    std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o700)).unwrap();
    std::fs::write(Path::new(&store).join("drawbridge.sqlite"), "not what it was").unwrap();
    let damaged = drawbridge(&tokens);
    assert!(damaged.contains("cannot use the database"), "{damaged}");
}
