//! The command line.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use futures_util::FutureExt as _;
use proto_contracts::Role;
use service_kit::cli::{Probe, ProbeArgs};

use crate::config::{Config, SERVICE};
use crate::domain::account::{DisplayName, Username};
use crate::domain::audit::Initiator;
use crate::store::accounts::{Accounts, InviteError};
use crate::store::audit::AuditMetrics;

mod create;
mod import;

use create::{CreateError, NewUser};
use import::{ImportArgs, Incomplete};

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
    /// Import users and products of the legacy API (Phase 1). What is here stays as it is.
    ///
    /// Nothing is imported from files with an invalid row, unless --skip-invalid leaves it out.
    /// Repeated, it imports what is missing. Imported users have no password.
    ///
    /// Exits with 73 when something else is here under an id, and with 1 for any other fault.
    Import(ImportArgs),
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
    /// Invite a user without a password, such as an imported one, to set one. Prints the code, which
    /// ends an earlier one of the user. It can be used once, for 7 days.
    ///
    /// Exits with 73 when the user has a password, and with 1 for any other fault.
    Invite {
        /// The username.
        username: Username,
    },
    /// Give a registered user a role, such as the first admin.
    Grant {
        /// The username.
        username: Username,
        /// user, instructor or admin.
        role: Role,
    },
}

/// Exit status when a username or an id is taken: `EX_CANTCREAT` of `sysexits.h`.
const EX_CANTCREAT: u8 = 73;

/// Parses the command line. Exits on `--help`, `--version` and unknown arguments.
pub fn parse() -> (Option<Probe>, Option<Command>) {
    let Arguments { probe, command } = Arguments::parse();
    (probe.probe(), command)
}

impl Command {
    /// Runs it. Prints the result, or the fault to standard error.
    pub async fn run(self, config: &Config) -> ExitCode {
        let done = match self {
            Self::User(command) => command.run(config).await,
            // Boxed: its type is nested deeper than the compiler allows.
            Self::Import(import) => import.run(config).boxed_local().await,
        };
        match done {
            Ok(done) => {
                let _unread = writeln!(std::io::stdout(), "{done}");
                ExitCode::SUCCESS
            }
            Err(fault) => {
                let _unread = writeln!(std::io::stderr(), "error: {fault:#}");
                let is_taken = matches!(fault.downcast_ref(), Some(InviteError::HasPassword))
                    || matches!(fault.downcast_ref(), Some(CreateError::Taken(_)))
                    || matches!(fault.downcast_ref(), Some(Incomplete::Conflicts(_)));
                if is_taken { ExitCode::from(EX_CANTCREAT) } else { ExitCode::FAILURE }
            }
        }
    }
}

impl UserCommand {
    async fn run(self, config: &Config) -> anyhow::Result<String> {
        let audited = AuditMetrics::unregistered()?;
        let accounts = Accounts::new(config.database.pool(SERVICE)?, audited);
        let (username, role) = match self {
            Self::Invite { username } => {
                let invited = accounts.invite(&username, &Initiator::operator()).await?;
                let until = invited.expires_at.strftime("%Y-%m-%d %H:%M UTC");
                // Only the code is on standard output.
                let note = format!("{username} sets a password with this code until {until}:");
                let _unread = writeln!(std::io::stderr(), "{note}");
                return Ok(invited.code.expose());
            }
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
