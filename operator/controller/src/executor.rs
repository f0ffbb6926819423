//! Where the planner runs: beside the async threads, which watches, renewals of the lease and probes need meanwhile. A simulation runs it in place, so that its
//! virtual time stays virtual.

use std::{fmt::Debug, panic::resume_unwind};

use async_trait::async_trait;
use tokio::{
    sync::oneshot,
    task::{JoinError, spawn_blocking},
};

/// Computes something to its end.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs what computes for long and waits for nothing.
#[async_trait]
pub trait Executor: Debug + Send + Sync {
    /// Runs the job to its end. It panics where the job does.
    async fn run(&self, job: Job);
}

/// On the runtime's threads for blocking work: the default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Threads;

#[async_trait]
impl Executor for Threads {
    async fn run(&self, job: Job) {
        match spawn_blocking(job).await.map_err(JoinError::try_into_panic) {
            Ok(()) => {}
            Err(Ok(panic)) => resume_unwind(panic),
            // Cancelled: the runtime ends, and whoever waits with it.
            Err(Err(_)) => std::future::pending().await,
        }
    }
}

/// In place, on the thread of whoever asks: for simulations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inline;

#[async_trait]
impl Executor for Inline {
    async fn run(&self, job: Job) {
        job();
    }
}

/// What a computation comes to. It panics where the computation does.
pub async fn compute<T: Send + 'static>(executor: &dyn Executor, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = oneshot::channel();
    executor.run(Box::new(move || drop(tell.send(work())))).await;
    match told.await {
        Ok(result) => result,
        // The executor dropped the job, which none does that still runs.
        Err(_) => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::{panic::AssertUnwindSafe, thread};

    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn threads_compute_elsewhere_and_inline_here() {
        let here = thread::current().id();
        assert_ne!(compute(&Threads, || thread::current().id()).await, here);
        assert_eq!(compute(&Inline, || thread::current().id()).await, here);
    }

    #[tokio::test]
    async fn a_panic_reaches_whoever_asked() {
        for executor in [&Threads as &dyn Executor, &Inline] {
            let asked = compute(executor, || assert!(thread::panicking(), "as it must"));
            assert!(AssertUnwindSafe(asked).catch_unwind().await.is_err(), "{executor:?}");
        }
    }
}
