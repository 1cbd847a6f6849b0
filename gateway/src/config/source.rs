//! Where the configuration comes from.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError};

/// Looks up an environment variable.
type Environment = dyn Fn(&str) -> Option<String> + Send + Sync;

/// A file and an environment; a reload reads them again.
pub struct Source {
    path: PathBuf,
    environment: Box<Environment>,
}

impl Source {
    /// This file, with overrides from this environment.
    pub fn new(
        path: impl Into<PathBuf>,
        environment: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { path: path.into(), environment: Box::new(environment) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Loads the current configuration.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn load(&self) -> Result<Config, ConfigError> {
        Config::load(&self.path, &self.environment)
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Source").field(&self.path).finish()
    }
}
