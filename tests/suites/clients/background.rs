//! An asynchronous server on a thread of its own inside a namespace.

use std::{io, thread::JoinHandle};

use lb_tests::netns::Netns;
use tokio::{runtime::Builder, sync::oneshot};

/// A task that runs until it is dropped.
pub(crate) struct Background {
    /// Dropped to end the thread.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Background {
    /// Runs what `serve` gives. It is called inside the namespace, so that the sockets that it opens belong there.
    pub(crate) fn start<Task: Future<Output = ()>>(
        netns: &Netns,
        serve: impl FnOnce() -> Task + Send + 'static,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let run = move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let _context = runtime.enter();
            let task = serve();
            ready.send(()).unwrap();
            runtime.block_on(async {
                tokio::select! {
                    () = task => {}
                    // Ends by an error, when the sender is dropped.
                    _ = stopped => {}
                }
            });
        };
        let thread = netns.spawn_thread("server", run).unwrap();
        is_ready.recv().expect("the server opens its sockets");
        Self { stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A panic of the server has been printed, and its client noticed.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
