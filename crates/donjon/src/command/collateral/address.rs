//! Where a piece of collateral is, in the interfaces of AMD and Intel, and which header brings its issuers.
//!
//! AMD 57230 (KDS), chapter 4; Intel PCS API version 4. Refuses addresses that are neither `http` nor `https`.

use std::fmt;
use std::str::FromStr;

use evidence::appraisal::Need;
use evidence::dcap::quote::Tee;
use evidence::snp::Tcb;
use hyper::Uri;

pub(super) const KDS: &str = "https://kdsintf.amd.com";
pub(super) const PCS: &str = "https://api.trustedservices.intel.com";
pub(super) const ROOT_LIST: &str = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

/// Of a service, or of one thing.
#[derive(Debug, Clone)]
pub(super) struct Url(String);

impl FromStr for Url {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let good = text.parse::<Uri>().is_ok_and(|uri| {
            matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
        });
        if good {
            Ok(Self(text.trim_end_matches('/').to_owned()))
        } else {
            Err("expected http:// or https://, and a host")
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Of all services.
#[derive(Debug)]
pub(super) struct Addresses {
    pub(super) kds: Url,
    pub(super) pcs: Url,
    pub(super) root_list: Url,
}

impl Addresses {
    pub(super) fn of(&self, need: &Need) -> String {
        let Self { kds, pcs, root_list } = self;
        match need {
            Need::SnpChain { line, key } => format!("{kds}/{}/v1/{line}/cert_chain", key.name()),
            Need::SnpList { line } => format!("{kds}/vcek/v1/{line}/crl"),
            Need::Vcek { line, chip, tcb } => {
                let Tcb { fmc, bootloader, tee, snp, microcode } = tcb;
                let fmc = fmc.map(|fmc| format!("fmcSPL={fmc:02}&")).unwrap_or_default();
                let levels = format!("blSPL={bootloader:02}&teeSPL={tee:02}&snpSPL={snp:02}&ucodeSPL={microcode:02}");
                format!("{kds}/vcek/v1/{line}/{chip}?{fmc}{levels}")
            }
            Need::RootList => root_list.to_string(),
            Need::PckList { ca } => {
                format!("{pcs}/sgx/certification/v4/pckcrl?ca={}&encoding=der", ca.name())
            }
            Need::QeIdentity { tee } => format!("{pcs}/{}/certification/v4/qe/identity", of_tee(*tee)),
            Need::TcbInfo { tee, fmspc } => {
                format!("{pcs}/{}/certification/v4/tcb?fmspc={}", of_tee(*tee), hex::encode(fmspc))
            }
        }
    }
}

fn of_tee(tee: Tee) -> &'static str {
    match tee {
        Tee::Sgx => "sgx",
        Tee::Tdx => "tdx",
    }
}

/// Which header has the certificates of who issued it: PEM, percent-encoded.
pub(super) fn issuers(need: &Need) -> Option<&'static str> {
    match need {
        Need::SnpChain { .. } | Need::SnpList { .. } | Need::Vcek { .. } | Need::RootList => None,
        Need::PckList { .. } => Some("sgx-pck-crl-issuer-chain"),
        Need::QeIdentity { .. } => Some("sgx-enclave-identity-issuer-chain"),
        Need::TcbInfo { .. } => Some("tcb-info-issuer-chain"),
    }
}

/// Percent-encoding (RFC 3986 section 2.1) taken away; what is none stays. A plus sign is one: base64 has them.
pub(super) fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((first, others)) = rest.split_first() {
        let byte = match (first, others) {
            (b'%', [high, low, ..]) => digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        out.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { others.get(2..).unwrap_or_default() } else { others };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_the_vendors() {
        let [kds, pcs, root_list] = [KDS, PCS, ROOT_LIST].map(|url| url.parse().unwrap());
        let addresses = Addresses { kds, pcs, root_list };
        let (chip, turin) = ("a5".repeat(64), "a5".repeat(8));
        for (place, address) in [
            ("amd/Milan/vcek/chain.pem", "https://kdsintf.amd.com/vcek/v1/Milan/cert_chain".to_owned()),
            ("amd/Genoa/vlek/chain.pem", "https://kdsintf.amd.com/vlek/v1/Genoa/cert_chain".to_owned()),
            ("amd/Turin/crl.der", "https://kdsintf.amd.com/vcek/v1/Turin/crl".to_owned()),
            (
                &format!("amd/Milan/vcek/{chip}/bl04-tee00-snp24-ucode219.der"),
                format!("https://kdsintf.amd.com/vcek/v1/Milan/{chip}?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219"),
            ),
            (
                &format!("amd/Turin/vcek/{turin}/fmc01-bl04-tee00-snp02-ucode71.der"),
                format!(
                    "https://kdsintf.amd.com/vcek/v1/Turin/{turin}?fmcSPL=01&blSPL=04&teeSPL=00&snpSPL=02&ucodeSPL=71"
                ),
            ),
            ("intel/crl.der", "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der".to_owned()),
            (
                "intel/processor/crl.der",
                "https://api.trustedservices.intel.com/sgx/certification/v4/pckcrl?ca=processor&encoding=der"
                    .to_owned(),
            ),
            ("intel/tdx/qe.json", "https://api.trustedservices.intel.com/tdx/certification/v4/qe/identity".to_owned()),
            (
                "intel/sgx/tcb/00606a000000.json",
                "https://api.trustedservices.intel.com/sgx/certification/v4/tcb?fmspc=00606a000000".to_owned(),
            ),
        ] {
            assert_eq!(addresses.of(&Need::at(place).unwrap()), address);
        }
    }

    #[test]
    fn an_address_has_a_scheme_and_a_host() {
        for good in ["http://127.0.0.1:8080", "https://pccs.example.org/cache/"] {
            assert_eq!(good.parse::<Url>().unwrap().to_string(), good.trim_end_matches('/'));
        }
        for bad in ["", "kdsintf.amd.com", "ftp://kdsintf.amd.com", "https://", "file:///etc", "http:/x"] {
            assert!(bad.parse::<Url>().is_err(), "{bad}");
        }
    }

    #[test]
    fn percent_encoding_is_taken_away_once() {
        for (text, plain) in
            [("a%0Ab%2B+%2b", "a\nb+++"), ("%", "%"), ("%4", "%4"), ("%zz%41", "%zzA"), ("%2541", "%41"), ("", "")]
        {
            assert_eq!(decoded(text.as_bytes()), plain.as_bytes(), "{text}");
        }
    }
}
