//! The command line.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use proto_contracts::Role;
use service_kit::cli::{Probe, ProbeArgs};

use crate::config::{Config, SERVICE};
use crate::domain::account::Username;
use crate::store::accounts::Accounts;

/// The text of `--help`.
const ABOUT: &str = "Tandem's stateless service: requests that any instance can serve.\n\n\
                     All settings are environment variables; docs/SETTINGS.md lists them. On \
                     SIGTERM the service announces its shutdown, drains open requests and exits.";

#[derive(Parser)]
#[command(name = SERVICE, version, about = ABOUT)]
struct Arguments {
    #[command(flatten)]
    probe: ProbeArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

/// What to do instead of serving.
#[derive(Subcommand)]
pub enum Command {
    /// Manage users in the database.
    #[command(subcommand)]
    User(UserCommand),
}

/// What to do with users.
#[derive(Subcommand)]
pub enum UserCommand {
    /// Give a registered user a role, such as the first admin.
    Grant {
        /// The username.
        username: Username,
        /// user, instructor or admin.
        role: Role,
    },
}

/// Parses the command line. Exits on `--help`, `--version` and unknown arguments.
pub fn parse() -> (Option<Probe>, Option<Command>) {
    let Arguments { probe, command } = Arguments::parse();
    (probe.probe(), command)
}

impl Command {
    /// Runs it. Prints the result, or the fault to standard error.
    pub async fn run(self, config: &Config) -> ExitCode {
        let Self::User(UserCommand::Grant { username, role }) = self;
        match grant(config, &username, role).await {
            Ok(()) => {
                let _unread = writeln!(std::io::stdout(), "{username} has the role {role} now.");
                ExitCode::SUCCESS
            }
            Err(fault) => {
                let _unread = writeln!(std::io::stderr(), "error: {fault:#}");
                ExitCode::FAILURE
            }
        }
    }
}

async fn grant(config: &Config, username: &Username, role: Role) -> anyhow::Result<()> {
    let accounts = Accounts::new(config.database.pool(SERVICE)?);
    accounts.grant(username, role).await?;
    Ok(())
}
