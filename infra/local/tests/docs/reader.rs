//! The parts of a document that are code.

/// A line of a block of code, or what stands between two backticks.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) code: String,
    /// The word before it, such as the status before an error's code.
    pub(crate) before: String,
}

/// All of them, in order. A command that goes on after a `\` is one piece.
pub(crate) fn pieces(text: &str) -> Vec<Piece> {
    let mut found: Vec<Piece> = Vec::new();
    let (mut in_block, mut goes_on) = (false, false);
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            goes_on = false;
            continue;
        }
        if in_block {
            let code = line.trim().trim_end_matches('\\').to_owned();
            match found.last_mut() {
                Some(piece) if goes_on => piece.code = format!("{} {code}", piece.code),
                _ => found.push(Piece { line: number, code, before: String::new() }),
            }
            goes_on = line.ends_with('\\');
        } else {
            // Every second part stands between backticks.
            let parts: Vec<&str> = line.split('`').collect();
            for pair in parts.chunks_exact(2) {
                let before = pair[0].split_whitespace().next_back().unwrap_or_default();
                let before = before.trim_matches(|c: char| !c.is_alphanumeric()).to_owned();
                found.push(Piece { line: number, code: pair[1].to_owned(), before });
            }
        }
    }
    found
}

/// The words of code: letters, digits and underscores.
pub(crate) fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// What a shell makes of a command: words, of which some are quoted.
pub(crate) fn arguments(command: &str) -> Vec<String> {
    let (mut found, mut word, mut quote) = (Vec::new(), String::new(), None);
    for c in command.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, c) if c.is_whitespace() => {
                if !word.is_empty() {
                    found.push(std::mem::take(&mut word));
                }
            }
            (_, c) => word.push(c),
        }
    }
    if !word.is_empty() {
        found.push(word);
    }
    found
}
