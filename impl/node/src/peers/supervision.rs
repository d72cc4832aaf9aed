//! No task of the transport ends unnoticed.
//!
//! A panic is a defect, or a shortage that a library answers with a panic: tokio's name look-up and its
//! blocking calls panic when the system starts no more threads. A dialer that was gone for that reason
//! would leave two live replicas without each other until somebody starts one of them anew.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::sleep;
use tracing::error;

/// Runs a task to its end, and again after each panic. `on_panic` hears what the panic says.
pub(super) async fn run_again<F: Future<Output = ()>>(
    task: impl fmt::Display,
    pause: Duration,
    mut make: impl FnMut() -> F,
    mut on_panic: impl FnMut(&str),
) {
    while let Err(panic) = catch(async { make().await }).await {
        error!("the {task} has panicked, and starts again in {} ms: {panic}", pause.as_millis());
        on_panic(&panic);
        sleep(pause).await;
    }
}

/// The outcome, or what a panic says.
pub(super) async fn catch<T>(it: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(it).catch_unwind().await.map_err(|panic| text_of(&*panic))
}

/// What a panic says.
pub(super) fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "a panic without a text".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_runs_again() {
        let (mut runs, mut heard) = (0, Vec::new());
        let make = || {
            runs += 1;
            let run = runs;
            async move {
                tokio::task::yield_now().await;
                assert!(run > 2, "run {run} fails");
            }
        };
        run_again("test", Duration::from_millis(1), make, |panic| heard.push(panic.to_owned()))
            .await;
        assert_eq!((runs, heard), (3, vec!["run 1 fails".to_owned(), "run 2 fails".to_owned()]));
    }

    #[tokio::test]
    async fn a_panic_before_the_first_wait_is_caught_too() {
        let panics = async { std::panic::panic_any(7) };
        assert_eq!(catch::<()>(panics).await, Err("a panic without a text".to_owned()));
        assert_eq!(catch(async { 7 }).await, Ok(7));
    }
}
