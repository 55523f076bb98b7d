//! `donjon manifest`: the schema says what the reader does, a manifest is checked and explained, and an `Enarx.toml` is read
//! with the same meaning.
//!
//! Owns the comparison of three answers: the reader's (`workload`), the schema's (by a validator of others), and the document's
//! (`spec/manifest.md`). A key, a value or a form that one of them has alone fails here.

#![cfg(all(target_os = "linux", target_arch = "x86_64"))]
#![allow(clippy::tests_outside_test_module, reason = "this is a test binary")]

#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;

use boon::{Compiler, SchemaIndex, Schemas};
use serde_json::{Value, json};
use workload::Manifest;
use workload::manifest::ManifestFileError;
use workload::settings::{self, SettingsError};

use crate::support::{Form, Input, Ran, folder, probe, run, wat};

const SCHEMA: &str = include_str!("../../../spec/manifest.schema.json");
const DOCUMENT: &str = include_str!("../../../spec/manifest.md");

/// The examples of the document.
fn examples() -> Vec<&'static str> {
    let examples: Vec<_> =
        DOCUMENT.split("\n```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(examples.len() > 10, "the document has examples");
    examples
}

fn manifest(dir: &Path, args: &[&str]) -> Ran {
    run(dir, [&["manifest"], args].concat(), Input::Nothing)
}

#[test]
fn the_committed_schema_is_this_one() {
    let ran = manifest(Path::new("/"), &["schema"]);
    assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""));
    assert!(ran.text() == SCHEMA, "stale: donjon manifest schema > spec/manifest.schema.json");
}

/// What the reader knows where this text ends.
#[track_caller]
fn known(text: &str) -> BTreeSet<String> {
    match settings::parse::<Manifest>("a", text) {
        Err(SettingsError::UnknownKey { known, .. } | SettingsError::UnknownValue { known, .. }) => {
            known.into_iter().collect()
        }
        other => panic!("{other:?}\n{text}"),
    }
}

/// Every table of the schema, and every closed list of values, against the reader's own.
#[test]
fn the_schema_has_the_keys_and_values_of_the_reader() {
    fn table(schema: &Value, head: &str, seen: &mut usize) {
        let properties = schema["properties"].as_object().unwrap();
        let keys: BTreeSet<_> = properties.keys().cloned().collect();
        assert_eq!(keys, known(&format!("{head}no_such_key = 1\n")), "{head}");
        assert_eq!(schema["additionalProperties"], json!(false), "{head}");
        for (key, property) in properties {
            *seen += 1;
            if let Some(values) = property["enum"].as_array() {
                let values: BTreeSet<_> = values.iter().map(|value| value.as_str().unwrap().to_owned()).collect();
                assert_eq!(values, known(&format!("{head}{key} = \"no such value\"\n")), "{head}{key}");
            }
            if property["properties"].is_object() {
                table(property, &format!("[{key}]\n"), seen);
            }
            if property["items"]["properties"].is_object() {
                table(&property["items"], &format!("[[{key}]]\n"), seen);
            }
        }
    }
    let mut seen = 0;
    table(&serde_json::from_str(SCHEMA).unwrap(), "", &mut seen);
    assert!(seen > 30, "{seen} keys");
}

struct Validator(Schemas, SchemaIndex);

impl Validator {
    fn new() -> Self {
        let mut schemas = Schemas::new();
        let mut compiler = Compiler::new();
        compiler.add_resource("manifest.json", serde_json::from_str(SCHEMA).unwrap()).unwrap();
        let index = compiler.compile("manifest.json", &mut schemas).expect("it is a JSON Schema");
        Self(schemas, index)
    }

    fn accepts(&self, value: &Value) -> bool {
        self.0.validate(value, self.1).is_ok()
    }
}

/// Every value that differs from this one in one place: a key misspelt, a key or an item left out, another value.
fn changed(value: &Value) -> Vec<Value> {
    let mut all: Vec<_> = [
        json!(0),
        json!(1),
        json!(-1),
        json!(70_000),
        json!(4_294_967_296_i64),
        json!(1.5),
        json!(true),
        json!(""),
        json!("x"),
        json!("null"),
        json!("http"),
        json!("/x"),
        json!("x/"),
        json!("/.."),
        json!(".."),
        json!("A B"),
        json!("web"),
        json!("1 KiB"),
        json!("1 s"),
        json!("1 km"),
        json!("a.b:1"),
        json!("a.b"),
        json!("*"),
        json!("*:*"),
        json!("a.b:01"),
        json!("[::1]:1"),
        json!("10.0.0.0/8:1-2"),
        json!("9-"),
        json!([]),
        json!({}),
        json!(["x"]),
        json!([1]),
        json!([{}]),
        json!({ "x": "y" }),
        json!({ "x": 1 }),
    ]
    .into();
    match value {
        Value::Object(table) => {
            // serde takes the values of a table as a list, too: nobody writes that, and the schema refuses it.
            all.retain(|other| !other.is_array());
            for (key, inner) in table {
                let mut without = table.clone();
                without.remove(key);
                all.push(Value::Object(without.clone()));
                without.insert(format!("{key}x"), inner.clone());
                all.push(Value::Object(without));
                for inner in changed(inner) {
                    let mut with = table.clone();
                    with.insert(key.clone(), inner);
                    all.push(Value::Object(with));
                }
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                let mut without = items.clone();
                without.remove(index);
                all.push(Value::Array(without));
                for inner in changed(inner) {
                    let mut with = items.clone();
                    with[index] = inner;
                    all.push(Value::Array(with));
                }
            }
        }
        _ => {}
    }
    all
}

/// Whoever writes by the schema writes what is read. Rules between keys are the reader's alone.
#[test]
fn the_schema_accepts_what_the_reader_accepts() {
    let schema = Validator::new();
    let (mut accepted, mut refused, mut wrong) = (0, 0, String::new());
    for example in examples() {
        let value: Value = settings::parse("example", example).unwrap();
        assert!(schema.accepts(&value), "{example}");
        for value in changed(&value) {
            let Ok(text) = toml::to_string(&value) else { continue };
            let said = schema.accepts(&value);
            match Manifest::from_toml("example", &text) {
                Ok(_) => {
                    accepted += 1;
                    if !said {
                        wrong = format!("{wrong}the schema refuses\n{text}\n");
                    }
                }
                Err(ManifestFileError::Settings(error)) => {
                    refused += 1;
                    if said {
                        wrong = format!("{wrong}the schema accepts what is refused: {error}\n{text}\n");
                    }
                }
                Err(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(accepted > 100 && refused > 1000, "{accepted} accepted, {refused} refused");
}

#[test]
fn every_key_is_explained() {
    fn keys(schema: &Value, head: &str, all: &mut Vec<(String, String)>) {
        for (key, property) in schema["properties"].as_object().unwrap() {
            let path = format!("{head}{key}");
            keys_below(property, &path, all);
            all.push((path, property["description"].as_str().unwrap().to_owned()));
        }
    }
    fn keys_below(property: &Value, path: &str, all: &mut Vec<(String, String)>) {
        for inner in [property, &property["items"]] {
            if inner["properties"].is_object() {
                keys(inner, &format!("{path}."), all);
            }
        }
    }
    let mut all = Vec::new();
    keys(&serde_json::from_str(SCHEMA).unwrap(), "", &mut all);
    for (key, description) in all {
        let ran = manifest(Path::new("/"), &["explain", &key]);
        assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""), "{key}");
        let text = description.split(" Without it:").next().unwrap();
        assert!(ran.text().starts_with(&format!("{key}: ")) && ran.text().contains(text), "{}", ran.text());
        assert_eq!(ran.text().contains("It is required."), text == description, "{key}");
    }
    manifest(Path::new("/"), &["explain", "conect.trust"]).assert(
        125,
        "",
        "error: `conect.trust` is neither a key of a manifest nor a file\nhint: did you mean `connect.trust`?\n",
    );
}

fn command() -> Vec<u8> {
    wat(r#"(module (memory (export "memory") 1) (func (export "_start")))"#)
}

#[test]
fn a_right_manifest_is_told_in_a_line() {
    let dir = folder(&[("Donjon.toml", b"program = \"main.wasm\"\n"), ("main.wasm", &command())]);
    let ok = "./main.wasm is a module, a command\n";
    manifest(dir.path(), &["check"]).assert(0, &format!("./Donjon.toml: OK, command: {ok}"), "");
    manifest(dir.path(), &["check", "main.wasm"]).assert(
        0,
        "main.wasm: OK, command: main.wasm is a module, a command\n",
        "",
    );
    let answer = manifest(dir.path(), &["check", "--json"]);
    assert_eq!((answer.code(), answer.stderr.as_str()), (0, ""));
    let packed = run(dir.path(), ["pack"], Input::Nothing);
    let expected = json!({
        "ok": true, "manifest": "./Donjon.toml", "program": "./main.wasm", "kind": "command",
        "what": "a module, a command", "workload": packed.text().trim_end(), "notes": [],
    });
    assert_eq!(serde_json::from_str::<Value>(answer.text()).unwrap(), expected);
    let service = folder(&[("Donjon.toml", format!("program = {:?}\n", env!("DONJON_GREETER")).as_bytes())]);
    let ran = manifest(service.path(), &["check"]);
    assert!(ran.text().starts_with("./Donjon.toml: OK, http: "), "{}", ran.text());
}

/// What is wrong is told with its place, and a Keep does not start either.
#[test]
fn a_manifest_that_its_program_does_not_fit() {
    let listen = |protocol: &str| format!("[[listen]]\nname = \"web\"\nport = 0\nprotocol = \"{protocol}\"\n");
    let reactor = wat(r#"(module (func (export "b")) (func (export "a")))"#);
    let odd = wat(r#"(module (import "env" "magic" (func)) (memory (export "memory") 1) (func (export "_start")))"#);
    let (greeter, native) = (env!("DONJON_GREETER"), probe(Form::Native));
    let native = native.to_str().unwrap();
    let dir = folder(&[("main.wasm", &command()), ("reactor.wasm", &reactor), ("odd.wasm", &odd)]);
    let refused = |text: &str, message: &str, hint: &str| {
        std::fs::write(dir.path().join("Donjon.toml"), text).unwrap();
        let ran = manifest(dir.path(), &["check"]);
        assert_eq!((ran.code(), ran.text()), (125, ""), "{text}");
        assert!(ran.stderr.starts_with(&format!("error: ./Donjon.toml:{message}")), "{}\n{message}", ran.stderr);
        assert_eq!(
            ran.stderr.split("\nhint: ").nth(1).map(|found| found.starts_with(hint)),
            Some(true),
            "{}",
            ran.stderr
        );
        let ran = run(dir.path(), ["run", "-q"], Input::Nothing);
        assert_eq!((ran.code(), ran.text()), (125, ""), "a Keep starts\n{text}");
        let json = manifest(dir.path(), &["check", "--json"]);
        assert_eq!((json.code(), json.stderr.as_str()), (125, ""), "{text}");
        let json: Value = serde_json::from_str(json.text()).unwrap();
        assert_eq!((&json["ok"], &json["error"]["file"]), (&json!(false), &json!("./Donjon.toml")));
        let (line, column) = (&json["error"]["line"], &json["error"]["column"]);
        assert!(message.starts_with(&format!("{line}:{column}: ")), "{json}");
    };
    let agrees = |text: &str| {
        std::fs::write(dir.path().join("Donjon.toml"), text).unwrap();
        let ran = manifest(dir.path(), &["check"]);
        assert_eq!((ran.code(), ran.stderr.as_str()), (0, ""), "{text}");
    };

    agrees("program = \"main.wasm\"\n");
    refused("program = \"none.wasm\"\n", "1:11: cannot read the program ./none.wasm", "build it first");
    refused("program = \"main.wasm\"\nagrs = []\n", "2:1: unknown key `agrs`", "did you mean `args`?");
    refused(
        "program = \"main.wasm\"\nargs = [\"\\u0000\"]\n",
        "2:9: `args[0]` contains a NUL character\n",
        "remove it",
    );
    agrees("program = \"main.wasm\"\n[[file]]\npath = \"/a\"\nsource = \"main.wasm\"\n");
    refused(
        "program = \"main.wasm\"\n[[file]]\npath = \"/a\"\nsource = \"none\"\n",
        "4:10: cannot read the file ./none",
        "correct the path",
    );
    refused(
        "program = \"odd.wasm\"\n",
        "1:11: ./odd.wasm cannot run in a Keep: it imports what no Keep has: env.magic",
        "`donjon inspect",
    );

    agrees("program = \"reactor.wasm\"\ninvoke = \"a\"\n");
    refused("program = \"reactor.wasm\"\n", "1:11: ./reactor.wasm has no `_start`", "build it as a command");
    refused(
        "program = \"reactor.wasm\"\ninvoke = \"c\"\n",
        "2:10: ./reactor.wasm has no function `c`",
        "its functions are a, b",
    );

    let greeter = format!("program = {greeter:?}\n");
    agrees(&greeter);
    agrees(&format!("{greeter}{}", listen("http")));
    refused(
        &format!("{greeter}kind = \"command\"\n"),
        &format!("2:8: {} does not export wasi:cli/run", env!("DONJON_GREETER")),
        "it exports a handler",
    );
    refused(
        &format!("program = {:?}\ninvoke = \"x\"\n", probe(Form::Component).to_str().unwrap()),
        "2:10: `invoke` is for modules",
        "a component is entered by what it exports",
    );
    refused(
        &format!("kind = \"http\"\nprogram = \"main.wasm\"\n{}", listen("http")),
        "1:8: ./main.wasm exports no handler",
        "export the handler",
    );
    refused(
        &format!("program = \"main.wasm\"\n{}", listen("http")),
        "5:12: ./main.wasm exports no handler",
        "export the handler",
    );

    let native = format!("program = {native:?}\n");
    agrees(&native);
    refused(&format!("{native}{}", listen("tcp")), "2:1: `listen` is for WebAssembly", "remove it");
    refused(
        &format!("{native}[[mount]]\npath = \"/\"\nkind = \"memory\"\n"),
        "2:1: `mount` is for WebAssembly",
        "remove it",
    );
    refused(&format!("{native}[network]\nresolve = [\"*\"]\n"), "2:1: `network` is for WebAssembly", "remove it");
}

#[test]
fn a_manifest_in_plain_words() {
    let text = r#"
program = "main.wasm"
args = ["serve"]
stdout = "null"
[env]
LANG = "C"
ONE = { host = "HOST_ONE" }
TWO = { host = "HOST_TWO", default = "2" }
[[file]]
path = "/etc/ca.pem"
source = "ca.pem"
[[mount]]
path = "/tmp"
kind = "memory"
size = "1 KiB"
[[listen]]
name = "admin"
port = 0
protocol = "tls"
clients = ["steward", "/etc/ca.pem"]
roles = ["web", "ops"]
[[connect]]
name = "db"
to = "db.example.org:5432"
protocol = "tls"
[network]
connect = ["10.0.0.0/8:*"]
[limits]
time = "30 s"
[identity]
names = ["shop.example.org"]
"#;
    let dir = folder(&[("Donjon.toml", text.as_bytes()), ("ca.pem", b"-"), ("main.wasm", &command())]);
    let words = r#"./Donjon.toml: ./main.wasm is a module, a command
  runs      once, and ends with an exit status
  arguments "main.wasm" "serve", then the launcher's
  variable  LANG="C", whatever the launcher says
  variable  ONE is what `--env` says, under run also the host's HOST_ONE; without it the program does not start
  variable  TWO is what `--env` says, under run also the host's HOST_TWO; without it "2"
  stdin     run: from the host, who knows it; deploy: empty
  stdout    run and deploy: dropped
  stderr    run: to the host, who reads it; deploy: dropped
  file      /etc/ca.pem, 1 bytes, only read
  mount     /tmp is written to: the Keep's memory, at most 1024 bytes, gone with the Keep
  limit     at most 30s from start to end
  identity  deploy: the certificate has the name shop.example.org, or the program does not start
  listens   `admin` at any free port, tls by the Keep's certificate, so not under run; there may come a Keep of the same owner in the role web or ops, or whom a certificate in /etc/ca.pem vouches for
  connects  `db` to db.example.org:5432, tls to whom a public web root names so
  reaches   10.0.0.0/8:*, by sockets of its own, and by requests to whom a public web root names
Nobody said, therefore:
  kind      what the program exports decides
  invoke    a module is entered by `_start`, a component by what it exports
  stubs     a program that imports what a Keep does not have is refused
  arg0      `main.wasm`, of a native program `program`
  stdin     `run`: from the host; `deploy`: empty
  stderr    `run`: to the host; `deploy`: dropped
  secret    no files but those of the package
  network.resolver the host is asked
"#;
    manifest(dir.path(), &["explain"]).assert(0, words, "");
    // What is not said is told by what holds then.
    let bare = manifest(dir.path(), &["explain", "main.wasm"]);
    for line in [
        "  mount     nowhere to write to, and nothing of the host\n",
        "  network   nothing else leaves the Keep or comes in\n",
    ] {
        assert!(bare.text().contains(line) && !words.contains(line), "{}", bare.text());
    }
    let native = manifest(Path::new("/"), &["explain", probe(Form::Native).to_str().unwrap()]);
    assert!(native.text().contains("network   its own sockets, to and from anywhere"), "{}", native.text());
}

const STDIO: &str = "[[files]]\nkind = \"stdin\"\n[[files]]\nkind = \"stdout\"\n[[files]]\nkind = \"stderr\"\n";

/// A folder as Enarx had it: `Enarx.toml` and `main.wasm`.
fn enarx(text: &str) -> tempfile::TempDir {
    folder(&[("Enarx.toml", text.as_bytes()), ("main.wasm", &std::fs::read(probe(Form::Module)).unwrap())])
}

/// What the program finds is what it found: arguments, environment, descriptors by number and by name.
#[test]
fn an_enarx_toml_runs() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let text = format!(
        "args = [\"env\"]\n{STDIO}[[files]]\nkind = \"listen\"\nname = \"web\"\nprot = \"tcp\"\nport = 9000\n\
         [[files]]\nkind = \"connect\"\nprot = \"tcp\"\nhost = \"127.0.0.1\"\nport = {port}\n[env]\nLANG = \"C\"\n"
    );
    let dir = enarx(&text);
    let ran = run(dir.path(), ["run", "-q", "--listen", "web=127.0.0.1:0"], Input::Nothing);
    ran.assert(0, "FD_COUNT=5\nFD_NAMES=stdin:stdout:stderr:web:127.0.0.1\nLANG=C\nLISTEN_FDS=1\n", "");

    let dir = enarx(&format!("args = [\"exit\", \"7\"]\n{STDIO}"));
    for project in [".", "Enarx.toml"] {
        run(dir.path(), ["run", "-q", project], Input::Nothing).assert(7, "", "");
    }
    // Without files a program has no streams.
    let text = "args = [\"args\", \"x\"]\n";
    let said = run(enarx(&format!("{text}{STDIO}")).path(), ["run", "-q"], Input::Nothing);
    assert_eq!(said.code(), 0);
    assert!(!said.text().is_empty(), "control");
    run(enarx(text).path(), ["run", "-q"], Input::Nothing).assert(0, "", "");
}

#[test]
fn an_enarx_toml_is_checked_converted_and_packed() {
    let steward = "steward = \"https://attest.example.org\"\n";
    let note = "note: ./Enarx.toml:1:11: `steward` does not count: a workload does not choose who vouches for it\n\
        hint: remove it; `donjon deploy` goes to the Steward that the Drawbridge names\n";
    let dir = enarx(&format!("{steward}args = [\"exit\", \"7\"]\n{STDIO}"));
    manifest(dir.path(), &["check"]).assert(0, "./Enarx.toml: OK, command: ./main.wasm is a module, a command\n", note);
    let json = manifest(dir.path(), &["check", "--json"]);
    let json: Value = serde_json::from_str(json.text()).unwrap();
    assert_eq!((&json["notes"][0]["line"], &json["notes"][0]["column"]), (&json!(1), &json!(11)));
    run(dir.path(), ["run"], Input::Nothing).assert(
        7,
        "",
        &format!("{note}{}", run(dir.path(), ["run", "main.wasm", "exit", "7"], Input::Nothing).stderr),
    );
    let explained = manifest(dir.path(), &["explain"]);
    assert_eq!((explained.code(), explained.stderr.as_str()), (0, note));
    assert!(explained.text().contains("  arguments \"main.wasm\" \"exit\" \"7\""), "{}", explained.text());

    let packed = run(dir.path(), ["pack"], Input::Nothing);
    assert_eq!((packed.code(), packed.stderr.as_str()), (0, note));
    let converted = manifest(dir.path(), &["convert"]);
    assert_eq!((converted.code(), converted.stderr.as_str()), (0, note));
    std::fs::write(dir.path().join("Donjon.toml"), converted.text()).unwrap();
    // Ours comes first, and is the same workload.
    run(dir.path(), ["pack"], Input::Nothing).assert(0, packed.text(), "");
}

#[test]
fn an_enarx_toml_that_cannot_be_kept() {
    let listen = "[[files]]\nkind = \"listen\"\nname = \"l\"\nprot = \"tcp\"\n";
    let connect = "[[files]]\nkind = \"connect\"\nhost = \"127.0.0.1\"\nprot = \"tcp\"\n";
    manifest(enarx(&[STDIO, listen, connect].concat()).path(), &["check"]).assert(
        0,
        "./Enarx.toml: OK, command: ./main.wasm is a module, a command\n",
        "",
    );
    let dir = enarx(&[STDIO, connect, listen].concat());
    for command in [&["manifest", "check"][..], &["manifest", "explain"], &["manifest", "convert"], &["run"], &["pack"]]
    {
        run(dir.path(), command, Input::Nothing).assert(
            125,
            "",
            "error: ./Enarx.toml:12:8: `listen` is descriptor 4, after `connect`; here listeners come first, and it would be 3\n\
             hint: move it before the first `connect`; then a program that reads FD_NAMES finds it, and one that counts has to be \
             changed\n",
        );
    }
    run(enarx("[[file]]\nkind = \"stdin\"\n").path(), ["pack"], Input::Nothing).assert(
        125,
        "",
        "error: ./Enarx.toml:1:3: unknown key `file`\nhint: did you mean `files`?\n",
    );
    let dir = enarx(STDIO);
    std::fs::remove_file(dir.path().join("main.wasm")).unwrap();
    let ran = run(dir.path(), ["pack"], Input::Nothing);
    assert!(ran.stderr.starts_with("error: ./Enarx.toml: cannot read the program ./main.wasm: "), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("hint: this file cannot name its program: put it beside as main.wasm"),
        "{}",
        ran.stderr
    );
}
