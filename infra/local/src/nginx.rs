//! Nginx, with the configuration of `infra/nginx` filled in for this stack.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::getuid;
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use crate::component::Component;
use crate::error::{Attempt, StackError};
use crate::plan::{Gateways, Settings, log_file};
use crate::process::{Launch, RunAs};
use crate::tls::Tls;
use crate::{programs, secrets};

/// Who may read `/metrics` through Nginx; the password is in the state folder's `metrics.password`.
const METRICS_USER: &str = "metrics";
/// Where Debian keeps modules: by package, and by the official packages of Nginx.
const MODULES: [&str; 2] = ["/usr/lib/nginx/modules", "/usr/share/nginx/modules"];
const BROTLI: &str = "ngx_http_brotli_filter_module.so";

/// How much of the memory its cache may take. Docker gives a container's `/dev/shm` 64 MB.
const CACHE_SIZE: &str = "32m";
/// Where Linux has a file system in memory that every user may write to.
const MEMORY: &str = "/dev/shm";

/// Makes the folder of the cache: in memory, if that can be. Nginx cuts each response that it cannot write into its cache,
/// and memory is not full when the disk is.
fn cache_folder(settings: &Settings) -> PathBuf {
    let folder = memory_folder(&settings.state);
    let made = fs::DirBuilder::new().recursive(true).mode(0o711).create(&folder);
    // A name that can be guessed, where others may have made it.
    let is_ours = || fs::symlink_metadata(&folder).is_ok_and(|meta| meta.is_dir() && meta.uid() == getuid().as_raw());
    if made.is_ok() && is_ours() { folder } else { settings.shared.join("nginx") }
}

/// Gives the memory of the cache back.
pub(crate) fn forget_cache(state: &Path) {
    // There is none where Nginx was never started.
    let _ = fs::remove_dir_all(memory_folder(state));
}

/// By the whole path of the state folder.
fn memory_folder(state: &Path) -> PathBuf {
    let mark = Sha256::digest(state.as_os_str().as_encoded_bytes());
    let mark: String = mark.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
    Path::new(MEMORY).join(format!("tandem-{mark}-nginx"))
}

/// How Nginx is started; writes its configuration and a new certificate.
pub(crate) fn launch(settings: &Settings) -> Result<Launch, StackError> {
    let program = programs::find("nginx", "nginx")?;
    let worker = programs::unprivileged(&["www-data", "nobody"]);
    let dir = settings.shared.join("nginx");
    let cannot = || format!("make {}", dir.display());
    fs::DirBuilder::new().recursive(true).mode(0o711).create(&dir).attempt(cannot)?;
    // A copy, since the workers may not be able to reach the repository.
    let conf = dir.join("conf");
    let _ = fs::remove_dir_all(&conf);
    copy(&settings.nginx_conf, &conf)?;
    link_logs(settings, &dir)?;
    let htpasswd = write_htpasswd(settings, &dir, worker)?;
    let tls = Tls::issue(&tls_dir(settings))?;

    let brotli = MODULES.into_iter().map(|dir| Path::new(dir).join(BROTLI)).find(|module| module.is_file());
    let (modules, include) = brotli.map_or_else(Default::default, |module| {
        (format!("load_module {};", module.display()), format!("include {}/brotli.conf;", conf.display()))
    });
    let ports = &settings.ports;
    let values = [
        ("LISTEN_ADDR", "127.0.0.1".to_owned()),
        ("HTTPS_PORT", ports.https.to_string()),
        ("HTTP_PORT", ports.http.to_string()),
        ("PUBLIC_PORT", ports.https.to_string()),
        ("SERVER_NAMES", String::new()),
        ("STATUS_LISTEN", format!("127.0.0.1:{}", ports.nginx_status)),
        ("IF_DIRECT", String::new()),
        ("IF_PROXIED", "#".to_owned()),
        ("IF_FIXED", String::new()),
        ("IF_DNS", "#".to_owned()),
        ("GATEWAY_UPSTREAM", upstream(settings)),
        ("METRICS_UPSTREAM", format!("server 127.0.0.1:{};", ports.control)),
        ("RESOLVER", "127.0.0.53".to_owned()),
        ("GATEWAY", "gateway".to_owned()),
        ("GATEWAY_METRICS", "gateway_metrics".to_owned()),
        ("UNLIMITED", "127.0.0.1 0; ::1 0;".to_owned()),
        ("CACHE_SIZE", CACHE_SIZE.to_owned()),
        ("CACHE_DIR", cache_folder(settings).join("cache").display().to_string()),
        ("CONF_DIR", conf.display().to_string()),
        ("STATE_DIR", dir.display().to_string()),
        ("CERT", tls.chain.display().to_string()),
        ("KEY", tls.key.display().to_string()),
        ("HTPASSWD", htpasswd.display().to_string()),
        ("USER_DIRECTIVE", if worker.is_some() { user_directive() } else { String::new() }),
        ("BROTLI_MODULES", modules),
        ("BROTLI_INCLUDE", include),
    ];
    let template = conf.join("nginx.conf.template");
    let text = fs::read_to_string(&template).attempt(|| format!("read {}", template.display()))?;
    let text = fill(&text, &values)?;
    let file = dir.join("nginx.conf");
    fs::write(&file, text).attempt(|| format!("write {}", file.display()))?;
    let log = dir.join("error.log");
    Ok(Launch {
        program,
        args: vec!["-e".into(), log.into(), "-p".into(), dir.into(), "-c".into(), file.into()],
        env: Vec::new(),
        run_as: None,
        // A master ends its workers when it is told to end. SIGKILL would leave them serving.
        death_signal: Signal::SIGTERM,
        stop_signal: Signal::SIGQUIT,
        log: settings.log(Component::Nginx),
    })
}

/// The gateways for Nginx's `upstream`.
fn upstream(settings: &Settings) -> String {
    let ports = &settings.ports;
    match settings.gateways {
        Gateways::One => format!("server 127.0.0.1:{};", ports.gateway),
        // A refused connection costs nothing, and the request goes to the other one. Were failures counted, a moment in
        // which each gateway had one would leave nobody to send to.
        Gateways::Two => {
            [ports.gateway, ports.second_gateway].map(|port| format!("server 127.0.0.1:{port} max_fails=0;")).join(" ")
        }
    }
}

/// The folder of the stack's certificates.
pub(crate) fn tls_dir(settings: &Settings) -> PathBuf {
    settings.state.join("tls")
}

/// Replaces each `@@NAME@@`.
fn fill(template: &str, values: &[(&'static str, String)]) -> Result<String, StackError> {
    let text =
        values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(&format!("@@{name}@@"), value));
    match text.split_once("@@") {
        None => Ok(text),
        Some((_, rest)) => {
            let name = rest.split("@@").next().unwrap_or(rest);
            let detail = format!("the template asks for {name}, which nobody fills in");
            Err(StackError::Tool { what: "rendering nginx.conf.template", detail })
        }
    }
}

/// Workers of a master that is root run as this user, in its own group whatever that is called.
fn user_directive() -> String {
    use nix::unistd::{Gid, Group, User};
    let named = |name| User::from_name(name).ok().flatten();
    let Some(user) = named("www-data").or_else(|| named("nobody")) else { return String::new() };
    let group = Group::from_gid(Gid::from_raw(user.gid.as_raw())).ok().flatten();
    format!("user {} {};", user.name, group.map_or_else(|| user.name.clone(), |group| group.name))
}

/// Nginx writes beside its configuration; its logs belong with the others.
fn link_logs(settings: &Settings, dir: &Path) -> Result<(), StackError> {
    for (link, name) in [("error.log", Component::Nginx.to_string()), ("access.log", "nginx-access".to_owned())] {
        let link = dir.join(link);
        let _ = fs::remove_file(&link);
        symlink(log_file(&settings.state, &name), &link).attempt(|| format!("make {}", link.display()))?;
    }
    Ok(())
}

/// The password stands there in clear, in a file that the workers alone can read: it is random and used nowhere else.
fn write_htpasswd(settings: &Settings, dir: &Path, worker: Option<RunAs>) -> Result<PathBuf, StackError> {
    let password = secrets::load_or_make(&settings.state.join("metrics.password"))?;
    let file = dir.join("htpasswd");
    let line = format!("{METRICS_USER}:{{PLAIN}}{}\n", password.expose_secret());
    let cannot = || format!("write {}", file.display());
    secrets::write_private(&file, line.as_bytes()).attempt(cannot)?;
    if let Some(user) = worker {
        chown(&file, Some(user.uid), Some(user.gid)).attempt(cannot)?;
    }
    Ok(file)
}

fn copy(from: &Path, to: &Path) -> Result<(), StackError> {
    let output = Command::new("cp").arg("-r").arg("--").arg(from).arg(to).output().attempt(|| "run cp".to_owned())?;
    if output.status.success() {
        return Ok(());
    }
    let detail = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(StackError::Tool { what: "copying Nginx's configuration", detail })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placeholder_that_nobody_fills_in_is_named() {
        let values = [("PORT", "8443".to_owned())];
        assert_eq!(fill("listen @@PORT@@;", &values).expect("filled"), "listen 8443;");
        let error = fill("listen @@PORT@@ @@OTHER@@;", &values).expect_err("unfilled").to_string();
        assert!(error.contains("OTHER"), "{error}");
    }
}
