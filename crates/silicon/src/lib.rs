//! Simulated silicon: the whole AMD side of SEV-SNP attestation, byte for byte, from a 32-byte
//! seed.
//!
//! **These keys are public.** The nine RSA-4096 root and intermediate keys in `keys/`, and the vTPM's RSA-2048 key, are
//! committed to a public repository; everything below them follows from the seed. Whoever has the source can
//! sign anything. They exist so that the *real* attester, carrier, verifier and Steward can run and
//! be attacked on machines without the hardware: nothing above this crate knows that it talks to a
//! simulation. What protects the world from them is that they are separate trust anchors: file
//! names and certificate subjects say `SIMULATED-PUBLIC`, no verifier has them built in, and only a
//! Steward of class `insecure` whose policy names them accepts what they sign (`spec/trust.md`,
//! trust classes).
//!
//! What is here: ARK, ASK and ASVK certificates, VCEKs and VLEKs with every 1.3.6.1.4.1.3704.1 extension, CRLs and
//! ATTESTATION_REPORTs of versions 2 to 5 for Milan, Genoa and Turin; the firmware that launches a guest, measures it and
//! answers its messages. Of Intel: the root and what it certifies, TCB info, QE identities, quotes of SGX and TDX
//! ([`intel`]). Of Azure: a paravisor's report around those of the hardware, and its vTPM's quotes ([`azure`]). What is
//! not: firmware that has a VLEK loaded, migration. Same seed, same bytes: every signature is deterministic (RFC 6979 for
//! ECDSA, a derived salt for RSASSA-PSS, RSASSA-PKCS1-v1_5), and a golden test holds the hashes.
//!
//! ```text
//!   keys/ (committed)     ARK --PSS--> ARK, ASK, ASVK, CRL
//!                         ASK --PSS--> VCEK(TCB), ASVK --PSS--> VLEK(TCB)
//!   seed --> chip id, VCEK private key of each TCB --ECDSA P-384--> report
//! ```
//!
//! ```
//! use silicon::{Amd, Product, ReportRequest};
//!
//! let amd = Amd::from_seed([7; 32], Product::Genoa);
//! let request = ReportRequest { report_data: [1; 64], host_data: [2; 32], ..amd.request() };
//! let report = amd.report(&request);
//! let (vcek, ask) = (amd.vcek_der(amd.tcb()), amd.ask_der());
//! let crl = amd.crl_der(1_764_547_200, 1_796_083_200, &[]);
//! assert_eq!(report[0x50], 1);
//! # drop((vcek, ask, crl));
//! ```
//!
//! A guest, from its first page to its first report:
//!
//! ```
//! use silicon::{Amd, Finish, PageKind, Product};
//!
//! let mut launch = Amd::from_seed([7; 32], Product::Genoa).launch(0x3_0000).unwrap();
//! launch.update(PageKind::Normal, 0x1000, &mut [0xf4; 4096]).unwrap();
//! let mut secrets = [0; 4096];
//! launch.update(PageKind::Secrets, 0x2000, &mut secrets).unwrap();
//! let mut guest = launch.finish(&Finish { host_data: [2; 32], id_block: None }).unwrap();
//! assert!(guest.request(&[0; 4096]).is_err(), "not a message under a key of the secrets page");
//! ```
//!
//! Invariant: no clock, no I/O, no randomness but the seed and what a caller brings. Panics are
//! reserved for requests that have no encoding at all (stated at each function); what a guest or its
//! host can send is hostile, and is answered with the firmware's errors.

#![forbid(unsafe_code)]

pub mod amd;
pub mod azure;
mod der;
mod derive;
pub mod intel;

pub use amd::{
    Amd, CrlTemplate, Finish, Guest, IdBlock, IdBlockError, Launch, LaunchError, PageKind, Product, REPORT_LEN,
    ReportRequest, RequestError, Tcb, Tsc, VcekTemplate, VekKind,
};
