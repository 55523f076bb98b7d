//! Micro-VMs on another machine: a Linux with AMD's virtualisation, all of it interpreted by QEMU. There ring 0 runs as
//! hardware runs it: real `syscall`, page faults, translation caches, nested paging, interrupts between two processors.
//!
//! Owns the machine: its kernel and modules are this host's, its first program is busybox with [`script`], and beside that
//! are `donjon` and the test programs ([`archive`]). The script writes what each run said to a serial port of its own;
//! [`results`] reads it. What is right is what `nil` says on this host.
//!
//! Where QEMU or the kernel is missing that is a skip, which `DONJON_REQUIRE=tcg` makes a failure. Invariant: the lane ends,
//! whatever the machine does.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::call::{Call, Failed, Repository, Workspace, required, step};
use crate::recipe;

const QEMU: &str = "qemu-system-x86_64";
const INSTALL: &str = "apt-get install qemu-system-x86 linux-image-cloud-amd64 busybox-static";
const REPEAT: &str = "cargo xtask tcg";

/// When the machine counts as hanging. It takes a tenth of it, unless it is one of many on this host.
const HANGS: Duration = Duration::from_secs(1800);
/// Seconds after which the machine ends a single run.
const SLOW: u32 = 300;
/// How often all programs run: what processors do to each other differs each time.
const ROUNDS: usize = 3;
/// Which of [`programs`] can sleep.
const PROBE: usize = 2;
const BACKENDS: [&str; 2] = ["kvm", "sim-snp"];

/// A file of the machine: its path, whether it can be executed, its content.
type Entry = (String, bool, Vec<u8>);

/// A program that is run, and its arguments.
struct Program {
    file: PathBuf,
    arguments: &'static [&'static str],
}

/// How a run ended, and what it said.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Ran {
    status: i32,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
}

/// What this host has of the machine.
struct Parts {
    kernel: PathBuf,
    /// In the order in which they are loaded.
    modules: Vec<PathBuf>,
    busybox: PathBuf,
}

/// Runs the lane; gives back why it could not.
pub(crate) fn run(repository: &Repository) -> Result<Option<String>, Failed> {
    let parts = match parts(Path::new("/")) {
        Ok(parts) => parts,
        Err(why) => {
            let why = format!("tcg: micro-VMs on a processor of QEMU's: {why} ({INSTALL})");
            return if required("tcg") { Err(failed(why)) } else { Ok(Some(why)) };
        }
    };
    let donjon = ["build", "--release", "--locked", "--package", "donjon"];
    repository.cargo(Workspace::Root, &donjon).run("donjon for a machine of QEMU's")?;
    let donjon = repository.target().join("release/donjon");
    let programs = programs(repository).map_err(failed)?;
    let expected = step("programs on nil, for comparison", || {
        let one = |program: &Program| {
            let ran =
                Command::new(&donjon).args(line("nil", &program.file.display(), program)).stdin(Stdio::null()).output();
            ran.map(Ran::from).map_err(|error| failed(format!("cannot start {}: {error}", donjon.display())))
        };
        programs.iter().map(one).collect::<Result<Vec<_>, _>>()
    })?;
    let folder = repository.target().join("tcg");
    step("programs in micro-VMs on a processor of QEMU's", || {
        fs::create_dir_all(&folder).map_err(|error| failed(format!("{}: {error}", folder.display())))?;
        let entries = entries(&parts, &donjon, &programs)?;
        let machine = folder.join("initrd");
        fs::write(&machine, archive(&entries)).map_err(|error| failed(format!("{}: {error}", machine.display())))?;
        let said = boot(&parts.kernel, &folder)?;
        compare(&expected, &programs, &results(&said).map_err(failed)?).map_err(failed)
    })?;
    Ok(None)
}

fn failed(why: String) -> Failed {
    Failed { what: "micro-VMs on a processor of QEMU's".to_owned(), why, repeat: REPEAT.to_owned() }
}

/// Finds the machine's parts below `root`.
fn parts(root: &Path) -> Result<Parts, String> {
    if !Command::new(QEMU).arg("--version").output().is_ok_and(|ran| ran.status.success()) {
        return Err(format!("there is no {QEMU}"));
    }
    let busybox = ["bin/busybox", "usr/bin/busybox"].map(|path| root.join(path)).into_iter().find(|path| path.exists());
    let busybox = busybox.ok_or("there is no busybox")?;
    let (kernel, modules) = kernel(root)?;
    Ok(Parts { kernel, modules, busybox })
}

/// The newest kernel that has modules for AMD's virtualisation and can be read.
fn kernel(root: &Path) -> Result<(PathBuf, Vec<PathBuf>), String> {
    let all = root.join("lib/modules");
    let mut versions: Vec<_> =
        fs::read_dir(&all).into_iter().flatten().flatten().map(|entry| entry.file_name()).collect();
    versions.sort();
    let found = versions.iter().rev().find_map(|version| {
        let modules = all.join(version);
        let kernel = root.join("boot").join(format!("vmlinuz-{}", version.to_string_lossy()));
        File::open(&kernel).ok()?;
        let order = in_order(&fs::read_to_string(modules.join("modules.dep")).ok()?, "kvm-amd.ko")?;
        Some((kernel, order.into_iter().map(|module| modules.join(module)).collect()))
    });
    found.ok_or_else(|| "there is no kernel in /boot that can be read and has the module kvm-amd".to_owned())
}

/// A module and those it needs, in the order in which they are loaded, from `modules.dep` (see `modules.dep(5)`).
fn in_order(dependencies: &str, module: &str) -> Option<Vec<String>> {
    let (path, needs) = dependencies.lines().filter_map(|line| line.split_once(':')).find(|(path, _)| {
        let name = path.rsplit('/').next().unwrap_or(path);
        name.strip_prefix(module).is_some_and(|packed| packed.is_empty() || packed.starts_with('.'))
    })?;
    let mut order: Vec<_> = needs.split_whitespace().map(str::to_owned).collect();
    order.reverse();
    order.push(path.to_owned());
    Some(order)
}

/// What runs: a C program, threads with a socket, WebAssembly, and threads that wait for each other. Not `memory` of the same
/// folder: where many interrupts wait for their window QEMU 7.2 at times resumes a guest at its host's instruction.
fn programs(repository: &Repository) -> Result<Vec<Program>, String> {
    let (native, wasm) = ("x86_64-unknown-linux-musl", "wasm32-wasip1");
    let packages: [(_, _, _, &[&str]); 3] = [
        ("tnetennba", "tnetennba", native, &[]),
        ("threads", "threads", native, &["7"]),
        ("probe", "probe.wasm", wasm, &["args", "a b", "ü"]),
    ];
    let mut programs = Vec::new();
    for (package, file, target, arguments) in packages {
        // As the tests of `donjon` build them, and into the same folder.
        let workspace = "guest/programs";
        let built = recipe::Built { package, file, workspace, target, flags: &[], prebuilt: "DONJON_PROGRAMS" };
        let file = built.get(repository.root(), &repository.target().join("programs"))?;
        programs.push(Program { file, arguments });
    }
    let source = repository.root().join("crates/keep/tests/micro_vm/programs/wakes.rs");
    let file = repository.target().join("tcg/wakes");
    fs::create_dir_all(repository.target().join("tcg")).map_err(|error| error.to_string())?;
    let compile = ["--edition=2024", "-O", "--target", native, "-o"];
    let compile = Call::new("rustc", repository.root()).arguments(&compile).arguments(&[&file, &source]);
    compile.output("a test program").map_err(|failed| failed.why)?;
    programs.push(Program { file, arguments: &[] });
    Ok(programs)
}

/// The arguments of `donjon` for a run.
fn line(backend: &str, file: &dyn std::fmt::Display, program: &Program) -> Vec<String> {
    let words = ["run".to_owned(), "-q".to_owned(), "--backend".to_owned(), backend.to_owned(), file.to_string()];
    words.into_iter().chain(program.arguments.iter().map(|word| (*word).to_owned())).collect()
}

/// Every run: its backend and its program.
fn runs(programs: usize) -> impl Iterator<Item = (&'static str, usize)> {
    (0..ROUNDS).flat_map(move |_| BACKENDS.into_iter().flat_map(move |on| (0..programs).map(move |at| (on, at))))
}

/// The machine's files.
fn entries(parts: &Parts, donjon: &Path, programs: &[Program]) -> Result<Vec<Entry>, Failed> {
    let read = |path: &Path| fs::read(path).map_err(|error| failed(format!("{}: {error}", path.display())));
    let mut entries: Vec<Entry> = vec![("init".to_owned(), true, script(programs, parts.modules.len()).into_bytes())];
    entries.push(("bin/busybox".to_owned(), true, read(&parts.busybox)?));
    entries.push(("bin/donjon".to_owned(), true, read(donjon)?));
    let linked = Call::new("ldd", Path::new("/")).arguments(&[donjon]).output("libraries of donjon")?;
    for library in libraries(&String::from_utf8_lossy(&linked.stdout)) {
        entries.push((library.trim_start_matches('/').to_owned(), true, read(Path::new(&library))?));
    }
    for (at, module) in parts.modules.iter().enumerate() {
        let content = match module.extension().and_then(|packed| packed.to_str()) {
            Some(packed @ ("xz" | "zst")) => {
                let tool = if packed == "xz" { "xz" } else { "zstd" };
                Call::new(tool, Path::new("/")).arguments(&["-dc"]).arguments(&[module]).output("a module")?.stdout
            }
            _ => read(module)?,
        };
        entries.push((format!("module-{at}"), false, content));
    }
    for (at, Program { file, .. }) in programs.iter().enumerate() {
        entries.push((format!("program-{at}"), true, read(file)?));
    }
    Ok(entries)
}

/// The files that a program is linked with, as `ldd(1)` names them.
fn libraries(ldd: &str) -> Vec<String> {
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(str::to_owned);
    ldd.lines().filter_map(path).collect()
}

/// What the machine does, for busybox's shell. Results go to the second serial port.
fn script(programs: &[Program], modules: usize) -> String {
    let mut script = "#!/bin/busybox sh\nB=/bin/busybox\n".to_owned();
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp")] {
        _ = writeln!(script, "$B mount -t {kind} {kind} {at}");
    }
    script.push_str("$B ip link set lo up\nexec >/dev/ttyS1\n");
    for module in 0..modules {
        _ = writeln!(script, "$B insmod /module-{module}");
    }
    // Another machine than the one that is wanted would show nothing.
    script.push_str("echo npt $($B cat /sys/module/kvm_amd/parameters/npt)\n");
    script.push_str("say() { echo $1; $B od -v -An -tx1 $2; }\n");
    // Linux patches itself when the first virtual machine is made and when the last is gone, and now and then a processor
    // of QEMU 7.2 goes on with the code from before, for ever. So there is one that sleeps all the time.
    _ = writeln!(
        script,
        "/bin/donjon run -q --backend kvm /program-{PROBE} sleep 1000000000 </dev/null >/dev/null 2>&1 &\n\
         for _ in $($B seq 100); do $B ls -l /proc/*/fd 2>/dev/null | $B grep -q kvm-vcpu && break; $B sleep 1; done"
    );
    for (number, (backend, at)) in runs(programs.len()).enumerate() {
        let words = line(backend, &format_args!("/program-{at}"), &programs[at]);
        let words: Vec<_> = words.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))).collect();
        _ = writeln!(
            script,
            "$B timeout {SLOW} /bin/donjon {} </dev/null >/tmp/out 2>/tmp/err\n\
             echo run {number} $?; say out /tmp/out; say err /tmp/err",
            words.join(" ")
        );
    }
    script.push_str("echo end\n$B sync\n$B poweroff -f\n");
    script
}

/// Files as the kernel unpacks them before its first program (cpio, "new ASCII format"; Linux,
/// Documentation/driver-api/early-userspace/buffer-format.rst).
fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut folders: Vec<String> = ["proc", "sys", "dev", "tmp"].map(str::to_owned).to_vec();
    for (path, _, _) in entries {
        let above = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
        folders.extend(above.filter(|folder| !folders.contains(folder)).collect::<Vec<_>>());
    }
    let mut archive = Vec::new();
    let mut put = |path: &str, mode: usize, content: &[u8]| {
        // Inode, mode, owner, group, links, time, size, devices, length of the name, sum.
        let fields = [0, mode, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, path.len() + 1, 0];
        archive.extend(b"070701");
        fields.iter().for_each(|field| archive.extend(format!("{field:08x}").bytes()));
        archive.extend(path.bytes().chain([0]));
        archive.resize(archive.len().next_multiple_of(4), 0);
        archive.extend(content);
        archive.resize(archive.len().next_multiple_of(4), 0);
    };
    folders.iter().for_each(|folder| put(folder, 0o040_755, &[]));
    for (path, executable, content) in entries {
        put(path, if *executable { 0o100_755 } else { 0o100_644 }, content);
    }
    put("TRAILER!!!", 0, &[]);
    archive
}

/// Starts the machine and waits for its end: what it wrote to its second serial port.
fn boot(kernel: &Path, folder: &Path) -> Result<String, Failed> {
    let [console, said] = ["console", "results"].map(|name| folder.join(name));
    let call = Call::new(QEMU, folder)
        .arguments(&["-accel", "tcg,thread=multi", "-cpu", "max,+svm", "-m", "2048", "-smp", "2"])
        .arguments(&["-display", "none", "-no-reboot", "-nodefaults"])
        .arguments(&["-serial", "file:console", "-serial", "file:results", "-initrd", "initrd", "-kernel"])
        .arguments(&[kernel])
        .arguments(&["-append", "console=ttyS0 quiet panic=-1 mitigations=off"]);
    let mut machine = call.command().spawn().map_err(|error| failed(format!("cannot start {QEMU}: {error}")))?;
    let begun = Instant::now();
    let ended = loop {
        match machine.try_wait() {
            Ok(Some(status)) => break Ok(status),
            Err(error) => break Err(error.to_string()),
            Ok(None) if begun.elapsed() > HANGS => break Err(format!("no end after {} s", HANGS.as_secs())),
            Ok(None) => std::thread::sleep(Duration::from_millis(100)),
        }
    };
    if ended.is_err() {
        // Gone already, or gone now.
        _ = machine.kill();
        _ = machine.wait();
    }
    let text = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let said = text(&said).unwrap_or_default();
    let whole = matches!(&ended, Ok(status) if status.success()) && said.lines().any(|line| line.trim() == "end");
    if whole {
        return Ok(said);
    }
    let console = text(&console).unwrap_or_default();
    let last =
        |text: &str| text.lines().rev().take(10).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join("\n  ");
    let how = ended.map_or_else(|why| why, |status| status.to_string());
    Err(failed(format!("the machine ended before its script: {how}\n  {}\n  {}", last(&console), last(&said))))
}

/// Reads what the script wrote: whether its paging is nested, then each run in its order.
fn results(said: &str) -> Result<Vec<Ran>, String> {
    let mut results: Vec<Ran> = Vec::new();
    let (mut nested, mut errors) = (false, false);
    for line in said.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        match (&words[..], results.len()) {
            (["npt", value], 0) => nested = ["1", "Y"].contains(value),
            (["run", number, status], known) if number.parse() == Ok(known) => {
                let status = status.parse().map_err(|_| format!("{line:?} has no status"))?;
                results.push(Ran { status, ..Ran::default() });
            }
            (["out" | "err"], _) => errors = words == ["err"],
            (["end"], _) if nested => return Ok(results),
            (["end"], _) => return Err("its processors have no nested paging".to_owned()),
            (bytes, _) => {
                let bytes: Result<Vec<_>, _> = bytes.iter().map(|byte| u8::from_str_radix(byte, 16)).collect();
                let (Ok(bytes), Some(last)) = (bytes, results.last_mut()) else {
                    return Err(format!("{line:?} is no result"));
                };
                if errors { &mut last.stderr } else { &mut last.stdout }.extend(bytes);
            }
        }
    }
    Err("the results have no end".to_owned())
}

/// Whether every run said what it says on `nil`.
fn compare(expected: &[Ran], programs: &[Program], found: &[Ran]) -> Result<(), String> {
    let runs: Vec<_> = runs(programs.len()).collect();
    if runs.len() != found.len() {
        return Err(format!("there are {} results of {} runs", found.len(), runs.len()));
    }
    let mut wrong = String::new();
    for ((backend, at), found) in runs.into_iter().zip(found) {
        if *found != expected[at] {
            let name = programs[at].file.file_name().unwrap_or_default().to_string_lossy();
            _ = write!(wrong, "\n  {name} on {backend}: {found}; on nil: {}", expected[at]);
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(format!("not as on nil:{wrong}")) }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self { status: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr: output.stderr }
    }
}

/// For people.
impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [out, err] = [&self.stdout, &self.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        write!(f, "status {}, said {out:?} and {err:?}", self.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(arguments: &'static [&'static str]) -> Program {
        Program { file: "/x/name".into(), arguments }
    }

    #[test]
    fn modules_are_loaded_after_what_they_need() {
        let dependencies = "kernel/a/kvm.ko: kernel/b/irqbypass.ko\n\
                            kernel/a/kvm-amd.ko.xz: kernel/c/ccp.ko.xz kernel/a/kvm.ko.xz kernel/b/irqbypass.ko.xz\n\
                            kernel/a/kvm-amd.kodak: kernel/b/x.ko\n";
        let order = in_order(dependencies, "kvm-amd.ko").unwrap();
        let expected =
            ["kernel/b/irqbypass.ko.xz", "kernel/a/kvm.ko.xz", "kernel/c/ccp.ko.xz", "kernel/a/kvm-amd.ko.xz"];
        assert_eq!(order, expected);
        assert_eq!(in_order(dependencies, "kvm-intel.ko"), None);
    }

    #[test]
    fn libraries_are_the_paths_of_ldd() {
        let ldd = "\tlinux-vdso.so.1 (0x00007ffc)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f1d)\n\
                   \t/lib64/ld-linux-x86-64.so.2 (0x00007f1e)\n\tlibgone.so => not found\n";
        assert_eq!(libraries(ldd), ["/lib/x/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
        assert_eq!(libraries("\tstatically linked\n"), [""; 0]);
    }

    /// Read by somebody else's reader, where there is one.
    #[test]
    fn the_archive_is_one() {
        let entries = [("a/b/c".to_owned(), true, b"content".to_vec()), ("empty".to_owned(), false, vec![])];
        let archive = archive(&entries);
        assert_eq!((archive.len() % 4, &archive[..6]), (0, &b"070701"[..]));
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("archive"), &archive).unwrap();
        let list = Command::new("cpio").args(["-it", "--quiet", "-F", "archive"]).current_dir(&dir).output();
        let Ok(list) = list else { return println!("skipped: cpio: reading the archive: it is not installed") };
        assert_eq!(String::from_utf8_lossy(&list.stdout), "proc\nsys\ndev\ntmp\na\na/b\na/b/c\nempty\n");
    }

    #[test]
    fn the_script_runs_each_program_on_each_backend_and_quotes_its_arguments() {
        let script = script(&[program(&[]), program(&["it's", "a b"])], 2);
        assert_eq!(script.matches("/bin/donjon 'run' '-q' '--backend' 'kvm' '/program-0' <").count(), ROUNDS);
        let quoted = r"'--backend' 'sim-snp' '/program-1' 'it'\''s' 'a b' <";
        assert_eq!(script.matches(quoted).count(), ROUNDS);
        assert_eq!(script.matches("insmod").count(), 2);
        let checked = Command::new("sh").args(["-n", "-c", &script]).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    }

    const SAID: &str = "npt Y\r\nrun 0 7\r\nout\r\n 68 69\r\n 0a\r\nerr\r\nrun 1 0\r\nout\r\nerr\r\n ff\r\nend\r\n";

    #[test]
    fn results_are_read_as_they_are_written() {
        let first = Ran { status: 7, stdout: b"hi\n".to_vec(), stderr: vec![] };
        let second = Ran { status: 0, stdout: vec![], stderr: vec![0xff] };
        assert_eq!(results(SAID), Ok(vec![first, second]));
        for (from, to) in
            [("npt Y", "npt N"), ("npt Y", ""), ("run 1", "run 2"), ("run 0 7", "run 0"), (" 68", " 6g"), ("end", "")]
        {
            assert!(results(&SAID.replacen(from, to, 1)).is_err(), "{from} -> {to}");
        }
    }

    #[test]
    fn what_is_not_as_on_nil_is_named() {
        let ran = |status| Ran { status, stdout: b"x".to_vec(), stderr: vec![] };
        let (programs, expected) = ([program(&[]), program(&[])], [ran(0), ran(1)]);
        let mut found: Vec<_> = runs(2).map(|(_, at)| expected[at].clone()).collect();
        assert_eq!(compare(&expected, &programs, &found), Ok(()), "control");
        found[3].stdout.push(b'y');
        let why =
            "not as on nil:\n  name on sim-snp: status 1, said \"xy\" and \"\"; on nil: status 1, said \"x\" and \"\"";
        assert_eq!(compare(&expected, &programs, &found), Err(why.to_owned()));
        found.pop();
        let few = format!("there are {} results of {} runs", 4 * ROUNDS - 1, 4 * ROUNDS);
        assert_eq!(compare(&expected, &programs, &found), Err(few));
    }

    #[test]
    fn what_is_missing_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = kernel(dir.path()).unwrap_err();
        assert!(missing.contains("/boot"), "{missing}");
        for folder in ["boot", "lib/modules/6.1.0"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("lib/modules/6.1.0/modules.dep"), "kernel/kvm-amd.ko: kernel/kvm.ko\n").unwrap();
        assert!(kernel(dir.path()).is_err(), "no kernel");
        fs::write(dir.path().join("boot/vmlinuz-6.1.0"), "").unwrap();
        let (_, modules) = kernel(dir.path()).unwrap();
        assert_eq!(modules.len(), 2);
    }
}
