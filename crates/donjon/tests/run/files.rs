//! What a program finds in its file system, and what it may do there.

use crate::support::{Form, Input, Ran, folder, probe, run, wat};

/// The probe with these arguments, under a manifest with these sections, beside the files `ca.pem` and `web/…`.
fn probed(form: Form, args: &[&str], sections: &str) -> Ran {
    let manifest = format!("program = {:?}\nargs = {args:?}\n{sections}", probe(form).to_str().unwrap());
    let dir = folder(&[("Donjon.toml", manifest.as_bytes()), ("ca.pem", b"certificate\n")]);
    std::fs::create_dir_all(dir.path().join("web/css")).unwrap();
    for (name, content) in [("index.html", "<html>"), ("css/a.css", "body {}"), ("empty", "")] {
        std::fs::write(dir.path().join("web").join(name), content).unwrap();
    }
    run(dir.path(), ["run", "-q"], Input::Nothing)
}

/// It ended with an error of the operating system, of these words.
#[track_caller]
fn failed(ran: &Ran, words: &str) {
    assert_eq!(ran.code(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains(words), "{}", ran.stderr);
}

const CA: &str = "[[file]]\npath = \"/etc/ssl/ca.pem\"\nsource = \"ca.pem\"\n";
const WEB: &str = "[[file]]\npath = \"/srv\"\nsource = \"web\"\n";
const TMP: &str = "[[mount]]\npath = \"/tmp\"\nkind = \"memory\"\nsize = \"32 KiB\"\n";

#[test]
pub(crate) fn files_of_the_package_are_read() {
    for form in [Form::Module, Form::Component, Form::Native] {
        probed(form, &["file", "/etc/ssl/ca.pem"], CA).assert(0, "certificate\n", "");
        probed(form, &["file", "/srv/index.html", "/srv/css/a.css", "/srv/empty"], WEB).assert(0, "<html>body {}", "");
    }
    for form in Form::BOTH {
        failed(&probed(form, &["put", "/etc/ssl/ca.pem", "x"], CA), "Read-only file system");
        failed(&probed(form, &["put", "/etc/new", "x"], CA), "Read-only file system");
        probed(form, &["list", "/srv"], WEB).assert(0, "css\nempty\nindex.html\n", "");
        probed(form, &["list", "/"], &[CA, WEB, TMP].concat()).assert(0, "etc\nsrv\ntmp\n", "");
    }
}

#[test]
pub(crate) fn nothing_of_the_host_is_there() {
    for form in Form::BOTH {
        for path in ["/etc/passwd", "/proc/self/maps", "/tmp/../../etc/passwd", "Donjon.toml"] {
            let ran = probed(form, &["file", path], &[CA, TMP].concat());
            assert_eq!((ran.code(), ran.text()), (1, ""), "{path}");
        }
    }
}

#[test]
pub(crate) fn mounts_are_written_to() {
    for form in Form::BOTH {
        probed(form, &["put", "/tmp/new", "hello"], TMP).assert(0, "hello", "");
        failed(&probed(form, &["put", "/new", "hello"], TMP), "Read-only file system");
        // A file of the package in a mount is what it holds at first.
        let inside = format!("[[file]]\npath = \"/tmp/log\"\nsource = \"ca.pem\"\n{TMP}");
        probed(form, &["put", "/tmp/log", "more"], &inside).assert(0, "certificate\nmore", "");
    }
}

#[test]
pub(crate) fn a_mount_holds_what_it_says() {
    // The C library of components does not ask what was wrong with a stream.
    for (form, words) in [(Form::Module, "No space left on device"), (Form::Component, "I/O error")] {
        let (fits, too_much) = ("x".repeat(16 * 1024), "x".repeat(33 * 1024));
        probed(form, &["put", "/tmp/a", &fits], TMP).assert(0, &fits, "");
        failed(&probed(form, &["put", "/tmp/a", &too_much], TMP), words);
    }
}

#[test]
fn a_native_program_writes_nothing() {
    let ran = probed(Form::Native, &["exit", "0"], TMP);
    assert_eq!(ran.code(), 125);
    assert!(ran.stderr.contains("[elf.mount]"), "{}", ran.stderr);
    failed(&probed(Form::Native, &["put", "/etc/ssl/ca.pem", "x"], CA), "Read-only file system");
}

#[test]
pub(crate) fn a_source_that_is_not_there() {
    let ran = probed(Form::Module, &["exit", "0"], "[[file]]\npath = \"/a\"\nsource = \"missing\"\n");
    assert_eq!(ran.code(), 125);
    assert!(
        ran.stderr.contains("cannot read the file") && ran.stderr.contains("hint: correct the path"),
        "{}",
        ran.stderr
    );
    let control = "[[file]]\npath = \"/a\"\nsource = \"ca.pem\"\n";
    probed(Form::Module, &["exit", "0"], control).assert(0, "", "");
}

#[test]
pub(crate) fn a_program_is_called_as_the_manifest_says() {
    for (form, default) in [(Form::Module, "main.wasm"), (Form::Component, "main.wasm"), (Form::Native, "program")] {
        probed(form, &["name"], "").assert(0, &format!("{default}\n"), "");
        let dir = folder(&[]);
        let text = format!("program = {:?}\narg0 = \"busybox\"\nargs = [\"name\"]\n", probe(form).to_str().unwrap());
        std::fs::write(dir.path().join("Donjon.toml"), text).unwrap();
        run(dir.path(), ["run", "-q"], Input::Nothing).assert(0, "busybox\n", "");
    }
}

/// WASI 0.1, "Application ABI": `_initialize` once, before anything else of a reactor is called.
#[test]
pub(crate) fn a_reactor_is_entered_by_name() {
    let reactor = wat(r#"(module (memory (export "memory") 1) (global $status (mut i32) (i32.const 1))
        (func (export "_initialize") (global.set $status (i32.add (global.get $status) (i32.const 40))))
        (func (export "run") (result i32) (i32.add (global.get $status) (i32.const 1)))
        (func (export "quiet"))
        (func (export "takes") (param i32)))"#);
    let invoked = |text: &str| {
        let dir = folder(&[("a.wasm", &reactor), ("Donjon.toml", format!("program = \"a.wasm\"\n{text}").as_bytes())]);
        run(dir.path(), ["run", "-q"], Input::Nothing)
    };
    invoked("invoke = \"run\"").assert(42, "", "");
    invoked("invoke = \"quiet\"").assert(0, "", "");
    for (text, code, hint) in [
        ("", "wasm.start", "invoke = \"run\""),
        ("invoke = \"takes\"", "wasm.invoke", "its functions are _initialize, run, quiet, takes"),
        ("invoke = \"none\"", "wasm.invoke", "its functions are"),
    ] {
        let ran = invoked(text);
        assert_eq!(ran.code(), 125);
        assert!(ran.stderr.contains(code) && ran.stderr.contains(hint), "{}", ran.stderr);
    }
}

const DATA: &str = "[[mount]]\npath = \"/data\"\nkind = \"host\"\n";

/// The probe with these arguments, where the manifest has these sections and the launcher gives a folder like this.
fn reading(form: Form, args: &[&str], sections: &str, mount: &[&str]) -> Ran {
    let manifest = format!("program = {:?}\nargs = {args:?}\n{sections}", probe(form).to_str().unwrap());
    let dir = folder(&[("Donjon.toml", manifest.as_bytes()), ("secret", b"secret")]);
    std::fs::create_dir_all(dir.path().join("given/sub")).unwrap();
    let large = "0123456789abcdef".repeat(40_000);
    for (name, content) in [("a", "of the host"), ("sub/b", "below"), ("large", &large)] {
        std::fs::write(dir.path().join("given").join(name), content).unwrap();
    }
    std::os::unix::fs::symlink("../secret", dir.path().join("given/link")).unwrap();
    run(dir.path(), [&["run", "-q"], mount, &["."]].concat(), Input::Nothing)
}

#[test]
pub(crate) fn a_folder_of_the_host_is_read() {
    let given = ["--mount", "/data=given"];
    for form in Form::BOTH {
        reading(form, &["file", "/data/a", "/data/sub/b"], DATA, &given).assert(0, "of the hostbelow", "");
        reading(form, &["list", "/data"], DATA, &given).assert(0, "a\nlarge\nsub\n", "");
        let large = reading(form, &["file", "/data/large"], DATA, &given);
        assert!(large.code() == 0 && large.text() == "0123456789abcdef".repeat(40_000), "{}", large.stderr);
        failed(&reading(form, &["put", "/data/a", "x"], DATA, &given), "Read-only file system");
        failed(&reading(form, &["put", "/data/new", "x"], DATA, &given), "Read-only file system");
        for path in ["/data/link", "/data/../secret", "/secret"] {
            assert_eq!(reading(form, &["file", path], DATA, &given).code(), 1, "{path}");
        }
        // What the package has is not the host's.
        let both = format!("{DATA}[[file]]\npath = \"/data/a\"\nsource = \"secret\"\n");
        reading(form, &["file", "/data/a"], &both, &given).assert(0, "secret", "");
        let small = format!("{DATA}size = \"64 KiB\"\n");
        assert_eq!(reading(form, &["file", "/data/large"], &small, &given).code(), 1);
    }
}

#[test]
pub(crate) fn the_launcher_gives_the_folders_that_the_manifest_has() {
    let refused = |sections: &str, mount: &[&str], says: &str| {
        let ran = reading(Form::Module, &["list", "/"], sections, mount);
        assert_eq!(ran.code(), 125, "{}", ran.stderr);
        assert!(ran.stderr.contains(says), "{}", ran.stderr);
    };
    refused(DATA, &[], "hint: give it one with --mount /data=FOLDER");
    refused("", &["--mount", "/data=given"], "has no mount of the host at `/data`");
    refused(TMP, &["--mount", "/tmp=given"], "has no mount of the host at `/tmp`");
    refused(DATA, &["--mount", "/date=given"], "hint: it has one at `/data`");
    refused(DATA, &["--mount", "/data=absent"], "cannot read the folder absent for the mount /data");
    refused(DATA, &["--mount", "/data=secret"], "cannot read the folder secret for the mount /data");
}
