//! Flags -> wiring -> run.

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context, Result, anyhow, bail};
use kube::Client;
use onsale_cloud_aws::Ec2Cloud;
use onsale_controller::{
    Clock, SystemClock,
    http::{self, Probes},
    lease::{Ended, Standing, lead},
};
use onsale_operator::{flags::Flags, logging, stop};
use tokio::{net::TcpListener, sync::watch, time::timeout};

fn main() -> ExitCode {
    let flags = Flags::from_env();
    logging::start(flags.log_format, &flags.log_filter);
    match start(&flags) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn start(flags: &Flags) -> Result<()> {
    // One provider for all TLS of this process; without it the first connection would panic.
    rustls::crypto::ring::default_provider().install_default().map_err(|_| anyhow!("a TLS provider is installed already"))?;
    let (stop, stopped) = watch::channel(false);
    let signal = stop::on_signal().context("could not listen for signals")?;
    let work = run(flags, stopped);
    tokio::pin!(work);
    tokio::select! {
        ended = &mut work => return ended,
        signal = signal => tracing::info!(signal, "stopping"),
    }
    stop.send_replace(true);
    timeout(flags.stop_deadline(), work).await.unwrap_or_else(|_| Err(anyhow!("could not stop in time; the lease expires by itself")))
}

async fn run(flags: &Flags, stopped: watch::Receiver<bool>) -> Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let config = flags.config();
    let lease = flags.lease(&config.instance);
    let listener = TcpListener::bind(flags.listen).await.with_context(|| format!("could not listen on {}", flags.listen))?;
    tracing::info!(address = %listener.local_addr()?, version = env!("CARGO_PKG_VERSION"), cluster = %config.cluster, "listening");
    let probes = Probes {
        telemetry: config.telemetry.clone(),
        standing: lease.standing.subscribe(),
        clock: clock.clone(),
        silence: flags.silence(),
    };
    let fleet = async {
        let (client, cloud) = (connect().await?, Arc::new(Ec2Cloud::from_env(config.cluster.clone()).await));
        let work = || onsale_controller::run(client, cloud, clock.clone(), config);
        let stop = stop::wait(stopped);
        if !flags.leader_elect {
            lease.standing.send_replace(Standing::Leading);
            return tokio::select! { result = work() => Ok(result?), () = stop => Ok(()) };
        }
        match lead(connect().await?, &lease, clock.clone(), stop, work).await {
            Ended::Done(result) => Ok(result?),
            Ended::Stopped => Ok(()),
            Ended::Lost(loss) => bail!("no longer the leader: {loss}; leaving, to start again as a standby"),
        }
    };
    tokio::select! {
        ended = fleet => ended,
        ended = http::serve(listener, probes) => ended.context("could not serve probes and metrics"),
    }
}

/// A client with connections of its own: renewals of the lease never queue behind the fleet loop's requests.
async fn connect() -> Result<Client> {
    let mut config = kube::Config::infer().await.context("no way to the cluster: neither KUBECONFIG nor a service account is usable")?;
    // The loop and the election decide anew after a failure; the default would repeat a refused eviction for minutes.
    config.default_retry = false;
    Client::try_from(config).context("could not make a client for the cluster")
}
