//! The servers: each a process of its own, with its own folder, as its makers configure it but for TLS and logs.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use workload::Digest;

use crate::Result;
use crate::client::{Client, Trust};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Drawbridge,
    Registry,
    Nginx,
}

pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    child: Child,
    folder: PathBuf,
}

const TOKEN: &str = "token-of-the-bench";

impl Server {
    pub(crate) fn start(kind: Kind, folder: &Path, trust: &Trust) -> Result<Self> {
        let folder = folder.join(format!("{kind:?}"));
        fs::create_dir_all(&folder)?;
        let file = |name: &str, text: &str| -> Result<String> {
            fs::write(folder.join(name), text)?;
            Ok(folder.join(name).display().to_string())
        };
        let (certificate, key) = (file("tls.pem", &trust.certificate)?, file("tls.key", &trust.key)?);
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let at = folder.display();
        let mut command = match kind {
            Kind::Drawbridge => {
                let settings = file("drawbridge.toml", "[repository.\"bench/blobs\"]\naccess = \"public\"\n")?;
                let sha256 = Digest::of(TOKEN.as_bytes());
                let tokens = format!("[[token]]\nname = \"bench\"\nsha256 = \"{sha256}\"\nrepositories = [\"*\"]\n");
                let tokens = file("tokens.toml", &tokens)?;
                let mut command = Command::new(std::env::current_exe()?.with_file_name("donjon"));
                command.args(["drawbridge", "serve", "--settings", &settings, "--tokens", &tokens]);
                command.args(["--tls-certificates", &certificate, "--tls-key", &key]);
                command.args(["--store", &format!("{at}/store"), "--listen", &address.to_string()]);
                command
            }
            Kind::Registry => {
                let settings = format!(
                    "version: 0.1\nlog:\n  level: error\n  accesslog:\n    disabled: true\nstorage:\n  cache:\n    blobdescriptor: inmemory\n  \
                     filesystem:\n    rootdirectory: {at}/store\nhttp:\n  addr: {address}\n  tls:\n    certificate: {certificate}\n    \
                     key: {key}\n"
                );
                let mut command = Command::new("docker-registry");
                command.args(["serve", &file("config.yml", &settings)?]);
                command
            }
            Kind::Nginx => {
                let blobs = folder.join("v2/bench/blobs/blobs");
                fs::create_dir_all(blobs)?;
                let settings = format!(
                    "daemon off;\nuser root;\nworker_processes auto;\npid {at}/pid;\nerror_log {at}/error.log;\nevents {{ }}\nhttp {{\n\
                     access_log off;\nsendfile on;\ntcp_nopush on;\nkeepalive_requests 1000000;\n\
                     server {{\nlisten {address} ssl;\nssl_protocols TLSv1.3;\nssl_certificate {certificate};\n\
                     ssl_certificate_key {key};\nroot {at};\n}}\n}}\n"
                );
                let mut command = Command::new("nginx");
                command.args(["-p", &at.to_string(), "-c", &file("nginx.conf", &settings)?]);
                command
            }
        };
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{kind:?}: {error}"))?;
        for _ in 0..200 {
            if TcpStream::connect(address).is_ok() {
                // Its pipe is read to its end, so that nothing it says makes it wait.
                let errors = child.stderr.take();
                std::thread::spawn(move || errors.map(|errors| BufReader::new(errors).lines().count()));
                return Ok(Self { kind, address, child, folder });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = child.kill();
        let said = child.wait_with_output()?;
        Err(format!("{kind:?} does not answer: {}", String::from_utf8_lossy(&said.stderr)).into())
    }

    /// What stands before a digest.
    pub(crate) fn paths(&self) -> String {
        "/v2/bench/blobs/blobs".to_owned()
    }

    pub(crate) fn authorization(&self) -> String {
        match self.kind {
            Kind::Drawbridge => format!("Authorization: Bearer {TOKEN}\r\n"),
            Kind::Registry | Kind::Nginx => String::new(),
        }
    }

    /// Lets it have these blobs, each in the way that it takes them.
    pub(crate) fn give(&self, trust: &Trust, blobs: &[Vec<u8>]) -> Result<()> {
        let mut client = Client::new(self, trust)?;
        for bytes in blobs {
            let digest = Digest::of(bytes);
            match self.kind {
                Kind::Nginx => fs::write(self.folder.join(format!("v2/bench/blobs/blobs/{digest}")), bytes)?,
                Kind::Drawbridge | Kind::Registry => client.push(bytes, &digest)?,
            }
        }
        Ok(())
    }

    /// The most memory that it, or one of its processes, ever held, in KiB.
    pub(crate) fn peak(&self) -> Result<u64> {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.child.id())).unwrap_or_default();
        let own = self.child.id().to_string();
        let peaks = children.split_whitespace().chain([own.as_str()]).map(|process| {
            let status = fs::read_to_string(format!("/proc/{process}/status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
            Ok(line.trim().trim_end_matches(" kB").parse::<u64>()?)
        });
        Ok(peaks.collect::<Result<Vec<_>>>()?.into_iter().max().unwrap_or_default())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.kind == Kind::Nginx {
            // Its workers end with it only if it is told to end, and not killed.
            let told = Command::new("kill").arg(self.child.id().to_string()).status();
            if told.is_ok_and(|told| told.success()) {
                let _ = self.child.wait();
                return;
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
