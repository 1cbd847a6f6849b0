//! The command line.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use proto_contracts::Role;
use service_kit::cli::{Probe, ProbeArgs};

use crate::config::{Config, SERVICE};
use crate::domain::account::{DisplayName, Username};
use crate::store::accounts::Accounts;
use crate::store::audit::AuditMetrics;

mod create;

use create::{CreateError, NewUser};

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
    /// Register a user, such as the first admin. Repeated with the same password, it changes
    /// nothing but the role.
    ///
    /// Exits with 73 when the username is taken, and with 1 for any other fault.
    Create {
        /// The username.
        username: Username,
        /// user, instructor or admin.
        #[arg(long, default_value = "user")]
        role: Role,
        /// The name that others see [default: the username].
        #[arg(long)]
        name: Option<DisplayName>,
        /// A file that holds the password; `-` reads standard input.
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
    },
    /// Give a registered user a role, such as the first admin.
    Grant {
        /// The username.
        username: Username,
        /// user, instructor or admin.
        role: Role,
    },
}

/// Exit status when the username is taken: `EX_CANTCREAT` of `sysexits.h`.
const EX_CANTCREAT: u8 = 73;

/// Parses the command line. Exits on `--help`, `--version` and unknown arguments.
pub fn parse() -> (Option<Probe>, Option<Command>) {
    let Arguments { probe, command } = Arguments::parse();
    (probe.probe(), command)
}

impl Command {
    /// Runs it. Prints the result, or the fault to standard error.
    pub async fn run(self, config: &Config) -> ExitCode {
        let Self::User(command) = self;
        match command.run(config).await {
            Ok(done) => {
                let _unread = writeln!(std::io::stdout(), "{done}");
                ExitCode::SUCCESS
            }
            Err(fault) => {
                let _unread = writeln!(std::io::stderr(), "error: {fault:#}");
                match fault.downcast_ref() {
                    Some(CreateError::Taken(_)) => ExitCode::from(EX_CANTCREAT),
                    _ => ExitCode::FAILURE,
                }
            }
        }
    }
}

impl UserCommand {
    async fn run(self, config: &Config) -> anyhow::Result<String> {
        let audited = AuditMetrics::unregistered()?;
        let accounts = Accounts::new(config.database.pool(SERVICE)?, audited);
        let (username, role) = match self {
            Self::Create { username, role, name, password_file } => {
                let new = NewUser { username, role, name };
                create::create(&accounts, &new, &create::read_password(&password_file)?).await?;
                (new.username, role)
            }
            Self::Grant { username, role } => {
                accounts.grant(&username, role).await?;
                (username, role)
            }
        };
        Ok(format!("{username} has the role {role} now."))
    }
}
