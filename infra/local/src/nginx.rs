//! Nginx, with the configuration of `infra/nginx` filled in for this stack.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use secrecy::ExposeSecret;

use crate::component::Component;
use crate::error::{Attempt, StackError};

use crate::process::{Launch, RunAs};
use crate::settings::{Settings, log_file};
use crate::tls::{Names, Tls};
use crate::topology::Gateways;
use crate::{programs, secrets, shared_memory, urls};

/// User of `/metrics` through Nginx; the password is in the state folder's `metrics.password`.
const METRICS_USER: &str = "metrics";
/// Module folders of Debian's and of Nginx's own packages.
const MODULES: [&str; 2] = ["/usr/lib/nginx/modules", "/usr/share/nginx/modules"];
/// File of the room's code, in the state folder while the classroom is open.
pub(crate) const CLASS_CODE: &str = "class.code";
const BROTLI: &str = "ngx_http_brotli_filter_module.so";

/// Size of the cache. A container's `/dev/shm` has 64 MB by default.
const CACHE_SIZE: &str = "32m";
/// The cache lies in memory where possible: Nginx truncates each response that it cannot write into
/// its cache, and memory is not full when the disk is.
fn cache_dir(settings: &Settings) -> PathBuf {
    shared_memory::make_cache(&settings.state).unwrap_or_else(|| settings.shared.join("nginx"))
}

/// How Nginx is started; writes its configuration and a new certificate.
pub(crate) fn launch(settings: &Settings) -> Result<Launch, StackError> {
    let program = programs::find("nginx", "nginx")?;
    let worker = programs::unprivileged(&["www-data", "nobody"]);
    let dir = settings.shared.join("nginx");
    let cannot = || format!("make {}", dir.display());
    fs::DirBuilder::new().recursive(true).mode(0o711).create(&dir).attempt(cannot)?;
    // A copy: the workers may be unable to read the repository.
    let conf = dir.join("conf");
    let _ = fs::remove_dir_all(&conf);
    copy(&settings.nginx_conf, &conf)?;
    link_logs(settings, &dir)?;
    let htpasswd = write_htpasswd(settings, &dir, worker)?;
    let tls = Tls::issue(&settings.tls_dir(), &Names::Loopback)?;

    let brotli =
        MODULES.into_iter().map(|dir| Path::new(dir).join(BROTLI)).find(|module| module.is_file());
    let (modules, include, off) = brotli.map_or_else(Default::default, |module| {
        (
            format!("load_module {};", module.display()),
            format!("include {}/brotli.conf;", conf.display()),
            "brotli off;".to_owned(),
        )
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
        ("IF_UPSTREAM", String::new()),
        ("IF_DNS", "#".to_owned()),
        ("GATEWAY_UPSTREAM", upstream(settings)),
        ("METRICS_UPSTREAM", format!("server 127.0.0.1:{};", ports.control)),
        ("RESOLVER", "127.0.0.53".to_owned()),
        ("GATEWAY", "gateway".to_owned()),
        ("GATEWAY_METRICS", "gateway_metrics".to_owned()),
        ("IF_GATEWAY_TLS", if settings.tls.is_some() { "" } else { "#" }.to_owned()),
        ("GATEWAY_SCHEME", settings.scheme().to_owned()),
        ("GATEWAY_NAME", "localhost".to_owned()),
        ("GATEWAY_CA", gateway_ca(settings)),
        ("UNLIMITED", "127.0.0.1 0; ::1 0;".to_owned()),
        ("LOCAL_URLS", local_urls(settings)),
        ("CACHE_SIZE", CACHE_SIZE.to_owned()),
        ("CACHE_DIR", cache_dir(settings).join("cache").display().to_string()),
        ("CONF_DIR", conf.display().to_string()),
        ("STATE_DIR", dir.display().to_string()),
        ("CERT", tls.chain.display().to_string()),
        ("KEY", tls.key.display().to_string()),
        ("HTPASSWD", htpasswd.display().to_string()),
        ("USER_DIRECTIVE", if worker.is_some() { user_directive() } else { String::new() }),
        ("CLASS_INCLUDE", class_include(settings, &dir, &conf)?),
        ("BROTLI_MODULES", modules),
        ("BROTLI_INCLUDE", include),
        ("BROTLI_OFF", off),
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
        // On SIGTERM the master ends its workers. SIGKILL would leave them serving.
        death_signal: Signal::SIGTERM,
        stop_signal: Signal::SIGQUIT,
        log: settings.log(Component::Nginx),
    })
}

/// Writes the classroom's server if it is open. Returns its `include`.
fn class_include(settings: &Settings, dir: &Path, conf: &Path) -> Result<String, StackError> {
    let class = &settings.class;
    let code = settings.state.join(CLASS_CODE);
    if !class.is_open {
        let _ = fs::remove_file(code);
        return Ok(String::new());
    }
    let tls = Tls::issue(&class_tls_dir(settings), &Names::Network(class.host()))?;
    let (cert, key) = match (&class.cert, &class.key) {
        (Some(cert), Some(key)) => (absolute(cert)?, absolute(key)?),
        _ => (tls.chain, tls.key),
    };
    // A copy: the workers may be unable to read the state folder.
    let authority = conf.join("class");
    let cannot = || format!("write {}", authority.display());
    fs::copy(&tls.ca, authority.join("authority.pem")).attempt(cannot)?;
    secrets::write_private(&code, settings.class_code.as_bytes())
        .attempt(|| format!("write {}", code.display()))?;
    let values = [
        ("CLASS_LISTEN", SocketAddr::new(class.listen, settings.ports.class).to_string()),
        ("CLASS_CERT", cert.display().to_string()),
        ("CLASS_KEY", key.display().to_string()),
        ("CLASS_AUTHORITY", authority.display().to_string()),
        ("CLASS_CODE", settings.class_code.clone()),
        ("GATEWAY_SCHEME", settings.scheme().to_owned()),
        ("CONF_DIR", conf.display().to_string()),
    ];
    let template = conf.join("class.conf.template");
    let text = fs::read_to_string(&template).attempt(|| format!("read {}", template.display()))?;
    let file = dir.join("class.conf");
    secrets::write_private(&file, fill(&text, &values)?.as_bytes())
        .attempt(|| format!("write {}", file.display()))?;
    Ok(format!("include {};", file.display()))
}

/// The folder of the classroom's certificates: an authority for each name or address.
pub(crate) fn class_tls_dir(settings: &Settings) -> PathBuf {
    settings.tls_dir().join("class").join(settings.class.host())
}

/// Nginx resolves paths from a folder of its own.
fn absolute(file: &Path) -> Result<PathBuf, StackError> {
    file.canonicalize().attempt(|| format!("find {}", file.display()))
}

/// The links of the start page, as JSON.
fn local_urls(settings: &Settings) -> String {
    let Settings { ports, extent, gateways, class, .. } = settings;
    let urls = urls::of(ports, *extent, *gateways, class, settings.scheme());
    serde_json::json!({"control": urls.control, "prometheus": urls.prometheus}).to_string()
}

/// The authority of the gateways' certificates, if they have TLS. Nginx's master reads it.
fn gateway_ca(settings: &Settings) -> String {
    settings.tls.as_ref().map(|tls| tls.ca.display().to_string()).unwrap_or_default()
}

/// The gateways for Nginx's `upstream`.
fn upstream(settings: &Settings) -> String {
    let ports = &settings.ports;
    match settings.gateways {
        Gateways::One => format!("server 127.0.0.1:{};", ports.gateway),
        // A refused connection is retried at the other gateway at once. With failure counting, one
        // failure at each gateway would leave no upstream.
        Gateways::Two => [ports.gateway, ports.second_gateway]
            .map(|port| format!("server 127.0.0.1:{port} max_fails=0;"))
            .join(" "),
    }
}

/// Replaces each `@@NAME@@`.
fn fill(template: &str, values: &[(&'static str, String)]) -> Result<String, StackError> {
    let text = values.iter().fold(template.to_owned(), |text, (name, value)| {
        text.replace(&format!("@@{name}@@"), value)
    });
    match text.split_once("@@") {
        None => Ok(text),
        Some((_, rest)) => {
            let name = rest.split("@@").next().unwrap_or(rest);
            let detail = format!("the template uses {name}, which has no value");
            Err(StackError::Tool { what: "rendering nginx.conf.template", detail })
        }
    }
}

/// The user of the workers when the master is root, with that user's primary group.
fn user_directive() -> String {
    use nix::unistd::{Gid, Group, User};
    let named = |name| User::from_name(name).ok().flatten();
    let Some(user) = named("www-data").or_else(|| named("nobody")) else { return String::new() };
    let group = Group::from_gid(Gid::from_raw(user.gid.as_raw())).ok().flatten();
    format!("user {} {};", user.name, group.map_or_else(|| user.name.clone(), |group| group.name))
}

/// Nginx logs beside its configuration; these links lead to the folder of all logs.
fn link_logs(settings: &Settings, dir: &Path) -> Result<(), StackError> {
    for (link, name) in
        [("error.log", Component::Nginx.to_string()), ("access.log", "nginx-access".to_owned())]
    {
        let link = dir.join(link);
        let _ = fs::remove_file(&link);
        symlink(log_file(&settings.state, &name), &link)
            .attempt(|| format!("make {}", link.display()))?;
    }
    Ok(())
}

/// The password is stored in plain text, in a file that only the workers can read. It is random and
/// used for nothing else.
fn write_htpasswd(
    settings: &Settings,
    dir: &Path,
    worker: Option<RunAs>,
) -> Result<PathBuf, StackError> {
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
    let output = Command::new("cp")
        .arg("-r")
        .arg("--")
        .arg(from)
        .arg(to)
        .output()
        .attempt(|| "run cp".to_owned())?;
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
    fn an_unknown_placeholder_is_reported() {
        let values = [("PORT", "8443".to_owned())];
        assert_eq!(fill("listen @@PORT@@;", &values).expect("filled"), "listen 8443;");
        let error = fill("listen @@PORT@@ @@OTHER@@;", &values).expect_err("unfilled").to_string();
        assert!(error.contains("OTHER"), "{error}");
    }
}
