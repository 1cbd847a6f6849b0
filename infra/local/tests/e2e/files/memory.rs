//! The memory of Nginx, gateway and services before and during parallel uploads.

use std::sync::Arc;
use std::time::Instant;

use futures_util::stream;
use tokio::sync::Barrier;

use super::*;

/// What a sender hands over at a time.
const PIECE: usize = 64 * 1024;
/// The most that an upload may take in all processes together, in KiB: the buffers of a connection
/// at each, and one part of the content. A file is fifty times as large.
const MOST_KIB: u64 = 1024;

/// `make upload-test n=200 mb=50`
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes and gigabytes: make upload-test"]
async fn parallel_uploads_take_no_memory() -> Result<()> {
    let variable = |name: &str, default: u64| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let (uploads, mib) = (variable("UPLOADS", 200), variable("UPLOAD_MIB", 50));
    let stack = Stack::for_tests()
        .env("stateless-svc", "FILES_QUOTA_BYTES", (1_u64 << 40).to_string())
        .stateless(2)
        .with_nginx()
        .start()
        .await?;
    // The reservations of one user wait for each other.
    let mut users = Vec::new();
    for number in 0..20 {
        let user = User::new(&Api::by_http1(&stack)?, &format!("crowd-{number}")).await?;
        user.upload("warm", bytes(1_000_000)).await?;
        users.push(user);
    }
    let processes = processes(&stack)?;
    let before: Vec<u64> = processes.iter().map(|(_, pids)| resident(pids)).collect();

    // All have begun before any goes on.
    let begun = Arc::new(Barrier::new(usize::try_from(uploads)?));
    let piece = vec![b'x'; PIECE];
    let pieces = mib * 1024 * 1024 / PIECE as u64;
    let start = Instant::now();
    let tasks: Vec<_> = (users.iter().cycle())
        .take(usize::try_from(uploads)?)
        .map(|user| {
            let (user, begun) = (user.clone(), Arc::clone(&begun));
            let piece = piece.clone();
            tokio::spawn(async move {
                let body = stream::unfold(0, move |number| {
                    let (begun, piece) = (Arc::clone(&begun), piece.clone());
                    async move {
                        if number == 2 {
                            begun.wait().await;
                        }
                        let more = (Ok::<_, std::io::Error>(piece), number + 1);
                        (number < pieces).then_some(more)
                    }
                });
                user.send("large", reqwest::Body::wrap_stream(body)).await
            })
        })
        .collect();
    let mut most = before.clone();
    while tasks.iter().any(|task| !task.is_finished()) {
        for (most, (_, pids)) in most.iter_mut().zip(&processes) {
            *most = (*most).max(resident(pids));
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut stored = 0;
    for task in tasks {
        let response = task.await??;
        // One disk for PostgreSQL and all content: some commits take longer than their timeout.
        assert!(matches!(response.status, 201 | 503), "{response}");
        stored += u64::from(response.status == 201);
    }
    let seconds = start.elapsed().as_secs_f64();
    eprintln!(
        "{uploads} uploads of {mib} MiB at once, {seconds:.0} s: {stored} stored, others 503"
    );
    let mut grown = 0;
    for (((name, _), before), most) in processes.iter().zip(&before).zip(&most) {
        eprintln!(
            "{name:12} {:6.1} MiB before, at most {:6.1} MiB",
            mib_of(*before),
            mib_of(*most)
        );
        grown += most - before;
    }
    eprintln!("{} KiB for each upload", grown / uploads);
    ensure!(grown / uploads <= MOST_KIB, "{grown} KiB for {uploads} uploads");
    ensure!(stored * 10 >= uploads * 9, "{stored} of {uploads}");
    stack.shutdown().await;
    Ok(())
}

fn mib_of(kib: u64) -> f64 {
    Duration::from_millis(kib).as_secs_f64() * 1_000.0 / 1_024.0
}

/// The processes on the way of an upload. Nginx has workers.
fn processes(stack: &Stack) -> Result<Vec<(&'static str, Vec<u32>)>> {
    let mut found = Vec::new();
    for name in ["nginx", "gateway", "stateless-1", "stateless-2"] {
        let pid = stack.pid_of(name)?;
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let children = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        found.push((name, children.chain([pid]).collect()));
    }
    Ok(found)
}

/// Resident memory in KiB.
fn resident(pids: &[u32]) -> u64 {
    let of = |pid: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse::<u64>().ok()
    };
    pids.iter().filter_map(of).sum()
}
