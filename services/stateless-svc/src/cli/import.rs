//! `import`: users and products of the legacy API, from the files that it was started with.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use futures_util::FutureExt as _;
use prometheus::Registry;
use service_kit::redis::RedisTimeouts;

use crate::config::{Config, SERVICE};
use crate::domain::import::{Fate, NewUser};
use crate::domain::product::NewProduct;
use crate::store::cache::DocumentCache;
use crate::store::database::Database;
use crate::store::imports::{ImportError, Imports};

mod elements;
mod fields;
mod report;
mod rows;

use report::{Counts, Place, Progress, Report};
use rows::{Row, Rows};

/// Rows of one transaction: a few hundredths of a second, and few enough locks.
const BATCH: usize = 500;

/// What to import.
#[derive(Args)]
pub struct ImportArgs {
    /// A JSON array of users: {"id": "ada", "name": "Ada", "role": "user"}.
    #[arg(long, value_name = "FILE", required_unless_present = "products")]
    users: Option<PathBuf>,
    /// A JSON array of products: {"id": "p1", "name": "Bell", "price": 14.9, "stock": 3}.
    #[arg(long, value_name = "FILE")]
    products: Option<PathBuf>,
    /// Import the valid rows of files that have invalid ones, too.
    #[arg(long)]
    skip_invalid: bool,
    /// List what becomes of each row in this file; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// Why an import was not complete.
#[derive(Debug, thiserror::Error)]
pub(super) enum Incomplete {
    #[error("nothing was imported, since {0} rows are invalid; --skip-invalid leaves them out")]
    Invalid(u64),
    #[error("{0} rows differ from what is here, which stays as it is")]
    Conflicts(u64),
}

impl ImportArgs {
    /// Reads and checks all files, and imports them if they are valid. Returns a summary.
    pub(super) async fn run(self, config: &Config) -> anyhow::Result<String> {
        let mut report = Report::open(self.report.as_deref())?;
        let users = self.users.as_deref().map(Rows::<NewUser>::read).transpose()?;
        let products = self.products.as_deref().map(Rows::<NewProduct>::read).transpose()?;
        let mut invalid = 0;
        if let Some(rows) = &users {
            invalid += list_invalid(rows, &mut report)?;
        }
        if let Some(rows) = &products {
            invalid += list_invalid(rows, &mut report)?;
        }
        if invalid > 0 && !self.skip_invalid {
            report.finish()?;
            return Err(Incomplete::Invalid(invalid).into());
        }
        let imports = imports(config)?;
        let (mut summary, mut conflicts) = (Vec::new(), 0);
        if let Some(rows) = &users {
            // Boxed, here and by the caller: the type is nested deeper than the compiler allows.
            let import = async |batch: &[&NewUser]| imports.users(batch).boxed_local().await;
            let counts = import_all(rows, import, &mut report).await?;
            summary.push(summarize(&rows.file, &counts));
            conflicts += counts.conflicts;
        }
        if let Some(rows) = &products {
            let import = async |batch: &[&NewProduct]| imports.products(batch).boxed_local().await;
            let counts = import_all(rows, import, &mut report).await?;
            summary.push(summarize(&rows.file, &counts));
            conflicts += counts.conflicts;
        }
        report.finish()?;
        let summary = summary.join("\n");
        if conflicts > 0 {
            let _unread = writeln!(std::io::stdout(), "{summary}");
            return Err(Incomplete::Conflicts(conflicts).into());
        }
        Ok(summary)
    }
}

fn imports(config: &Config) -> anyhow::Result<Imports> {
    let redis = config.cache.pool(RedisTimeouts::CACHE)?;
    // Its counters are read by nobody.
    let cache = Arc::new(DocumentCache::new(redis, &Registry::new())?);
    Ok(Imports::new(Database::new(config.database.pool(SERVICE)?), cache))
}

fn list_invalid<T: Row>(rows: &Rows<T>, report: &mut Report) -> anyhow::Result<u64> {
    for (line, faults) in &rows.invalid {
        report.invalid(Place(&rows.file, *line), faults)?;
    }
    Ok(u64::try_from(rows.invalid.len())?)
}

async fn import_all<T: Row>(
    rows: &Rows<T>,
    import: impl AsyncFn(&[&T]) -> Result<Vec<Fate>, ImportError>,
    report: &mut Report,
) -> anyhow::Result<Counts> {
    let invalid = u64::try_from(rows.invalid.len())?;
    let mut counts = Counts { invalid, ..Counts::default() };
    let mut progress = Progress::new(&rows.file, rows.valid.len());
    for batch in rows.valid.chunks(BATCH) {
        let batch_rows: Vec<_> = batch.iter().map(|(_, row)| row).collect();
        let fates = import(&batch_rows).await.map_err(|error| {
            let fault =
                format!("{}: {counts}, and then the import ended; repeat it", rows.file.display());
            anyhow::Error::new(error).context(fault)
        })?;
        for ((line, row), fate) in batch.iter().zip(&fates) {
            counts.add(fate);
            report.row(Place(&rows.file, *line), row.id(), fate)?;
        }
        progress.advance(batch.len());
    }
    Ok(counts)
}

fn summarize(file: &Path, counts: &Counts) -> String {
    format!("{}: {counts}.", file.display())
}
