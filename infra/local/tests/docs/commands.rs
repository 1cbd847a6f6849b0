//! Commands: `gateway ctl` is run; targets, options and services of other commands are looked up.

use crate::reader::{Piece, arguments};
use crate::repository::Repository;

/// Subcommands of `compose.sh` that are followed by services.
const OF_SERVICES: [&str; 9] = ["up", "roll", "ps", "exec", "kill", "rm", "logs", "stop", "start"];
/// Their options with a value.
const WITH_VALUE: [&str; 2] = ["-s", "--scale"];
/// Our programs, whose options are looked up in their help.
const PROGRAMS: [&str; 4] = ["gateway", "stateless-svc", "stateful-svc", "loadtest"];

pub(crate) fn faults(repository: &Repository, piece: &Piece) -> Vec<String> {
    // A command begins a piece, or follows a separator, a variable or the columns of a crontab.
    let mut found = Vec::new();
    let words = arguments(&piece.code);
    for (at, word) in words.iter().enumerate() {
        let rest = until_end(&words[at + 1..]);
        let begins = at == 0
            || is_separator(&words[at - 1])
            || words[at - 1].contains('=')
            || piece.code.contains("  ");
        match word.as_str() {
            "make" if begins => found.extend(make(repository, rest)),
            "gateway" if rest.first().is_some_and(|next| next == "ctl") => {
                found.extend(ctl(repository, &rest[1..]));
            }
            program if begins && PROGRAMS.contains(&program) => {
                found.extend(options(repository, program, rest))
            }
            "roll" if begins => found.extend(unknown_services(repository, rest)),
            script if script.ends_with("compose.sh") => {
                found.extend(compose(repository, rest));
                // Without OVERLAYS the command is for the base alone.
                if at == 0 || !words[at - 1].contains('=') {
                    found.extend(not_of_base(repository, rest));
                }
            }
            _ => {}
        }
    }
    found
}

fn is_separator(word: &str) -> bool {
    ["&&", "||", "|", ";", "until", "do", "then"].contains(&word)
        || word.ends_with(';')
        || word.starts_with('#')
}

/// The arguments of one command.
fn until_end(words: &[String]) -> &[String] {
    let end = words
        .iter()
        .position(|word| is_separator(word) || word.starts_with('>'))
        .unwrap_or(words.len());
    &words[..end]
}

fn make(repository: &Repository, rest: &[String]) -> Vec<String> {
    let Some(target) = rest.first() else { return Vec::new() };
    if target.contains('…') || target.contains('=') {
        return Vec::new();
    }
    let target = target.trim_end_matches(['.', ',', ';', ':']);
    if !repository.targets.contains(target) {
        return vec![format!("the Makefile has no target '{target}'")];
    }
    let mut found = Vec::new();
    for (name, value) in rest[1..].iter().filter_map(|argument| argument.split_once('=')) {
        if !repository.variables.contains(name) {
            found.push(format!("the Makefile has no variable '{name}'"));
        }
        if (target, name) == ("ctl", "args") {
            found.extend(ctl(repository, &arguments(value)));
        }
    }
    found
}

/// Runs the command without a gateway: a valid command line fails only at the connection.
fn ctl(repository: &Repository, rest: &[String]) -> Vec<String> {
    // A key replaces the reader's own value; it is also a valid name.
    let rest: Vec<String> = rest.iter().map(|argument| argument.replace('…', "0badcafe")).collect();
    if rest.is_empty() || rest == ["0badcafe"] {
        return Vec::new();
    }
    // A subcommand alone may lack its arguments.
    let mut tried = vec!["ctl".to_owned()];
    tried.extend(rest.iter().cloned());
    if rest.len() == 1 {
        tried.push("--help".to_owned());
    }
    match repository.run("gateway", &tried) {
        Ok(output) => {
            let error = String::from_utf8_lossy(&output.stderr);
            let is_valid = output.status.success() || error.contains("cannot connect");
            if is_valid {
                Vec::new()
            } else {
                vec![format!("`gateway ctl {}`: {}", rest.join(" "), error.trim())]
            }
        }
        Err(error) => vec![error.to_string()],
    }
}

fn options(repository: &Repository, program: &str, rest: &[String]) -> Vec<String> {
    let Some(program) = PROGRAMS.into_iter().find(|known| *known == program) else {
        return Vec::new();
    };
    let long = rest.iter().filter(|argument| argument.starts_with("--"));
    let long: Vec<&str> = long.map(|option| option.split('=').next().unwrap_or(option)).collect();
    if long.is_empty() {
        return Vec::new();
    }
    // Options of the program, and of its command if one is named.
    let is_name = |word: &&String| word.bytes().all(|byte| byte.is_ascii_lowercase());
    let command = rest.iter().take_while(is_name).cloned();
    let mut help = String::new();
    for arguments in [Vec::new(), command.collect::<Vec<_>>()] {
        let arguments = [&arguments[..], &["--help".to_owned()]].concat();
        match repository.run(program, &arguments) {
            Ok(output) => {
                help += &String::from_utf8_lossy(&output.stdout);
                help += &String::from_utf8_lossy(&output.stderr);
            }
            Err(error) => return vec![error.to_string()],
        }
    }
    let named = |option: &str| {
        help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| word == option)
    };
    long.into_iter()
        .filter(|option| !named(option))
        .map(|option| format!("{program} has no option {option}"))
        .collect()
}

fn compose(repository: &Repository, rest: &[String]) -> Vec<String> {
    match rest.split_first() {
        Some((command, rest)) if OF_SERVICES.contains(&command.as_str()) => {
            // After the service of `exec` comes a command to run in it.
            let end = if command == "exec" { first_service(rest) } else { rest.len() };
            unknown_services(repository, &rest[..end])
        }
        _ => Vec::new(),
    }
}

/// `exec` in a service that only an overlay has.
fn not_of_base(repository: &Repository, rest: &[String]) -> Option<String> {
    let (command, rest) = rest.split_first()?;
    let service = rest.get(first_service(rest).checked_sub(1)?)?;
    let overlay = command == "exec"
        && repository.services.contains(service)
        && !repository.base_services.contains(service);
    overlay.then(|| format!("compose.yaml has no service '{service}': name its overlay"))
}

fn first_service(rest: &[String]) -> usize {
    rest.iter().position(|argument| !argument.starts_with('-')).map_or(rest.len(), |at| at + 1)
}

fn unknown_services(repository: &Repository, rest: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_value = false;
    for argument in rest {
        let name = argument.split('=').next().unwrap_or(argument);
        let of_service = !argument.starts_with('-') && (!is_value || argument.contains('='));
        if of_service && !name.contains('…') && !repository.services.contains(name) {
            found.push(format!("Compose has no service '{name}'"));
        }
        is_value = WITH_VALUE.contains(&argument.as_str());
    }
    found
}
