//! A relay of bytes beside the proxies that `loadtest bench` compares: what TCP alone costs.
//!
//! One thread, which waits for events, receives and sends, and does nothing else. Each client has a
//! connection of its own to one of the origins. A proxy with HTTP/1.1 on both sides makes the same
//! calls for each request, so what it costs beyond the relay is its own work.

use std::io::{ErrorKind, Read as _, Result, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;

use anyhow::Context as _;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::origin::listen;

/// The event of a new client. Those of connections are their numbers.
const LISTENER: u64 = u64::MAX;
/// As many as a proxy takes with one call.
const EVENTS: usize = 512;
const BUFFER: usize = 64 << 10;

/// Listens and relays until it is killed.
///
/// # Errors
/// When it cannot listen, accept a client or wait for events.
pub(crate) fn run(addr: SocketAddr, origins: &[SocketAddr]) -> anyhow::Result<()> {
    let listener = listen(addr)
        .and_then(|listener| listener.into_std())
        .with_context(|| format!("cannot listen on {addr}"))?;
    Ok(serve(&listener, origins)?)
}

/// Relays between the clients of this listener and the origins, which take turns.
///
/// # Errors
/// When waiting for events fails, or a client cannot be accepted.
fn serve(listener: &TcpListener, origins: &[SocketAddr]) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut origins = origins.iter().cycle();
    let mut pairs = Pairs::default();
    let (mut events, mut buffer) = ([EpollEvent::empty(); EVENTS], vec![0; BUFFER]);
    loop {
        let ready = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Err(Errno::EINTR) => continue,
            ready => ready?,
        };
        for event in events.iter().take(ready) {
            if event.data() != LISTENER {
                // What was received before the end is read first.
                let ends = event.events().contains(EpollFlags::EPOLLRDHUP);
                pairs.pass_on(event.data(), ends, &mut buffer);
                continue;
            }
            let client = match listener.accept() {
                Ok((client, _)) => client,
                // It has gone meanwhile.
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error),
            };
            // Without an origin the client sees a closed connection.
            let origin = origins.next().and_then(|origin| TcpStream::connect(origin).ok());
            if let Some(origin) = origin {
                pairs.add(&epoll, [client, origin])?;
            }
        }
    }
}

/// Connections in pairs: 2n and 2n+1 are each other's.
#[derive(Default)]
struct Pairs {
    pairs: Vec<Option<[TcpStream; 2]>>,
    free: Vec<usize>,
}

impl Pairs {
    fn add(&mut self, epoll: &Epoll, pair: [TcpStream; 2]) -> Result<()> {
        let place = self.free.pop().unwrap_or_else(|| {
            self.pairs.push(None);
            self.pairs.len() - 1
        });
        for (side, stream) in pair.iter().enumerate() {
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let number = (2 * place + side) as u64;
            let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLET;
            epoll.add(stream, EpollEvent::new(flags, number))?;
        }
        self.pairs[place] = Some(pair);
        Ok(())
    }

    /// Passes on what this connection has received, or closes both.
    fn pass_on(&mut self, number: u64, ends: bool, buffer: &mut [u8]) {
        let (place, side) = ((number / 2) as usize, (number % 2) as usize);
        // Closed by an event before.
        let Some([client, origin]) = &self.pairs[place] else { return };
        let passed = match side {
            0 => pass_on(client, origin, ends, buffer),
            _ => pass_on(origin, client, ends, buffer),
        };
        if !passed.unwrap_or(false) {
            self.pairs[place] = None;
            self.free.push(place);
        }
    }
}

/// Passes on all that is there; `false` at the end of the connection. `ends`: the event tells that
/// the peer has sent everything.
fn pass_on(mut from: &TcpStream, to: &TcpStream, ends: bool, buffer: &mut [u8]) -> Result<bool> {
    loop {
        let length = match from.read(buffer) {
            Ok(0) => return Ok(false),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        };
        send(to, &buffer[..length])?;
        // Less than there was room for: no more is there, and what comes next is an event.
        if length < buffer.len() && !ends {
            return Ok(true);
        }
    }
}

/// Sends everything. Meanwhile nothing else is served, which only large bodies need.
fn send(mut to: &TcpStream, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poll(&mut [PollFd::new(to.as_fd(), PollFlags::POLLOUT)], PollTimeout::NONE)?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::thread;

    use super::*;

    #[test]
    fn bytes_pass_in_both_directions_and_an_end_is_passed_on() {
        const LARGE: usize = 5 << 20;
        let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let (relay, origin) = (bind(), bind());
        let (addr, origin_addr) =
            (relay.local_addr().expect("bound"), origin.local_addr().expect("bound"));
        thread::spawn(move || serve(&relay, &[origin_addr]));
        // The second pair takes the place of the first, which has ended.
        for _ in 0..2 {
            let mut client = TcpStream::connect(addr).expect("the relay");
            let (mut accepted, _) = origin.accept().expect("the relay's connection");
            client.write_all(b"request").expect("sent");
            let mut request = [0; 7];
            accepted.read_exact(&mut request).expect("passed on");
            assert_eq!(&request, b"request");
            let sender = thread::spawn(move || accepted.write_all(&vec![7; LARGE]));
            let mut response = Vec::new();
            client.read_to_end(&mut response).expect("passed on until the end");
            assert!(response.len() == LARGE && response.iter().all(|&byte| byte == 7));
            sender.join().expect("no panic").expect("sent");
        }
    }
}
