//! A scripted instance, which records its requests.

mod serve;

use std::collections::BTreeMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use proto_contracts::WeightDecision;
use socket2::{Domain, Socket, Type};

/// What a gateway must present to drain an instance.
pub(crate) const INSTANCE_TOKEN: &str = "a-token-of-instances";

/// What an instance does with a request other than health checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Responds with this status, these headers and this body.
    Respond(u16, Vec<(&'static str, &'static str)>, &'static str),
    /// Sends these informational statuses before 200.
    Interim(Vec<u16>),
    /// Responds with 500 to one request in so many, with 200 to the others.
    FailOneIn(u64),
    /// Responds with 200 after this time.
    Late(Duration),
    /// Closes the connection without a response.
    Close,
    /// Responds with 200 and the request target.
    Mirror,
    /// Sends nothing until the script changes.
    Hang,
    /// Switches protocols, then sends back each byte.
    Echo,
    /// Responds with 200 and so many bytes.
    Long(usize),
    /// Responds with 200 and an endless silent stream.
    Stream,
    /// Responds with 413 after the header, and closes with the body unread.
    RejectBody,
    /// Closes without a response after the header, with the body unread.
    CloseUnread,
    /// Sends exactly these bytes.
    Raw(Vec<u8>),
    /// Sends exactly these bytes and closes the connection.
    RawThenClose(Vec<u8>),
    /// Sends exactly these bytes, and the others when the script changes.
    RawThenMore(Vec<u8>, Vec<u8>),
}

impl Act {
    /// A plain 200.
    pub(crate) fn ok() -> Self {
        Self::Respond(200, Vec::new(), "ok")
    }
}

/// The response to `GET /health`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// 200 with its name.
    Well,
    /// This status, with its name.
    Failing(u16),
    /// 200 without a name.
    Nameless,
    /// 200 with its name and these identity headers instead of its own.
    As(Vec<(&'static str, &'static str)>),
}

/// A request as the instance received it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    /// Values by name in lower case.
    pub(crate) headers: BTreeMap<String, Vec<String>>,
    pub(crate) body_bytes: usize,
    /// The body.
    pub(crate) body: Vec<u8>,
}

impl Seen {
    /// The value of a header that may appear once.
    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let all = self.headers.get(name)?;
        assert_eq!(all.len(), 1, "{name} appears more than once: {all:?}");
        all.first().map(String::as_str)
    }
}

struct Script {
    name: String,
    act: Act,
    health: Health,
    live_sessions: Option<u64>,
    /// Hot sessions, reads and reads from memory.
    session_use: Option<[u64; 3]>,
    /// Whether `/readyz` succeeds.
    ready: bool,
    readiness_checks: u64,
    /// Whether it supports drain requests.
    supports_drain: bool,
    drained_at: Option<Instant>,
    /// The weight decision that it received.
    weight: Option<WeightDecision>,
    /// When an operator drained or undrained it, in milliseconds since 1970.
    decided_ms: u64,
    seen: Vec<Seen>,
    health_checks: u64,
    /// Streams that it serves.
    streams: usize,
    /// How often it sent something without a request.
    unsolicited: usize,
    listening: bool,
    /// All that it accepted, and how many of them are open.
    connections: Vec<TcpStream>,
    open: usize,
}

struct Shared {
    script: Mutex<Script>,
    changed: Condvar,
}

/// One instance.
pub(crate) struct Upstream {
    shared: Arc<Shared>,
    addr: SocketAddr,
    /// Reserves the port while the instance is down: bound, but not listening.
    _keeper: Socket,
    accepting: Option<JoinHandle<()>>,
}

impl Upstream {
    /// A healthy instance with this name that responds with 200.
    pub(crate) fn start(name: &str) -> Self {
        Self::start_at(name, SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Starts an instance there; with port 0 on a free one.
    pub(crate) fn start_at(name: &str, wanted: SocketAddr) -> Self {
        let script = Script {
            name: name.to_owned(),
            act: Act::ok(),
            health: Health::Well,
            live_sessions: None,
            session_use: None,
            ready: true,
            readiness_checks: 0,
            supports_drain: true,
            drained_at: None,
            weight: None,
            decided_ms: 0,
            seen: Vec::new(),
            health_checks: 0,
            streams: 0,
            unsolicited: 0,
            listening: false,
            connections: Vec::new(),
            open: 0,
        };
        let keeper = bound(wanted);
        let addr = keeper.local_addr().ok().and_then(|addr| addr.as_socket()).expect("an address");
        let shared = Arc::new(Shared { script: Mutex::new(script), changed: Condvar::new() });
        let mut upstream = Self { shared, addr, _keeper: keeper, accepting: None };
        upstream.come_back();
        upstream
    }

    /// Several instances of these names.
    pub(crate) fn start_all<const N: usize>(names: [&str; N]) -> [Self; N] {
        names.map(Self::start)
    }

    /// Its address, whether it runs or not.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its name.
    pub(crate) fn name(&self) -> String {
        self.script().name.clone()
    }

    /// Changes its name.
    pub(crate) fn rename(&self, name: &str) {
        self.script().name = name.to_owned();
    }

    /// Changes what it does, including with requests that hang.
    pub(crate) fn act(&self, act: Act) {
        self.script().act = act;
        self.shared.changed.notify_all();
    }

    /// Changes its response to health checks.
    pub(crate) fn health(&self, health: Health) {
        let mut script = self.script();
        script.health = health;
        script.health_checks = 0;
    }

    /// Sets the number of live sessions that it reports.
    pub(crate) fn report_sessions(&self, count: u64) {
        self.script().live_sessions = Some(count);
    }

    /// Reports these hot sessions, reads and reads from memory.
    pub(crate) fn report_session_use(&self, session_use: [u64; 3]) {
        self.script().session_use = Some(session_use);
    }

    /// Sets whether it is ready.
    pub(crate) fn ready(&self, ready: bool) {
        self.script().ready = ready;
    }

    /// Makes it an old version without the drain endpoint.
    pub(crate) fn disable_drain(&self) {
        self.script().supports_drain = false;
    }

    /// Makes it announce its shutdown, as after SIGTERM.
    pub(crate) fn announce_leaving(&self) {
        self.script().drained_at = Some(Instant::now());
    }

    /// Drops drain and weight, as after a restart.
    pub(crate) fn forget_all(&self) {
        let mut script = self.script();
        (script.drained_at, script.decided_ms, script.weight) = (None, 0, None);
    }

    /// The weight that it received.
    pub(crate) fn weight(&self) -> Option<u16> {
        self.script().weight.map(|decision| decision.weight.get())
    }

    /// Health checks since it started, restarted, or the script changed.
    pub(crate) fn health_checks(&self) -> u64 {
        self.script().health_checks
    }

    /// Number of readiness checks.
    pub(crate) fn readiness_checks(&self) -> u64 {
        self.script().readiness_checks
    }

    /// Number of open streams.
    pub(crate) fn streams(&self) -> usize {
        self.script().streams
    }

    /// How often it sent something without a request.
    pub(crate) fn unsolicited(&self) -> usize {
        self.script().unsolicited
    }

    /// Number of connections that it accepted, those of health checks included.
    pub(crate) fn accepted(&self) -> usize {
        self.script().connections.len()
    }

    /// Number of open connections.
    pub(crate) fn open_connections(&self) -> usize {
        self.script().open
    }

    /// Number of requests, without health checks.
    pub(crate) fn count(&self) -> usize {
        self.script().seen.len()
    }

    /// The targets of all requests.
    pub(crate) fn targets(&self) -> Vec<String> {
        self.script().seen.iter().map(|seen| seen.target.clone()).collect()
    }

    /// The last request.
    #[track_caller]
    pub(crate) fn last(&self) -> Seen {
        self.script().seen.last().cloned().expect("it was sent a request")
    }

    /// Stops listening and closes every connection, like a killed process.
    pub(crate) fn leave(&mut self) {
        {
            let mut script = self.script();
            script.listening = false;
            for connection in script.connections.drain(..) {
                let _closed_already = connection.shutdown(Shutdown::Both);
            }
        }
        self.shared.changed.notify_all();
        if let Some(accepting) = self.accepting.take() {
            // Wakes the thread, which then returns.
            let _it_listened = TcpStream::connect(self.addr);
            accepting.join().expect("no panic");
        }
    }

    /// Listens again at the same address.
    pub(crate) fn come_back(&mut self) {
        let socket = bound(self.addr);
        socket.listen(1_024).expect("listens");
        let listener = TcpListener::from(socket);
        {
            let mut script = self.script();
            script.listening = true;
            script.health_checks = 0;
        }
        let shared = Arc::clone(&self.shared);
        self.accepting = Some(thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut script = shared.lock();
                if !script.listening {
                    return;
                }
                script.connections.extend(stream.try_clone());
                script.open += 1;
                drop(script);
                let shared = Arc::clone(&shared);
                thread::spawn(move || {
                    // An error of a connection ends only this thread.
                    let _ended = shared.serve(stream);
                    shared.lock().open -= 1;
                });
            }
        }));
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.shared.lock()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.leave();
    }
}

fn bound(addr: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("an option");
    socket.bind(&addr.into()).expect("the port is reserved");
    socket
}
