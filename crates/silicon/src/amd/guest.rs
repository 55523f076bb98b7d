//! A launched guest, as the firmware knows it: what it answers to guest messages (AMD 56860, revision 1.58, chapter Guest
//! Messages): reports, derived keys, the time-stamp counter.
//!
//! Owns the guest's context after the launch. Reports say what the context says; a derived key is made of the chip's
//! root or the guest's, the VMPL, and exactly the fields that were selected: nothing of the host is in it.
//!
//! Refuses by the answer's status where the message was good and its question is not; by [`RequestError`] where there is
//! nobody to answer.

use std::fmt;
use std::sync::Arc;

use super::id_block::Identity;
use super::launch::{Launch, Tsc};
use super::message::{Keys, Request, RequestError};
use super::{Amd, REPORT_LEN, ReportRequest};
use crate::derive::derive_bytes;

/// MSG_TYPE of what is answered; the answer's is one more.
const KEY_REQUEST: u8 = 3;
const REPORT_REQUEST: u8 = 5;
const TSC_INFO_REQUEST: u8 = 17;

/// STATUS of an answer: parameters that are not allowed, and a key that is not there.
const INVALID_PARAMETERS: u32 = 0x16;
const INVALID_KEY: u32 = 0x27;

/// The largest VMPL.
const LAST_VMPL: u32 = 3;
/// Flags of a report: AUTHOR_KEY_EN.
const AUTHOR_KEY_EN: u32 = 1;

/// What a hostile host makes of the request for a report.
type Tampering = dyn Fn(&mut ReportRequest) + Send + Sync;

/// A guest that runs.
#[derive(Clone)]
pub struct Guest {
    amd: Amd,
    policy: u64,
    measurement: [u8; 48],
    host_data: [u8; 32],
    identity: Identity,
    instance: [u8; 32],
    tsc: Tsc,
    mitigations: u64,
    keys: Keys,
    tampering: Option<Arc<Tampering>>,
}

impl Guest {
    pub(super) fn new(launch: &Launch, host_data: [u8; 32], identity: Identity) -> Self {
        Self {
            amd: launch.amd().clone(),
            policy: launch.policy(),
            measurement: launch.digest(),
            host_data,
            identity,
            instance: *launch.instance(),
            tsc: launch.tsc(),
            mitigations: launch.mitigations(),
            keys: Keys { keys: [0, 1, 2, 3].map(|number| launch.vmpck(number)), counts: [0; 4] },
            tampering: None,
        }
    }

    /// The same guest under a host that launches guests, and lets them be answered, as it likes: `tampering` changes each
    /// report before it is signed. The firmware has no such command; it is for showing that such reports are refused.
    #[must_use]
    pub fn with_hostile_host(self, tampering: impl Fn(&mut ReportRequest) + Send + Sync + 'static) -> Self {
        Self { tampering: Some(Arc::new(tampering)), ..self }
    }

    /// MEASUREMENT.
    #[must_use]
    pub fn measurement(&self) -> [u8; 48] {
        self.measurement
    }

    /// SNP_GUEST_REQUEST: the answer to one message, for the host to carry back.
    ///
    /// # Errors
    /// [`RequestError`] if there is no message to answer; its sequence number is then still free.
    pub fn request(&mut self, message: &[u8; 4096]) -> Result<[u8; 4096], RequestError> {
        let request = self.keys.open(message)?;
        let answer = match request.kind {
            KEY_REQUEST => self.key(&request)?,
            REPORT_REQUEST => self.report(&request)?,
            TSC_INFO_REQUEST => self.tsc_info(&request)?,
            found => return Err(RequestError::Type { found }),
        };
        Ok(self.keys.seal(&request, &answer))
    }

    /// MSG_REPORT_REQ: REPORT_DATA, VMPL at 40h, KEY_SEL at 44h. MSG_REPORT_RSP: STATUS, REPORT_SIZE, the report at 20h.
    fn report(&self, request: &Request) -> Result<Vec<u8>, RequestError> {
        let payload: &[u8; 0x60] = sized(request, &[1])?;
        let refused = |status: u32| {
            let mut out = vec![0; 0x20];
            out[..4].copy_from_slice(&status.to_le_bytes());
            Ok(out)
        };
        let (vmpl, selected) = (word(payload, 0x40), word(payload, 0x44));
        if !self.may_speak_for(request, vmpl) || selected > 2 || payload[0x48..].iter().any(|byte| *byte != 0) {
            return refused(INVALID_PARAMETERS);
        }
        // This chip has no VLEK: 0 and 1 are the VCEK.
        if selected == 2 {
            return refused(INVALID_KEY);
        }
        let Identity { family_id, image_id, guest_svn, id_key_digest, author_key_digest } = &self.identity;
        let mut report = ReportRequest {
            guest_svn: *guest_svn,
            policy: self.policy,
            family_id: *family_id,
            image_id: *image_id,
            vmpl,
            flags: if author_key_digest.is_some() { AUTHOR_KEY_EN } else { 0 },
            report_data: array(payload, 0),
            measurement: self.measurement,
            host_data: self.host_data,
            id_key_digest: *id_key_digest,
            author_key_digest: author_key_digest.unwrap_or([0; 48]),
            report_id: derive_bytes(&self.instance, "REPORT_ID", &[]),
            launch_mitigations: self.mitigations,
            current_mitigations: self.mitigations,
            ..self.amd.request()
        };
        if let Some(tampering) = &self.tampering {
            tampering(&mut report);
        }
        let mut out = vec![0; 0x20 + REPORT_LEN];
        out[4..8].copy_from_slice(&0x4a0u32.to_le_bytes());
        out[0x20..].copy_from_slice(&self.amd.report(&report));
        Ok(out)
    }

    /// MSG_KEY_REQ, versions 1 and 2 (with LAUNCH_MIT_VECTOR). MSG_KEY_RSP: STATUS, the key at 20h.
    fn key(&self, request: &Request) -> Result<Vec<u8>, RequestError> {
        // Version 1 is version 2 without a field, and without the bit that selects it.
        let mut whole = [0; 0x28];
        if request.version == 1 {
            whole[..0x20].copy_from_slice(sized::<0x20>(request, &[1])?);
        } else {
            whole = *sized(request, &[1, 2])?;
        }
        let fields = if request.version == 1 { 6 } else { 7 };
        let mut out = vec![0; 0x40];
        match self.derive(request, &whole, fields) {
            Ok(key) => out[0x20..].copy_from_slice(&key),
            Err(status) => out[..4].copy_from_slice(&status.to_le_bytes()),
        }
        Ok(out)
    }

    /// The derived key, where the first `fields` bits of GUEST_FIELD_SELECT are defined; or a STATUS.
    fn derive(&self, request: &Request, payload: &[u8; 0x28], fields: u32) -> Result<[u8; 32], u32> {
        let (root, reserved, vmpl) = (word(payload, 0x00), word(payload, 0x04), word(payload, 0x10));
        let (selected, svn): (u64, u32) = (u64::from_le_bytes(array(payload, 0x08)), word(payload, 0x14));
        let (tcb, mitigations): ([u8; 8], u64) = (array(payload, 0x18), u64::from_le_bytes(array(payload, 0x20)));
        let committed = self.amd.request().committed_tcb.to_bytes(self.amd.product());
        let (vmrk, key_selected) = (root & 1 != 0, root >> 1);
        if reserved != 0
            || key_selected > 2
            || selected >> fields != 0
            || !self.may_speak_for(request, vmpl)
            || svn > self.identity.guest_svn
            || tcb.iter().zip(committed).any(|(asked, committed)| *asked > committed)
            || mitigations & !self.mitigations != 0
        {
            return Err(INVALID_PARAMETERS);
        }
        // This chip has no VLEK; of the VMRK there is one.
        if key_selected == 2 && !vmrk {
            return Err(INVALID_KEY);
        }
        let root = if vmrk {
            derive_bytes::<32>(&self.instance, "VMRK", &[])
        } else {
            derive_bytes(&self.amd.seed, "VCEK of derived keys", &[self.amd.product().name().as_bytes()])
        };
        let Identity { family_id, image_id, .. } = &self.identity;
        let all: [&[u8]; 7] = [
            &self.policy.to_le_bytes(),
            image_id,
            family_id,
            &self.measurement,
            &svn.to_le_bytes(),
            &tcb,
            &mitigations.to_le_bytes(),
        ];
        let (vmpl, chosen) = (vmpl.to_le_bytes(), selected.to_le_bytes());
        let mut context: Vec<&[u8]> = vec![&vmpl, &chosen];
        context.extend(all.into_iter().enumerate().filter(|(bit, _)| selected >> bit & 1 != 0).map(|(_, field)| field));
        Ok(derive_bytes(&root, "derived key", &context))
    }

    /// MSG_TSC_INFO_REQ: 80h bytes of zeroes. MSG_TSC_INFO_RSP: STATUS, GUEST_TSC_SCALE at 08h, GUEST_TSC_OFFSET at 10h,
    /// TSC_FACTOR at 18h, in 80h bytes.
    fn tsc_info(&self, request: &Request) -> Result<Vec<u8>, RequestError> {
        let payload: &[u8; 0x80] = sized(request, &[1])?;
        let mut out = vec![0; 0x80];
        if payload.iter().any(|byte| *byte != 0) {
            out[..4].copy_from_slice(&INVALID_PARAMETERS.to_le_bytes());
            return Ok(out);
        }
        let Tsc { scale, offset, factor } = self.tsc;
        out[0x08..0x10].copy_from_slice(&scale.to_le_bytes());
        out[0x10..0x18].copy_from_slice(&offset.to_le_bytes());
        out[0x18..0x1c].copy_from_slice(&factor.to_le_bytes());
        Ok(out)
    }

    /// A VMPL may ask for itself and for those with fewer rights, which have larger numbers.
    fn may_speak_for(&self, request: &Request, vmpl: u32) -> bool {
        (u32::from(request.vmpck)..=LAST_VMPL).contains(&vmpl)
    }
}

impl fmt::Debug for Guest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest").field("amd", &self.amd).field("measurement", &self.measurement).finish_non_exhaustive()
    }
}

/// The payload of a request of one of these versions.
fn sized<'a, const N: usize>(request: &'a Request, versions: &[u8]) -> Result<&'a [u8; N], RequestError> {
    if !versions.contains(&request.version) {
        return Err(RequestError::Version { found: request.version });
    }
    let found = request.payload.len();
    request.payload.as_slice().try_into().map_err(|_| RequestError::Length { expected: N, found })
}

fn word<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn array<const N: usize, const M: usize>(bytes: &[u8; N], at: usize) -> [u8; M] {
    std::array::from_fn(|index| bytes[at + index])
}

#[cfg(test)]
mod tests;
