//! The folder of collateral while it serves: it is read again, by itself and when settings are.

use std::{fs, path::Path, time::Duration};

use evidence::{
    appraisal::{Need, needs::SnpKey},
    snp::ProductLine,
};
use hyper::StatusCode;
use identity::Algorithm;
use steward::{Handle, Settings, SettingsError, collateral::Folder, signer::Key};

use super::{
    CRL_END, DAY, NOW, POLICY, World, asked_with, connect, reload, send, start, translate,
    vendors::{Vendors, vcek_of},
};

const LINE: ProductLine = ProductLine::Genoa;

fn fill(folder: &Path, needs: &[Need]) {
    let vendors = Vendors::new(NOW - DAY, CRL_END);
    for need in needs {
        let (body, issuers) = vendors.answer(need).unwrap();
        Folder::new(folder).put(need, &body, issuers.as_bytes()).unwrap();
    }
}

fn all(world: &World) -> [Need; 3] {
    let chain = Need::SnpChain { line: LINE, key: SnpKey::Vcek };
    [chain, Need::SnpList { line: LINE }, vcek_of(&world.amd, world.amd.tcb())]
}

/// How a request ends that brings nothing but its report.
async fn ends(world: &World, handle: &Handle) -> Result<(), String> {
    let key = Key::random(Algorithm::EcdsaP256Sha256).unwrap();
    let (request, _) = asked_with(world, handle, &key, |_| {}, Default::default()).await.unwrap();
    let answer = send(connect(handle).await, translate(request)).await;
    if answer.status == StatusCode::OK { Ok(()) } else { Err(answer.cause()) }
}

fn with(world: &World, folder: &Path) -> Settings {
    let mut settings = reload::settings(world, POLICY);
    settings.collateral = Some(folder.to_owned());
    settings
}

#[tokio::test]
async fn what_is_put_in_the_folder_counts_soon() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let handle = start(&world, |settings| {
        settings.collateral = Some(folder.path().to_owned());
        settings.limits.collateral = Duration::from_millis(10);
    })
    .await;
    assert_eq!(ends(&world, &handle).await, Err("snp.vek.format".to_owned()));
    fill(folder.path(), &all(&world));
    super::soon(async { while ends(&world, &handle).await.is_err() {} }).await;
    // Broken: what was read stays. Taken away: it is gone.
    let list = folder.path().join(all(&world)[1].place());
    fs::write(&list, "half").unwrap();
    fs::remove_file(folder.path().join(all(&world)[2].place())).unwrap();
    super::soon(async { while ends(&world, &handle).await != Err("snp.vek.format".to_owned()) {} }).await;
    fill(folder.path(), &all(&world)[2..]);
    super::soon(async { while ends(&world, &handle).await.is_err() {} }).await;
    assert_eq!(fs::read(&list).unwrap(), b"half");
    handle.shutdown().await;
}

#[tokio::test]
async fn settings_that_are_read_again_read_the_folder_again() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let mut handle = start(&world, |settings| *settings = with(&world, folder.path())).await;
    fill(folder.path(), &all(&world));
    assert_eq!(ends(&world, &handle).await, Err("snp.vek.format".to_owned()), "nobody reads it yet");
    handle.reload(with(&world, folder.path())).await.unwrap();
    assert_eq!(ends(&world, &handle).await, Ok(()));

    // What cannot be read now was read before.
    fs::write(folder.path().join(all(&world)[1].place()), "half").unwrap();
    handle.reload(with(&world, folder.path())).await.unwrap();
    assert_eq!(ends(&world, &handle).await, Ok(()));

    let none = with(&world, &folder.path().join("none"));
    assert!(matches!(handle.reload(none).await, Err(SettingsError::Collateral(_))));
    assert_eq!(ends(&world, &handle).await, Ok(()), "it goes on as before");

    handle.reload(reload::settings(&world, POLICY)).await.unwrap();
    assert_eq!(ends(&world, &handle).await, Err("snp.vek.format".to_owned()), "without a folder");
}
