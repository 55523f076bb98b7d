//! A manifest in plain words: what the program gets and may do, and what holds because nobody said otherwise.
//!
//! Owns the words; what is unsaid is told by the table of keys. Every key of the manifest is asked for, so that a new one
//! cannot be forgotten here.

use workload::manifest::{
    ARG0, Connect, Debug, FromHost, FromSecret, Identity, Kind, Limits, Listen, MOUNT_SIZE, Manifest, Mount, MountKind,
    Network, Resolver, ResolverProof, SecretFile, Stdio, Trust, Variable,
};
use workload::names::Name;

use super::keys::Key;
use crate::command::inspect::Inspection;
use crate::project::Project;

/// How many files are listed.
const FILES: usize = 20;

/// The paragraph of a key.
pub(super) fn key(key: &Key) -> String {
    let mut lines = vec![format!("{}: {}", key.path, key.is())];
    lines.push(format!("  {}", key.text));
    lines.push(if key.required { "  It is required.".to_owned() } else { format!("  Without it: {}.", key.unsaid) });
    for below in Key::below(key.path) {
        lines.push(format!("  {}: {}{}", below.path, below.is(), if below.required { ", required" } else { "" }));
    }
    lines.join("\n")
}

/// What a program will get.
pub(super) fn project(project: &Project, kind: Kind, found: &Inspection) -> String {
    let Manifest {
        program: _,
        kind: said_kind,
        invoke,
        stubs,
        arg0,
        args,
        env,
        stdin,
        stdout,
        stderr,
        file,
        mount,
        secret,
        listen,
        connect,
        network,
        limits,
        identity: Identity { names, lifetime, files },
        debug: Debug { insecure_network },
    } = &project.manifest;
    let native = found.form == "elf";
    let mut text = Text {
        lines: vec![format!("{}: {} is {}", project.shown, project.path.display(), found.what)],
        unsaid: Vec::new(),
    };

    text.line(
        "runs",
        &match (kind, invoke) {
            (Kind::Http, _) => "as a service, for each request".to_owned(),
            (_, Some(invoke)) => format!("once: its function `{invoke}` is called"),
            (_, None) => "once, and ends with an exit status".to_owned(),
        },
    );
    text.unsaid("kind", *said_kind == Kind::Auto && !native);
    text.unsaid("invoke", invoke.is_none() && found.form == "module");
    for stub in stubs {
        text.line("imports", &format!("of `{stub}` trap when they are called, if a Keep does not have them"));
    }
    text.unsaid("stubs", stubs.is_empty() && found.form == "module");

    let name = arg0.as_deref().unwrap_or(if native { "program" } else { ARG0 });
    let given: Vec<_> =
        [name].into_iter().chain(args.iter().map(String::as_str)).map(|arg| format!("{arg:?}")).collect();
    text.line("arguments", &format!("{}, then the launcher's", given.join(" ")));
    text.unsaid("arg0", arg0.is_none());
    text.unsaid("args", args.is_empty());
    for (name, value) in env {
        let value = match value {
            Variable::Text(text) => format!("{name}={text:?}, whatever the launcher says"),
            Variable::Host(FromHost { host, default }) => {
                let without = default.as_ref().map_or_else(
                    || "without it the program does not start".to_owned(),
                    |default| format!("without it {default:?}"),
                );
                format!("{name} is what `--env` says, under run also the host's {host}; {without}")
            }
            Variable::Secret(FromSecret { secret }) => {
                format!("deploy: {name} is the Drawbridge's secret {secret}; run: what `--env` says, or nothing starts")
            }
        };
        text.line("variable", &value);
    }
    text.unsaid("env", env.is_empty());

    for (name, said, leads) in [
        ("stdin", stdin, ["from the host, who knows it", "empty"]),
        ("stdout", stdout, ["to the host, who reads it", "dropped"]),
        ("stderr", stderr, ["to the host, who reads it", "dropped"]),
    ] {
        let [host, null] = leads;
        match said {
            Some(Stdio::Host) => text.line(name, &format!("run and deploy: {host}")),
            Some(Stdio::Null) => text.line(name, &format!("run and deploy: {null}")),
            None => text.line(name, &format!("run: {host}; deploy: {null}")),
        }
        text.unsaid(name, said.is_none());
    }

    for (file, part) in file.iter().zip(&project.files).take(FILES) {
        let path = &file.path;
        let innermost = mount.iter().filter(|mount| path.below(&mount.path).is_some());
        let innermost = innermost.max_by_key(|mount| mount.path.as_str().len());
        let written = innermost.filter(|mount| mount.kind == MountKind::Memory);
        let how = written.map_or_else(
            || "only read".to_owned(),
            |mount| format!("changed in {} only, and gone with the Keep", mount.path),
        );
        text.line("file", &format!("{path}, {} bytes, {how}", part.size));
    }
    if file.len() > FILES {
        text.line("file", &format!("and {} more", file.len().saturating_sub(FILES)));
    }
    text.unsaid("file", file.is_empty());
    for Mount { path, kind, size } in mount {
        let size = size.unwrap_or(MOUNT_SIZE).get();
        let what = match kind {
            MountKind::Memory => format!("is written to: the Keep's memory, at most {size} bytes, gone with the Keep"),
            MountKind::Host => format!("is read: a folder of the host (--mount {path}=FOLDER), at most {size} bytes"),
        };
        text.line("mount", &format!("{path} {what}"));
    }
    text.unsaid("mount", mount.is_empty());
    for SecretFile { name, path, previous } in secret {
        let before = previous.as_ref().map(|path| format!(", the version before {path}")).unwrap_or_default();
        text.line("secret", &format!("deploy: {name} of the Drawbridge is {path}{before}; not under run"));
    }
    text.unsaid("secret", secret.is_empty());

    let Limits { memory, elements, descriptors, time, cpu, requests } = limits;
    for (what, most) in [
        ("bytes of linear memory", memory.map(|size| size.get().to_string())),
        ("elements of tables", elements.map(|most| most.to_string())),
        ("descriptors", descriptors.map(|most| most.to_string())),
        ("from start to end", time.map(|span| format!("{:?}", span.duration()))),
        ("of computing", cpu.map(|span| format!("{:?}", span.duration()))),
        ("requests at once", requests.map(|most| most.to_string())),
    ] {
        if let Some(most) = most {
            text.line("limit", &format!("at most {most} {what}"));
        }
    }
    text.unsaid("limits", *limits == Limits::default());
    for name in names {
        text.line("identity", &format!("deploy: the certificate has the name {name}, or the program does not start"));
    }
    if let Some(lifetime) = lifetime {
        text.line("identity", &format!("deploy: a certificate is used for {:?} at most", lifetime.duration()));
    }
    if *files {
        text.line("identity", "run: the brief is a file in /run/donjon; deploy: certificates, claims and evidence too");
    }
    text.unsaid("identity", names.is_empty() && lifetime.is_none() && !files);

    if native {
        text.line("network", "its own sockets, to and from anywhere: no key of a manifest holds a native program");
        return text.done();
    }
    let default = project.manifest.http_listener();
    if kind == Kind::Http && listen.is_empty() {
        text.line(
            "listens",
            &format!("`{}` at any free port: https and anybody under deploy, http under run", default.name),
        );
    }
    for Listen { name, port, protocol, clients, roles, certificate } in listen {
        let port = if *port == 0 { "any free port".to_owned() } else { format!("port {port}") };
        let shown =
            certificate.as_ref().map_or("the Keep's certificate".to_owned(), |name| format!("the secret {name}"));
        let who = match (protocol.tls(), clients.as_slice()) {
            (true, []) => format!("by {shown}, so not under run; anybody may come"),
            (true, _) => format!("by {shown}, so not under run; there may come {}", trusted(clients, roles)),
            (false, _) => "in the clear: anybody may come, and the host reads along".to_owned(),
        };
        text.line("listens", &format!("`{name}` at {port}, {protocol} {who}"));
    }
    text.unsaid("listen", listen.is_empty() && kind != Kind::Http);
    for Connect { name, to, protocol, trust, roles } in connect {
        let web = [Trust::Web];
        let whom = match (protocol.tls(), trust.as_slice()) {
            (true, trust) => {
                let asked = trust.contains(&Trust::Steward);
                let run = if asked { "; not under run, which has no certificate" } else { "" };
                format!("to {}{run}", trusted(if trust.is_empty() { &web } else { trust }, roles))
            }
            (false, _) => "in the clear: to whoever the host leads it to, and he reads along".to_owned(),
        };
        text.line("connects", &format!("`{name}` to {to}, {protocol} {whom}"));
    }
    text.unsaid("connect", connect.is_empty());

    let Network { connect: destinations, listen: ports, resolve, udp, resolver } = network;
    for destination in destinations {
        text.line(
            "reaches",
            &format!("{destination}, by sockets of its own, and by requests to whom a public web root names"),
        );
    }
    for port in ports {
        text.line("opens", &format!("port {port}, in the clear"));
    }
    for peer in udp {
        text.line("datagrams", &format!("to and from {peer}, in the clear"));
    }
    for host in resolve {
        let who = resolver.as_ref().map_or_else(|| "the host".to_owned(), |resolver| format!("{resolver}"));
        text.line("looks up", &format!("{host}, as {who} answers"));
    }
    if let Some(Resolver { to, tls }) = resolver {
        let how = match tls {
            None => "in the clear: the host reads along, and may answer".to_owned(),
            Some(ResolverProof::Name(name)) => format!("over TLS, if a public web root names him {name}"),
            Some(ResolverProof::Pin(key)) => format!("over TLS, if he has the key {key}"),
        };
        text.line("names", &format!("are asked of {to}, {how}"));
    }
    text.unsaid("network.resolver", resolver.is_none() && *network != Network::default());
    if *insecure_network {
        text.line("reaches", "everybody, and listens everywhere: `debug.insecure_network`");
    }
    text.unsaid("network", *network == Network::default() && !insecure_network);
    text.done()
}

/// Who has one of these proofs.
fn trusted(trust: &[Trust], roles: &[Name]) -> String {
    let one = |trust: &Trust| match trust {
        Trust::Web => "whom a public web root names so".to_owned(),
        Trust::Steward => {
            let roles: Vec<_> = roles.iter().map(Name::as_str).collect();
            format!("a Keep of the same owner in the role {}", roles.join(" or "))
        }
        Trust::Pem(path) => format!("whom a certificate in {path} vouches for"),
        Trust::Pin(digest) => format!("who has the key {digest}"),
    };
    trust.iter().map(one).collect::<Vec<_>>().join(", or ")
}

struct Text {
    lines: Vec<String>,
    unsaid: Vec<String>,
}

impl Text {
    fn line(&mut self, name: &str, text: &str) {
        self.lines.push(format!("  {name:<9} {text}"));
    }

    /// What holds without a key, if nobody said it.
    fn unsaid(&mut self, path: &str, unsaid: bool) {
        if let (true, Some(key)) = (unsaid, Key::find(path)) {
            self.unsaid.push(format!("  {path:<9} {}", key.unsaid));
        }
    }

    fn done(mut self) -> String {
        if !self.unsaid.is_empty() {
            self.lines.push("Nobody said, therefore:".to_owned());
            self.lines.append(&mut self.unsaid);
        }
        self.lines.join("\n")
    }
}
