//! HTML pages: one file each, with its plots and style inside.

use std::fmt::{self, Write as _};

/// Colours and layout of every page.
const STYLE: &str = include_str!("style.css");

/// A page in the making. All texts are escaped.
pub struct Page {
    title: String,
    body: String,
}

impl Page {
    /// A page with this headline, and a line below it.
    pub(crate) fn new(title: &str, about: &str) -> Self {
        let mut page = Self { title: title.to_owned(), body: String::new() };
        page.write(format_args!("<h1>{}</h1>\n<p>{}</p>\n", Escaped(title), Escaped(about)));
        page
    }

    /// The result in a sentence.
    pub(crate) fn verdict(&mut self, is_good: bool, text: &str) {
        let (class, sign) = if is_good { ("good", "✓") } else { ("bad", "✗") };
        self.write(format_args!(
            "<p class=\"verdict {class}\"><span aria-hidden=\"true\">{sign}</span> {}</p>\n",
            Escaped(text)
        ));
    }

    /// The headline of what follows.
    pub(crate) fn section(&mut self, title: &str) {
        self.write(format_args!("<h2>{}</h2>\n", Escaped(title)));
    }

    /// A paragraph.
    pub(crate) fn text(&mut self, text: &str) {
        self.write(format_args!("<p>{}</p>\n", Escaped(text)));
    }

    /// Names and values.
    pub(crate) fn facts<N: AsRef<str>>(&mut self, facts: impl IntoIterator<Item = (N, String)>) {
        self.body.push_str("<dl>\n");
        for (name, value) in facts {
            let (name, value) = (Escaped(name.as_ref()), Escaped(&value));
            self.write(format_args!("<div><dt>{name}</dt><dd>{value}</dd></div>\n"));
        }
        self.body.push_str("</dl>\n");
    }

    /// A table. The first column names the rows.
    pub(crate) fn table(&mut self, head: &[&str], rows: &[Vec<String>]) {
        self.body.push_str("<table>\n<thead><tr>");
        for cell in head {
            self.write(format_args!("<th scope=\"col\">{}</th>", Escaped(cell)));
        }
        self.body.push_str("</tr></thead>\n<tbody>\n");
        for row in rows {
            self.body.push_str("<tr>");
            for (column, cell) in row.iter().enumerate() {
                let (tag, scope) = if column == 0 { ("th", " scope=\"row\"") } else { ("td", "") };
                self.write(format_args!("<{tag}{scope}>{}</{tag}>", Escaped(cell)));
            }
            self.body.push_str("</tr>\n");
        }
        self.body.push_str("</tbody>\n</table>\n");
    }

    /// Shares of a whole, as bars.
    pub(crate) fn shares<'a>(&mut self, counts: impl IntoIterator<Item = (&'a str, u64)> + Clone) {
        let total = counts.clone().into_iter().map(|(_, count)| count).sum::<u64>().max(1);
        self.body.push_str("<table class=\"shares\">\n<tbody>\n");
        for (name, count) in counts {
            let percent = 100.0 * count as f64 / total as f64;
            self.write(format_args!(
                "<tr><th scope=\"row\">{}</th><td class=\"bar\"><span style=\"width: {percent:.2}%\"></span></td>\
                 <td>{percent:.1} %</td><td>{count}</td></tr>\n",
                Escaped(name)
            ));
        }
        self.body.push_str("</tbody>\n</table>\n");
    }

    /// Figures in one unit, as bars.
    pub(crate) fn bars<'a>(
        &mut self,
        figures: impl IntoIterator<Item = (&'a str, f64)> + Clone,
        unit: &str,
    ) {
        let most = figures.clone().into_iter().map(|(_, figure)| figure).fold(0.0, f64::max);
        self.body.push_str("<table class=\"shares\">\n<tbody>\n");
        for (name, figure) in figures {
            let percent = if most > 0.0 { 100.0 * figure / most } else { 0.0 };
            self.write(format_args!(
                "<tr><th scope=\"row\">{}</th><td class=\"bar\"><span style=\"width: {percent:.2}%\"></span></td>\
                 <td>{figure:.1} {}</td></tr>\n",
                Escaped(name),
                Escaped(unit)
            ));
        }
        self.body.push_str("</tbody>\n</table>\n");
    }

    /// A plot, with a caption that says what it shows.
    pub(crate) fn plot(&mut self, svg: &str, caption: &str) {
        // Drawn by `plots`, which escapes its texts.
        self.write(format_args!(
            "<figure>{svg}<figcaption>{}</figcaption></figure>\n",
            Escaped(caption)
        ));
    }

    fn write(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _infallible = self.body.write_fmt(text);
    }
}

impl fmt::Display for Page {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { title, body } = self;
        write!(
            f,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
             </body>\n</html>\n",
            Escaped(title)
        )
    }
}

/// A text in HTML.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                character => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_becomes_markup() {
        let hostile = "<script>alert('x')</script> & \"y\"";
        let mut page = Page::new(hostile, hostile);
        page.verdict(false, hostile);
        page.section(hostile);
        page.text(hostile);
        page.facts([(hostile, hostile.to_owned())]);
        page.table(&[hostile], &[vec![hostile.to_owned(), hostile.to_owned()]]);
        page.shares([(hostile, 1)]);
        page.plot("<svg></svg>", hostile);
        let html = page.to_string();
        assert!(!html.contains("<script"), "{html}");
        let escaped = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp; &quot;y&quot;";
        assert_eq!(html.matches(escaped).count(), 13, "{html}");
    }

    #[test]
    fn shares_of_nothing_are_zero() {
        let mut page = Page::new("", "");
        page.shares([("a", 0)]);
        assert!(page.to_string().contains("0.0 %"));
    }
}
