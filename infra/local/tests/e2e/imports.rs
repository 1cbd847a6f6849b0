//! `stateless-svc import`: users and products of the legacy API (Phase 1).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use local_stack::{Builds, Stack};
use proto_contracts::{ErrorCode, Role};
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tokio_postgres::Client;

use crate::accounts::users::token_of;
use crate::accounts::{database, register, tokens, with_token};
use crate::api::Api;
use crate::small_stack;

const PRODUCTS: &str = "/api/v1/stateless/products";
/// Rows of each file in the test that CI runs. `make import-test n=100000` has more.
const ROWS: usize = 2_000;

/// What the command line printed.
#[derive(Debug)]
struct Printed {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Printed {
    /// Fails unless the command ended like this.
    fn is(&self, status: i32, printed: &[&str]) -> Result<()> {
        let text = format!("{}{}", self.stdout, self.stderr);
        let all = printed.iter().all(|part| text.contains(part));
        ensure!(self.status == Some(status) && all, "{printed:?} in {self:#?}");
        Ok(())
    }
}

async fn import(stack: &Stack, arguments: &[&str]) -> Result<Printed> {
    import_by(stack, stack.database_url().expose_secret(), arguments).await
}

/// Imports into the database at this URL.
async fn import_by(stack: &Stack, url: &str, arguments: &[&str]) -> Result<Printed> {
    let program = Builds::beside_current_exe()?.binary("stateless-svc")?;
    let output = tokio::process::Command::new(program)
        .arg("import")
        .args(arguments)
        .env("DATABASE_URL", url)
        .env("CACHE_REDIS_URL", stack.redis_cache_url())
        .output()
        .await?;
    Ok(Printed {
        status: output.status.code(),
        stdout: String::from_utf8(output.stdout)?,
        stderr: String::from_utf8(output.stderr)?,
    })
}

fn sample(name: &str) -> String {
    format!("{}/../../services/stateless-svc/samples/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Writes a file, and returns its path.
fn file(folder: &Path, name: &str, text: &str) -> Result<String> {
    let path: PathBuf = folder.join(name);
    fs::write(&path, text)?;
    Ok(path.to_str().context("a path")?.to_owned())
}

async fn count(database: &Client, sql: &str) -> Result<i64> {
    Ok(database.query_one(&format!("SELECT count(*) FROM {sql}"), &[]).await?.try_get(0)?)
}

/// The rows of users and products, and of the audit log, that any import may add.
async fn rows(database: &Client) -> Result<[i64; 3]> {
    Ok([
        count(database, "users").await?,
        count(database, "products").await?,
        count(database, "audit_log WHERE action IN ('user_imported', 'product_imported')").await?,
    ])
}

#[tokio::test]
async fn the_samples_are_imported_once() -> Result<()> {
    let stack = small_stack().start().await?;
    let api = Api::on_gateway(&stack)?;
    let database = database(&stack).await?;
    let admin = token_of(&stack, &api, "root", Role::Admin).await?;
    // In the cache from now on.
    let page = format!("{PRODUCTS}?limit=100");
    let before = products(&api, &page).await?;
    let (users, new) = (sample("mock-users.json"), sample("mock-products.json"));
    let both = ["--users", &users, "--products", &new];

    let imported = import(&stack, &both).await?;
    let all = "4 inserted, 0 skipped, 0 conflicts, 0 invalid.";
    imported.is(0, &[&format!("{users}: {all}\n"), &format!("{new}: {all}\n")])?;
    let after = products(&api, &page).await?;
    assert_eq!(after.len(), before.len() + 4, "the page is not the cached one");
    let helmet: Value = api.get(&format!("{PRODUCTS}/helmet-m")).await?.json();
    assert_eq!((&helmet["price"], &helmet["stock"]), (&json!("49.90"), &json!(40)));
    let user = with_token(&api, Method::GET, "/api/v1/users/ms-okafor", &admin).await?;
    let user: Value = user.json();
    assert_eq!((&user["name"], &user["role"]), (&json!("Ms. Okafor"), &json!("instructor")));
    let audit = with_token(&api, Method::GET, "/api/v1/audit?object=maria", &admin).await?;
    let audit: Value = audit.json();
    let entry = &audit["entries"][0];
    assert_eq!(
        (&entry["action"], &entry["actor_kind"]),
        (&json!("user_imported"), &json!("operator"))
    );
    assert_eq!(
        entry["after"],
        json!({"name": "María Captain", "role": "admin", "disabled": false})
    );

    let rows_before = rows(&database).await?;
    assert_eq!(rows_before[2], 8);
    let again = import(&stack, &both).await?;
    again.is(0, &["0 inserted, 4 skipped, 0 conflicts, 0 invalid."])?;
    assert_eq!(rows(&database).await?, rows_before);

    nobody_logs_in_without_a_password(&api).await?;
    an_admin_without_a_password_is_not_the_last_one(&api, &admin).await?;
    what_is_there_stays_as_it_is(&stack, &api, &admin).await?;
    a_broken_row_is_named_and_nothing_is_imported(&stack, &database).await?;
    hostile_files_are_rejected(&stack, &database).await?;
    two_imports_at_a_time_add_each_row_once(&stack, &database).await?;
    without_a_mark_nothing_is_imported(&stack, &database).await?;
    stack.shutdown().await;
    Ok(())
}

/// Through whatever is at this URL of a database.
pub(crate) async fn samples_are_imported_by(stack: &Stack, url: &str) -> Result<()> {
    let (users, products) = (sample("mock-users.json"), sample("mock-products.json"));
    let both = ["--users", &users, "--products", &products];
    import_by(stack, url, &both).await?.is(0, &["4 inserted"])?;
    import_by(stack, url, &both).await?.is(0, &["0 inserted, 4 skipped"])
}

async fn products(api: &Api, page: &str) -> Result<Vec<Value>> {
    let page: Value = api.get(page).await?.json();
    Ok(page["products"].as_array().context("products")?.clone())
}

async fn nobody_logs_in_without_a_password(api: &Api) -> Result<()> {
    for password in ["", " ", "maria", "no user has this password"] {
        let body = json!({"username": "maria", "password": password});
        let response = api.post("/api/v1/auth/login", &body).await?;
        // From the third failure on the address waits.
        let code = response.json::<proto_contracts::Problem>().code;
        let refused = [ErrorCode::InvalidCredentials, ErrorCode::RateLimited].contains(&code);
        ensure!(refused, "{response}");
    }
    let body =
        json!({"username": "maria", "name": "x", "password": "correct horse battery staple"});
    api.post("/api/v1/auth/register", &body).await?.problem(ErrorCode::UsernameTaken);
    Ok(())
}

/// `maria` was imported as an admin, and cannot log in.
async fn an_admin_without_a_password_is_not_the_last_one(api: &Api, admin: &str) -> Result<()> {
    let demote = async |user: &str| {
        let request = api.request(Method::PATCH, &format!("/api/v1/users/{user}"));
        let request = request.bearer_auth(admin).json(&json!({"role": "user"}));
        crate::response::Response::to(request).await
    };
    demote("root").await?.problem(ErrorCode::LastAdmin);
    let demoted = demote("maria").await?;
    ensure!(demoted.status == 200, "{demoted}");
    Ok(())
}

async fn what_is_there_stays_as_it_is(stack: &Stack, api: &Api, admin: &str) -> Result<()> {
    let folder = tempfile::tempdir()?;
    register(api, "ada").await?;
    let deleted = with_token(api, Method::DELETE, "/api/v1/users/guest_1", admin).await?;
    ensure!(deleted.status == 204, "{deleted}");
    let users = json!([
        {"id": "ada", "name": "Another", "role": "admin"},
        {"id": "guest_1", "name": "Guest 1", "role": "user"},
        {"id": "jonas", "name": "Jonas Stoker", "role": "user"},
        {"id": "new-one", "name": "New", "role": "user"},
    ]);
    let users = file(folder.path(), "users.json", &serde_json::to_string_pretty(&users)?)?;
    let product = r#"[{"id": "bell", "name": "Bell, brass", "price": 12, "stock": 7}]"#;
    let product = file(folder.path(), "products.json", product)?;
    let printed = import(stack, &["--users", &users, "--products", &product]).await?;
    printed.is(
        73,
        &[
            "1 inserted, 1 skipped, 2 conflicts, 0 invalid.",
            &format!(r#"{users}:2: conflict: ada: name is "ada" here and "Another" in the file; "#),
            r#"role is "user" here and "admin" in the file"#,
            &format!("{users}:7: conflict: guest_1: a deleted user had this username"),
            &format!(r#"{product}:1: conflict: bell: stock is "0" here and "7" in the file"#),
            "error: 3 rows differ from what is here, which stays as it is",
        ],
    )?;
    tokens(api, "ada").await?;
    let ada = with_token(api, Method::GET, "/api/v1/users/ada", admin).await?.json::<Value>();
    assert_eq!((&ada["name"], &ada["role"]), (&json!("ada"), &json!("user")));
    let gone = with_token(api, Method::GET, "/api/v1/users/guest_1", admin).await?;
    gone.problem(ErrorCode::UserNotFound);
    Ok(())
}

async fn a_broken_row_is_named_and_nothing_is_imported(
    stack: &Stack,
    database: &Client,
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let before = rows(database).await?;
    let good = r#"[{"id": "good-one", "name": "Good", "role": "user"}]"#;
    let good = file(folder.path(), "users.json", good)?;
    let broken = "[\n{\"id\": \"fine\", \"name\": \"Fine\", \"price\": 1, \"stock\": 1},\n\
                  {\"id\": \"bad\", \"name\": \"Bad\", \"price\": -1, \"stock\": 1.5}\n]";
    let broken = file(folder.path(), "products.json", broken)?;
    let arguments = ["--users", &good, "--products", &broken];
    let named = format!(
        "{broken}:3: invalid: price must not be negative; stock must be an integer up to 2147483647"
    );
    let printed = import(stack, &arguments).await?;
    printed.is(1, &[&named, "nothing was imported, since 1 rows are invalid"])?;
    assert_eq!(rows(database).await?, before);

    let report = folder.path().join("report");
    let report = report.to_str().context("a path")?;
    let skipping = [&arguments[..], &["--skip-invalid", "--report", report]].concat();
    let printed = import(stack, &skipping).await?;
    printed.is(0, &["1 inserted, 0 skipped, 0 conflicts, 1 invalid."])?;
    let lines =
        [named, format!("{good}:1: inserted: good-one"), format!("{broken}:2: inserted: fine")];
    assert_eq!(fs::read_to_string(report)?, lines.join("\n") + "\n");
    let [users, products, audited] = before;
    assert_eq!(rows(database).await?, [users + 1, products + 1, audited + 2]);
    Ok(())
}

async fn hostile_files_are_rejected(stack: &Stack, database: &Client) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let before = rows(database).await?;
    let row = r#"{"id": "mallory", "name": "M", "role": "user"}"#;
    let deep = format!("[{row}, {}", "[".repeat(100_000));
    for (text, fault) in [
        (String::new(), "line 1: the file must be a JSON array"),
        (format!("{{\"users\": [{row}]}}"), "line 1: the file must be a JSON array"),
        (format!("[{row},\n{row}"), "line 2: the file ends within the array"),
        (format!("[{row}]\n[]"), "line 2: there is text behind the array"),
        (format!("[{row},\nnope]"), "line 2: is no JSON"),
        (format!("[{row},\n\0]"), "line 2: is no JSON"),
        (deep, "line 1: the file ends within the array"),
        (format!("[{row},\n{row}]"), ":2: invalid: id is that of line 1, too"),
        (format!("[{row},\n7]"), ":2: invalid: must be an object"),
        (
            format!("[{row},\n{}]", row.replace("\"M\"", &format!("\"{}\"", "M".repeat(70_000)))),
            ":2: invalid: is longer than 65536 bytes",
        ),
        (format!("[{row},\n{}]", row.replace("\"M\"", r#""\u0000""#)), ":2: invalid: name must be"),
        (
            format!("[{row},\n{}]", row.replace("mallory", "x'); DROP TABLE users; --")),
            ":2: invalid: id must be",
        ),
        (format!("[{row},\n{}]", row.replace("\"user\"", "\"root\"")), ":2: invalid: role"),
    ] {
        let path = file(folder.path(), "users.json", &text)?;
        let printed = import(stack, &["--users", &path]).await?;
        printed.is(1, &[fault]).with_context(|| text.chars().take(200).collect::<String>())?;
        assert_eq!(rows(database).await?, before, "{fault}");
    }
    // What is no JSON has no rows that could be left out.
    let path = file(folder.path(), "users.json", &format!("[{row},\nnope]"))?;
    import(stack, &["--users", &path, "--skip-invalid"]).await?.is(1, &["line 2: is no JSON"])?;
    import(stack, &["--users", "/nothing/here"]).await?.is(1, &["cannot read /nothing/here"])?;
    import(stack, &[]).await?.is(2, &["--users"])?;
    assert_eq!(rows(database).await?, before);
    Ok(())
}

/// In opposite orders, so that each waits for rows of the other.
async fn two_imports_at_a_time_add_each_row_once(stack: &Stack, database: &Client) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut users: Vec<_> = (0..1_500).map(|n| user("twice", n)).collect();
    let mut new: Vec<_> = (0..1_500).map(|n| product("twice", n)).collect();
    let mut paths = Vec::new();
    for name in ["forwards", "backwards"] {
        paths.push([
            file(folder.path(), &format!("users-{name}.json"), &array(&users))?,
            file(folder.path(), &format!("products-{name}.json"), &array(&new))?,
        ]);
        users.reverse();
        new.reverse();
    }
    let run = async |[users, products]: &[String; 2]| {
        import(stack, &["--users", users, "--products", products]).await
    };
    let (one, other) = tokio::try_join!(run(&paths[0]), run(&paths[1]))?;
    one.is(0, &["0 conflicts, 0 invalid"])?;
    other.is(0, &["0 conflicts, 0 invalid"])?;
    for action in ["user_imported", "product_imported"] {
        let of_both = format!("audit_log WHERE action = '{action}' AND object LIKE '%twice-%'");
        assert_eq!(count(database, &of_both).await?, 1_500, "{action}");
    }
    Ok(())
}

async fn without_a_mark_nothing_is_imported(stack: &Stack, database: &Client) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = file(folder.path(), "products.json", &array(&[product("late", 1)]))?;
    let before = rows(database).await?;
    stack.kill("redis-cache").await?;
    let failed = import(stack, &["--products", &path]).await?;
    failed.is(1, &["0 inserted", "and then the import ended; repeat it", "the cache"])?;
    assert_eq!(rows(database).await?, before);
    stack.start_component("redis-cache").await?;
    import(stack, &["--products", &path]).await?.is(0, &["1 inserted"])
}

fn user(prefix: &str, number: usize) -> String {
    format!(r#"{{"id": "{prefix}-{number}", "name": "User Ω {number}", "role": "user"}}"#)
}

fn product(prefix: &str, number: usize) -> String {
    let price = format!("{}.{}", number % 1_000, number % 10);
    format!(
        r#"{{"id": "{prefix}-{number}", "name": "Part {number}", "price": {price}, "stock": 9}}"#
    )
}

fn array(rows: &[String]) -> String {
    format!("[\n{}\n]\n", rows.join(",\n"))
}

/// `make import-test n=100000`: how long it takes, and that a repetition imports nothing.
#[tokio::test]
async fn many_rows_are_imported_in_batches() -> Result<()> {
    let n = std::env::var("IMPORT_ROWS").map_or(Ok(ROWS), |rows| rows.parse())?;
    let stack = small_stack().start().await?;
    let database = database(&stack).await?;
    let folder = tempfile::tempdir()?;
    let before = rows(&database).await?;
    let users: Vec<_> = (0..n).map(|number| user("bulk", number)).collect();
    let mut new: Vec<_> = (0..n).map(|number| product("bulk", number)).collect();
    let users = file(folder.path(), "users.json", &array(&users))?;
    let broken = n / 2;
    let good = std::mem::replace(&mut new[broken], "{\"id\": \"broken\"}".to_owned());
    let products = file(folder.path(), "products.json", &array(&new))?;
    let both = ["--users", &users, "--products", &products];

    let begun = Instant::now();
    let refused = import(&stack, &both).await?;
    // The array begins on the first line, so its rows do on the second.
    refused.is(1, &[&format!("{products}:{}: invalid: name is missing", broken + 2)])?;
    assert_eq!(rows(&database).await?, before);
    eprintln!("with one broken row among {n}, nothing was imported: {:.1?}", begun.elapsed());

    new[broken] = good;
    let products = file(folder.path(), "products.json", &array(&new))?;
    let both = ["--users", &users, "--products", &products];
    let begun = Instant::now();
    let imported = import(&stack, &both).await?;
    imported.is(0, &[&format!("{products}: {n} inserted, 0 skipped, 0 conflicts, 0 invalid.")])?;
    eprintln!("{n} users and {n} products: {:.1?}", begun.elapsed());
    let added = i64::try_from(n)?;
    let [users_before, products_before, audited] = before;
    let after = rows(&database).await?;
    assert_eq!(after, [users_before + added, products_before + added, audited + 2 * added]);

    let begun = Instant::now();
    let again = import(&stack, &both).await?;
    again.is(0, &[&format!("{users}: 0 inserted, {n} skipped, 0 conflicts, 0 invalid.")])?;
    again.is(0, &[&format!("{products}: 0 inserted, {n} skipped, 0 conflicts, 0 invalid.")])?;
    eprintln!("a repetition: {:.1?}", begun.elapsed());
    assert_eq!(rows(&database).await?, after);
    stack.shutdown().await;
    Ok(())
}
