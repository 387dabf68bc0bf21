//! Tasks of a serving thread for the HTTP library: they stay on the thread.

use hyper::rt::Executor;

/// Spawns onto the thread's task set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Local;

impl<F> Executor<F> for Local
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}
