//! `donjon:keep/attestation` for components: what a Keep has beside WASI (`spec/wit/keep.wit`).
//!
//! Refuses lists before they are copied out of the program's memory. Invariant: what a program passes never traps.

use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, WasmList, WasmStr};

use super::component::Component;
use crate::own::{self, Lack, Own};

type Result<T> = std::result::Result<T, Lack>;

pub(super) fn add(linker: &mut Linker<Component>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("donjon:keep/attestation@0.1.0")?;
    instance.func_wrap("evidence", |store: Store<'_>, (data,): (WasmList<u8>,)| {
        Ok((bytes(&store, &data, own::EVIDENCE).and_then(|data| own(&store).evidence(data)),))
    })?;
    instance.func_wrap("derive-key", |store: Store<'_>, (context,): (WasmList<u8>,)| {
        let key = bytes(&store, &context, own::KEY).and_then(|context| own(&store).derive_key(context));
        Ok((key.map(Vec::from),))
    })?;
    instance.func_wrap("sign", |store: Store<'_>, (data,): (WasmList<u8>,)| {
        Ok((bytes(&store, &data, own::DATA).and_then(|data| own(&store).sign(data)),))
    })?;
    instance.func_wrap("verify", |mut store: Store<'_>, asked: Asked| Ok((verify(&mut store, &asked),)))
}

type Store<'a> = StoreContextMut<'a, Component>;

/// Data, signature, certificates, roles.
type Asked = (WasmList<u8>, WasmList<u8>, WasmStr, WasmList<WasmStr>);

fn own<'a>(store: &'a Store<'_>) -> &'a Own {
    store.data().own()
}

/// What is in the program's memory, if it is not too much.
fn bytes<'a>(store: &'a Store<'_>, list: &WasmList<u8>, most: usize) -> Result<&'a [u8]> {
    own::within(list.len(), most)?;
    Ok(list.as_le_slice(store))
}

fn verify(store: &mut Store<'_>, (data, signature, certificates, roles): &Asked) -> Result<String> {
    own::within(roles.len(), own::ROLES)?;
    let roles = roles.iter(&mut *store).and_then(|roles| roles.collect::<wasmtime::Result<Vec<WasmStr>>>());
    let roles = roles.map_err(|_| Lack::Malformed)?;
    let store = &*store;
    let text = |text: &WasmStr| text.to_str(store).map_err(|_| Lack::Malformed);
    let names = roles.iter().map(text).collect::<Result<Vec<_>>>()?;
    let (data, signature) = (bytes(store, data, own::DATA)?, bytes(store, signature, own::SIGNATURE)?);
    own(store).verify(data, signature, &text(certificates)?, names.iter().map(AsRef::as_ref))
}
