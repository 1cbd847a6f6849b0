//! The log file of one child.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Logs larger than this are rotated, bytes.
const ROTATE_AT: u64 = 64 << 20;
/// How often the logs' sizes are checked.
const CHECK: Duration = Duration::from_secs(10);
/// How much of a log's end is read for its last lines, bytes.
const TAIL: u64 = 64 << 10;

/// Opens a log for appending; a large one is renamed to `<name>.log.1` first.
pub(super) fn open(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|log| log.len() > ROTATE_AT) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Rotates all logs of a folder until the future is dropped.
pub(crate) async fn rotate_logs(dir: PathBuf) {
    loop {
        tokio::time::sleep(CHECK).await;
        let dir = dir.clone();
        // A log that cannot be rotated keeps growing.
        let _ = tokio::task::spawn_blocking(move || rotate_all(&dir)).await;
    }
}

fn rotate_all(dir: &Path) {
    let logs = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    for log in logs.filter(|path| path.extension().is_some_and(|extension| extension == "log")) {
        let _ = rotate_in_place(&log);
    }
}

/// Copies a large log to `<name>.log.1` and truncates it, so that hours of load don't fill the
/// disk. The program keeps its appending descriptor. Lines written between copy and truncation are
/// lost. Reopening is not an option: Nginx's workers may not enter the folder.
fn rotate_in_place(path: &Path) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|log| log.len() > ROTATE_AT) {
        fs::copy(path, path.with_extension("log.1"))?;
        OpenOptions::new().write(true).open(path)?.set_len(0)?;
    }
    Ok(())
}

/// The last lines of a log, oldest first; none when it cannot be read.
pub(crate) fn last_lines(path: &Path, count: usize) -> Vec<String> {
    let Ok(text) = read_tail(path) else { return Vec::new() };
    let mut lines: Vec<String> = text.lines().rev().take(count).map(str::to_owned).collect();
    lines.reverse();
    lines
}

fn read_tail(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    // The first line may be incomplete.
    let whole =
        if length > TAIL { text.split_once('\n').map_or(&*text, |(_, rest)| rest) } else { &text };
    Ok(whole.to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn large_logs_of_the_folder_are_rotated() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let (large, small, other) = (
            dir.path().join("access.log"),
            dir.path().join("small.log"),
            dir.path().join("data.aof"),
        );
        for (path, length) in
            [(&large, ROTATE_AT + 1), (&small, ROTATE_AT), (&other, ROTATE_AT + 1)]
        {
            File::create(path).and_then(|file| file.set_len(length)).expect("made");
        }
        let mut writer = OpenOptions::new().append(true).open(&large).expect("opened");
        rotate_all(dir.path());
        writer.write_all(b"goes on\n").expect("written");
        assert_eq!(fs::read_to_string(&large).expect("read"), "goes on\n");
        assert_eq!(
            fs::metadata(dir.path().join("access.log.1")).expect("kept").len(),
            ROTATE_AT + 1
        );
        assert_eq!(fs::metadata(&small).expect("left").len(), ROTATE_AT);
        assert_eq!(fs::metadata(&other).expect("left").len(), ROTATE_AT + 1);
    }

    #[test]
    fn the_last_lines_are_complete_and_in_order() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let path = dir.path().join("a.log");
        let long: String = (0..20_000).map(|n| format!("line {n}\n")).collect();
        fs::write(&path, long).expect("written");
        assert_eq!(last_lines(&path, 2), ["line 19998", "line 19999"]);
        let all = last_lines(&path, usize::MAX);
        assert!(
            all.len() < 20_000 && all.iter().all(|line| line.starts_with("line ")),
            "{:?}",
            all.first()
        );
        assert_eq!(last_lines(&dir.path().join("none.log"), 5), Vec::<String>::new());
    }
}
