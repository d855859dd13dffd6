//! Tasks, and their end: everything that runs beside a request is spawned here, told to stop here and waited for here.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Poll, Waker},
    time::Duration,
};

use tokio::{task::JoinHandle, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The process's tasks. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Drain {
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Set before the token, which can only be asked under a lock that everybody shares.
    stopping: Arc<AtomicBool>,
    leaving: Arc<AtomicBool>,
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

    /// Announces the stop: all goes on, but nobody is to rely on this process any more, and connections end with the
    /// request they are on.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
    }

    /// Whether the stop was announced, or has begun.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Whether the stop has begun.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Begins the stop.
    pub fn stop(&self) {
        self.leave();
        self.stopping.store(true, Ordering::Release);
        self.stop.cancel();
        self.tasks.close();
    }

    /// Resolves once the stop has begun.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    async fn stopping_or(&self, over: Option<&CancellationToken>) {
        match over {
            Some(over) => tokio::select! {
                () = self.stopping() => {}
                () = over.cancelled() => {}
            },
            None => self.stopping().await,
        }
    }

    /// Lets something go on until it ends by itself, or the stop begins, or it is `over`: then there is no outcome yet.
    ///
    /// The stop wakes the task that has asked for it once, so a connection does not ask again at every request.
    pub async fn until_stop<F: Future>(
        &self,
        mut something: Pin<&mut F>,
        over: Option<&CancellationToken>,
    ) -> Option<F::Output> {
        let mut stop = pin!(self.stopping_or(over));
        let has_begun = || self.is_stopping() || over.is_some_and(CancellationToken::is_cancelled);
        let mut woken_by_it: Option<Waker> = None;
        poll_fn(|context| {
            if let Poll::Ready(outcome) = something.as_mut().poll(context) {
                return Poll::Ready(Some(outcome));
            }
            let will_wake = woken_by_it.as_ref().is_some_and(|waker| waker.will_wake(context.waker()));
            if will_wake && !has_begun() {
                return Poll::Pending;
            }
            woken_by_it = Some(context.waker().clone());
            stop.as_mut().poll(context).map(|()| None)
        })
        .await
    }

    /// Waits until all tasks have ended; false if some had not within the limit.
    pub async fn ended_within(&self, limit: Duration) -> bool {
        timeout(limit, self.tasks.wait()).await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

    use std::future::pending;

    use tokio::{sync::oneshot, time::sleep};

    use super::*;

    const WHILE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn the_stop_ends_the_wait_for_something_that_was_polled_before() {
        let drain = Drain::default();
        let waiting = drain.clone();
        let waits = tokio::spawn(async move {
            let mut polled_often = pin!(async {
                for _ in 0..10 {
                    sleep(WHILE).await;
                }
                pending::<()>().await;
            });
            waiting.until_stop(polled_often.as_mut(), None).await
        });
        sleep(20 * WHILE).await;
        assert!(!waits.is_finished());
        drain.leave();
        sleep(WHILE).await;
        assert!(drain.is_leaving() && !drain.is_stopping() && !waits.is_finished());
        drain.stop();
        assert!(drain.is_stopping());
        assert_eq!(timeout(WHILE, waits).await.unwrap().unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_by_itself_has_its_outcome_and_a_stop_long_since_begun_is_noticed() {
        let drain = Drain::default();
        let (tell, told) = oneshot::channel();
        tell.send(7).unwrap();
        assert_eq!(drain.until_stop(pin!(told), None).await, Some(Ok(7)));
        drain.stop();
        assert_eq!(drain.until_stop(pin!(pending::<()>()), None).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_ends_without_a_stop() {
        let (drain, over) = (Drain::default(), CancellationToken::new());
        let ending = over.clone();
        tokio::spawn(async move {
            sleep(Duration::from_secs(1)).await;
            ending.cancel();
        });
        assert_eq!(drain.until_stop(pin!(pending::<()>()), Some(&over)).await, None);
        assert!(!drain.is_stopping());
    }
}
