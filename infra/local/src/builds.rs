//! The workspace's binaries.

use std::env;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::StackError;

/// The folder that holds one profile's binaries, such as `target/release`.
#[derive(Clone, Debug)]
pub struct Builds {
    dir: PathBuf,
}

impl Builds {
    /// The binaries of the current executable's build profile, whether it is a program or a test.
    pub fn beside_current_exe() -> io::Result<Self> {
        let exe = env::current_exe()?;
        let dir = exe.parent().unwrap_or(Path::new("/"));
        // Tests and examples lie one level below the binaries.
        let nested = dir.file_name().is_some_and(|name| name == "deps" || name == "examples");
        let dir = if nested { dir.parent().unwrap_or(dir) } else { dir };
        Ok(Self { dir: dir.to_owned() })
    }

    /// The binaries in that folder.
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A folder of the target directory for caches.
    pub(crate) fn cache_dir(&self) -> PathBuf {
        self.dir.parent().unwrap_or(&self.dir).join("local-stack")
    }

    /// One of the workspace's binaries.
    ///
    /// # Errors
    /// [`StackError::NotBuilt`] with the command that builds it.
    pub fn binary(&self, name: &'static str) -> Result<PathBuf, StackError> {
        let path = self.dir.join(name);
        if path.is_file() {
            return Ok(path);
        }
        let profile = match self.dir.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => String::new(),
            Some("release") => " --release".to_owned(),
            Some(profile) => format!(" --profile {profile}"),
        };
        let what = match name.strip_suffix("-broken") {
            None => "--workspace --bins".to_owned(),
            Some(package) => format!("--workspace --features {package}/broken --bin {name}"),
        };
        let command = format!("cargo build {what}{profile}");
        Err(StackError::NotBuilt { name, dir: self.dir.clone(), command })
    }

    /// The `local-stack` binary, which starts every child.
    pub(crate) fn shim(&self) -> Result<PathBuf, StackError> {
        const NAME: &str = "local-stack";
        // Not its path: a new build may have replaced that file.
        let is_self = env::current_exe().is_ok_and(|exe| {
            exe.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.trim_end_matches(" (deleted)") == NAME)
        });
        if is_self { Ok(PathBuf::from("/proc/self/exe")) } else { self.binary(NAME) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_binary_names_the_command_that_builds_it() {
        let missing =
            |dir: &str| Builds::in_dir(dir).binary("gateway").expect_err("missing").to_string();
        assert!(
            missing("/missing/debug").ends_with("`cargo build --workspace --bins`"),
            "{}",
            missing("/missing/debug")
        );
        assert!(missing("/missing/release").contains("cargo build --workspace --bins --release"));
        assert!(missing("/missing/dist").contains("--profile dist"));
    }

    #[test]
    fn a_test_finds_its_own_profile() {
        let builds = Builds::beside_current_exe().expect("an executable");
        assert!(!builds.dir().ends_with("deps"), "{builds:?}");
    }
}
