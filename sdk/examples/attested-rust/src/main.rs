//! What a program does with its Keep's identity, one thing for each command:
//!
//! ```text
//! files                          what stands in /run/donjon
//! cat NAME                       a file of it
//! evidence TEXT                  evidence over this text, a bundle for `donjon verify`
//! key CONTEXT                    a key that only this workload gets, in hexadecimal: for a trial, because a key is a secret
//! sign TEXT                      a signature in hexadecimal, and the certificates of its key
//! verify TEXT SIGNATURE ROLE...  whether a Keep in one of the roles signed it; certificates come by standard input
//! ```

use std::error::Error;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use donjon_keep::{FILES, Signature, derive_key, evidence, sign, verify};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match run(&arguments) {
        Ok(bytes) => ExitCode::from(u8::from(std::io::stdout().write_all(&bytes).is_err())),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> Result<Vec<u8>, Box<dyn Error>> {
    Ok(match *arguments {
        ["files"] => {
            let mut names = Vec::new();
            for entry in std::fs::read_dir(FILES)? {
                names.push(format!("{}\n", entry?.file_name().display()));
            }
            names.sort();
            names.concat().into_bytes()
        }
        ["cat", name] => std::fs::read(Path::new(FILES).join(name))?,
        ["evidence", text] => evidence(text.as_bytes())?.into_bytes(),
        ["key", context] => format!("{}\n", hex(&derive_key(context.as_bytes())?)).into_bytes(),
        ["sign", text] => {
            let Signature { signature, certificates } = sign(text.as_bytes())?;
            format!("{}\n{certificates}", hex(&signature)).into_bytes()
        }
        ["verify", text, signature, ref roles @ ..] => {
            let mut certificates = String::new();
            std::io::stdin().read_to_string(&mut certificates)?;
            let signature = Signature { signature: bytes(signature).ok_or("no hexadecimal digits")?, certificates };
            verify(text.as_bytes(), &signature, roles)?.into_bytes()
        }
        _ => {
            return Err(
                "files | cat NAME | evidence TEXT | key CONTEXT | sign TEXT | verify TEXT SIGNATURE ROLE...".into()
            );
        }
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}
