//! The traffic driver: `loadtest drive`, idle until the control plane starts its clients.

use nix::sys::signal::Signal;
use secrecy::ExposeSecret as _;

use crate::component::Component;
use crate::error::StackError;
use crate::ports::loopback;
use crate::process::Launch;
use crate::settings::Settings;

/// How it is started. It sends its requests to the first gateway.
pub(crate) fn launch(settings: &Settings) -> Result<Launch, StackError> {
    let listen = format!("--listen={}", loopback(settings.ports.driver));
    let target = format!("--target={}", settings.gateway_url());
    let token = settings.secrets.driver_token.expose_secret().into();
    let mut env = vec![("DRIVER_TOKEN".to_owned(), token)];
    env.extend(settings.extra_env(Component::Driver));
    Ok(Launch {
        program: settings.builds.binary("loadtest")?,
        args: vec!["drive".into(), listen.into(), target.into()],
        env,
        run_as: None,
        death_signal: Signal::SIGKILL,
        stop_signal: Signal::SIGTERM,
        log: settings.log(Component::Driver),
    })
}
