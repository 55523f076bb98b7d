//! EARs: of every vector of SNP, and what is refused of one.

use crate::support::issuer::{Issuer, NONCE, comes_back, ear};
use crate::support::provider::PROVIDER;
use crate::vectors::{Case, cases};
use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};
use evidence::ear::{Appraisal, Class, Conclusion, Ear, EarError, Expecting, LIMIT, PROFILE, Rating, SignError, Tier};
use evidence::snp::Platforms;
use serde_json::{Value, json};
use std::convert::Infallible;

const NOW: u64 = 1_767_225_600;

/// The least there is, of every product line.
const FLOOR: &str = "minimum_tcb.milan = { bootloader = 0, tee = 0, snp = 0, microcode = 0 }
minimum_tcb.genoa = { bootloader = 0, tee = 0, snp = 0, microcode = 0 }
minimum_tcb.turin = { fmc = 0, bootloader = 0, tee = 0, snp = 0, microcode = 0 }
";
const SIGNER: &str = "signer = [\"{55*48}\"]\n";
const IMAGE: &str = "image_id = [\"{07*16}\"]\n";

/// What is said of a vector with an ID block, under another policy; `{hh*n}` are digits.
fn under(policy: &[&str]) -> Appraisal {
    let digits = |text: String, (hh, n): (&str, usize)| text.replace(&format!("{{{hh}*{n}}}"), &hh.repeat(n));
    let all = [("33", 48), ("44", 48), ("55", 48), ("06", 16), ("07", 16)];
    let policy = all.into_iter().fold(policy.concat(), digits);
    let case = cases().into_iter().find(|case| case.name == "ok-id-block").expect("the vector");
    assert_eq!(case.now, NOW);
    let policy = toml::from_str(&policy).unwrap_or_else(|error| panic!("{policy}: {error}"));
    let appraisal = Appraisal::of(&Case { policy, ..case }.verify());
    assert!(matches!(appraisal.conclusion(), Conclusion::Accepted(_)), "{:?}", appraisal.conclusion());
    appraisal
}

/// Under a policy that lists who signs which image, and has a floor.
fn accepted() -> Ear {
    let appraisal = under(&[SIGNER, IMAGE, FLOOR]);
    let made = Ear { expires: NOW + 100, ..ear(appraisal, NOW, Class::Hardware) };
    assert_eq!(made.status(), Tier::Affirming);
    made
}

/// AMD rates no TCB: where the policy has no floor, the oldest firmware there is would have been accepted.
#[test]
fn without_a_floor_nobody_rated_the_tcb() {
    let of = |policy: &[&str]| {
        let appraisal = under(policy);
        let made = comes_back(&appraisal, NOW, Class::Hardware);
        let Conclusion::Accepted(facts) = appraisal.conclusion() else { panic!("accepted") };
        (facts.tcb_status, appraisal.vector().hardware, made.status())
    };
    assert_eq!(of(&[SIGNER, IMAGE, FLOOR]), (Rating::MeetsPolicy, Some(2), Tier::Affirming));
    assert_eq!(of(&[SIGNER, IMAGE]), (Rating::NotRated, Some(32), Tier::Warning));
    let said = claims(&Issuer::new(1).sign(&ear(under(&[SIGNER, IMAGE]), NOW, Class::Hardware)));
    assert_eq!(said.pointer("/submods/snp/donjon.tcb-status"), Some(&json!("NotRated")));
}

/// A signer signs old images and new ones, and images of others.
#[test]
fn a_signer_alone_does_not_say_what_was_launched() {
    let id_key = "id_key_digest = [\"{44*48}\"]\n";
    let family = "family_id = [\"{06*16}\"]\n";
    for (policy, executables) in [
        (&["hash = [\"{33*48}\"]\n"][..], 3),
        (&[SIGNER, IMAGE], 3),
        (&[SIGNER, family], 3),
        (&[id_key, IMAGE], 3),
        (&[id_key, family], 3),
        (&[SIGNER], 33),
        (&[id_key], 33),
        (&[SIGNER, id_key, "minimum_guest_svn = 3\n"], 33),
        (&["any_measurement = true\n"], 33),
    ] {
        assert_eq!(under(policy).vector().executables, Some(executables), "{policy:?}");
    }
}

fn claims(jwt: &str) -> Value {
    let part = jwt.split('.').nth(1).expect("claims");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}

/// A JWT of any header and claims, rightly signed.
fn jwt(issuer: &Issuer, header: &str, claims: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = issuer.signature(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn header(jwt: &str) -> String {
    let part = jwt.split('.').next().expect("a header");
    String::from_utf8(URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("text")
}

fn verify(jwt: &str, issuer: &Issuer) -> Result<Ear, EarError> {
    Ear::verify(jwt, &issuer.expecting(NOW), PROVIDER)
}

#[test]
fn every_vector_has_its_ear() {
    let (mut affirmed, mut refused) = (0, 0);
    for case in cases() {
        let result = case.verify();
        let appraisal = Appraisal::of(&result);
        let made = comes_back(&appraisal, case.now, Class::Insecure);
        assert_eq!(made.status(), Tier::Contraindicated, "{}: simulated", case.name);
        match appraisal.conclusion() {
            Conclusion::Refused(failed) => {
                assert_eq!(failed.first(), Some(&case.expect), "{}", case.name);
                let hardware = comes_back(&appraisal, case.now, Class::Hardware);
                assert_eq!(hardware.status(), Tier::Contraindicated, "{}", case.name);
                refused += 1;
            }
            Conclusion::Accepted(facts) => {
                assert_eq!(case.expect, "ok", "{}", case.name);
                assert_eq!(facts.report_data, case.expected.report_data, "{}", case.name);
                assert_eq!(facts.brief, case.expected.launch_field, "{}", case.name);
                let listed = matches!(case.platforms, Platforms::Only(_));
                assert_eq!(appraisal.vector().instance_identity, listed.then_some(2), "{}", case.name);
                affirmed += 1;
            }
        }
    }
    assert!(affirmed > 5 && refused > 50, "{affirmed} and {refused}");
}

#[test]
fn claims_have_the_names_of_the_draft_and_ours() {
    let (issuer, ear) = (Issuer::new(1), accepted());
    let Conclusion::Accepted(facts) = ear.appraisal.conclusion() else { panic!("accepted") };
    let expected = json!({
        "eat_profile": "tag:ietf.org,2026:rats/ear#03",
        "iat": NOW,
        "exp": NOW + 100,
        "eat_nonce": "BQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU",
        "ear_verifier_id": { "build": "test 1", "developer": "https://example.org" },
        "submods": { "snp": {
            "ear_status": "affirming",
            "ear_trustworthiness_vector":
                { "hardware": 2, "configuration": 2, "executables": 3, "runtime-opaque": 2 },
            "ear_appraisal_policy_ids": ["sha256:00"],
            "donjon.class": "hardware",
            "donjon.product": facts.product,
            "donjon.measurement": facts.measurement.to_string(),
            "donjon.registers": [],
            "donjon.brief": format!("sha256:{}", hex::encode(facts.brief)),
            "donjon.report-data": hex::encode(facts.report_data),
            "donjon.tcb": facts.tcb,
            "donjon.tcb-status": "MeetsPolicy",
            "donjon.advisories": [],
            "donjon.collateral-end": facts.collateral_end,
        } },
    });
    let mut found = claims(&issuer.sign(&ear));
    let submod = found["submods"]["snp"].as_object_mut().expect("snp");
    submod.remove("donjon.signer");
    assert_eq!(found, expected, "{found:#}");
}

/// Somebody else's implementation reads ours.
#[cfg(not(target_family = "wasm"))]
#[test]
fn another_implementation_accepts_it() {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
    let issuer = Issuer::new(1);
    let text = issuer.sign(&accepted());
    let mut validation = Validation::new(Algorithm::ES384);
    // It would read the clock.
    validation.validate_exp = false;
    validation.required_spec_claims.clear();
    let key = |issuer: &Issuer| DecodingKey::from_ec_der(&issuer.spki[23..]);
    let read = decode::<Value>(&text, &key(&issuer), &validation).expect("a JWT");
    assert_eq!(read.claims, claims(&text));
    assert_eq!((read.header.alg, read.header.typ.as_deref()), (Algorithm::ES384, Some("eat+jwt")));
    assert!(decode::<Value>(&text, &key(&Issuer::new(2)), &validation).is_err());
}

#[test]
fn one_algorithm_one_key_one_spelling_of_the_header() {
    let (issuer, other) = (Issuer::new(1), Issuer::new(2));
    let good = issuer.sign(&accepted());
    let (head, body) = (header(&good), claims(&good).to_string());
    assert!(verify(&jwt(&issuer, &head, &body), &issuer).is_ok(), "control");
    for changed in [
        r#"{"alg":"none"}"#.to_owned(),
        head.replace("ES384", "none"),
        head.replace("ES384", "None"),
        head.replace("ES384", "HS384"),
        head.replace("ES384", "ES256"),
        head.replace("ES384", "es384"),
        head.replace("eat+jwt", "JWT"),
        head.replace("\"typ\"", "\"crit\":[\"b64\"],\"b64\":false,\"typ\""),
        head.replace("\"typ\"", "\"jwk\":{},\"typ\""),
        head.replace("\"alg\":\"ES384\"", "\"alg\":\"ES384\",\"alg\":\"none\""),
        head.replace(':', ": "),
        header(&other.sign(&accepted())),
        String::new(),
    ] {
        assert_ne!(changed, head);
        assert_eq!(verify(&jwt(&issuer, &changed, &body), &issuer), Err(EarError::Header), "{changed}");
    }
    // The other's key under our name, and ours under the other's.
    assert_eq!(verify(&jwt(&other, &head, &body), &issuer), Err(EarError::Signature));
    assert_eq!(verify(&good, &other), Err(EarError::Header));
    let unsigned = format!("{}.", good.rsplit_once('.').expect("three parts").0);
    assert_eq!(verify(&unsigned, &issuer), Err(EarError::Signature));
    // A key that is no P-384 key verifies nothing, whatever the header says.
    let short = Expecting { spki: &issuer.spki[..119], ..issuer.expecting(NOW) };
    assert_eq!(Ear::verify(&good, &short, PROVIDER), Err(EarError::Header));
}

#[test]
fn the_form_is_three_parts_without_padding() {
    let issuer = Issuer::new(1);
    let good = issuer.sign(&accepted());
    let parts: Vec<&str> = good.split('.').collect();
    let [head, body, signature] = parts[..] else { panic!("three parts") };
    let bytes = URL_SAFE_NO_PAD.decode(body).expect("base64url");
    // A space more, so that there is something to pad.
    let longer = [&bytes[..], b" ", if bytes.len() % 3 == 2 { b" " } else { b"" }].concat();
    let padded = URL_SAFE.encode(&longer);
    assert!(padded.ends_with('='));
    let signed = |body: &str| {
        let message = format!("{head}.{body}");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(issuer.signature(message.as_bytes())))
    };
    assert!(verify(&signed(&URL_SAFE_NO_PAD.encode(&longer)), &issuer).is_ok(), "control");
    for (changed, error) in [
        (signed(&padded), EarError::Form("claims")),
        (signed(&format!("{body}+/")), EarError::Form("claims")),
        (signed(&format!("{body}\n")), EarError::Form("claims")),
        (format!("{good}="), EarError::Form("signature")),
        (format!("{good}\n"), EarError::Form("signature")),
        (format!("{good} "), EarError::Form("signature")),
        (format!("{good}.{signature}"), EarError::Form("claims")),
        (format!("{head}.{body}"), EarError::Form("three parts")),
        (String::new(), EarError::Form("three parts")),
        (format!("{good}AAAA"), EarError::Signature),
        (format!(" {good}"), EarError::Header),
        ("a".repeat(LIMIT + 1), EarError::TooLong { found: LIMIT + 1 }),
    ] {
        assert_eq!(verify(&changed, &issuer), Err(error), "{changed}");
    }
    let mut long = accepted();
    long.policy = "p".repeat(LIMIT);
    let error = long.sign(&issuer.spki, |message| Ok::<_, Infallible>(issuer.signature(message)));
    assert!(matches!(error, Err(SignError::Ear(EarError::TooLong { .. }))), "{error:?}");
}

#[test]
fn every_claim_is_there_once_and_no_other() {
    let issuer = Issuer::new(1);
    let good = issuer.sign(&accepted());
    let (head, whole) = (header(&good), claims(&good));
    let refused = |claims: &str| match verify(&jwt(&issuer, &head, claims), &issuer) {
        Err(EarError::Claims(_) | EarError::Contradiction(_)) => {}
        other => panic!("{claims}: {other:?}"),
    };
    let mut changed = 0;
    for place in ["", "/ear_verifier_id", "/submods", "/submods/snp", "/submods/snp/ear_trustworthiness_vector"] {
        let object = whole.pointer(place).and_then(Value::as_object).expect("an object");
        let edited = |edit: &dyn Fn(&mut serde_json::Map<String, Value>)| {
            let mut whole = whole.clone();
            edit(whole.pointer_mut(place).and_then(Value::as_object_mut).expect("an object"));
            whole.to_string()
        };
        refused(&edited(&|object| _ = object.insert("donjon.more".to_owned(), json!(1))));
        for (name, value) in object {
            // One aspect less is another vector; which aspects there are, the issuer decides.
            let optional = place.ends_with("vector") || matches!(name.as_str(), "donjon.signer");
            if !optional {
                refused(&edited(&|object| _ = object.remove(name)));
            }
            refused(&edited(&|object| _ = object.insert(name.clone(), Value::Null)));
            refused(&edited(&|object| _ = object.insert(name.clone(), json!(1.5))));
            // The same member once more, with the same value.
            let spelled = format!("{}:{value}", json!(name));
            let text = whole.to_string();
            assert_eq!(text.matches(&spelled).count(), 1, "{spelled}");
            refused(&text.replace(&spelled, &format!("{spelled},{spelled}")));
            changed += 1;
        }
    }
    assert!(changed >= 6 + 2 + 1 + 13 + 4, "{changed}");
    for text in [format!("{whole}{whole}"), format!("{whole},"), format!("[{whole}]"), "null".to_owned()] {
        refused(&text);
    }
    let second = whole.to_string().replace("\"submods\":{", "\"submods\":{\"sgx\":{},");
    refused(&second);
}

#[test]
fn what_is_said_must_follow() {
    let issuer = Issuer::new(1);
    let good = issuer.sign(&accepted());
    let (head, whole) = (header(&good), claims(&good));
    let edited = |place: &str, value: Value| {
        let mut whole = whole.clone();
        *whole.pointer_mut(place).unwrap_or_else(|| panic!("{place}")) = value;
        verify(&jwt(&issuer, &head, &whole.to_string()), &issuer)
    };
    assert!(edited("/iat", json!(NOW)).is_ok(), "control");
    let other = "tag:github.com,2023:veraison/ear";
    assert_eq!(edited("/eat_profile", json!(other)), Err(EarError::Profile { found: other.to_owned() }));
    assert_ne!(other, PROFILE);
    for (place, value) in [
        ("/submods/snp/ear_status", json!("warning")),
        ("/submods/snp/ear_status", json!("contraindicated")),
        ("/submods/snp/ear_trustworthiness_vector/hardware", json!(32)),
        ("/submods/snp/ear_trustworthiness_vector/hardware", json!(96)),
        ("/submods/snp/ear_trustworthiness_vector", json!({})),
        ("/submods/snp/donjon.class", json!("insecure")),
        ("/submods/snp/donjon.collateral-end", json!(NOW)),
        ("/exp", json!(NOW)),
    ] {
        let error = edited(place, value);
        assert!(matches!(error, Err(EarError::Contradiction(_))), "{place}: {error:?}");
    }
    for (place, value) in [
        ("/iat", json!(1_767_225_600.0)),
        ("/iat", json!("1767225600")),
        ("/iat", json!(-1)),
        ("/submods/snp/ear_trustworthiness_vector/hardware", json!(128)),
        ("/submods/snp/ear_status", json!("Affirming")),
        ("/submods/snp/ear_status", json!(2)),
        ("/submods/snp/ear_appraisal_policy_ids", json!([])),
        ("/submods/snp/ear_appraisal_policy_ids", json!(["a", "b"])),
        ("/submods/snp/donjon.class", json!("sim")),
        ("/submods/snp/donjon.measurement", json!("AB".repeat(48))),
        ("/submods/snp/donjon.measurement", json!("ab".repeat(47))),
        ("/submods/snp/donjon.brief", json!("ab".repeat(32))),
        ("/submods/snp/donjon.report-data", json!("ab".repeat(63))),
        ("/submods/snp/donjon.tcb-status", json!("Fine")),
        ("/eat_nonce", json!("BQU=")),
    ] {
        let error = edited(place, value.clone());
        assert!(matches!(error, Err(EarError::Claims(_))), "{place} {value}: {error:?}");
    }
    // Facts and failures exclude each other.
    let mut both = whole.clone();
    both["submods"]["snp"]["donjon.failed"] = json!(["snp.vmpl"]);
    let error = verify(&jwt(&issuer, &head, &both.to_string()), &issuer);
    assert!(matches!(error, Err(EarError::Contradiction(_))), "{error:?}");
    // There is no vTPM; nor is it a virtual machine of Azure because somebody calls it that.
    let mut registers = whole.clone();
    registers["submods"]["snp"]["donjon.pcrs"] = json!({ "0": "00".repeat(32) });
    let renamed = whole.to_string().replace("\"snp\":{", "\"azure-snp\":{");
    assert_ne!(renamed, whole.to_string());
    for changed in [registers.to_string(), renamed] {
        let error = verify(&jwt(&issuer, &head, &changed), &issuer);
        assert!(matches!(error, Err(EarError::Contradiction(_))), "{changed}: {error:?}");
    }
}

#[test]
fn nonce_and_time_are_the_readers() {
    let issuer = Issuer::new(1);
    let made = accepted();
    let good = issuer.sign(&made);
    let by = |expecting: Expecting<'_>| Ear::verify(&good, &expecting, PROVIDER);
    let at = |now| Expecting { max_age: 1000, ..issuer.expecting(now) };
    assert!(by(at(NOW)).is_ok() && by(at(NOW + 99)).is_ok(), "control");
    assert_eq!(by(at(NOW + 100)), Err(EarError::Late { end: NOW + 99, now: NOW + 100 }));
    assert_eq!(by(at(NOW - 1)), Err(EarError::Early { issued_at: NOW, now: NOW - 1 }));
    assert!(by(Expecting { ahead: 1, ..at(NOW - 1) }).is_ok());
    assert!(by(Expecting { max_age: 50, ..at(NOW + 50) }).is_ok());
    assert_eq!(by(Expecting { max_age: 50, ..at(NOW + 51) }), Err(EarError::Late { end: NOW + 50, now: NOW + 51 }));
    for nonce in [&[][..], &NONCE[1..], &[6; 32]] {
        assert_eq!(by(Expecting { nonce, ..at(NOW) }), Err(EarError::Nonce));
    }
    for length in [0, 15, 65] {
        let odd = Ear { nonce: vec![5; length], ..made.clone() };
        let error = odd.sign(&issuer.spki, |message| Ok::<_, Infallible>(issuer.signature(message)));
        assert_eq!(error, Err(SignError::Ear(EarError::Nonce)), "{length}");
    }
    let Conclusion::Accepted(facts) = made.appraisal.conclusion() else { panic!("accepted") };
    for (expires, good) in [(facts.collateral_end + 1, true), (facts.collateral_end + 2, false), (NOW, false)] {
        let ear = Ear { expires, ..made.clone() };
        let signed = ear.sign(&issuer.spki, |message| Ok::<_, Infallible>(issuer.signature(message)));
        assert_eq!(signed.is_ok(), good, "{expires}");
    }
    let failing = made.sign(&issuer.spki, |_| Err("no token in the slot"));
    assert_eq!(failing, Err(SignError::Key("no token in the slot")));
}

#[test]
fn no_bit_is_free() {
    let issuer = Issuer::new(1);
    let good = issuer.sign(&accepted());
    assert!(verify(&good, &issuer).is_ok(), "control");
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        // What is no UTF-8 is no text, and refused by its type.
        if let Ok(flipped) = String::from_utf8(bytes) {
            assert!(verify(&flipped, &issuer).is_err(), "bit {bit}");
        }
    }
}
