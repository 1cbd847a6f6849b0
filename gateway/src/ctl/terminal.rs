//! The terminal of a live view, restored at the end.

use std::io::{self, IsTerminal as _, Read as _, Write as _};
use std::thread;

use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use tokio::sync::mpsc;

/// The alternate screen of a live view.
pub(super) struct Screen {
    before: Option<Termios>,
    keys: mpsc::Receiver<u8>,
}

impl Screen {
    /// Switches to the alternate screen and to unbuffered keys, if the output is a terminal.
    pub(super) fn take() -> io::Result<Option<Self>> {
        if !io::stdout().is_terminal() {
            return Ok(None);
        }
        let (pressed, keys) = mpsc::channel(1);
        let before = if io::stdin().is_terminal() { Some(tcgetattr(io::stdin())?) } else { None };
        if let Some(before) = &before {
            let mut single = before.clone();
            // Without line buffering and echo; Ctrl-C remains a signal.
            single.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
            tcsetattr(io::stdin(), SetArg::TCSANOW, &single)?;
            // Reads keys until the process ends.
            thread::spawn(move || {
                let mut key = [0];
                while io::stdin().read_exact(&mut key).is_ok() {
                    if pressed.blocking_send(key[0]).is_err() {
                        return;
                    }
                }
            });
        }
        let screen = Self { before, keys };
        write_now("\x1b[?1049h\x1b[?25l")?;
        Ok(Some(screen))
    }

    /// Replaces the text.
    pub(super) fn show(&self, text: &str) -> io::Result<()> {
        // Clears the rest of each line instead of the screen, to avoid flicker.
        write_now(&format!("\x1b[H{}\x1b[J", text.replace('\n', "\x1b[K\n")))
    }

    /// Waits for `q`.
    pub(super) async fn quit(&mut self) {
        while let Some(key) = self.keys.recv().await {
            if matches!(key, b'q' | b'Q') {
                return;
            }
        }
        // Without a keyboard.
        std::future::pending().await
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _gone = write_now("\x1b[?25h\x1b[?1049l");
        if let Some(before) = &self.before {
            let _gone = tcsetattr(io::stdin(), SetArg::TCSANOW, before);
        }
    }
}

fn write_now(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
