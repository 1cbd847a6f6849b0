//! Bodies in chunks (RFC 9112, section 7.1), for requests and responses alike.
//!
//! Stricter than the RFC where parsers disagree. There is no white space around sizes and
//! extensions, and every line ends with CR LF. A size has at most 16 digits and 63 bits. Trailers
//! must be valid fields, and are meant to be dropped.

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::http_strict::token;

/// Maximum digits of a size.
const MAX_SIZE_DIGITS: u16 = 16;
/// The largest size: parsers with signed numbers read larger ones as negative.
const MAX_SIZE: u64 = i64::MAX as u64;
/// Maximum bytes of the extensions of one chunk.
const MAX_EXTENSION_BYTES: u16 = 256;
/// Maximum number of trailers.
const MAX_TRAILERS: u8 = 32;
/// Maximum bytes of all trailers.
const MAX_TRAILER_BYTES: u16 = 8 * 1024;

/// Walks one body in chunks as it arrives, in any pieces. Holds no bytes of it.
#[derive(Clone, Debug)]
pub struct Chunks {
    at: At,
    /// The chunk's size so far, then its bytes that are still to come.
    left: u64,
    /// Digits of the size so far, then bytes of the extensions, then bytes of the trailers.
    count: u16,
    trailers: u8,
}

/// What a piece of the input has of a body.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Bytes of this body, with its framing. The rest is surplus.
    pub len: usize,
    /// Bytes of data among them.
    pub payload: usize,
    /// Where the trailers of chunks are among them, mostly empty. They are not to be forwarded, and
    /// the bytes are a valid body without them.
    pub trailers: Range<usize>,
    /// Whether the body is complete.
    pub complete: bool,
}

/// What the next byte is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size,
    ExtensionStart,
    ExtensionName,
    ExtensionValueStart,
    ExtensionToken,
    ExtensionQuoted,
    ExtensionEscaped,
    ExtensionEnd,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    LastLineFeed,
    Complete,
}

/// A fault of a body in chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ChunkFault {
    /// A size is missing or has another byte than hex digits.
    #[error("A chunk must begin with its size in hex digits, without white space.")]
    BadSize,
    /// A size has too many digits or bits.
    #[error("A chunk's size may have at most 16 hex digits and 63 bits.")]
    SizeTooLarge,
    /// An extension is not `;name`, `;name=token` or `;name="text"`.
    #[error("A chunk extension must be ;name or ;name=value, without white space.")]
    BadExtension,
    /// The extensions of a chunk are too long.
    #[error("The extensions of a chunk may have at most 256 bytes.")]
    ExtensionTooLong,
    /// The data of a chunk is not followed by CR LF.
    #[error("The data of a chunk must be followed by CR LF.")]
    NoDataEnd,
    /// A line ends with a line feed alone.
    #[error("A line of a chunked body ends with a bare LF; it must end with CR LF.")]
    BareLineFeed,
    /// A carriage return without a line feed.
    #[error("A chunked body has a CR that is not followed by LF.")]
    BareCarriageReturn,
    /// A trailer is not a valid field.
    #[error("A trailer must be a header field: a name, a colon and a value, on one line.")]
    BadTrailer,
    /// There are too many trailers, or too many bytes of them.
    #[error("A chunked body may have at most 32 trailers and 8 KiB of them.")]
    TooManyTrailers,
}

impl ChunkFault {
    /// Every fault.
    pub const ALL: &[Self] = &[
        Self::BadSize,
        Self::SizeTooLarge,
        Self::BadExtension,
        Self::ExtensionTooLong,
        Self::NoDataEnd,
        Self::BareLineFeed,
        Self::BareCarriageReturn,
        Self::BadTrailer,
        Self::TooManyTrailers,
    ];

    /// The label in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::BadSize => "chunk_bad_size",
            Self::SizeTooLarge => "chunk_size_too_large",
            Self::BadExtension => "chunk_bad_extension",
            Self::ExtensionTooLong => "chunk_extension_too_long",
            Self::NoDataEnd => "chunk_no_data_end",
            Self::BareLineFeed => "chunk_bare_line_feed",
            Self::BareCarriageReturn => "chunk_bare_carriage_return",
            Self::BadTrailer => "chunk_bad_trailer",
            Self::TooManyTrailers => "chunk_too_many_trailers",
        }
    }
}

impl Default for Chunks {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunks {
    /// At the start of a body.
    pub const fn new() -> Self {
        Self { at: At::Size, left: 0, count: 0, trailers: 0 }
    }

    /// Whether the body is complete.
    pub fn is_complete(&self) -> bool {
        self.at == At::Complete
    }

    /// Continues with the next bytes, and passes each piece of data among them to `data`.
    ///
    /// # Errors
    /// The fault; the connection must be closed then, and the walker not be used again. Data before
    /// the fault was passed on already.
    pub fn walk(&mut self, bytes: &[u8], mut data: impl FnMut(&[u8])) -> Result<Taken, ChunkFault> {
        let (mut len, mut payload, mut trailers) = (0, 0, 0..0);
        while let rest @ [byte, ..] = &bytes[len..] {
            match self.at {
                At::Complete => break,
                At::Data => {
                    let whole = usize::try_from(self.left).ok().and_then(|left| rest.get(..left));
                    let piece = whole.unwrap_or(rest);
                    data(piece);
                    payload += piece.len();
                    len += piece.len();
                    self.left -= piece.len() as u64;
                    if self.left == 0 {
                        self.at = At::DataReturn;
                    }
                }
                At::DataReturn if rest.starts_with(b"\r\n") => {
                    self.at = At::Size;
                    len += 2;
                }
                At::Size
                    if self.count == 0
                        && let Some((size, line_len)) = plain_size_line(rest) =>
                {
                    self.left = size;
                    self.at = if size == 0 { At::TrailerStart } else { At::Data };
                    len += line_len;
                }
                _ => {
                    self.at = self.step(*byte)?;
                    len += 1;
                    if self.is_in_trailers() {
                        trailers = if trailers.is_empty() { len - 1 } else { trailers.start }..len;
                    }
                }
            }
        }
        Ok(Taken { len, payload, trailers, complete: self.is_complete() })
    }

    fn step(&mut self, byte: u8) -> Result<At, ChunkFault> {
        let is_token = token::is_token(byte);
        Ok(match (self.at, byte) {
            (At::Size, _) if let Some(digit) = hex_digit(byte) => self.size_digit(digit)?,
            (At::Size, _) if self.count == 0 => return Err(ChunkFault::BadSize),
            (At::Size, b'\r') => At::SizeLineFeed,
            (At::Size, b';') => {
                self.count = 1;
                At::ExtensionStart
            }
            (At::Size, b'\n') => return Err(ChunkFault::BareLineFeed),
            (At::Size, _) => return Err(ChunkFault::BadSize),
            (At::ExtensionName | At::ExtensionToken | At::ExtensionEnd, b'\r') => At::SizeLineFeed,
            (
                At::ExtensionStart
                | At::ExtensionName
                | At::ExtensionValueStart
                | At::ExtensionToken
                | At::ExtensionQuoted
                | At::ExtensionEscaped
                | At::ExtensionEnd,
                _,
            ) => self.extension_byte(byte)?,
            (At::SizeLineFeed, b'\n') => {
                self.count = 0;
                if self.left == 0 { At::TrailerStart } else { At::Data }
            }
            (At::DataReturn, b'\r') => At::DataLineFeed,
            (At::DataLineFeed, b'\n') => At::Size,
            (At::DataReturn | At::DataLineFeed, _) => return Err(ChunkFault::NoDataEnd),
            (At::TrailerStart, b'\r') => At::LastLineFeed,
            (At::LastLineFeed, b'\n') => At::Complete,
            (At::TrailerStart, _) if is_token => {
                self.trailers += 1;
                if self.trailers > MAX_TRAILERS {
                    return Err(ChunkFault::TooManyTrailers);
                }
                self.trailer_byte(At::TrailerName)?
            }
            (At::TrailerName, _) if is_token => self.trailer_byte(At::TrailerName)?,
            (At::TrailerName, b':') => self.trailer_byte(At::TrailerValue)?,
            (At::TrailerValue, b'\r') => self.trailer_byte(At::TrailerLineFeed)?,
            (At::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => {
                self.trailer_byte(At::TrailerValue)?
            }
            (At::TrailerLineFeed, b'\n') => self.trailer_byte(At::TrailerStart)?,
            (At::TrailerStart | At::TrailerValue, b'\n') => return Err(ChunkFault::BareLineFeed),
            (At::TrailerStart | At::TrailerName | At::TrailerValue, _) => {
                return Err(ChunkFault::BadTrailer);
            }
            (At::SizeLineFeed | At::TrailerLineFeed | At::LastLineFeed, _) => {
                return Err(ChunkFault::BareCarriageReturn);
            }
            (At::Data | At::Complete, _) => self.at,
        })
    }

    fn size_digit(&mut self, digit: u8) -> Result<At, ChunkFault> {
        self.count += 1;
        let size = if self.count == 1 { 0 } else { self.left };
        if self.count > MAX_SIZE_DIGITS || size > MAX_SIZE >> 4 {
            return Err(ChunkFault::SizeTooLarge);
        }
        self.left = size << 4 | u64::from(digit);
        Ok(At::Size)
    }

    fn extension_byte(&mut self, byte: u8) -> Result<At, ChunkFault> {
        self.count += 1;
        if self.count > MAX_EXTENSION_BYTES {
            return Err(ChunkFault::ExtensionTooLong);
        }
        Ok(match (self.at, byte) {
            (At::ExtensionStart | At::ExtensionName, _) if token::is_token(byte) => {
                At::ExtensionName
            }
            (At::ExtensionValueStart | At::ExtensionToken, _) if token::is_token(byte) => {
                At::ExtensionToken
            }
            (At::ExtensionName, b'=') => At::ExtensionValueStart,
            (At::ExtensionValueStart, b'"') => At::ExtensionQuoted,
            (At::ExtensionQuoted, b'"') => At::ExtensionEnd,
            (At::ExtensionQuoted, b'\\') => At::ExtensionEscaped,
            (At::ExtensionQuoted | At::ExtensionEscaped, b'\t' | b' '..=b'~' | 0x80..) => {
                At::ExtensionQuoted
            }
            (At::ExtensionName | At::ExtensionToken | At::ExtensionEnd, b';') => At::ExtensionStart,
            (At::ExtensionName | At::ExtensionToken | At::ExtensionEnd, b'\n') => {
                return Err(ChunkFault::BareLineFeed);
            }
            _ => return Err(ChunkFault::BadExtension),
        })
    }

    fn trailer_byte(&mut self, next: At) -> Result<At, ChunkFault> {
        self.count += 1;
        if self.count > MAX_TRAILER_BYTES {
            return Err(ChunkFault::TooManyTrailers);
        }
        Ok(next)
    }

    /// Whether the last byte was part of a trailer.
    fn is_in_trailers(&self) -> bool {
        match self.at {
            At::TrailerName | At::TrailerValue | At::TrailerLineFeed => true,
            // Not before the first one.
            At::TrailerStart => self.count > 0,
            _ => false,
        }
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The size at the front and the length of its line; only for a whole line without extensions. Most
/// are such, and this is cheaper than byte by byte.
fn plain_size_line(bytes: &[u8]) -> Option<(u64, usize)> {
    let mut size = 0;
    // One digit fewer than the maximum, so that the size fits into 63 bits.
    for (place, &byte) in bytes.iter().enumerate().take(MAX_SIZE_DIGITS as usize) {
        match hex_digit(byte) {
            Some(digit) => size = size << 4 | u64::from(digit),
            None => {
                return (place > 0 && bytes[place..].starts_with(b"\r\n"))
                    .then_some((size, place + 2));
            }
        }
    }
    None
}
