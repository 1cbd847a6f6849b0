//! PostgreSQL, with a data folder of its own.
//!
//! It refuses to run as root, so a launcher that is root runs it as another user, in a folder that this user can
//! reach. It listens on loopback alone, without a Unix socket, and knows one role: the services', which is no
//! superuser.

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
use crate::plan::{Lifetime, Settings};
use crate::process::{Launch, RunAs};
use crate::{programs, secrets};

/// How long a predecessor may take to end.
const PREDECESSOR_PATIENCE: Duration = Duration::from_secs(20);
/// The services' role and their database.
pub(crate) const ROLE: &str = "tandem";

/// How PostgreSQL is started; makes its data folder when there is none. Blocks for a second then.
pub(crate) fn launch(settings: &Settings) -> Result<Launch, StackError> {
    let programs = Programs::find()?;
    let data = settings.shared.join("postgres").join("data");
    if !data.join("PG_VERSION").exists() {
        make_data(settings, &programs, &data)?;
    }
    await_predecessor(&data)?;
    let port = settings.ports.postgres.to_string();
    let data = data.to_string_lossy();
    let mut args = vec!["-D", &data, "-p", &port, "-c", "listen_addresses=127.0.0.1"];
    args.extend(["-c", "unix_socket_directories=", "-c", "logging_collector=off", "-c", "shared_buffers=64MB"]);
    // In its data folder, and not in /dev/shm, where the part of one that is killed would stay for good.
    args.extend(["-c", "dynamic_shared_memory_type=mmap"]);
    if settings.lifetime == Lifetime::Test {
        // Its data need not survive the machine's end. The end of its processes, it does.
        args.extend(["-c", "fsync=off", "-c", "full_page_writes=off"]);
    }
    Ok(Launch {
        program: programs.postgres,
        args: args.into_iter().map(Into::into).collect(),
        env: vec![("LC_ALL".to_owned(), "C".into())],
        run_as: programs.run_as,
        // Immediate shutdown: after 5 s it kills those of its processes that don't end, be it that they are stopped.
        // The next start recovers what was committed.
        death_signal: Signal::SIGQUIT,
        // Fast shutdown: connections are cut, everything is written out.
        stop_signal: Signal::SIGINT,
        log: settings.log(Component::Postgres),
    })
}

/// Waits until a server that still uses the data folder has ended. Its launcher was killed a moment ago, and it is told
/// by the kernel to end; it closes its port before it is done with the data.
fn await_predecessor(data: &Path) -> Result<(), StackError> {
    let begin = Instant::now();
    while let Some(pid) = server_of(data) {
        if begin.elapsed() > PREDECESSOR_PATIENCE {
            let detail = format!("a server (pid {pid}) still uses {}", data.display());
            return Err(StackError::Tool { what: "starting PostgreSQL", detail });
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// The server that uses the data folder; its note of that outlives it when it is killed, so it is looked at.
fn server_of(data: &Path) -> Option<i32> {
    let note = fs::read_to_string(data.join("postmaster.pid")).ok()?;
    let pid = note.lines().next()?.trim().parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let data = data.as_os_str().as_encoded_bytes();
    command.split(|&byte| byte == 0).any(|argument| argument == data).then_some(pid)
}

/// Makes the data folder: anew for a stack that stays, as a copy of a prepared one for a test's, which is ten times
/// as fast.
fn make_data(settings: &Settings, programs: &Programs, data: &Path) -> Result<(), StackError> {
    let parent = data.parent().unwrap_or(data);
    make_folder(parent, programs.run_as)?;
    // What an earlier, interrupted attempt left.
    let _ = fs::remove_dir_all(data);
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

/// The prepared data folder, which all tests of this build directory share and the first one makes.
fn template(settings: &Settings, programs: &Programs, scratch: &Path) -> Result<PathBuf, StackError> {
    let cache = settings.builds.cache_dir();
    let cannot = || format!("prepare a data folder in {}", cache.display());
    fs::create_dir_all(&cache).attempt(cannot)?;
    let template = cache.join(programs.template_name());
    let lock = fs::File::create(cache.join("postgres.lock")).attempt(cannot)?;
    lock.lock().attempt(cannot)?;
    if template.exists() {
        return Ok(template);
    }
    // Made where the server's user can reach it, which the build directory need not be.
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

/// The password that the prepared data folder was made with, which a test's stack must use; made here when need be.
pub(crate) fn template_password(settings: &Settings) -> Result<SecretString, StackError> {
    let programs = Programs::find()?;
    let scratch = settings.shared.join("postgres");
    make_folder(&scratch, programs.run_as)?;
    let file = template(settings, &programs, &scratch)?.join("password");
    secrets::load(&file).attempt(|| format!("read {}", file.display()))
}

/// Makes a cluster with the services' role and database in it.
fn initialize(programs: &Programs, data: &Path, password: &SecretString) -> Result<(), StackError> {
    // The superuser's password is thrown away: who owns the files needs none (`postgres --single`).
    let password_file = data.with_extension("password");
    let superuser = secrets::load_or_make(&password_file)?;
    if let Some(user) = programs.run_as {
        chown(&password_file, Some(user.uid), Some(user.gid)).attempt(|| "hand over a file".to_owned())?;
    }
    drop(superuser);
    let mut initdb = programs.command(&programs.initdb);
    initdb.arg("-D").arg(data).args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--no-locale"]);
    // The folder is of no use before it is whole, and the system writes it out in its own time.
    initdb.args(["--no-sync", "--wal-segsize=4"]).arg("--pwfile").arg(&password_file);
    let made = run("initdb", initdb, "");
    let _ = fs::remove_file(&password_file);
    made?;

    let mut single = programs.command(&programs.postgres);
    single.args(["--single", "-j", "-D"]).arg(data).arg("postgres");
    // Hex digits need no quoting.
    let password = password.expose_secret();
    run("postgres --single", single, &format!("CREATE ROLE {ROLE} LOGIN PASSWORD '{password}';\n\n"))?;
    let mut single = programs.command(&programs.postgres);
    single.args(["--single", "-D"]).arg(data).arg("postgres");
    run("postgres --single", single, &format!("CREATE DATABASE {ROLE} OWNER {ROLE};\n"))
}

/// Copies a folder with its owners, as blocks shared with the original where the file system can.
fn copy(from: &Path, to: &Path) -> Result<(), StackError> {
    let mut cp = Command::new("cp");
    cp.args(["--archive", "--reflink=auto", "--no-target-directory"]).arg(from).arg(to);
    run("cp", cp, "")
}

fn run(what: &'static str, mut command: Command, input: &str) -> Result<(), StackError> {
    let output = (|| {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
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

/// The programs of the newest PostgreSQL that is installed.
struct Programs {
    initdb: PathBuf,
    postgres: PathBuf,
    run_as: Option<RunAs>,
}

impl Programs {
    /// Debian keeps them off the path, one folder for each version.
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
            None => (programs::find("initdb", "postgresql")?, programs::find("postgres", "postgresql")?),
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

    /// Differs by whatever would make one prepared folder unfit for another user of it.
    fn template_name(&self) -> String {
        let version: String =
            self.postgres.to_string_lossy().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let owner = self.run_as.map_or_else(|| nix::unistd::getuid().as_raw(), |user| user.uid);
        format!("postgres{version}-{owner}")
    }
}
