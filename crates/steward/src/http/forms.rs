//! In which form a body is, and in which an answer is wanted.
//!
//! Owns media types and their negotiation (RFC 9110 section 12.5.1). Refuses a body that says two things of itself, or nothing.

use std::cmp::Ordering;

use axum::{
    body::Body,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use identity::{
    csr::CSR_MEDIA_TYPE,
    pem::{self, PEM_MEDIA_TYPE, PKIPATH_MEDIA_TYPE},
};

use crate::judge::Issued;

/// What `POST /` takes.
pub(super) const TAKEN: &str = "Content-Type: application/pkcs10, and the CSR in DER; or \
                                application/vnd.steward.pkcs10-bundle.v1, and a SEQUENCE of them";

/// What takes one request alone.
pub(super) const CSR: &str = "Content-Type: application/pkcs10, and the CSR in DER";

/// What a body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request.
    Csr,
    /// A SEQUENCE of requests, as Enarx' Steward took them.
    Bundle,
}

impl Kind {
    /// What the body says of itself.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        [Self::Csr, Self::Bundle].into_iter().find(|kind| is_of(headers, kind.media_type()))
    }

    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Csr => CSR_MEDIA_TYPE,
            Self::Bundle => "application/vnd.steward.pkcs10-bundle.v1",
        }
    }
}

/// Whether the body says of itself, once, that it is of this media type. Parameters mean nothing and are ignored.
pub(super) fn is_of(headers: &HeaderMap, media_type: &str) -> bool {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return false;
    };
    let value = value.to_str().unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(media_type)
}

/// The two forms of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Pem,
    PkiPath,
}

/// What the client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepted {
    One(Form),
    /// Both alike.
    Either,
}

impl Accepted {
    /// The form the client prefers (RFC 9110 section 12.5.1); `None` when it takes neither.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let ranges: Vec<&str> = headers
            .get_all(header::ACCEPT)
            .iter()
            .map(|value| value.to_str().unwrap_or_default())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .filter(|range| !range.is_empty())
            .collect();
        if ranges.is_empty() {
            return Some(Self::Either);
        }
        let quality = |form: Form| {
            // The most specific range that matches decides.
            let mut best = (0, 0);
            for range in &ranges {
                let mut parts = range.split(';').map(str::trim);
                let name = parts.next().unwrap_or_default();
                let specific = match name {
                    name if name.eq_ignore_ascii_case(form.media_type()) => 3,
                    "application/*" => 2,
                    "*/*" => 1,
                    _ => continue,
                };
                let weight = parts
                    .find_map(|parameter| parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")))
                    .map_or(1000, |text| thousandths(text).unwrap_or(0));
                best = best.max((specific, weight));
            }
            best.1
        };
        let (pem, path) = (quality(Form::Pem), quality(Form::PkiPath));
        match pem.cmp(&path) {
            Ordering::Equal if pem == 0 => None,
            Ordering::Equal => Some(Self::Either),
            Ordering::Less => Some(Self::One(Form::PkiPath)),
            Ordering::Greater => Some(Self::One(Form::Pem)),
        }
    }

    /// Where there is a choice, PEM; to a Keep of Enarx, which says nothing and reads nothing else, the path.
    pub(super) fn form(self, issued: &Issued) -> Form {
        match (self, issued.brief) {
            (Self::One(form), _) => form,
            (Self::Either, Some(_)) => Form::Pem,
            (Self::Either, None) => Form::PkiPath,
        }
    }
}

impl Form {
    fn media_type(self) -> &'static str {
        match self {
            Self::Pem => PEM_MEDIA_TYPE,
            Self::PkiPath => PKIPATH_MEDIA_TYPE,
        }
    }

    pub(super) fn answer(self, issued: &Issued) -> Response {
        let body = match self {
            Self::Pem => Body::from(pem::encode(&issued.chain)),
            Self::PkiPath => Body::from(pem::encode_pkipath(&issued.chain)),
        };
        ([(header::CONTENT_TYPE, self.media_type())], body).into_response()
    }
}

/// `0.7` as 700 (RFC 9110 section 12.4.2: at most three digits).
fn thousandths(text: &str) -> Option<u32> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u32 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &str) -> Option<Accepted> {
        let mut headers = HeaderMap::new();
        if !value.is_empty() {
            headers.insert(header::ACCEPT, value.parse().unwrap());
        }
        Accepted::of(&headers)
    }

    #[test]
    fn accept_chooses_the_form() {
        use super::{Accepted::*, Form::*};
        for (value, form) in [
            ("", Some(Either)),
            ("*/*", Some(Either)),
            ("application/*", Some(Either)),
            ("application/pkix-pkipath", Some(One(PkiPath))),
            ("APPLICATION/PKIX-PKIPATH", Some(One(PkiPath))),
            ("application/pkix-pkipath, */*;q=0.1", Some(One(PkiPath))),
            ("application/pkix-pkipath;q=0.5, application/pem-certificate-chain;q=0.7", Some(One(Pem))),
            ("application/pem-certificate-chain;q=0, */*", Some(One(PkiPath))),
            ("text/html", None),
            ("*/*;q=0", None),
        ] {
            assert_eq!(accept(value), form, "{value}");
        }
    }

    #[test]
    fn the_content_type_is_said_once_and_is_one_of_two() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_TYPE, value.parse().unwrap());
            }
            Kind::of(&headers)
        };
        assert_eq!(of(&["application/pkcs10"]), Some(Kind::Csr));
        assert_eq!(of(&["Application/PKCS10; charset=binary"]), Some(Kind::Csr));
        assert_eq!(of(&["application/vnd.steward.pkcs10-bundle.v1"]), Some(Kind::Bundle));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["application/pkcs10x"]), None);
        assert_eq!(of(&["text/plain"]), None);
        assert_eq!(of(&["application/pkcs10", "text/plain"]), None);
    }
}
