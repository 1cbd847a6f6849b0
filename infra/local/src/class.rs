//! The classroom: who may reach its page for phones, and under which name.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::PathBuf;

use rand::seq::IndexedRandom as _;
use serde::{Deserialize, Serialize};

/// Letters of a room's code: none looks like another letter or a digit.
const LETTERS: &[u8] = b"ABCDEFGHJKMNPQRSTUVWXYZ";
const CODE_LENGTH: usize = 6;
/// An address of documentation (RFC 5737). Nothing is sent to it: the kernel says from which address
/// of this machine it would be.
const ELSEWHERE: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// Options of the classroom.
#[derive(clap::Args, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classroom {
    /// Open a page for the phones of a class to the local network, at https://HOST:8444/class.
    #[arg(long = "class", id = "class")]
    pub is_open: bool,
    /// The name or address by which phones reach this machine [default: its own address].
    #[arg(long = "class-host", value_name = "HOST", requires = "class", value_parser = host)]
    pub host: Option<String>,
    /// The address of the listener.
    #[arg(long = "class-listen", value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub listen: IpAddr,
    /// A certificate of HOST with its chain, PEM; without it, one is issued by an authority of this
    /// stack, which the page offers.
    #[arg(long = "class-cert", value_name = "FILE", requires_all = ["class", "key"])]
    pub cert: Option<PathBuf>,
    /// The private key of the certificate, PEM.
    #[arg(long = "class-key", value_name = "FILE", requires_all = ["class", "cert"])]
    pub key: Option<PathBuf>,
}

impl Default for Classroom {
    /// Closed.
    fn default() -> Self {
        let listen = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        Self { is_open: false, host: None, listen, cert: None, key: None }
    }
}

impl Classroom {
    /// The command line with these options.
    pub(crate) fn to_args(&self) -> Vec<OsString> {
        if !self.is_open {
            return Vec::new();
        }
        let mut args: Vec<OsString> =
            vec!["--class".into(), format!("--class-listen={}", self.listen).into()];
        args.extend(self.host.iter().map(|host| format!("--class-host={host}").into()));
        for (name, file) in [("--class-cert", &self.cert), ("--class-key", &self.key)] {
            args.extend(file.iter().flat_map(|file| [name.into(), file.clone().into()]));
        }
        args
    }

    /// The name or address by which phones reach this machine.
    pub(crate) fn host(&self) -> String {
        self.host.clone().unwrap_or_else(|| {
            let own = if self.listen.is_unspecified() { own_address() } else { Some(self.listen) };
            own.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)).to_string()
        })
    }

    /// The address of the page, without the room's code.
    pub(crate) fn url(&self, port: u16) -> String {
        match self.host().parse() {
            Ok(IpAddr::V6(ip)) => format!("https://[{ip}]:{port}/class"),
            _ => format!("https://{}:{port}/class", self.host()),
        }
    }
}

/// A host name or an address, and so the name of a folder, too.
fn host(text: &str) -> Result<String, &'static str> {
    let is_label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (1..=63).contains(&label.len()) && inner && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_name = text.len() <= 253 && text.split('.').all(is_label);
    if is_name || text.parse::<IpAddr>().is_ok() {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("a host name or an IP address is needed, such as class.example.org or 192.168.1.20")
    }
}

/// A new code for a room.
pub(crate) fn new_code() -> String {
    let mut random = rand::rng();
    (0..CODE_LENGTH)
        .filter_map(|_| LETTERS.choose(&mut random))
        .map(|&letter| char::from(letter))
        .collect()
}

/// The address of this machine in its network; `None` without a network.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(ELSEWHERE).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        class: Classroom,
    }

    fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Classroom, clap::Error> {
        let line = std::iter::once("up".into()).chain(args);
        Line::try_parse_from(line).map(|line| line.class)
    }

    #[test]
    fn codes_are_six_letters_that_differ_from_digits() {
        for _ in 0..1_000 {
            let code = new_code();
            assert_eq!(code.len(), 6, "{code}");
            assert!(code.bytes().all(|letter| LETTERS.contains(&letter)), "{code}");
        }
        assert!(!LETTERS.iter().any(|letter| b"ILO".contains(letter)));
        assert_ne!(new_code(), new_code());
    }

    #[test]
    fn a_command_line_is_the_same_after_a_round_trip() {
        let open = Classroom { is_open: true, ..Classroom::default() };
        let all = Classroom {
            host: Some("class.test".to_owned()),
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            cert: Some("c.pem".into()),
            key: Some("k.pem".into()),
            ..open.clone()
        };
        for class in [Classroom::default(), open, all] {
            assert_eq!(parse(class.to_args()).expect("parses"), class);
        }
        for bad in [
            &["--class", "--class-cert=c"][..],
            &["--class-host=h"],
            &["--class", "--class-host=../x"],
            &["--class", "--class-host=https://class.test"],
            &["--class", "--class-host=a..b"],
        ] {
            assert!(parse(bad.iter().map(Into::into)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_url_names_the_host() {
        let at = |host: &str| Classroom { host: Some(host.to_owned()), ..Classroom::default() };
        assert_eq!(at("class.test").url(8444), "https://class.test:8444/class");
        assert_eq!(at("fd00::1").url(8444), "https://[fd00::1]:8444/class");
        let local = Classroom { listen: IpAddr::V4(Ipv4Addr::LOCALHOST), ..Classroom::default() };
        assert_eq!(local.url(9), "https://127.0.0.1:9/class");
    }
}
