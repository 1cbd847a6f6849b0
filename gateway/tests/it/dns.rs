//! A name server for one name, with scripted responses.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// The server's responses.
#[derive(Clone, Debug)]
pub(crate) enum Zone {
    /// These addresses, in this order, for whatever name.
    Addresses(Vec<IpAddr>),
    /// Queries of this type get these addresses; others get no response.
    Only(u16, Vec<IpAddr>),
    /// The name exists, without addresses.
    Empty,
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL.
    ServerFailure,
    /// Bytes that are not a DNS response.
    Garbage,
    /// No response.
    Silence,
}

/// A running name server. It stops on drop.
pub(crate) struct NameServer {
    addr: SocketAddr,
    shared: Arc<Mutex<Shared>>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    zone: Zone,
    queries: usize,
    over: bool,
}

impl NameServer {
    pub(crate) fn start(zone: Zone) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("binds");
        let addr = socket.local_addr().expect("an address");
        let shared = Arc::new(Mutex::new(Shared { zone, queries: 0, over: false }));
        let served = Arc::clone(&shared);
        let thread = thread::spawn(move || {
            let mut question = [0; 1_024];
            while let Ok((length, client)) = socket.recv_from(&mut question) {
                let mut shared = served.lock().expect("no panic");
                if shared.over {
                    return;
                }
                shared.queries += 1;
                if let Some(response) = response(&question[..length], &shared.zone) {
                    let _client_has_gone = socket.send_to(&response, client);
                }
            }
        });
        Self { addr, shared, thread: Some(thread) }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Changes the responses.
    pub(crate) fn set(&self, zone: Zone) {
        self.shared.lock().expect("no panic").zone = zone;
    }

    /// Number of queries.
    pub(crate) fn queries(&self) -> usize {
        self.shared.lock().expect("no panic").queries
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.shared.lock().expect("no panic").over = true;
        // Wakes the thread, which then returns.
        let _woken =
            UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"over", self.addr));
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic");
        }
    }
}

/// The response to a query, by RFC 1035.
fn response(question: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    // The name ends with an empty label; its type and class follow.
    let name = question.get(HEADER..)?.iter().position(|byte| *byte == 0)? + 1;
    let query = question.get(HEADER..HEADER + name + 4)?;
    let kind = u16::from_be_bytes([query[name], query[name + 1]]);
    let (code, addresses): (u8, &[IpAddr]) = match zone {
        Zone::Addresses(addresses) => (0, addresses),
        Zone::Only(only, addresses) if *only == kind => (0, addresses),
        Zone::Only(..) => return None,
        Zone::Empty => (0, &[]),
        Zone::ServerFailure => (2, &[]),
        Zone::NoSuchName => (3, &[]),
        Zone::Garbage => return Some(question.iter().map(|byte| !byte).collect()),
        Zone::Silence => return None,
    };
    let records: Vec<Vec<u8>> = addresses
        .iter()
        .filter_map(|address| match (kind, address) {
            (1, IpAddr::V4(address)) => Some(address.octets().to_vec()),
            (28, IpAddr::V6(address)) => Some(address.octets().to_vec()),
            _ => None,
        })
        .collect();
    let mut response = question[..2].to_vec();
    // A response with recursion desired and available, and its code.
    response.extend([0x81, 0x80 | code]);
    for count in [1, records.len() as u16, 0, 0] {
        response.extend(count.to_be_bytes());
    }
    response.extend(query);
    for record in records {
        // The name as in the question, the type, the class IN, and ten minutes to live.
        response.extend([0xc0, HEADER as u8]);
        response.extend(kind.to_be_bytes());
        response.extend([0, 1, 0, 0, 2, 88]);
        response.extend((record.len() as u16).to_be_bytes());
        response.extend(record);
    }
    Some(response)
}
