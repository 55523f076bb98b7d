//! EARs: of every vector of Azure's virtual machines, and what they say of PCRs.

use crate::support::issuer::{Issuer, comes_back, ear};
use crate::support::provider::PROVIDER;
use crate::vectors::{File, control, files};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use evidence::azure::HardwareClaims;
use evidence::ear::{Appraisal, Class, Conclusion, Ear, EarError, Rating, Tee, Tier};
use serde_json::{Value, json};

#[test]
fn every_vector_has_its_ear() {
    let (mut accepted, mut refused) = (0, 0);
    for (name, file) in files() {
        let result = file.verify(&file.bytes());
        let appraisal = Appraisal::of(&result);
        assert_eq!(appraisal.tee(), if file.snp.is_some() { Tee::AzureSnp } else { Tee::AzureTdx }, "{name}");
        let made = comes_back(&appraisal, file.now, Class::Insecure);
        assert_eq!(made.status(), Tier::Contraindicated, "{name}: simulated");
        let made = comes_back(&appraisal, file.now, Class::Hardware);
        match (appraisal.conclusion(), &result) {
            (Conclusion::Refused(failed), Err(verdict)) => {
                assert!(verdict.failures().map(|check| check.id).eq(failed.iter().map(String::as_str)), "{name}");
                assert_eq!(failed.first(), Some(&file.expect), "{name}");
                assert_eq!(made.status(), Tier::Contraindicated, "{name}");
                refused += 1;
            }
            (Conclusion::Accepted(facts), Ok((verified, _))) => {
                let (claims, expected) = (verified.claims(), file.expected());
                assert_eq!((facts.report_data, facts.brief), (expected.report_data, expected.launch_field), "{name}");
                assert_eq!(facts.pcrs, claims.pcrs, "{name}");
                assert_eq!(facts.collateral_end, claims.collateral_end(), "{name}");
                // The hardware's own field has something else, which is nobody's brief.
                let (measurement, registers, field) = match &claims.hardware {
                    HardwareClaims::Snp(snp) => (&snp.measurement.0, 0, &snp.host_data[..]),
                    HardwareClaims::Tdx(tdx) => (&tdx.measurement, 4, &tdx.config_id[..]),
                };
                assert_eq!(
                    (facts.measurement.as_bytes(), facts.registers.len()),
                    (&measurement[..], registers),
                    "{name}"
                );
                assert!(!field.starts_with(&facts.brief), "{name}");
                // The one whose policy lists paravisor, PCRs and virtual machine.
                let known = name == "ok-every-policy-key";
                let vector = appraisal.vector();
                assert_eq!(vector.executables, Some(if known { 3 } else { 33 }), "{name}");
                // AMD rates no TCB, and no policy here does.
                assert_eq!(made.status(), Tier::Warning, "{name}");
                let rated = file.snp.is_none();
                assert_eq!(
                    (facts.tcb_status == Rating::NotRated, vector.hardware == Some(32)),
                    (!rated, !rated),
                    "{name}"
                );
                assert_eq!(vector.instance_identity, known.then_some(2), "{name}");
                accepted += 1;
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(accepted > 5 && refused > 50, "{accepted} and {refused}");
}

/// Whoever lists the paravisor alone does not know what it runs, nor who lists PCRs by whose word they are.
#[test]
fn paravisor_and_system_are_both_recognised_or_nothing_is() {
    let (mut file, bytes) = control("ok-every-policy-key");
    let executables = |file: &File| Appraisal::of(&file.verify(&bytes)).vector().executables;
    assert_eq!(executables(&file), Some(3), "control");
    file.policy = "any_measurement = true".to_owned();
    assert_eq!(executables(&file), Some(33), "any paravisor");
    let (mut file, _) = control("ok-every-policy-key");
    file.azure_policy = "any_pcrs = true\nbrief_pcr = 13".to_owned();
    assert_eq!(executables(&file), Some(33), "any system");
    // Each of the PCRs alone: of the others any program can be the author, once firmware has started it.
    for (pcr, known) in [(4, 3), (7, 33), (11, 33)] {
        let (mut file, _) = control("ok-every-policy-key");
        let listed = file.azure_policy.lines().find(|line| line.starts_with(&format!("{pcr} = ["))).expect("a PCR");
        file.azure_policy = format!("brief_pcr = 13\n[pcrs]\n{listed}\n");
        assert_eq!(executables(&file), Some(known), "PCR {pcr} alone");
    }
}

/// Without a PCR for it there is no brief, and no EAR that says one.
#[test]
fn nothing_is_said_of_a_brief_that_no_pcr_has() {
    let (file, bytes) = control("snp-brief-without-pcr");
    let appraisal = Appraisal::of(&file.verify(&bytes));
    assert_eq!(*appraisal.conclusion(), Conclusion::Refused(vec!["azure.launch_field".to_owned()]));
    assert_eq!(appraisal.vector().configuration, Some(96));
    assert_eq!(appraisal.vector().hardware, None);
}

#[test]
fn every_pcr_is_there_once_in_one_spelling() {
    let issuer = Issuer::new(1);
    let (file, bytes) = control("ok-some-pcrs");
    let made = ear(Appraisal::of(&file.verify(&bytes)), file.now, Class::Hardware);
    let good = issuer.sign(&made);
    let parts: Vec<&str> = good.split('.').collect();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).expect("base64url")).expect("JSON");
    let verify = |claims: &str| {
        let message = format!("{}.{}", parts[0], URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(issuer.signature(message.as_bytes()));
        Ear::verify(&format!("{message}.{signature}"), &issuer.expecting(file.now), PROVIDER)
    };
    assert_eq!(verify(&claims.to_string()), Ok(made), "control");

    let place = "/submods/azure-snp/donjon.pcrs";
    let pcrs = claims.pointer(place).and_then(Value::as_object).expect("PCRs").clone();
    let (index, value) = pcrs.iter().next().expect("one at least");
    let with = |pcrs: Value| {
        let mut claims = claims.clone();
        *claims.pointer_mut(place).expect("PCRs") = pcrs;
        claims.to_string()
    };
    for wrong in [
        json!({}),
        json!(null),
        json!([value]),
        json!({ "24": value }),
        json!({ "-1": value }),
        json!({ "04": value }),
        json!({ "+4": value }),
        json!({ "4": value.as_str().expect("text").to_uppercase() }),
        json!({ "4": "ab".repeat(48) }),
        json!({ "4": null }),
    ] {
        let error = verify(&with(wrong.clone()));
        assert!(matches!(error, Err(EarError::Claims(_))), "{wrong}: {error:?}");
    }
    let one = format!("\"{index}\":{value}");
    let text = claims.to_string();
    assert_eq!(text.matches(&one).count(), 1, "{text}");
    let error = verify(&text.replace(&one, &format!("{one},{one}")));
    assert!(matches!(error, Err(EarError::Claims(_))), "{error:?}");
    let mut without = claims.clone();
    without["submods"]["azure-snp"].as_object_mut().expect("an object").remove("donjon.pcrs");
    let error = verify(&without.to_string());
    assert!(matches!(error, Err(EarError::Contradiction(_))), "{error:?}");
}
