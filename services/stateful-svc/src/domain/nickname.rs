//! A person's nickname in a class.

/// A nickname as the board shows it: one line of at most [`Nickname::MAX_CHARS`] characters,
/// without control characters, and without those that change the direction of the text around it.
///
/// A client may send anything, so a nickname is mended and not rejected: whoever takes part is
/// seen by the instructor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nickname(String);

impl Nickname {
    /// The longest nickname, in characters.
    pub const MAX_CHARS: usize = 24;

    /// The nickname of this text; `?` when nothing of it is left.
    pub fn new(text: &str) -> Self {
        let kept: String = text.chars().filter(|&c| !c.is_control() && !is_bidi(c)).collect();
        let short: String = kept.trim().chars().take(Self::MAX_CHARS).collect();
        match short.trim() {
            "" => Self("?".to_owned()),
            name => Self(name.to_owned()),
        }
    }

    /// The nickname as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a character controls the direction of text (UAX 9), or breaks a line.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nickname_is_a_short_line_of_text() {
        let name = |text: &str| Nickname::new(text).as_str().to_owned();
        for (text, kept) in [
            ("Ada", "Ada"),
            ("  Ada \u{0}\t\n", "Ada"),
            ("<b onload=alert(1)>", "<b onload=alert(1)>"),
            ("\u{202e}adA\u{2066}", "adA"),
            ("\u{5d0}\u{5d3}\u{5d4}", "\u{5d0}\u{5d3}\u{5d4}"),
            ("", "?"),
            ("\u{200f} \u{1b}", "?"),
        ] {
            assert_eq!(name(text), kept, "{text:?}");
        }
        assert_eq!(name(&"é".repeat(10_000)), "é".repeat(Nickname::MAX_CHARS));
        // A cut may leave a space at the end.
        assert_eq!(name(&format!("{} b", "a".repeat(23))), "a".repeat(23));
    }
}
