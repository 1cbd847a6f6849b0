//! The pages about errors in `infra/nginx/pages` are those of the table of codes, and Nginx's own
//! errors have its titles. `make error-pages` writes the pages.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{env, fs};

use proto_contracts::ErrorCode;
use proto_contracts::error::{Site, index, page};

fn nginx() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../infra/nginx")
}

/// Every page by its path below `pages/`.
fn expected() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::from([("docs/errors.html".to_owned(), index(Site::Edge))]);
    for &code in ErrorCode::ALL {
        pages.insert(format!("docs/errors/{code}.html"), page(code, Site::Edge));
    }
    pages
}

#[test]
fn pages_are_those_of_the_codes() {
    let (root, expected) = (nginx().join("pages"), expected());
    if env::var_os("WRITE_ERROR_PAGES").is_some() {
        let _ = fs::remove_dir_all(root.join("docs/errors"));
        fs::create_dir_all(root.join("docs/errors")).expect("a folder");
        for (path, text) in &expected {
            fs::write(root.join(path), text).expect("written");
        }
    }
    let cure = "run make error-pages and commit the result";
    for (path, text) in &expected {
        let found = fs::read_to_string(root.join(path)).unwrap_or_default();
        assert_eq!(&found, text, "{path} is not the page of its code: {cure}");
    }
    for entry in fs::read_dir(root.join("docs/errors")).expect("the pages") {
        let name = entry.expect("an entry").file_name();
        let path = format!("docs/errors/{}", name.to_string_lossy());
        assert!(expected.contains_key(&path), "{path} is the page of no code: {cure}");
    }
}

/// The lines of the map of this variable: a status, or `default`, and a text.
fn map<'a>(text: &'a str, variable: &str) -> BTreeMap<&'a str, &'a str> {
    let start = format!("map $status {variable} {{");
    let (_, body) = text.split_once(&start).expect("the map");
    let (body, _) = body.split_once('}').expect("its end");
    let entries = body.lines().filter_map(|line| {
        let (status, value) = line.trim().strip_suffix("\";")?.split_once('"')?;
        Some((status.trim(), value))
    });
    entries.collect()
}

#[test]
fn nginx_errors_have_codes_and_titles_of_the_table() {
    let text = fs::read_to_string(nginx().join("errors.conf")).expect("errors.conf");
    let (codes, titles) = (map(&text, "$problem_code"), map(&text, "$problem_title"));
    assert!(codes.len() > 10, "{codes:?}");
    assert!(codes.keys().eq(titles.keys()), "{codes:?} {titles:?}");
    for (status, name) in codes {
        let code = ErrorCode::named(name).expect(name);
        assert_eq!(titles[status], code.title(), "{code}");
        assert!(status == "default" || status == code.status().to_string(), "{status} {code}");
    }
}

/// Nginx writes them into JSON and into HTML as they are.
#[test]
fn texts_of_nginx_need_no_escape() {
    let text = fs::read_to_string(nginx().join("errors.conf")).expect("errors.conf");
    let (_, details) = text.split_once("$problem_detail {").expect("the map");
    let (details, _) = details.split_once('}').expect("its end");
    let details: Vec<_> = details
        .lines()
        .filter_map(|line| line.trim().strip_suffix("\";")?.rsplit('"').next())
        .collect();
    assert!(details.len() > 10, "{details:?}");
    for text in details.into_iter().chain(map(&text, "$problem_title").into_values()) {
        assert!(!text.contains(['<', '>', '&', '\\', '\n']), "{text}");
    }
}
