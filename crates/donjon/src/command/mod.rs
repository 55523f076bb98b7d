//! One file a command: its arguments, and what it does with them.

pub(crate) mod account;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) mod attack;
pub(crate) mod collateral;
pub(crate) mod demo;
pub(crate) mod deploy;
pub(crate) mod drawbridge;
pub(crate) mod init;
pub(crate) mod inspect;
pub(crate) mod manifest;
pub(crate) mod measure;
pub(crate) mod organisation;
pub(crate) mod pack;
pub(crate) mod platform;
pub(crate) mod push;
pub(crate) mod remote;
pub(crate) mod run;
pub(crate) mod secret;
pub(crate) mod sign;
pub(crate) mod steward;
mod templates;
pub(crate) mod token;
pub(crate) mod verify;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::OnceLock;

use std::time::Duration;

use keep::{End, RunError, Running, Signal, Stop};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::failure::Failure;

/// A runtime for a command that talks to the network, with a thread for each processor: more would only take turns. What a Steward
/// computes takes less than a millisecond, so they look for news after a few of these, and not after the usual 61.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .event_interval(8)
        .enable_all()
        .build()
        .map_err(|error| Failure::caused("cannot start a runtime", &error))
}

/// Binds a service's listener, with the errors that people meet said clearly.
pub(crate) async fn listen(address: SocketAddr) -> Result<tokio::net::TcpListener, Failure> {
    ::steward::listen(address).await.map_err(|error| Failure::hinted(&error, error.hint()))
}

/// Waits for Ctrl-C or for being told to end. What came since the first time anybody waited counts for everybody: a
/// signal between two steps of a command is not lost.
pub(crate) async fn interrupted() {
    static TOLD: OnceLock<Option<watch::Receiver<bool>>> = OnceLock::new();
    let told = TOLD.get_or_init(|| {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt()).ok()?, signal(SignalKind::terminate()).ok()?);
        let (tell, told) = watch::channel(false);
        tokio::spawn(async move {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tell.send_replace(true);
        });
        Some(told)
    });
    let Some(mut told) = told.clone() else {
        // Without the handlers the default does the same, less politely.
        return std::future::pending().await;
    };
    if told.wait_for(|told| *told).await.is_err() {
        std::future::pending().await
    }
}

/// Goes on until it is told to end; at each SIGHUP it reads its files again, and says what counts now, or goes on by what it had.
pub(crate) async fn until_told(mut reload: impl AsyncFnMut() -> Result<String, Failure>) -> Result<(), Failure> {
    let mut hangup = signal(SignalKind::hangup()).map_err(|error| Failure::caused("cannot wait for SIGHUP", &error))?;
    loop {
        tokio::select! {
            () = interrupted() => return Ok(()),
            _ = hangup.recv() => {}
        }
        match reload().await {
            Ok(now) => say(&format!("reloaded: {now}")),
            Err(failure) => {
                failure.prefixed("not reloaded, nothing has changed").show();
            }
        }
    }
}

/// How long a Keep that was told to end may take: longer than a service waits for its last request.
const TO_END: Duration = Duration::from_secs(40);

/// Tells a Keep of the first signal that asks this process to end, and ends it at the second, or when it takes too long.
pub(crate) async fn hand_on(keep: Stop) {
    let (Ok(mut interrupt), Ok(mut terminate)) = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        // Without the handlers the default ends this process, and the Keep with it.
        return std::future::pending().await;
    };
    let mut next = async || {
        tokio::select! {
            _ = interrupt.recv() => Signal::Interrupt,
            _ = terminate.recv() => Signal::Terminate,
        }
    };
    let first = next().await;
    keep.end(first);
    keep.end(tokio::time::timeout(TO_END, next()).await.unwrap_or(first));
}

/// Waits for the end of a Keep that is told of signals, without a runtime of the caller's.
pub(crate) fn wait(keep: Running) -> Result<Result<End, RunError>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::caused("cannot start a runtime", &error))?;
    let stopper = keep.stopper();
    // Ends with this process.
    std::thread::spawn(move || runtime.block_on(hand_on(stopper)));
    Ok(keep.wait())
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
