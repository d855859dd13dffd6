//! Tasks, and their end: everything that runs beside a request is spawned here, told to stop here and waited for here.

use std::{future::Future, time::Duration};

use tokio::{task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The process's tasks. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Drain {
    /// Runs a task to its end; a stop waits for it, within the drain time-out.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// Runs a task that has no end of its own until the stop.
    pub fn spawn_until_stop<F>(&self, task: F)
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let stop = self.stop.clone();
        self.tasks.spawn(async move { stop.run_until_cancelled_owned(task).await.is_some() });
    }

    /// Whether the stop has begun.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Begins the stop.
    pub fn stop(&self) {
        self.stop.cancel();
        self.tasks.close();
    }

    /// Resolves once the stop has begun.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Waits until all tasks have ended; false if some had not within the limit.
    pub async fn ended_within(&self, limit: Duration) -> bool {
        timeout(limit, self.tasks.wait()).await.is_ok()
    }
}
