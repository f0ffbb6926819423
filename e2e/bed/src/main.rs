//! `bed`: the test bed from the command line.
#![expect(clippy::print_stdout, reason = "answers go to stdout, progress goes to stderr")]
#![expect(clippy::disallowed_methods, reason = "the bed plays the outside world and waits on the real clock")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use onsale_bed::control_plane::HpaTiming;
use onsale_bed::process::folder::{self, Holder};
use onsale_bed::process::interrupt;
use onsale_bed::progress::Progress;
use onsale_bed::{Bed, Options, bench, default_folder, demo, tools};
use tokio::signal::unix::{SignalKind, signal};

/// A bed comes down in about a second; one that compiles beside it may take longer.
const COMING_DOWN: Duration = Duration::from_secs(30);
/// Longer than any part's own deadline.
const COMING_UP: Duration = Duration::from_secs(180);

/// A real Kubernetes control plane with played nodes and a played EC2, on loopback.
#[derive(Debug, Parser)]
struct Flags {
    /// Tells beds apart that are up at the same time
    #[arg(long, global = true, env = "ONSALE_BED_NAME")]
    name: Option<String>,
    #[command(subcommand)]
    command: Wish,
}

#[derive(Debug, Subcommand)]
enum Wish {
    /// Start a bed; Ctrl-C stops it
    Up {
        /// Leave it running in the background until `bed down`
        #[arg(long)]
        keep: bool,
        /// Without the EC2 emulator
        #[arg(long)]
        no_ec2: bool,
        /// HPAs as slow as Kubernetes' defaults make them
        #[arg(long)]
        real_hpa_timing: bool,
    },
    /// Stop a bed, or what a dead one left running
    Down,
    /// Say which beds are up
    Status,
    /// Build the tools and nothing else
    Tools,
    /// A whole onsale of `examples/`: bed, operator, 20 servers, a sale, the way back, a report
    Demo {
        /// Write the report as JSON to this file
        #[arg(long)]
        report: Option<PathBuf>,
        /// Leave the bed up afterwards, until Ctrl-C
        #[arg(long)]
        keep: bool,
        /// Divide all durations and delays of the examples by this
        #[arg(long, default_value_t = demo::FACTOR)]
        factor: f64,
    },
    /// Measure the sale of `examples/` against the same nodes and replicas made directly, on one bed
    Bench {
        /// Write the figures as JSON to this file
        #[arg(long)]
        report: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    match with_runtime(flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not by returning it: with RUST_BACKTRACE set, the log's end would drown in stack frames.
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn with_runtime(flags: Flags) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("no runtime")?;
    let result = runtime.block_on(run(flags));
    // A build that is still running on a blocking thread must not hold up the end.
    runtime.shutdown_background();
    result
}

async fn run(flags: Flags) -> Result<()> {
    let name = flags.name.clone().unwrap_or_else(|| "bed".into());
    match flags.command {
        Wish::Up { keep: true, no_ec2, real_hpa_timing } => {
            let extra = [(no_ec2, "--no-ec2"), (real_hpa_timing, "--real-hpa-timing")];
            keep(&name, extra.iter().filter(|(wanted, _)| *wanted).map(|(_, flag)| *flag))
        }
        Wish::Up { keep: false, no_ec2, real_hpa_timing } => {
            let mut options = Options { ec2: !no_ec2, ..Options::new(&name) };
            if real_hpa_timing {
                options.hpa = HpaTiming::kubernetes();
            }
            up(options).await
        }
        Wish::Down => down(&default_folder(&name)),
        Wish::Status => status(),
        Wish::Tools => build_tools().await,
        Wish::Demo { report, keep, factor } => {
            let name = flags.name.unwrap_or_else(|| "demo".into());
            play(demo::Wishes { name, factor, report }, keep).await
        }
        Wish::Bench { report } => measure(&flags.name.unwrap_or_else(|| "bench".into()), report.as_deref()).await,
    }
}

/// The demo. Its verdict is the exit code; Ctrl-C takes everything down.
async fn play(wishes: demo::Wishes, keep: bool) -> Result<()> {
    let mut stop = std::pin::pin!(stopped()?);
    let (bed, report) = tokio::select! {
        played = demo::run(&wishes) => played?,
        () = &mut stop => bail!("stopped before its end"),
    };
    println!("{}", report.page());
    if keep {
        println!("{}", introduction(&default_folder(&wishes.name))?);
        println!("Ctrl-C stops it.");
        stop.await;
    }
    bed.down().await?;
    demo::verdict(&report)
}

async fn measure(name: &str, report: Option<&Path>) -> Result<()> {
    let figures = tokio::select! {
        measured = bench::run(name) => measured?,
        () = stopped()? => bail!("stopped before its end"),
    };
    println!("{}", figures.page());
    if let Some(path) = report {
        let text = serde_json::to_string_pretty(&figures).context("the figures are no JSON")?;
        std::fs::write(path, text + "\n").with_context(|| format!("could not write {}", path.display()))?;
    }
    demo::verdict(&figures.report)
}

/// Ends when the user, or whoever started us, wants an end.
fn stopped() -> Result<impl Future<Output = ()>> {
    let mut terminated = signal(SignalKind::terminate()).context("no signals")?;
    Ok(async move {
        tokio::select! { _ = tokio::signal::ctrl_c() => {}, _ = terminated.recv() => {} }
    })
}

async fn up(options: Options) -> Result<()> {
    let path = default_folder(&options.name);
    let mut stop = std::pin::pin!(stopped()?);
    let bed = tokio::select! {
        bed = Bed::up(options) => bed?,
        () = &mut stop => bail!("stopped before it was up"),
    };
    println!("{}", introduction(&path)?);
    println!("Ctrl-C stops it.");
    stop.await;
    bed.down().await
}

/// Starts `bed up` in the background: the metrics API and the joiner live in the bed's own process.
fn keep(name: &str, flags: impl Iterator<Item = &'static str>) -> Result<()> {
    use std::os::unix::process::CommandExt;

    let path = default_folder(name);
    if folder::holder(&path) == Holder::Alive {
        bail!("bed {name} is up already; stop it with `bed down --name {name}`");
    }
    let progress = Progress::stderr();
    tools::ensure(progress)?;
    let log = path.with_extension("log");
    std::fs::create_dir_all(path.parent().context("a bed's folder lies in a folder")?).context("could not make .bed")?;
    let output = std::fs::File::create(&log).with_context(|| format!("could not make {}", log.display()))?;
    let mut child = Command::new(std::env::current_exe().context("who am I?")?)
        .args(["--name", name, "up"])
        .args(flags)
        .stdin(Stdio::null())
        .stdout(output.try_clone().context("no second handle of the log")?)
        .stderr(output)
        .process_group(0)
        .spawn()
        .context("could not start the bed in the background")?;
    let step = progress.step(format!("starting bed {name} in the background"));
    wait_for_background(&mut child, &path, &log)?;
    step.done();
    println!("{}", introduction(&path)?);
    println!("`bed down --name {name}` stops it.");
    Ok(())
}

fn wait_for_background(child: &mut Child, path: &Path, log: &Path) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < COMING_UP {
        if let Some(status) = child.try_wait().context("could not look at the bed")? {
            bail!("the bed ended with {status}:\n{}", std::fs::read_to_string(log).unwrap_or_default());
        }
        if folder::read(path).is_ok_and(|state| state.ready && state.holder == child.id()) {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    // It would come up, unwanted, later.
    interrupt(child.id());
    bail!("the bed is not up after {COMING_UP:?}; see {}", log.display())
}

fn down(path: &Path) -> Result<()> {
    match folder::holder(path) {
        Holder::Nobody => println!("no bed is up in {}", path.display()),
        Holder::Dead(_) => {
            let ended = folder::sweep(path)?;
            println!("stopped {ended} processes that a dead bed had left");
        }
        Holder::Alive => {
            interrupt(folder::read(path)?.holder);
            let start = Instant::now();
            while folder::holder(path) != Holder::Nobody {
                if start.elapsed() > COMING_DOWN {
                    bail!("the bed in {} does not come down", path.display());
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            println!("stopped");
        }
    }
    Ok(())
}

fn status() -> Result<()> {
    let beds = default_folder("x").parent().map(Path::to_path_buf).unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::fs::read_dir(&beds).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    folders.retain(|path| path.is_dir());
    folders.sort();
    let mut up = 0;
    for path in folders {
        let name = path.file_name().unwrap_or_default().display().to_string();
        match folder::holder(&path) {
            Holder::Nobody => continue,
            Holder::Dead(left) => println!("{name}: dead, {} processes left; `bed down --name {name}` stops them", left.len()),
            Holder::Alive => println!("{name}: {}", introduction(&path)?),
        }
        up += 1;
    }
    if up == 0 {
        println!("no bed is up");
    }
    Ok(())
}

async fn build_tools() -> Result<()> {
    let built = tokio::task::spawn_blocking(|| tools::ensure(Progress::stderr())).await.context("the build broke off")??;
    println!("{}", built.kubectl.parent().and_then(Path::parent).unwrap_or(&built.kubectl).display());
    Ok(())
}

fn introduction(path: &Path) -> Result<String> {
    let state = folder::read(path)?;
    let ec2 = state
        .ec2
        .map(|url| format!("\n  export AWS_ENDPOINT_URL={url} AWS_ACCESS_KEY_ID=bed AWS_SECRET_ACCESS_KEY=bed AWS_REGION=us-west-2"));
    let starting = if state.ready { "up" } else { "starting" };
    Ok(format!("{starting}, process {}\n  export KUBECONFIG={}{}", state.holder, state.kubeconfig.display(), ec2.unwrap_or_default()))
}
