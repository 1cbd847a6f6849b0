//! PostgreSQL, with its own data folder.
//!
//! It does not run as root, so a launcher that is root runs
//! it as another user, in a folder that this user can reach. It listens on loopback alone, without
//! a Unix socket, and has one role besides the superuser: the services'.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use secrecy::{ExposeSecret, SecretString};

use crate::component::Component;
use crate::error::{Attempt, StackError};
use crate::process::{Launch, RunAs};
use crate::settings::{DATABASE_ROLE, Lifetime, REPLICATION_ROLE, Settings};
use crate::tls::Tls;
use crate::{programs, secrets};

pub(crate) mod replica;

/// What archives the WAL, beside the data folder.
const ARCHIVE_SCRIPT: &str = "archive-wal.sh";
/// Limit for a previous server to exit.
const OLD_SERVER_TIMEOUT: Duration = Duration::from_secs(20);

/// How PostgreSQL is started; makes a missing data folder, which blocks for a second.
pub(crate) fn launch(settings: &Settings) -> Result<Launch, StackError> {
    let programs = Programs::find()?;
    let data = folder(settings);
    if !data.join("PG_VERSION").exists() {
        make_data(settings, &programs, &data)?;
    }
    await_old_server(&data)?;
    if settings.replica || settings.archive {
        allow_replication(settings, &programs, &data)?;
    }
    if settings.archive {
        prepare_archive(&programs, &data)?;
    }
    if let Some(tls) = &settings.tls {
        prepare_tls(&programs, &data, tls)?;
    }
    Ok(server(settings, programs, &data, Component::Postgres))
}

/// How a server of this data folder is started.
fn server(settings: &Settings, programs: Programs, data: &Path, component: Component) -> Launch {
    let port = match component {
        Component::PostgresReplica => settings.ports.postgres_replica,
        _ => settings.ports.postgres,
    };
    let port = port.to_string();
    let data = data.to_string_lossy();
    let mut args = vec!["-D", &data, "-p", &port, "-c", "listen_addresses=127.0.0.1"];
    args.extend([
        "-c",
        "unix_socket_directories=",
        "-c",
        "logging_collector=off",
        "-c",
        "shared_buffers=64MB",
    ]);
    // In its data folder: in /dev/shm, segments of a killed server would never be removed.
    args.extend(["-c", "dynamic_shared_memory_type=mmap"]);
    if settings.replica {
        // For a standby that was away for a while.
        args.extend(["-c", "wal_keep_size=256MB"]);
    }
    let (certificate, key);
    if settings.tls.is_some() {
        let [chain_file, key_file] = tls_files(&folder(settings));
        certificate = format!("ssl_cert_file={}", chain_file.display());
        key = format!("ssl_key_file={}", key_file.display());
        args.extend(["-c", "ssl=on", "-c", &certificate, "-c", &key]);
    }
    let archive;
    if settings.archive && component == Component::Postgres {
        archive = archive_command(Path::new(&*data));
        // A segment that is not full is archived, too, so that the archive is never older than this.
        args.extend(["-c", "archive_mode=on", "-c", "archive_timeout=300", "-c", &archive]);
    }
    if settings.lifetime == Lifetime::Test {
        // Its data survives a crash of its processes, but need not survive one of the machine.
        args.extend(["-c", "fsync=off", "-c", "full_page_writes=off"]);
    }
    Launch {
        program: programs.postgres,
        args: args.into_iter().map(Into::into).collect(),
        env: vec![("LC_ALL".to_owned(), "C".into())],
        run_as: programs.run_as,
        // Immediate shutdown: after 5 s it kills its remaining processes, even suspended ones. The
        // next start recovers what was committed.
        death_signal: Signal::SIGQUIT,
        // Fast shutdown: connections are closed, everything is flushed.
        stop_signal: Signal::SIGINT,
        log: settings.log(component),
    }
}

/// Its data folder. What it archives is beside it, and outlives a lost data folder.
pub(crate) fn folder(settings: &Settings) -> PathBuf {
    settings.shared.join("postgres").join("data")
}

/// The setting that archives into the folder beside the data, by the script of `infra/backup`.
fn archive_command(data: &Path) -> String {
    let (script, archive) = (data.with_file_name(ARCHIVE_SCRIPT), data.with_file_name("wal"));
    format!("archive_command=sh \"{}\" %p %f \"{}\"", script.display(), archive.display())
}

/// Copies the script to where the server's user can read it.
fn prepare_archive(programs: &Programs, data: &Path) -> Result<(), StackError> {
    make_folder(&data.with_file_name("wal"), programs.run_as)?;
    let script = data.with_file_name(ARCHIVE_SCRIPT);
    let cannot = || format!("make {}", script.display());
    fs::write(&script, include_str!("../../backup/archive-wal.sh")).attempt(cannot)?;
    let user = programs.run_as;
    chown(&script, user.map(|user| user.uid), user.map(|user| user.gid)).attempt(cannot)
}

/// Copies certificate and key to where the server's user can read them.
fn prepare_tls(programs: &Programs, data: &Path, tls: &Tls) -> Result<(), StackError> {
    for (from, to) in [&tls.chain, &tls.key].into_iter().zip(tls_files(data)) {
        let cannot = || format!("make {}", to.display());
        let content = fs::read(from).attempt(cannot)?;
        secrets::write_private(&to, &content).attempt(cannot)?;
        let user = programs.run_as;
        chown(&to, user.map(|user| user.uid), user.map(|user| user.gid)).attempt(cannot)?;
    }
    Ok(())
}

/// The server's certificate and key, beside its data. A standby has the same.
fn tls_files(data: &Path) -> [PathBuf; 2] {
    ["server.pem", "server.key"].map(|name| data.with_file_name(name))
}

/// Lets a standby follow this server and a backup copy it. The services' role may pause the replay
/// and end a segment of the WAL, for tests. A stopped server is prepared once.
fn allow_replication(
    settings: &Settings,
    programs: &Programs,
    data: &Path,
) -> Result<(), StackError> {
    let done = data.with_extension("replication");
    if done.exists() {
        return Ok(());
    }
    let mut single = programs.command(&programs.postgres);
    single.args(["--single", "-j", "-D"]).arg(data).arg(DATABASE_ROLE);
    let password = settings.secrets.database_password.expose_secret();
    let role = format!("CREATE ROLE {REPLICATION_ROLE} LOGIN REPLICATION PASSWORD '{password}';");
    let pause = format!(
        "GRANT EXECUTE ON FUNCTION pg_wal_replay_pause(), pg_wal_replay_resume(), \
         pg_switch_wal() TO {DATABASE_ROLE};"
    );
    run("postgres --single", single, &format!("{role}\n\n{pause}\n\n"))?;
    fs::write(&done, "").attempt(|| format!("make {}", done.display()))
}

/// Waits until a previous server of the data folder has exited. The kernel signals it when its
/// launcher is killed; it closes its port before it is done with the data.
fn await_old_server(data: &Path) -> Result<(), StackError> {
    let begin = Instant::now();
    while let Some(pid) = server_of(data) {
        if begin.elapsed() > OLD_SERVER_TIMEOUT {
            let detail = format!("a server (pid {pid}) still uses {}", data.display());
            return Err(StackError::Tool { what: "starting PostgreSQL", detail });
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The server that uses the data folder. `postmaster.pid` outlives a killed server, so its command
/// line is checked.
fn server_of(data: &Path) -> Option<i32> {
    let note = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid = note.lines().next()?.trim().parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let data = data.as_os_str().as_encoded_bytes();
    command.split(|&byte| byte == 0).any(|argument| argument == data).then_some(pid)
}

/// Makes the data folder: from scratch for a kept stack, from a template for a test's, which is ten
/// times as fast.
fn make_data(settings: &Settings, programs: &Programs, data: &Path) -> Result<(), StackError> {
    let parent = data.parent().unwrap_or(data);
    make_folder(parent, programs.run_as)?;
    // Left by an interrupted attempt, or of data that is gone.
    let _ = fs::remove_dir_all(data);
    let _ = fs::remove_file(data.with_extension("replication"));
    match settings.lifetime {
        Lifetime::Kept => {
            let fresh = parent.join("fresh");
            let _ = fs::remove_dir_all(&fresh);
            initialize(programs, &fresh, &settings.secrets.database_password)?;
            fs::rename(&fresh, data).attempt(|| format!("make {}", data.display()))
        }
        Lifetime::Test => copy(&template(settings, programs, parent)?.join("data"), data),
    }
}

/// The template of the data folder, which all tests of this build directory share and the first one
/// makes.
fn template(
    settings: &Settings,
    programs: &Programs,
    scratch: &Path,
) -> Result<PathBuf, StackError> {
    let cache = settings.builds.cache_dir();
    let cannot = || format!("prepare a data folder template in {}", cache.display());
    fs::create_dir_all(&cache).attempt(cannot)?;
    let template = cache.join(programs.template_name());
    let lock = fs::File::create(cache.join("postgres.lock")).attempt(cannot)?;
    lock.lock().attempt(cannot)?;
    if template.exists() {
        return Ok(template);
    }
    // Made in a folder that the server's user can reach; the build directory may not be one.
    let (fresh, half) = (scratch.join("fresh"), template.with_extension("half"));
    let _ = fs::remove_dir_all(&half);
    fs::DirBuilder::new().mode(0o700).create(&half).attempt(cannot)?;
    let password = secrets::load_or_make(&half.join("password"))?;
    initialize(programs, &fresh, &password)?;
    copy(&fresh, &half.join("data"))?;
    fs::remove_dir_all(&fresh).attempt(cannot)?;
    fs::rename(&half, &template).attempt(cannot)?;
    Ok(template)
}

/// The password of the template, which a test's stack must use. Makes a missing template.
pub(crate) fn template_password(settings: &Settings) -> Result<SecretString, StackError> {
    let programs = Programs::find()?;
    let scratch = settings.shared.join("postgres");
    make_folder(&scratch, programs.run_as)?;
    let file = template(settings, &programs, &scratch)?.join("password");
    secrets::load(&file).attempt(|| format!("read {}", file.display()))
}

/// Makes a cluster with the services' role and database in it.
fn initialize(programs: &Programs, data: &Path, password: &SecretString) -> Result<(), StackError> {
    // The superuser's password is discarded: `postgres --single` needs none.
    let password_file = data.with_extension("password");
    let superuser = secrets::load_or_make(&password_file)?;
    if let Some(user) = programs.run_as {
        chown(&password_file, Some(user.uid), Some(user.gid))
            .attempt(|| "hand over a file".to_owned())?;
    }
    drop(superuser);
    let mut initdb = programs.command(&programs.initdb);
    initdb.arg("-D").arg(data).args([
        "-U",
        "postgres",
        "-A",
        "scram-sha-256",
        "-E",
        "UTF8",
        "--no-locale",
    ]);
    // No sync: an incomplete folder is discarded.
    initdb.args(["--no-sync", "--wal-segsize=4"]).arg("--pwfile").arg(&password_file);
    let made = run("initdb", initdb, "");
    let _ = fs::remove_file(&password_file);
    made?;

    let mut single = programs.command(&programs.postgres);
    single.args(["--single", "-j", "-D"]).arg(data).arg("postgres");
    // Hex digits need no quoting.
    let password = password.expose_secret();
    run(
        "postgres --single",
        single,
        &format!("CREATE ROLE {DATABASE_ROLE} LOGIN PASSWORD '{password}';\n\n"),
    )?;
    let mut single = programs.command(&programs.postgres);
    single.args(["--single", "-D"]).arg(data).arg("postgres");
    run(
        "postgres --single",
        single,
        &format!("CREATE DATABASE {DATABASE_ROLE} OWNER {DATABASE_ROLE};\n"),
    )
}

/// Copies a folder with its owners, as shared blocks where the file system supports it.
fn copy(from: &Path, to: &Path) -> Result<(), StackError> {
    let mut cp = Command::new("cp");
    cp.args(["--archive", "--reflink=auto", "--no-target-directory"]).arg(from).arg(to);
    run("cp", cp, "")
}

fn run(what: &'static str, mut command: Command, input: &str) -> Result<(), StackError> {
    let output = (|| {
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(input.as_bytes())?;
        }
        child.wait_with_output()
    })()
    .attempt(|| format!("run {what}"))?;
    if output.status.success() {
        return Ok(());
    }
    let detail = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(StackError::Tool { what, detail })
}

fn make_folder(dir: &Path, owner: Option<RunAs>) -> Result<(), StackError> {
    let cannot = || format!("make {}", dir.display());
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).attempt(cannot)?;
    if let Some(user) = owner {
        chown(dir, Some(user.uid), Some(user.gid)).attempt(cannot)?;
    }
    Ok(())
}

/// The programs of the newest installed PostgreSQL.
struct Programs {
    initdb: PathBuf,
    postgres: PathBuf,
    run_as: Option<RunAs>,
}

impl Programs {
    /// Debian installs them outside the path, one folder per version.
    fn find() -> Result<Self, StackError> {
        let version = |dir: &Path| dir.file_name()?.to_str()?.parse::<u32>().ok();
        let newest = fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .filter(|dir| dir.join("bin/initdb").is_file())
            .max_by_key(|dir| version(dir));
        let (initdb, postgres) = match newest {
            Some(dir) => (dir.join("bin/initdb"), dir.join("bin/postgres")),
            None => {
                (programs::find("initdb", "postgresql")?, programs::find("postgres", "postgresql")?)
            }
        };
        Ok(Self { initdb, postgres, run_as: programs::unprivileged(&["postgres", "nobody"]) })
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir("/").env("LC_ALL", "C");
        if let Some(RunAs { uid, gid }) = self.run_as {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Differs by everything that makes a template unusable for another stack.
    fn template_name(&self) -> String {
        let version: String = self
            .postgres
            .to_string_lossy()
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let owner = self.run_as.map_or_else(|| nix::unistd::getuid().as_raw(), |user| user.uid);
        format!("postgres{version}-{owner}")
    }
}
