//! An instance with a few slots, and an open loop that exceeds its capacity.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;
use tokio::time::{sleep, sleep_until, timeout};

/// How long a slot takes for a request.
pub(crate) const SERVICE_TIME: Duration = Duration::from_millis(50);
/// Timeout of a response.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// An instance that serves a few requests concurrently and queues the others.
pub(crate) struct Slots {
    addr: SocketAddr,
    at_once: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    _runtime: Runtime,
}

impl Slots {
    /// An instance with so many slots.
    pub(crate) fn start(hosts: usize) -> Self {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("binds");
        let addr = listener.local_addr().expect("an address");
        let hosts = Arc::new(Semaphore::new(hosts));
        let (at_once, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counters = (Arc::clone(&at_once), Arc::clone(&most));
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (hosts, counters) = (Arc::clone(&hosts), counters.clone());
                tokio::spawn(async move {
                    let _ended_by_the_gateway =
                        serve(stream, &hosts, &counters.0, &counters.1).await;
                });
            }
        });
        Self { addr, at_once, most, _runtime: runtime }
    }

    /// Its address.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The most requests that were at the instance at once.
    pub(crate) fn max_concurrent(&self) -> usize {
        self.most.load(Ordering::Relaxed).max(self.at_once.load(Ordering::Relaxed))
    }
}

async fn serve(
    mut stream: TcpStream,
    hosts: &Semaphore,
    at_once: &AtomicUsize,
    most: &AtomicUsize,
) -> std::io::Result<()> {
    const RESPONSE: &[u8] =
        b"HTTP/1.1 200 OK\r\nx-instance-id: slots-1\r\ncontent-length: 2\r\n\r\nok";
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        if !head.starts_with(b"GET /health") {
            most.fetch_max(at_once.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            let slot = hosts.acquire().await;
            sleep(SERVICE_TIME).await;
            drop(slot);
            at_once.fetch_sub(1, Ordering::Relaxed);
        }
        stream.write_all(RESPONSE).await?;
    }
}

/// The result of a flood.
pub(crate) struct Flood {
    pub(crate) sent: usize,
    /// Good responses while requests were sent; later ones only drain queues.
    good: usize,
    pub(crate) shed: usize,
    pub(crate) failed: usize,
    lasted: Duration,
    good_latencies: Vec<Duration>,
    shed_latencies: Vec<Duration>,
}

impl Flood {
    /// Sends so many requests per second, without waiting for responses.
    pub(crate) fn send(addr: SocketAddr, path: &str, per_second: f64, lasts: Duration) -> Self {
        let runtime =
            Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let head: Arc<[u8]> =
            format!("GET {path} HTTP/1.1\r\nhost: tandem.test\r\n\r\n").into_bytes().into();
        let idle: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        runtime.block_on(async move {
            let began = Instant::now();
            let mut requests = Vec::new();
            for nth in 0.. {
                let due = began + Duration::from_secs_f64(f64::from(nth) / per_second);
                if due >= began + lasts {
                    break;
                }
                if due > Instant::now() {
                    sleep_until(due.into()).await;
                }
                let (head, idle) = (Arc::clone(&head), Arc::clone(&idle));
                requests.push(tokio::spawn(async move {
                    let began = Instant::now();
                    let response_in_time =
                        timeout(RESPONSE_TIMEOUT, request(addr, &head, &idle)).await;
                    (response_in_time.ok().and_then(Result::ok), began, began.elapsed())
                }));
            }
            let lasted = began.elapsed();
            let mut flood = Self {
                sent: requests.len(),
                good: 0,
                shed: 0,
                failed: 0,
                lasted,
                good_latencies: Vec::new(),
                shed_latencies: Vec::new(),
            };
            for request in requests {
                match request.await.expect("no panic") {
                    (Some(200), sent_at, latency) => {
                        flood.good_latencies.push(latency);
                        flood.good += usize::from(sent_at + latency <= began + lasted);
                    }
                    (Some(503), _, latency) => flood.shed_latencies.push(latency),
                    _ => flood.failed += 1,
                }
            }
            flood.shed = flood.shed_latencies.len();
            flood.good_latencies.sort_unstable();
            flood.shed_latencies.sort_unstable();
            flood
        })
    }

    /// Good responses per second, while requests were sent.
    pub(crate) fn good_per_second(&self) -> f64 {
        self.good as f64 / self.lasted.as_secs_f64()
    }

    /// This percentile of the latency of shed requests.
    pub(crate) fn shed_latency(&self, share: f64) -> Duration {
        quantile(&self.shed_latencies, share)
    }
}

fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let place = (sorted.len() as f64 * share) as usize;
    sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or_default()
}

impl fmt::Display for Flood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.lasted.as_secs_f64();
        write!(
            f,
            "{:.0} requests/s for {seconds:.0} s: {:.0} good/s (p50 {:?}, p99 {:?}), {} shed (p50 \
             {:?}, p99 {:?}), {} failed",
            self.sent as f64 / seconds,
            self.good_per_second(),
            quantile(&self.good_latencies, 0.5),
            quantile(&self.good_latencies, 0.99),
            self.shed,
            self.shed_latency(0.5),
            self.shed_latency(0.99),
            self.failed
        )
    }
}

/// One request, on a connection that is kept if the response allows it.
async fn request(
    addr: SocketAddr,
    head: &[u8],
    idle: &Mutex<Vec<TcpStream>>,
) -> std::io::Result<u16> {
    let kept = idle.lock().expect("no panic").pop();
    let mut stream = match kept {
        Some(stream) => stream,
        None => TcpStream::connect(addr).await?,
    };
    stream.set_nodelay(true)?;
    stream.write_all(head).await?;
    let mut response = Vec::with_capacity(1_024);
    loop {
        if stream.read_buf(&mut response).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = String::from_utf8_lossy(&response).to_ascii_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let field = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<usize>().ok())
        };
        if body.len() < field("content-length:").unwrap_or(0) {
            continue;
        }
        if !head.contains("connection: close") {
            idle.lock().expect("no panic").push(stream);
        }
        return Ok(head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or_default());
    }
}
