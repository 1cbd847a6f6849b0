//! Accounts, the audit log, products and imports through PgBouncer in transaction mode, in which each
//! transaction may get another session of PostgreSQL.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use futures_util::future::try_join_all;
use local_stack::{Stack, find_program};
use nix::unistd::{User, getuid};
use proto_contracts::Role;
use reqwest::Method;
use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio::process::{Child, Command};

use super::users::{self, patch, token_of};
use super::{database, me, tokens, with_token};
use crate::api::Api;
use crate::small_stack;
use crate::until::until;

/// Sessions of PostgreSQL, which two instances share. Without PgBouncer each may have 16.
const SESSIONS: i64 = 3;
const ROUNDS: usize = 10;

#[tokio::test]
async fn everything_works_through_pgbouncer_in_transaction_mode() -> Result<()> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let url = format!("postgresql://tandem:unused@127.0.0.1:{port}/tandem");
    let plan = small_stack().stateless(2).with_nginx();
    let stack = plan.env("stateless-svc", "DATABASE_URL", &url).start().await?;
    let pooler = Pooler::start(&stack, port)?;
    for instance in ["stateless-1", "stateless-2"] {
        let instance = Api::on_instance(&stack, instance)?;
        until("the schema is current", async || {
            Ok((instance.get("/readyz").await?.status == 200).then_some(()))
        })
        .await?;
    }

    let api = Api::through_nginx(&stack)?;
    super::a_user_registers_and_logs_in(&api).await?;
    super::bad_input_is_rejected_and_changes_nothing(&api).await?;
    super::a_refresh_token_is_used_once(&api).await?;
    super::concurrent_refreshes_of_one_token_have_one_successor(&api).await?;
    super::a_logout_ends_one_login_or_all(&api).await?;
    super::a_new_password_ends_all_logins(&api).await?;
    super::keyed::a_repetition_gets_the_first_response(&api, "bea").await?;
    let admin = token_of(&stack, &api, "root", Role::Admin).await?;
    token_of(&stack, &api, "teacher", Role::Instructor).await?;
    users::a_disabled_user_cannot_log_in(&api, &admin).await?;
    users::the_last_admin_stays_one(&api, &admin).await?;
    all_at_once(&api).await?;
    crate::imports::samples_are_imported_by(&stack, &url).await?;

    let database = database(&stack).await?;
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'tandem' \
               AND pid <> pg_backend_pid()";
    let sessions: i64 = database.query_one(sql, &[]).await?.try_get(0)?;
    ensure!((1..=SESSIONS).contains(&sessions), "{sessions} sessions of PostgreSQL");
    let sql = "SELECT count(*) FROM audit_log_default";
    assert_eq!(database.query_one(sql, &[]).await?.try_get::<_, i64>(0)?, 0);
    drop(pooler);
    stack.shutdown().await;
    Ok(())
}

/// Many transactions of both instances on the few sessions.
async fn all_at_once(api: &Api) -> Result<()> {
    let token = &tokens(api, "ada").await?.access_token;
    let paths = ["/api/v1/stateless/products?limit=7", "/api/v1/stateless/products/p001"];
    let one = async |round: usize| {
        for path in paths {
            // Not from the cache of Nginx or Redis.
            let fresh = path.replace("limit=7", &format!("limit={}", 1 + round));
            let response =
                api.get(&fresh.replace("p001", &format!("p00{}", 1 + round % 9))).await?;
            ensure!(response.status == 200, "{response}");
        }
        let changed = patch(api, "ada", token, json!({"name": format!("Ada {round}")})).await?;
        ensure!(changed.status == 200, "{changed}");
        for response in [
            me(api, token).await?,
            with_token(api, Method::GET, &format!("{}/ada", users::USERS), token).await?,
        ] {
            ensure!(response.status == 200, "{response}");
        }
        anyhow::Ok(())
    };
    for _ in 0..ROUNDS {
        try_join_all((0..8).map(one)).await?;
    }
    Ok(())
}

/// A running PgBouncer; it ends when dropped.
pub(super) struct Pooler {
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Pooler {
    pub(super) fn start(stack: &Stack, port: u16) -> Result<Self> {
        let program = find_program("pgbouncer")
            .context("pgbouncer is not installed: apt-get install pgbouncer")?;
        let url: tokio_postgres::Config = stack.database_url().expose_secret().parse()?;
        let password = url.get_password().context("a password")?;
        let password = std::str::from_utf8(password)?;
        let server = url.get_ports().first().context("a port")?;
        let folder = tempfile::tempdir()?;
        let (config, users) = (folder.path().join("pgbouncer.ini"), folder.path().join("users"));
        fs::write(&users, format!("\"tandem\" \"{password}\"\n"))?;
        fs::write(
            &config,
            format!(
                "[databases]\ntandem = host=127.0.0.1 port={server} user=tandem \
                 connect_query='SET statement_timeout = 5000'\n\n[pgbouncer]\n\
                 listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 auth_type = trust\nauth_file = {}\npool_mode = transaction\n\
                 default_pool_size = {SESSIONS}\nmax_client_conn = 200\n\
                 server_login_retry = 1\nignore_startup_parameters = extra_float_digits\n",
                users.display()
            ),
        )?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let mut command = Command::new(program);
        command.arg("--quiet").arg(&config).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        if getuid().is_root() {
            let user = User::from_name("nobody")?.context("the user nobody")?;
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        Ok(Self { _process: command.spawn()?, _folder: folder })
    }
}
