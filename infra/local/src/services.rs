//! The instances of the two services.

use std::ffi::OsString;
use std::io;

use nix::sys::signal::Signal;
use proto_contracts::PoolName;
use secrecy::ExposeSecret;

use crate::component::Component;
use crate::error::{Attempt as _, StackError};
use crate::ports::loopback;
use crate::process::Launch;
use crate::redis;
use crate::settings::Settings;

/// Worker threads of an instance; many instances share the machine.
const WORKERS: &str = "2";
/// Limit for a stopping instance to finish its requests, seconds.
const SHUTDOWN_TIMEOUT_S: &str = "10";
/// Pre-stop delay of an instance, seconds: two health checks of the stack's gateway, a second
/// apart, and a margin.
const PRE_STOP_DELAY_S: &str = "3";

/// How an instance is started: its name is fixed, its port may change.
pub(crate) fn launch(
    settings: &Settings,
    pool: PoolName,
    number: u16,
    port: u16,
) -> Result<Launch, StackError> {
    let component = Component::Instance(pool, number);
    let mut env: Vec<(String, OsString)> = Vec::new();
    let mut set = |name: &str, value: &str| env.push((name.to_owned(), value.into()));
    set("LISTEN_ADDR", &loopback(port).to_string());
    set("INSTANCE_ID", &component.to_string());
    set("WORKERS", WORKERS);
    set("SHUTDOWN_TIMEOUT_S", SHUTDOWN_TIMEOUT_S);
    set("SHUTDOWN_ANNOUNCE_S", PRE_STOP_DELAY_S);
    set("INSTANCE_TOKEN", settings.secrets.instance_token.expose_secret());
    if let Some(tls) = &settings.tls {
        set("TLS_CA_FILE", &tls.ca.to_string_lossy());
        set("TLS_CERT_FILE", &tls.chain.to_string_lossy());
        set("TLS_KEY_FILE", &tls.key.to_string_lossy());
    }
    let binary = match pool {
        PoolName::Stateless => {
            let database = settings.for_services(&settings.database_url());
            set("DATABASE_URL", database.expose_secret());
            if settings.replica {
                let replica = settings.for_services(&settings.replica_url());
                set("DATABASE_REPLICA_URL", replica.expose_secret());
            }
            set("CACHE_REDIS_URL", &settings.redis_cache_url_for_services());
            set("IDEMPOTENCY_SECRET", settings.secrets.idempotency_secret.expose_secret());
            set("GATEWAY_URL", &settings.gateway_url());
            set("FILES_URL", &files_url(settings)?);
            set("AUTH_KEYS_DIR", &settings.token_keys.dir.to_string_lossy());
            settings.stateless_binary
        }
        PoolName::Stateful => {
            set("SESSION_STORE", settings.store.as_str());
            set("SESSION_REDIS_URL", &redis::sessions_url_for_services(settings));
            set("REDIS_ACK_REPLICAS", redis::ack_replicas(settings));
            set("JWT_JWKS_URL", &settings.jwks_url());
            set("SESSION_ID_SECRET", settings.secrets.session_id_secret.expose_secret());
            set("CLASSROOM", if settings.class.is_open { "1" } else { "0" });
            settings.stateful_binary
        }
    };
    env.extend(settings.extra_env(component));
    Ok(Launch {
        program: settings.builds.binary(binary)?,
        args: Vec::new(),
        env,
        run_as: None,
        death_signal: Signal::SIGKILL,
        stop_signal: Signal::SIGTERM,
        log: settings.log(component),
    })
}

/// The folder of users' files, as the services read it.
fn files_url(settings: &Settings) -> Result<String, StackError> {
    let folder = settings.files();
    let url = reqwest::Url::from_file_path(&folder);
    let absolute = url.map_err(|()| io::Error::from(io::ErrorKind::InvalidFilename));
    absolute.map(String::from).attempt(|| format!("name {} by a URL", folder.display()))
}
