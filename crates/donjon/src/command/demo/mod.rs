//! `donjon demo`: the whole system in one process tree on loopback, playing the thirteen steps of a deploy.
//!
//! Owns the telling: each step as it happens, what was exchanged and how long it took; then an outsider's visit. The world
//! it plays in is [`world`]'s, the deploy is the one of `donjon deploy`.
//!
//! Invariant: what it started it ends, whatever happens: no process, port or folder stays behind.

mod attack;
mod outsider;
mod world;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Instant;

use keep::{End, Event, RunError};
use tokio::sync::mpsc;

use crate::command::deploy::Platform;
use crate::command::verify::cert::facts;
use crate::command::{interrupted, runtime, say};
use crate::deploy::{Stopped, deploy};
use crate::failure::Failure;
use crate::steps;
use world::{Twist, World};

/// Play a whole deploy on this machine: simulated hardware, a Steward, a Drawbridge, a Keep, and curl as the outsider.
#[derive(Debug, clap::Args)]
pub(crate) struct Demo {
    /// End after the outsider's visit instead of serving until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// On which simulated machine the Keep is: `sim` is a process, `sim-snp` a micro-VM.
    #[arg(long, value_enum, default_value = "sim")]
    backend: Platform,
    /// Show attacks being refused, each beside the same deploy without it.
    #[arg(long, conflicts_with = "fault")]
    attack: bool,
    /// Make this step fail (1 to 13), to see how that looks.
    #[arg(long, value_name = "STEP", value_parser = clap::value_parser!(u8).range(1..=13))]
    fault: Option<u8>,
}

impl Demo {
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        let runtime = runtime()?;
        let result = runtime.block_on(async {
            if self.attack {
                return unless_interrupted(attack::show(self.backend)).await?;
            }
            let fault = self.fault.map(|step| Twist::FAULTS[usize::from(step.saturating_sub(1))]);
            self.play(fault.unwrap_or(Twist::Straight)).await
        });
        // Whatever still waits for a peer does not keep the command from ending.
        runtime.shutdown_background();
        result
    }

    async fn play(&self, twist: Twist) -> Result<ExitCode, Failure> {
        say("Donjon demo: simulated SEV-SNP, nothing here is protected from this machine's owner.\n");
        let begun = Instant::now();
        let mut world = unless_interrupted(World::build(twist, self.backend)).await??;
        say(&format!("  Steward     {}", world.steward_url));
        say(&format!("  Drawbridge  https://{}, repository {}, confidential", world.registry(), world.repository));
        say(&format!("  set up in {} ms\n", begun.elapsed().as_millis()));

        let mut told = Instant::now();
        let mut ticked = |step, detail: &str| {
            say(&format!("  \u{2713} {step:2}  {:<56} {detail}  ({:.1} ms)", steps::name(step), milliseconds(told)));
            told = Instant::now();
        };
        let played = match unless_interrupted(play(&mut world, &mut ticked)).await {
            Ok(Ok(played)) => played,
            Err(interrupted) => {
                world.end().await?;
                return Err(interrupted);
            }
            Ok(Err(Stopped { step, failure })) => {
                say(&format!("  \u{2717} {step:2}  {}\n", steps::name(step)));
                world.end().await?;
                return Err(failure.prefixed(format_args!("the demo stopped at step {step}")));
            }
        };
        let shown = self.show(&world, &played).await;
        let ended = played.end().await;
        world.end().await?;
        shown.and(ended).map(|()| ExitCode::SUCCESS)
    }

    async fn show(&self, world: &World, played: &Played) -> Result<(), Failure> {
        let (name, at) = (&world.name, played.address);
        let visit = outsider::visit(at, name, &world.root_pem).await?;
        if visit.status != 200 {
            return Err(Failure::new(format_args!("the service answered {}: {}", visit.status, visit.body.trim())));
        }
        let root = world.dir().join("steward-root.pem");
        std::fs::write(&root, &world.root_pem)
            .map_err(|error| Failure::caused(format_args!("cannot write {}", root.display()), &error))?;
        say(&format!("\nAn outsider asks https://{name}:{} knowing only that name and the CA:\n", at.port()));
        match outsider::curl(at, name, &root) {
            Some(body) => say(&format!(
                "  $ curl --cacert {} --resolve {name}:{}:{} https://{name}:{}/\n{}",
                root.display(),
                at.port(),
                at.ip(),
                at.port(),
                indented(&body?)
            )),
            None => {
                say(&format!("  (curl is not installed; asked by this program instead)\n{}", indented(&visit.body)))
            }
        }
        say("What the certificate says:\n");
        for (what, value) in facts(&visit.certificate) {
            say(&format!("  {what:<14} {value}"));
        }
        if self.once {
            return Ok(());
        }
        say("\nServing until Ctrl-C.");
        interrupted().await;
        Ok(())
    }
}

/// A deploy that reached step 13 and serves.
pub(crate) struct Played {
    pub(crate) address: SocketAddr,
    stopper: keep::launch::Stop,
    waiting: tokio::task::JoinHandle<Result<End, RunError>>,
}

impl Played {
    /// Stops the Keep and waits until it is gone.
    pub(crate) async fn end(self) -> Result<(), Failure> {
        self.stopper.stop();
        match self.waiting.await {
            Ok(Err(RunError::Stopped)) => Ok(()),
            Ok(Ok(end)) => Err(Failure::new(format_args!("the Keep ended by itself: {end:?}"))),
            Ok(Err(error)) => Err(Failure::caused("the Keep", &error)),
            Err(error) => Err(Failure::caused("the Keep's watcher", &error)),
        }
    }
}

/// Deploys into `world`; `ticked` hears of each step that is done.
pub(crate) async fn play(world: &mut World, ticked: &mut impl FnMut(u8, &str)) -> Result<Played, Stopped> {
    let at = |step| move |failure| Stopped { step, failure };
    let request = world.request().map_err(at(1))?;
    let backend = world.backend();
    // Each event waits until it was dealt with here, so that the world can change between two steps of the Keep.
    let (events, mut happened) = mpsc::unbounded_channel::<(Event, std::sync::mpsc::Sender<()>)>();
    let tell = move |event| {
        let (done, wait) = std::sync::mpsc::channel();
        if events.send((event, done)).is_ok() {
            // An error means that nobody listens any more, and then there is nothing to wait for.
            _ = wait.recv();
        }
    };
    let mut deploying = tokio::spawn(async move { deploy(request, backend.as_ref(), tell).await });
    let mut keep = None;
    let (mut last, mut address) = (0, None);
    loop {
        let event = tokio::select! {
            event = happened.recv() => event,
            started = &mut deploying, if keep.is_none() => {
                let started = started.map_err(|error| Stopped { step: last, failure: Failure::caused("deploy", &error) })?;
                let (running, _) = started?;
                let stopper = running.stopper();
                keep = Some((stopper, tokio::task::spawn_blocking(|| running.wait())));
                continue;
            }
        };
        match event {
            Some((Event::Milestone { step, detail }, done)) => {
                ticked(step, &detail);
                last = step;
                world.after(step).await;
                _ = done.send(());
            }
            Some((Event::Compile(_), done)) => _ = done.send(()),
            Some((Event::Listening { address: bound, .. }, done)) => {
                address = bound.parse().ok();
                _ = done.send(());
            }
            None => {
                // The Keep is gone, and with it whoever tells.
                let Some((_, waiting)) = keep else { continue };
                let end = waiting
                    .await
                    .map_err(|error| Stopped { step: last, failure: Failure::caused("the Keep", &error) })?;
                return Err(stopped(end, last));
            }
        }
        if last == 13
            && let Some(address) = address
            && let Some((stopper, waiting)) = keep.take()
        {
            // From here on nobody waits for events; a service tells none.
            return Ok(Played { address, stopper, waiting });
        }
    }
}

fn stopped(end: Result<End, RunError>, last: u8) -> Stopped {
    match end {
        Ok(End::Refused { step, code, message, hint }) => {
            Stopped { step, failure: Failure::new(format_args!("{message} [{code}]")).hint(hint) }
        }
        Ok(end) => Stopped { step: last, failure: Failure::new(format_args!("the Keep ended: {end:?}")) },
        Err(error) => Stopped { step: last, failure: Failure::caused("the Keep did not end by itself", &error) },
    }
}

/// What was begun is dropped at an interrupt, and its folder with it; a Keep dies with this process.
async fn unless_interrupted<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    tokio::select! {
        done = work => Ok(done),
        () = interrupted() => Err(Failure::new("interrupted").hint("nothing was left behind")),
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  | {line}\n")).collect()
}
