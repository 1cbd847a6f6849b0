//! The traffic driver: `loadtest drive`, idle until the control plane starts its clients or a lesson.

use std::ffi::OsString;

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
    // For lessons, which run on this stack or start another one beside it.
    let state = [OsString::from("--state"), settings.state.clone().into()];
    let token = settings.secrets.driver_token.expose_secret().into();
    let mut env = vec![("DRIVER_TOKEN".to_owned(), token)];
    env.extend(settings.extra_env(Component::Driver));
    let cacert =
        settings.tls.as_ref().map(|tls| [OsString::from("--cacert"), tls.ca.clone().into()]);
    let cacert: Vec<OsString> = cacert.into_iter().flatten().collect();
    Ok(Launch {
        program: settings.builds.binary("loadtest")?,
        args: [vec!["drive".into(), listen.into(), target.into()], state.into(), cacert].concat(),
        env,
        run_as: None,
        death_signal: Signal::SIGKILL,
        stop_signal: Signal::SIGTERM,
        log: settings.log(Component::Driver),
    })
}
