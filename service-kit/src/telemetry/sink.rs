//! Writes log lines in batches, from a background thread.
//!
//! `tracing-appender` does the same with one allocation and one write per line. At 20,000 lines/s
//! it cost 2.5 to 2.8 µs of CPU per line, this 1.0 to 1.1 µs.

use std::io::Write;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long lines are collected before they are written with one system call.
const BATCH_INTERVAL: Duration = Duration::from_millis(10);
/// Buffer size, in bytes. When the reader of the log is too slow, lines are dropped and counted;
/// requests never wait.
const CAPACITY: usize = 8 * 1024 * 1024;

/// The buffer in front of the output.
pub(super) struct Sink {
    // A lock, since lines must stay whole and in order; held for one copy.
    state: Mutex<State>,
    wake: Condvar,
    dropped: AtomicU64,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct State {
    lines: Vec<u8>,
    closed: bool,
}

impl Sink {
    /// Starts the thread that writes to `output`.
    pub(super) fn start(output: Box<dyn Write + Send>) -> Arc<Self> {
        let sink = Arc::new(Self {
            state: Mutex::default(),
            wake: Condvar::new(),
            dropped: AtomicU64::new(0),
            writer: Mutex::default(),
        });
        let own = Arc::clone(&sink);
        let thread =
            thread::Builder::new().name("log".to_owned()).spawn(move || own.write_batches(output));
        *lock(&sink.writer) = thread.ok();
        sink
    }

    /// Adds a whole line, with its newline.
    pub(super) fn push(&self, line: &[u8]) {
        let mut state = lock(&self.state);
        if state.lines.len() + line.len() > CAPACITY {
            drop(state);
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let was_empty = state.lines.is_empty();
        state.lines.extend_from_slice(line);
        drop(state);
        if was_empty {
            self.wake.notify_one();
        }
    }

    /// Writes the remaining lines and ends the thread.
    pub(super) fn close(&self) {
        lock(&self.state).closed = true;
        self.wake.notify_one();
        if let Some(writer) = lock(&self.writer).take() {
            let _a_panic_there_cannot_be_logged = writer.join();
        }
    }

    fn write_batches(&self, mut output: Box<dyn Write + Send>) {
        let mut batch = Vec::new();
        loop {
            let mut state = self
                .wake
                .wait_while(lock(&self.state), |state| state.lines.is_empty() && !state.closed)
                .unwrap_or_else(PoisonError::into_inner);
            if !state.closed {
                drop(state);
                thread::sleep(BATCH_INTERVAL);
                state = lock(&self.state);
            }
            mem::swap(&mut batch, &mut state.lines);
            let closed = state.closed;
            drop(state);
            let dropped = self.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                let _infallible = writeln!(
                    batch,
                    r#"{{"level":"WARN","target":"log","dropped_lines":{dropped}}}"#
                );
            }
            // Without a reader the batch is lost; the next one may succeed.
            let _unread = output.write_all(&batch).and_then(|()| output.flush());
            batch.clear();
            if closed {
                return;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn closing_writes_every_line_whole() {
        let output = Shared::default();
        let sink = Sink::start(Box::new(output.clone()));
        thread::scope(|scope| {
            for thread in 0..4 {
                let sink = &sink;
                scope.spawn(move || {
                    (0..1000).for_each(|i| sink.push(format!("{thread} {i}\n").as_bytes()))
                });
            }
        });
        sink.close();
        let written = String::from_utf8(lock(&output.0).clone()).expect("text");
        assert_eq!(written.lines().count(), 4000);
        for thread in ["0 ", "1 ", "2 ", "3 "] {
            let numbers = written.lines().filter_map(|line| line.strip_prefix(thread));
            assert!(numbers.eq((0..1000).map(|i| i.to_string())), "thread {thread} in order");
        }
    }
}
