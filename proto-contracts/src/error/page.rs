//! The pages to which the `type` of problem documents leads.

use std::fmt::Write as _;

use crate::error::codes::{ErrorCode, Repeat};

/// The server of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// Nginx, which also has a style sheet, a start page and the reference.
    Edge,
    /// A program that is reached directly, such as the gateway's control plane.
    Direct,
}

/// The page about a code, as HTML.
pub fn page(code: ErrorCode, site: Site) -> String {
    let (status, title) = (code.status(), html(code.title()));
    let (cause, cure) = (html(code.cause()), html(code.cure()));
    let repeat = html(match code.repeat() {
        Repeat::Changed => {
            "Not as it is: the same request gets the same error until its cause is removed."
        }
        Repeat::Safe => "Yes. Nothing was done, so any request may be repeated, a POST too.",
        Repeat::IfIdempotent => {
            "A GET, HEAD, PUT or DELETE, and a POST or PATCH with the same `Idempotency-Key`. Any \
             other may have been done already, and a repetition could do it twice."
        }
    });
    let main = format!(
        "<h1>{title}</h1>\n  <p class=\"badge\"><code>{status}</code> <code>{code}</code></p>\n  \
         <h2>Cause</h2>\n  <p>{cause}</p>\n  \
         <h2>Cure</h2>\n  <p>{cure}</p>\n  \
         <h2>May the request be repeated?</h2>\n  <p>{repeat}</p>\n  \
         <p class=\"next\"><a href=\"/docs/errors\">All errors</a></p>"
    );
    document(code.title(), site, &main)
}

/// The list of all codes, as HTML.
pub fn index(site: Site) -> String {
    let mut codes = ErrorCode::ALL.to_vec();
    codes.sort_by_key(|code| code.status());
    let mut main = String::from(
        "<h1>Errors</h1>\n  <p>Every error is a problem document (RFC 9457). Its <code>type</code> \
         leads to one of these pages. Programs match on <code>code</code>.</p>\n  \
         <table>\n    <thead><tr><th scope=\"col\">Status</th><th scope=\"col\">Code</th>\
         <th scope=\"col\">Title</th></tr></thead>\n    <tbody>\n",
    );
    for code in codes {
        let (status, path, title) = (code.status(), code.page_path(), html(code.title()));
        // A narrow screen may break it there.
        let name = code.as_str().replace('_', "_<wbr>");
        // Writing to a string cannot fail.
        let _ = writeln!(
            main,
            "      <tr><td>{status}</td><td><a href=\"{path}\"><code>{name}</code></a></td>\
             <td>{title}</td></tr>"
        );
    }
    main.push_str("    </tbody>\n  </table>");
    document("Errors", site, &main)
}

fn document(title: &str, site: Site, main: &str) -> String {
    let title = html(title);
    let (style, top) = match site {
        Site::Edge => (
            "\n  <link rel=\"icon\" href=\"/static/favicon-1.svg\" type=\"image/svg+xml\">\
             \n  <link rel=\"stylesheet\" href=\"/static/site-3.css\">",
            "\n<header class=\"top\">\n  <nav aria-label=\"Site\"><a class=\"home\" href=\"/\">\
             <img src=\"/static/favicon-1.svg\" alt=\"\" width=\"28\" height=\"28\">Tandem</a> \
             <a href=\"/docs\">API reference</a> <a href=\"/docs/errors\">Errors</a></nav>\n\
             </header>",
        ),
        Site::Direct => ("", ""),
    };
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n  <meta charset=\"utf-8\">\n  \
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n  \
         <meta name=\"color-scheme\" content=\"light dark\">\n  \
         <title>{title} – Tandem</title>{style}\n</head>\n<body>{top}\n<main class=\"page\">\n  {main}\n</main>\n\
         </body>\n</html>\n"
    )
}

/// Escapes a text, and shows what is between backticks as code.
fn html(text: &str) -> String {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let mut parts = escaped.split('`');
    let mut out = String::from(parts.next().unwrap_or_default());
    for (index, part) in parts.enumerate() {
        let _ = write!(out, "{}{part}", if index % 2 == 0 { "<code>" } else { "</code>" });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_escaped_and_its_code_marked() {
        assert_eq!(html("`a` < b & `c`"), "<code>a</code> &lt; b &amp; <code>c</code>");
    }

    #[test]
    fn every_code_has_whole_sentences() {
        for &code in ErrorCode::ALL {
            for text in [code.cause(), code.cure()] {
                assert!(text.ends_with('.'), "{code}: {text}");
                assert!(!text.contains("  "), "{code}: {text}");
                assert_eq!(text.matches('`').count() % 2, 0, "{code}: {text}");
                for sentence in text.split(". ") {
                    assert!(sentence.split_whitespace().count() <= 25, "{code}: {sentence}");
                    assert!(sentence.starts_with(char::is_uppercase), "{code}: {sentence}");
                }
            }
            assert!(!code.title().ends_with('.'), "{code}");
        }
    }

    #[test]
    fn a_page_of_a_program_needs_no_other_file() {
        let text = page(ErrorCode::StateNotSaved, Site::Direct);
        assert!(!text.contains("/static/"), "{text}");
        assert!(text.contains("<code>507</code> <code>state_not_saved</code>"), "{text}");
    }
}
