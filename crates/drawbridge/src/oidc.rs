//! OpenID Connect over HTTP, for the server that checks ID tokens and the client that gets one.
//!
//! Owns requests to issuers: no redirects, ten seconds, answers of at most a megabyte. Refuses plain HTTP but to this very machine.
//! Invariant: nothing of what is sent or received is printed.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse, IssuerUrl};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};

/// Until an issuer has answered completely.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer, in bytes.
const LIMIT: usize = 1024 * 1024;

/// A client for requests to issuers.
#[derive(Debug, Clone)]
pub(crate) struct Http(Client);

/// Why an issuer did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HttpError {
    #[error("{}", chain(.0))]
    Request(#[from] reqwest::Error),
    #[error("its answer is longer than {LIMIT} bytes")]
    TooLong,
    #[error("its answer has no status")]
    Answer(#[from] http::Error),
    #[error("{0} is neither https nor on this machine")]
    Plain(String),
}

impl Http {
    pub(crate) fn new() -> Result<Self, HttpError> {
        Ok(Self(Client::builder().redirect(Policy::none()).timeout(PATIENCE).build()?))
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        if !allowed(&url) {
            return Err(HttpError::Plain(url));
        }
        let mut answer = self.0.request(parts.method, url).headers(parts.headers).body(body).send().await?;
        let mut response = http::Response::builder().status(answer.status());
        if let Some(headers) = response.headers_mut() {
            headers.clone_from(answer.headers());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            if bytes.len().saturating_add(chunk.len()) > LIMIT {
                return Err(HttpError::TooLong);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(response.body(bytes)?)
    }
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}

/// An issuer's URL, if ID tokens may come from there.
pub(crate) fn issuer(url: &str) -> Option<IssuerUrl> {
    allowed(url).then(|| IssuerUrl::new(url.to_owned()).ok()).flatten()
}

/// `https`, or nobody in between.
fn allowed(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let here = |host: &str| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        address.map_or(host == "localhost", |address| address.is_loopback())
    };
    match url.scheme() {
        "https" => url.host_str().is_some(),
        "http" => url.host_str().is_some_and(here),
        _ => false,
    }
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_machine() {
        for good in ["https://login.example.org", "http://127.0.0.1:9000", "http://[::1]:9000/x", "http://localhost/"] {
            assert!(issuer(good).is_some(), "{good}");
        }
        for bad in [
            "http://login.example.org",
            "http://10.0.0.1",
            "http://localhost.example.org",
            "http://127.0.0.1.example.org",
            "ftp://localhost",
            "login.example.org",
            "",
        ] {
            assert!(issuer(bad).is_none(), "{bad}");
        }
    }
}
