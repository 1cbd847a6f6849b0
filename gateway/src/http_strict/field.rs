//! The fields that determine a request's framing.

use proto_contracts::Authority;

use crate::http_strict::connection_options::ConnectionOptions;
use crate::http_strict::fault::Fault;
use crate::http_strict::field_kind::FieldKind;
use crate::http_strict::field_line::FieldLine;
use crate::http_strict::framing;
use crate::http_strict::request_line::RequestLine;
use crate::http_strict::version::Version;

/// What the fields so far determine.
#[derive(Debug, Default)]
pub(super) struct Fields {
    host: Option<FieldLine>,
    pub(super) length: Option<u64>,
    pub(super) chunked: bool,
    pub(super) upgrade: bool,
    pub(super) expects_continue: bool,
    pub(super) connection: ConnectionOptions,
}

impl Fields {
    /// Continues with a field.
    #[inline]
    pub(super) fn take(
        &mut self,
        line: &FieldLine,
        bytes: &[u8],
        version: Version,
        max_fields: usize,
    ) -> Result<(), Fault> {
        let value = &bytes[line.value()];
        match line.kind {
            FieldKind::Host => self.take_host(line, value),
            // HTTP/1.0 has no expectations (RFC 9110, section 10.1.1).
            FieldKind::Expect if version == Version::Http11 => self.take_expect(value),
            FieldKind::Upgrade => self.take_upgrade(value),
            FieldKind::ContentLength => self.take_length(value),
            FieldKind::TransferEncoding => self.take_coding(value),
            FieldKind::Connection => self.take_connection(value, max_fields),
            _ => Ok(()),
        }
    }

    /// Checks that they are consistent with each other and the request line.
    pub(super) fn fit(&self, request: &RequestLine, header: &[u8]) -> Result<(), Fault> {
        match (&self.host, &request.absolute) {
            (None, Some(_)) => return Err(Fault::NoHost),
            (None, None) if request.version == Version::Http11 => return Err(Fault::NoHost),
            (Some(host), Some(absolute)) => {
                let same = Authority::parse(&header[host.value()])
                    .zip(Authority::parse(&header[absolute.authority.clone()]))
                    .is_some_and(|(host, target)| host.is_same_as(&target, absolute.default_port));
                if !same {
                    return Err(Fault::HostDiffers);
                }
            }
            _ => {}
        }
        if self.chunked && self.length.is_some() {
            return Err(Fault::LengthAndChunks);
        }
        if request.version == Version::Http10 {
            if self.chunked {
                return Err(Fault::ChunksInHttp10);
            }
            if self.upgrade {
                return Err(Fault::UnknownUpgrade);
            }
        }
        if self.upgrade && (self.chunked || self.length.is_some_and(|length| length > 0)) {
            return Err(Fault::UpgradeWithBody);
        }
        Ok(())
    }

    fn take_host(&mut self, line: &FieldLine, value: &[u8]) -> Result<(), Fault> {
        if self.host.is_some() {
            return Err(Fault::SeveralHosts);
        }
        if Authority::parse(value).is_none() {
            return Err(Fault::BadHost);
        }
        self.host = Some(*line);
        Ok(())
    }

    fn take_expect(&mut self, value: &[u8]) -> Result<(), Fault> {
        if !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Fault::UnknownExpectation);
        }
        self.expects_continue = true;
        Ok(())
    }

    fn take_upgrade(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.upgrade || !value.eq_ignore_ascii_case(b"websocket") {
            return Err(Fault::UnknownUpgrade);
        }
        self.upgrade = true;
        Ok(())
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.length.is_some() {
            return Err(Fault::SeveralLengths);
        }
        self.length = Some(framing::parse_length(value).ok_or(Fault::BadLength)?);
        Ok(())
    }

    fn take_coding(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.chunked {
            return Err(Fault::SeveralCodings);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            let several = value.contains(&b',');
            return Err(if several { Fault::SeveralCodings } else { Fault::UnknownCoding });
        }
        self.chunked = true;
        Ok(())
    }

    fn take_connection(&mut self, value: &[u8], max_fields: usize) -> Result<(), Fault> {
        self.connection.take(value);
        // Each of them names a field, so there cannot be more.
        if self.connection.others as usize > max_fields {
            return Err(Fault::TooManyFields);
        }
        Ok(())
    }
}
