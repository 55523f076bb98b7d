//! A relying party: it talks to Keeps that are what it demands, and to nobody else. With rustls, as client and as server.
//!
//! To copy: [`AwsLc`] and [`Keeps`] are all that rustls needs; of ours they use the crate `identity` alone.
//! Owns nothing; refuses TLS 1.2, tickets, and whatever [`Demands`] refuse, with every reason. Invariant: a handshake that succeeded
//! was with the holder of a Keep's key, and that Keep had every fact that was demanded at that instant.
//!
//! ```console
//! $ cargo run -p steward --example relying_party -- shop.example.org:443 example.org sha256:<anchor> sha256:<policy>
//! ```
#![allow(clippy::print_stdout, reason = "a program for people")]

use std::{error::Error, iter, net::TcpStream, sync::Arc};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, UnparsedPublicKey};
use identity::{Algorithm, Demands, KeepCertificate, VerifiedKeep, Verifier};
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, DistinguishedName, OtherError,
    ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs as tls, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
    version::TLS13,
};

/// Who verifies signatures of certificates and EARs.
#[derive(Debug)]
struct AwsLc;

impl Verifier for AwsLc {
    fn verify(&self, algorithm: Algorithm, spki: &[u8], message: &[u8], signature: &[u8]) -> bool {
        let algorithm = match algorithm {
            Algorithm::EcdsaP256Sha256 => &ECDSA_P256_SHA256_ASN1,
            Algorithm::EcdsaP384Sha384 => &ECDSA_P384_SHA384_ASN1,
        };
        UnparsedPublicKey::new(algorithm, spki).verify(message, signature).is_ok()
    }
}

/// The verifier of rustls, in both directions.
#[derive(Debug)]
pub(crate) struct Keeps {
    demands: Demands,
    provider: Arc<CryptoProvider>,
}

impl Keeps {
    pub(crate) fn new(demands: Demands) -> Arc<Self> {
        Arc::new(Self { demands, provider: Arc::new(tls::default_provider()) })
    }

    /// A client of Keeps. It has no certificate itself.
    pub(crate) fn client(self: Arc<Self>) -> Result<ClientConfig, rustls::Error> {
        let mut config = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(self)
            .with_no_client_auth();
        // A ticket would outlast what it was given for.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    /// A server for Keeps only, with whatever certificate it has itself.
    #[allow(dead_code, reason = "this program is a client")]
    pub(crate) fn server(
        self: Arc<Self>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<ServerConfig, rustls::Error> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(self)
            .with_single_cert(chain, key)?;
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    fn check(
        &self,
        keep: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<VerifiedKeep, rustls::Error> {
        let (chain, now): (Vec<_>, _) = (iter::once(keep).chain(above).collect(), now.as_secs());
        // For one's own log: the other side is told that its certificate will not do, and not why.
        self.demands
            .check(&chain, now..=now, &AwsLc)
            .map_err(|refused| CertificateError::Other(OtherError(Arc::new(refused))).into())
    }

    fn signed(
        &self,
        message: &[u8],
        keep: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, keep, signed, &self.provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for Keeps {
    fn verify_server_cert(
        &self,
        keep: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let keep = self.check(keep, above, now)?;
        let name = name.to_str().to_ascii_lowercase();
        if keep.dns.iter().any(|dns| dns.as_str() == name) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::NotValidForName.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        keep: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed(message, keep, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ClientCertVerifier for Keeps {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        keep: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(keep, above, now).map(|_| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("TLS 1.3 only".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        keep: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed(message, keep, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Shakes hands with one Keep of class `hardware`, and says who it is.
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [address, trust_domain, anchor, policy] = &arguments[..] else {
        return Err("usage: relying_party HOST:PORT TRUST-DOMAIN ANCHOR POLICY".into());
    };
    let demands = Demands::new(trust_domain.parse()?, [anchor.parse()?].into(), [policy.parse()?].into());
    let host = address.rsplit_once(':').map_or(&**address, |(host, _)| host).to_owned();
    let mut tcp = TcpStream::connect(address)?;
    let mut keep = ClientConnection::new(Arc::new(Keeps::new(demands).client()?), host.try_into()?)?;
    while keep.is_handshaking() {
        keep.complete_io(&mut tcp)?;
    }
    let shown = keep.peer_certificates().and_then(|chain| chain.first()).ok_or("no certificate")?;
    let KeepCertificate { id, ear, .. } = KeepCertificate::read(shown)?;
    println!("{id}\nworkload    {}\nmeasurement {}", ear.workload, ear.measurement);
    Ok(())
}
