//! Faults of a line, in requests and responses alike.

/// A fault of a header line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LineFault {
    BareLineFeed,
    BareCarriageReturn,
    ControlByte,
    FoldedLine,
    SpaceInName,
    BadName,
    NoColon,
    /// It has more bytes than a [`FieldLine`](super::FieldLine) can count.
    TooLong,
}
