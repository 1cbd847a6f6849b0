//! Runs the whole system as processes on one machine: two Redis, PostgreSQL, instances of both
//! services, the gateway and Nginx.
//!
//! `make up`, the end-to-end tests and everything else that needs a running system use it through
//! [`Stack`]:
//!
//! ```no_run
//! # async fn example() -> Result<(), local_stack::StackError> {
//! use local_stack::{Stack, Store};
//!
//! let stack = Stack::for_tests().stateful(3).store(Store::Redis).start().await?;
//! stack.kill("stateful-2").await?;
//! stack.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! Each program is started by the `local-stack` binary: it requests a signal for the death of its
//! parent, then executes the program. So tests need the workspace's binaries.

mod admin;
mod agent;
mod agent_client;
mod builds;
mod class;
mod cli;
mod component;
mod driver;
mod error;
mod exporters;
mod gateway;
mod http;
mod nginx;
mod plan;
mod port_offset;
mod port_owner;
mod ports;
mod postgres;
mod process;
mod programs;
mod prometheus;
mod ready;
mod redis;
mod reply_cutter;
mod secrets;
mod services;
mod settings;
mod shared_memory;
mod small_disk;
mod stack;
mod supervisor;
mod tls;
mod token_keys;
mod topology;
mod urls;

pub use admin::admin_of;
pub use agent_client::AgentClient;
pub use builds::Builds;
pub use class::Classroom;
pub use cli::Cli;
pub use error::{LogTail, StackError};
pub use gateway::Control;
pub use plan::{Plan, Progress};
pub use port_offset::FreeOffset;
pub use port_owner::PortOwner;
pub use ports::Ports;
pub use programs::find_program;
pub use reply_cutter::ReplyCutter;
pub use small_disk::SmallDisk;
pub use stack::Stack;
pub use stack::second_gateway::SecondGateway;
pub use topology::{Extent, Gateways, Store, Topology};
