//! The parts of a document that are code.

/// A command of a code block, or an inline code span.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) code: String,
    /// The word before it, such as the status before an error's code.
    pub(crate) before: String,
}

/// All pieces of a document, in order. A command that continues after a `\` is one piece.
pub(crate) fn pieces(text: &str) -> Vec<Piece> {
    let mut found: Vec<Piece> = Vec::new();
    let (mut in_block, mut continues) = (false, false);
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            continues = false;
            continue;
        }
        if in_block {
            let code = line.trim().trim_end_matches('\\').to_owned();
            match found.last_mut() {
                Some(piece) if continues => piece.code = format!("{} {code}", piece.code),
                _ => found.push(Piece { line: number, code, before: String::new() }),
            }
            continues = line.ends_with('\\');
        } else {
            // Every second part is between backticks.
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

/// The first line of each paragraph and list item, counted from 1, and how many words it has.
pub(crate) fn paragraphs(text: &str) -> Vec<(usize, usize)> {
    let mut found: Vec<(usize, usize)> = Vec::new();
    let (mut in_block, mut in_paragraph) = (false, false);
    for (index, line) in text.lines().enumerate() {
        let first = line.split_whitespace().next().unwrap_or_default();
        let is_fence = first.starts_with("```");
        in_block ^= is_fence;
        if is_fence || in_block || first.is_empty() || first.starts_with(['|', '#']) {
            in_paragraph = false;
            continue;
        }
        let is_item =
            ["-", "*"].contains(&first) || first.trim_end_matches('.').parse::<u32>().is_ok();
        let words = line.split_whitespace().count();
        match found.last_mut().filter(|_| in_paragraph && !is_item) {
            Some((_, all)) => *all += words,
            None => found.push((index + 1, words)),
        }
        in_paragraph = true;
    }
    found
}

/// The words of code: letters, digits and underscores.
pub(crate) fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// Splits a command into arguments as a shell does, without the quotes.
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
