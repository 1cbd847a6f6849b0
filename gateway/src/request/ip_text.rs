//! The text of an address, without `fmt`, which would cost more than routing the request.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr};

/// The longest text: of a version 4 address in one of version 6.
const CAPACITY: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();

/// The text of an address.
#[derive(Clone, Copy, Debug)]
pub struct IpText {
    bytes: [u8; CAPACITY],
    len: usize,
}

impl IpText {
    /// The text of this address.
    pub fn of(ip: IpAddr) -> Self {
        let mut text = Self { bytes: [0; CAPACITY], len: 0 };
        match ip {
            IpAddr::V4(ip) => text.push_v4(ip),
            IpAddr::V6(ip) => {
                let mut rest = &mut text.bytes[..];
                // It fits.
                let _infallible = write!(rest, "{ip}");
                text.len = CAPACITY - rest.len();
            }
        }
        text
    }

    fn push_v4(&mut self, ip: Ipv4Addr) {
        for (place, octet) in ip.octets().into_iter().enumerate() {
            if place > 0 {
                self.push(b'.');
            }
            if octet >= 100 {
                self.push(b'0' + octet / 100);
            }
            if octet >= 10 {
                self.push(b'0' + octet / 10 % 10);
            }
            self.push(b'0' + octet % 10);
        }
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }
}

impl AsRef<[u8]> for IpText {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_text_of_display(ip: IpAddr) {
            let (text, display) = (IpText::of(ip), ip.to_string());
            prop_assert_eq!(text.as_ref(), display.as_bytes());
        }
    }

    #[test]
    fn the_longest_one_fits() {
        for text in ["::ffff:255.255.255.255", "1111:2222:3333:4444:5555:6666:7777:8888"] {
            let ip: IpAddr = text.parse().expect("an address");
            assert_eq!(IpText::of(ip).as_ref(), text.as_bytes());
        }
    }
}
