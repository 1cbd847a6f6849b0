//! The tokens of a Rust source, without comments, literals and test code.

/// The tokens of a source: identifiers, `::`, and every other sign by itself.
pub(crate) fn tokens(text: &str) -> Vec<&str> {
    let (bytes, mut found, mut at) = (text.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let rest = &text[at..];
        let length = match bytes[at] {
            _ if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            _ if rest.starts_with("/*") => block_comment(rest),
            b'"' => string(rest),
            b'r' | b'b' | b'c' if raw_string(rest).is_some() => raw_string(rest).unwrap_or(1),
            b'\'' => quoted(rest),
            byte if byte.is_ascii_alphanumeric() || byte == b'_' => {
                let word =
                    rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                found.push(&rest[..word]);
                word
            }
            byte if byte.is_ascii_whitespace() => 1,
            _ if rest.starts_with("::") => {
                found.push("::");
                2
            }
            _ => {
                let sign = rest.chars().next().map_or(1, char::len_utf8);
                found.push(&rest[..sign]);
                sign
            }
        };
        at += length;
    }
    found
}

/// Removes each item that has the attribute `#[cfg(test)]`. Returns the names of the test modules
/// among them, which are files of their own.
pub(crate) fn without_tests(tokens: &[&str]) -> (Vec<String>, Vec<String>) {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let (mut kept, mut files, mut at) = (Vec::new(), Vec::new(), 0);
    while at < tokens.len() {
        if !tokens[at..].starts_with(&TEST) {
            kept.push(tokens[at].to_owned());
            at += 1;
            continue;
        }
        let item = at + TEST.len();
        at = end_of_item(tokens, item);
        if let Some(place) = tokens[item..at].iter().position(|&token| token == "mod")
            && let Some([name, ";"]) = tokens.get(item + place + 1..item + place + 3)
        {
            files.push((*name).to_owned());
        }
    }
    (kept, files)
}

/// The index after the item's `;`, or after the braces of its body.
fn end_of_item(tokens: &[&str], start: usize) -> usize {
    let mut depth = 0_usize;
    for (place, &token) in tokens.iter().enumerate().skip(start) {
        match token {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 && token == "}" {
                    return place + 1;
                }
            }
            ";" if depth == 0 => return place + 1,
            _ => {}
        }
    }
    tokens.len()
}

fn block_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match rest.as_bytes().get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            b'"' if !escaped => return at + 1,
            b'\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

/// The length of `r"…"`, `br#"…"#`, `b"…"` and the like.
fn raw_string(rest: &str) -> Option<usize> {
    let prefix = rest.find(|c| !matches!(c, 'r' | 'b' | 'c')).filter(|length| *length <= 2)?;
    let (is_raw, after) = (rest[..prefix].contains('r'), &rest[prefix..]);
    if !is_raw {
        return after.starts_with('"').then(|| prefix + string(after));
    }
    let hashes = after.find(|c| c != '#')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let inner = after[hashes..].strip_prefix('"')?;
    Some(prefix + hashes + 1 + inner.find(&end)? + end.len())
}

/// The length of a character literal, or of the quote of a lifetime.
fn quoted(rest: &str) -> usize {
    let mut inner = rest[1..].char_indices();
    match inner.next() {
        Some((_, '\\')) => {
            rest[2..].char_indices().skip(1).find(|(_, c)| *c == '\'').map_or(1, |(at, _)| at + 3)
        }
        Some((_, _)) => match inner.next() {
            Some((at, '\'')) => at + 2,
            _ => 1,
        },
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_left_out() {
        let text = r##"use a::b; // use c::d;
            /* use /* e */ f; */ let s = "use g; \" {"; let r = r#"use "h";"#; let c = '"'; let e = '\''; fn x<'a>() {}"##;
        let found = tokens(text).join(" ");
        assert_eq!(
            found,
            "use a :: b ; let s = ; let r = ; let c = ; let e = ; fn x < a > ( ) { }"
        );
    }

    #[test]
    fn test_code_is_left_out() {
        let text =
            "use a::b; #[cfg(test)] mod tests; #[cfg(test)] mod more { fn x() { } } fn y() {}";
        let (kept, files) = without_tests(&tokens(text));
        assert_eq!(kept.join(" "), "use a :: b ; fn y ( ) { }");
        assert_eq!(files, ["tests"]);
    }
}
