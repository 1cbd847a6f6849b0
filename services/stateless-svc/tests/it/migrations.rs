//! Each migration leaves a schema with which the release before still works: it only adds. So a
//! release can be rolled back without its data.
//!
//! What takes something away comes a release later, once nothing uses it. Such a migration says so in
//! its first line: `-- contract since 0.3.0: nothing reads users.nick any more`.

use std::fs;
use std::path::Path;

/// What breaks the release before, as the beginning of a word in a statement.
const TAKES_AWAY: [(&str, &str); 5] = [
    ("DROP ", "takes away what the release before may use"),
    ("RENAME ", "renames what the release before knows"),
    ("TRUNCATE ", "deletes rows"),
    ("DELETE FROM ", "deletes rows"),
    ("UPDATE ", "changes rows that the release before wrote"),
];
/// Of `ALTER TABLE … ADD`: writes of the release before may break these.
const CONSTRAINTS: [&str; 6] =
    ["ADD CONSTRAINT ", "ADD CHECK", "ADD UNIQUE", "ADD PRIMARY ", "ADD FOREIGN ", "ADD EXCLUDE"];

/// The statements in upper case with single spaces, without comments and texts.
fn statements(sql: &str) -> Vec<String> {
    let lines = sql.lines().map(|line| line.split("--").next().unwrap_or_default());
    let joined = lines.collect::<Vec<_>>().join(" ");
    // Every second piece between quotes is a text.
    let code = joined.split('\'').step_by(2).collect::<Vec<_>>().join("''");
    let one_space = |part: &str| part.split_whitespace().collect::<Vec<_>>().join(" ");
    code.split(';').map(one_space).filter(|it| !it.is_empty()).map(|it| it.to_uppercase()).collect()
}

/// The table after these words.
fn table_after<'a>(statement: &'a str, words: &str) -> Option<&'a str> {
    let (_, rest) = statement.split_once(words)?;
    let rest = rest.trim_start_matches("IF NOT EXISTS ").trim_start_matches("ONLY ");
    rest.split([' ', '(']).next()
}

/// What of a migration the release before could not work with.
fn faults(sql: &str) -> Vec<String> {
    let all = statements(sql);
    let made: Vec<_> = all
        .iter()
        .filter_map(|it| {
            it.starts_with("CREATE TABLE ").then(|| table_after(it, "CREATE TABLE "))?
        })
        .collect();
    let is_made = |table: Option<&str>| table.is_some_and(|table| made.contains(&table));
    let mut found = Vec::new();
    for statement in &all {
        let mut fault = |why: &str| found.push(format!("{why}: {statement}"));
        // In the actions of a foreign key the words are part of its definition.
        let plain = statement.replace("ON DELETE ", "").replace("ON UPDATE ", "");
        let words = format!(" {plain}");
        for (word, why) in TAKES_AWAY {
            if words.contains(&format!(" {word}")) {
                fault(why);
            }
        }
        if let Some(table) = table_after(statement, "ALTER TABLE ")
            && !made.contains(&table)
        {
            // Between commas that are not within parentheses there is one action each.
            for action in actions(statement) {
                let is_column = action.contains("ADD COLUMN ");
                if is_column && action.contains(" NOT NULL") && !action.contains(" DEFAULT ") {
                    fault("adds a column that the release before leaves empty");
                }
                if action.contains(" TYPE ") || action.contains(" SET NOT NULL") {
                    fault("changes a column that the release before writes");
                }
                if !is_column && CONSTRAINTS.iter().any(|constraint| action.contains(constraint)) {
                    fault("adds a constraint that the release before does not know");
                }
            }
        }
        let is_unique = statement.starts_with("CREATE UNIQUE INDEX");
        if is_unique && !is_made(table_after(statement, " ON ")) {
            fault("adds a constraint that the release before does not know");
        }
        if ["CREATE TRIGGER ", "CREATE RULE "].iter().any(|word| statement.starts_with(word)) {
            fault("changes what the release before writes");
        }
    }
    found
}

fn actions(statement: &str) -> Vec<String> {
    let (mut depth, mut parts) = (0, vec![String::new()]);
    for letter in statement.chars() {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    parts
}

/// Whether it says that it takes something away, of which no release since that one knows.
fn is_contract(sql: &str) -> bool {
    let reason = sql.strip_prefix("-- contract since ").and_then(|rest| rest.split_once(": "));
    let Some((version, why)) = reason else { return false };
    let number = |text: &str| -> Option<[u64; 3]> {
        let parts: Option<Vec<_>> = text.split('.').map(|part| part.parse().ok()).collect();
        parts?.try_into().ok()
    };
    let now = number(env!("CARGO_PKG_VERSION"));
    let why = why.lines().next().unwrap_or_default();
    // The release that it names is one before this one.
    number(version).is_some_and(|since| Some(since) < now) && why.split(' ').count() > 3
}

#[test]
fn the_release_before_works_with_every_migration() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut checked = 0;
    for entry in fs::read_dir(folder).expect("the folder") {
        let path = entry.expect("a file").path();
        let sql = fs::read_to_string(&path).expect("text");
        let found = if is_contract(&sql) { Vec::new() } else { faults(&sql) };
        assert!(found.is_empty(), "{}: {found:#?}", path.display());
        checked += 1;
    }
    assert!(checked >= 10, "{checked} migrations");
}

#[test]
fn what_the_release_before_could_not_work_with_is_found() {
    for wrong in [
        "ALTER TABLE users DROP COLUMN name",
        "alter table users\n  drop column name;",
        "ALTER TABLE users RENAME COLUMN name TO nick",
        "DROP TABLE logins",
        "DROP INDEX logins_of_user",
        "ALTER TABLE users ADD COLUMN nick text NOT NULL",
        "ALTER TABLE users ADD COLUMN a text, ADD COLUMN b text NOT NULL",
        "ALTER TABLE users ALTER COLUMN name SET NOT NULL",
        "ALTER TABLE products ALTER COLUMN price TYPE bigint",
        "ALTER TABLE users ADD CONSTRAINT short CHECK (length(name) < 9)",
        "ALTER TABLE users ADD UNIQUE (name)",
        "CREATE UNIQUE INDEX users_by_name ON users (name)",
        "CREATE TABLE fine (a int); DELETE FROM users",
        "UPDATE users SET name = 'x'",
        "TRUNCATE logins",
        "CREATE TRIGGER t BEFORE INSERT ON users EXECUTE FUNCTION f()",
        "-- contract since 99.0.0: no release reads it any more\nDROP TABLE logins",
    ] {
        assert!(!faults(wrong).is_empty() && !is_contract(wrong), "{wrong}");
    }
}

#[test]
fn what_only_adds_is_no_fault() {
    for right in [
        "CREATE TABLE a (b int NOT NULL REFERENCES users ON DELETE CASCADE ON UPDATE CASCADE)",
        "ALTER TABLE users ADD COLUMN nick text",
        "ALTER TABLE users ADD COLUMN nick text NOT NULL DEFAULT 'x'",
        "ALTER TABLE users ADD COLUMN age int CHECK (age IN (1, 2))",
        "ALTER TABLE users ALTER COLUMN name SET DEFAULT 'nobody'",
        "CREATE TABLE a (b int); CREATE UNIQUE INDEX a_by_b ON a (b); ALTER TABLE a ADD CHECK (b > 0)",
        "CREATE INDEX users_by_name ON users (name) -- DROP TABLE users",
        "INSERT INTO products (id, name) VALUES ('p025', 'DROP TABLE; it''s a name')",
    ] {
        assert_eq!(faults(right), Vec::<String>::new(), "{right}");
    }
    let contract = "-- contract since 0.0.9: no release reads logins any more\nDROP TABLE logins";
    assert!(is_contract(contract));
    for unexplained in ["-- contract since 0.0.9: old\nDROP TABLE a", "-- contract: DROP TABLE a"] {
        assert!(!is_contract(unexplained));
    }
}
