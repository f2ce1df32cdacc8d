//! Where log lines go: into a bounded queue that a thread of its own empties. Who logs never waits: a line that finds the queue
//! full is dropped and counted, so that a log nobody reads does not stop the dataplane.
use std::io::Write;
use std::sync::OnceLock;
use std::sync::mpsc::sync_channel;
use std::time::Duration;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

/// Lines that wait to be written. A line of ours is some hundred bytes long, so these are about a megabyte.
const LINES_MAX: usize = 4096;
/// How long the end waits for what is still to be written.
const END_MAX: Duration = Duration::from_secs(2);

static DROPPED: OnceLock<ErrorCounter> = OnceLock::new();

/// Writes what is still queued when it is dropped, unless nobody reads it.
#[derive(Debug)]
pub struct LogGuard(Option<WorkerGuard>);

/// A writer that never blocks, in front of one that may. The first one of a process is the one that
/// [`lines_dropped`] tells of.
pub fn queue(out: impl Write + Send + 'static) -> (NonBlocking, LogGuard) {
    let builder = NonBlockingBuilder::default().buffered_lines_limit(LINES_MAX).lossy(true).thread_name("log");
    let (writer, guard) = builder.finish(out);
    DROPPED.get_or_init(|| writer.error_counter());
    (writer, LogGuard(Some(guard)))
}

/// Log lines of this process that were dropped, since nobody read what was written before.
#[must_use]
pub fn lines_dropped() -> u64 {
    DROPPED.get().map_or(0, |counter| counter.dropped_lines() as u64)
}

impl Drop for LogGuard {
    /// The appender's guard may wait for a reader, and without end; a thread that the end of the process takes with it waits in
    /// its place.
    fn drop(&mut self) {
        let Some(guard) = self.0.take() else { return };
        let (done, waited) = sync_channel(1);
        let flush = std::thread::Builder::new().name("log-end".to_owned()).spawn(move || {
            drop(guard);
            let _nobody_waits = done.send(());
        });
        if flush.is_ok() {
            let _late = waited.recv_timeout(END_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::sync::{Arc, Mutex, mpsc};

    /// A writer that stands still until it is told to go on.
    struct Stuck {
        go_on: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _gone = self.go_on.recv();
            self.written.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// I7
    #[test]
    fn who_logs_never_waits_and_what_finds_no_room_is_counted() {
        let (go_on, stuck) = mpsc::channel();
        let written = Arc::default();
        let (mut writer, guard) = queue(Stuck { go_on: stuck, written: Arc::clone(&written) });
        let counter = writer.error_counter();
        let lines = LINES_MAX * 3;
        for _ in 0..lines {
            writer.write_all(b"line\n").unwrap();
        }
        // One line may have left the queue for the writer's hands.
        let dropped = counter.dropped_lines();
        assert!((lines - LINES_MAX - 1..=lines - LINES_MAX).contains(&dropped), "{dropped} of {lines} dropped");
        drop(go_on);
        drop(guard);
        assert_eq!(written.lock().unwrap().len(), (lines - dropped) * b"line\n".len());
    }
}
