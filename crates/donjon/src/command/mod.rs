//! One file a command: its arguments, and what it does with them.

pub(crate) mod demo;
pub(crate) mod deploy;
pub(crate) mod drawbridge;
pub(crate) mod init;
pub(crate) mod pack;
pub(crate) mod platform;
pub(crate) mod push;
pub(crate) mod run;
pub(crate) mod steward;

use std::io::Write;
use std::net::SocketAddr;

use crate::failure::Failure;

/// A runtime for a command that talks to the network.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::caused("cannot start a runtime", &error))
}

/// Binds a service's listener, with the errors that people meet said clearly.
pub(crate) async fn listen(address: SocketAddr) -> Result<tokio::net::TcpListener, Failure> {
    ::steward::listen(address).await.map_err(|error| Failure::hinted(&error, error.hint()))
}

/// Waits for Ctrl-C or for being told to end.
pub(crate) async fn interrupted() {
    let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        // Without the handler the default does the same, less politely.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// What services log, to standard error; `RUST_LOG` chooses.
pub(crate) fn log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // A second initialisation in one process changes nothing, and is no reason to fail.
    _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).try_init();
}

/// One line of data for people or scripts; a reader that is gone ends nothing.
pub(crate) fn say(line: &str) {
    _ = writeln!(std::io::stdout(), "{line}");
}
