//! The protocol between the two processes.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use proto_contracts::PoolName;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};

/// The new process is ready to take over.
pub(super) const READY: u8 = b'R';
/// The old process released everything.
pub(super) const RELEASED: u8 = b'Y';

/// Maximum size of an offer in bytes; two pools' names take 40.
const MAX_OFFER: usize = 1_024;
/// Listeners of an offer: data plane, control plane and metrics.
const MOST_LISTENERS: usize = 3;

/// The message with the listeners.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    /// The pools with a healthy instance; the new process must find one in each.
    pub(super) healthy: Vec<PoolName>,
}

/// Sends an offer with the listeners.
pub(super) fn send(to: impl AsFd, offer: &Offer, listeners: &[BorrowedFd<'_>]) -> io::Result<()> {
    let text = serde_json::to_vec(offer)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_LISTENERS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(listeners));
    let sent = sendmsg(to, &[IoSlice::new(&text)], &mut ancillary, SendFlags::NOSIGNAL)?;
    if sent == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
}

/// Receives an offer with the listeners.
pub(super) fn receive(from: impl AsFd) -> io::Result<(Offer, Vec<TcpListener>)> {
    let mut text = [0; MAX_OFFER];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_LISTENERS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received =
        recvmsg(from, &mut [IoSliceMut::new(&mut text)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let offer = serde_json::from_slice(text.get(..received.bytes).unwrap_or_default())?;
    let mut listeners = Vec::with_capacity(MOST_LISTENERS);
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            listeners.extend(fds.map(|fd: OwnedFd| TcpListener::from(fd)));
        }
    }
    if listeners.is_empty() {
        Err(io::ErrorKind::InvalidData.into())
    } else {
        Ok((offer, listeners))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn listeners_arrive_in_their_order() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        for count in 1..=MOST_LISTENERS {
            let listeners: Vec<_> =
                (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("binds")).collect();
            let lent: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
            send(&ours, &Offer { healthy: vec![PoolName::Stateful] }, &lent).expect("sent");
            let (offer, received) = receive(&theirs).expect("received");
            assert_eq!(offer.healthy, [PoolName::Stateful]);
            let addrs = |listeners: &[TcpListener]| -> Vec<_> {
                listeners.iter().map(|one| one.local_addr().expect("bound")).collect()
            };
            assert_eq!(addrs(&received), addrs(&listeners));
        }
    }

    #[test]
    fn an_offer_without_listeners_is_rejected() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        rustix::io::write(&ours, br#"{"healthy":[]}"#).expect("written");
        assert!(receive(&theirs).is_err());
        drop(ours);
        assert!(receive(&theirs).is_err(), "an empty message is no offer");
    }
}
