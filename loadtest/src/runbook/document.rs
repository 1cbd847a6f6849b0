//! Parses the runbook into sections, each with its promise and its commands.

/// The promise that allows no failed request, as the runbook writes it.
const NO_REQUEST_FAILS: &str = "no request fails.";
const PROMISE: &str = "**Promise:**";
/// Comments with commands that prepare a section's fault and undo it. They are not rendered.
const BEFORE: &str = "<!-- before:";
const AFTER: &str = "<!-- after:";
/// Inline code is a command if it begins with one of these. `roll` and `up` are short
/// for `compose.sh …`.
const PROGRAMS: [&str; 15] = [
    "make",
    "gateway",
    "curl",
    "redis-cli",
    "redis-check-aof",
    "psql",
    "docker",
    "systemctl",
    "kill",
    "roll",
    "up",
    "df",
    "du",
    "ps",
    "ss",
];

/// A heading and its text, up to the next heading.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) title: String,
    pub(super) line: usize,
    /// Its own, or that of the section above it.
    pub(super) promise: Option<Promise>,
    pub(super) before: Vec<Command>,
    pub(super) commands: Vec<Command>,
    pub(super) after: Vec<Command>,
}

/// What a section promises about requests while its commands run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Promise {
    NoRequestFails,
    /// Which requests may fail, as the runbook words it.
    MayFail(String),
}

impl Promise {
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::NoRequestFails => "no request fails",
            Self::MayFail(what) => what,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) line: usize,
    pub(super) text: String,
}

/// All sections of a Markdown document, in order.
pub(super) fn sections(text: &str) -> Vec<Section> {
    let mut found: Vec<Section> = Vec::new();
    let mut above: Option<Promise> = None;
    let (mut is_page, mut in_block, mut goes_on) = (false, false, false);
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if line.trim_start().starts_with("```") {
            (in_block, goes_on) = (!in_block, false);
            continue;
        }
        if let Some(title) = heading(line).filter(|_| !in_block) {
            is_page = line.starts_with("### ");
            if !is_page {
                above = None;
            }
            let promise = above.clone();
            found.push(Section {
                title: title.to_owned(),
                line: number,
                promise,
                ..Section::default()
            });
            continue;
        }
        let Some(section) = found.last_mut() else { continue };
        if in_block {
            let code = line.trim().trim_end_matches('\\').trim_end();
            match section.commands.last_mut() {
                Some(command) if goes_on => command.text = format!("{} {code}", command.text),
                _ if code.is_empty() => {}
                _ => section.commands.push(Command { line: number, text: code.to_owned() }),
            }
            goes_on = line.ends_with('\\');
        } else if let Some(promise) = line.strip_prefix(PROMISE) {
            let promise = promise.trim();
            section.promise = Some(match promise {
                NO_REQUEST_FAILS => Promise::NoRequestFails,
                other => Promise::MayFail(other.trim_end_matches('.').to_owned()),
            });
            if !is_page {
                above.clone_from(&section.promise);
            }
        } else if let Some(command) = comment(line, BEFORE) {
            section.before.push(Command { line: number, text: command.to_owned() });
        } else if let Some(command) = comment(line, AFTER) {
            section.after.push(Command { line: number, text: command.to_owned() });
        } else {
            let inline = line.split('`').skip(1).step_by(2).filter(|code| is_command(code));
            section
                .commands
                .extend(inline.map(|code| Command { line: number, text: code.to_owned() }));
        }
    }
    found
}

fn heading(line: &str) -> Option<&str> {
    line.strip_prefix('#')
        .map(|rest| rest.trim_start_matches('#'))
        .and_then(|rest| rest.strip_prefix(' '))
}

fn comment<'a>(line: &'a str, begin: &str) -> Option<&'a str> {
    Some(line.strip_prefix(begin)?.trim_end().strip_suffix("-->")?.trim())
}

fn is_command(code: &str) -> bool {
    let Some((first, _)) = code.split_once(' ') else {
        return code.starts_with("infra/") && code.ends_with(".sh");
    };
    // A variable may precede the program.
    PROGRAMS.contains(&first)
        || code.split(' ').any(|word| word.starts_with("infra/") && word.ends_with(".sh"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Runbook\n\nNothing.\n\n## Roll\n\n**Promise:** no request fails.\n\n\
                        First `make ctl` of `stateful-2`, then:\n\n```\n\
                        curl -X POST \\\n  http://there\nmake status\n```\n\n## Alerts\n\n\
                        **Promise:** no request fails.\n\n\
                        ### PoolDown\n\n<!-- before: make kill i=stateful-1 -->\n\
                        **Promise:** requests of the pool fail.\n\n\
                        `OVERLAYS=ha infra/compose/compose.sh ps`\n\
                        <!-- after: make start i=stateful-1 -->\n\n### Quiet\n\n`df -h`\n";

    #[test]
    fn commands_are_in_order_with_their_lines() {
        let sections = sections(PAGE);
        let titles: Vec<_> = sections.iter().map(|section| &*section.title).collect();
        assert_eq!(titles, ["Runbook", "Roll", "Alerts", "PoolDown", "Quiet"]);
        let roll: Vec<_> =
            sections[1].commands.iter().map(|command| (command.line, &*command.text)).collect();
        assert_eq!(roll, [(9, "make ctl"), (12, "curl -X POST http://there"), (14, "make status")]);
        let pool_down = &sections[3];
        assert_eq!(pool_down.before[0].text, "make kill i=stateful-1");
        assert_eq!(pool_down.commands[0].text, "OVERLAYS=ha infra/compose/compose.sh ps");
        assert_eq!(pool_down.after[0].text, "make start i=stateful-1");
    }

    #[test]
    fn a_page_has_its_own_promise_or_that_of_the_section_above() {
        let sections = sections(PAGE);
        assert_eq!(sections[0].promise, None);
        assert_eq!(sections[1].promise, Some(Promise::NoRequestFails));
        assert_eq!(
            sections[3].promise,
            Some(Promise::MayFail("requests of the pool fail".to_owned()))
        );
        assert_eq!(
            sections[4].promise,
            Some(Promise::NoRequestFails),
            "not that of the page before it"
        );
    }
}
