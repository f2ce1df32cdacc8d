//! The programs that bring a layout into the kernel: where they are, which version, and what to install when one is missing.
use sheave_core::Family;
use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where administration programs lie, also when PATH does not say so.
const ALSO: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// Which kernel interface iptables speaks.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Variant {
    /// x_tables: whole tables are exchanged.
    Legacy,
    /// nf_tables.
    Nft,
}

/// A program a baseline runs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Tool {
    /// `iptables-restore` of one variant and family.
    Restore(Variant, Family),
    /// `iptables-save` of one variant and family.
    Save(Variant, Family),
    /// `nft`.
    Nft,
}

/// A program that is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// Which one.
    pub tool: Tool,
    /// Its file.
    pub path: PathBuf,
    /// The first line it prints when asked for its version.
    pub version: String,
}

/// A program that is not there.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{program} is not installed: install the package {package}")]
pub struct Missing {
    /// Its name.
    pub program: &'static str,
    /// The package of most distributions that has it.
    pub package: &'static str,
}

impl Tool {
    /// The name of its file. Always the variant's own name: what `iptables-restore` means is a matter of the machine.
    #[must_use]
    pub fn program(self) -> &'static str {
        match self {
            Self::Restore(Variant::Legacy, Family::V4) => "iptables-legacy-restore",
            Self::Restore(Variant::Legacy, Family::V6) => "ip6tables-legacy-restore",
            Self::Restore(Variant::Nft, Family::V4) => "iptables-nft-restore",
            Self::Restore(Variant::Nft, Family::V6) => "ip6tables-nft-restore",
            Self::Save(Variant::Legacy, Family::V4) => "iptables-legacy-save",
            Self::Save(Variant::Legacy, Family::V6) => "ip6tables-legacy-save",
            Self::Save(Variant::Nft, Family::V4) => "iptables-nft-save",
            Self::Save(Variant::Nft, Family::V6) => "ip6tables-nft-save",
            Self::Nft => "nft",
        }
    }

    /// The package that has it.
    #[must_use]
    pub fn package(self) -> &'static str {
        match self {
            Self::Restore(..) | Self::Save(..) => "iptables",
            Self::Nft => "nftables",
        }
    }

    /// The arguments with which it reads a script, as kube-proxy gives them (`pkg/util/iptables/iptables.go`; knftables).
    #[must_use]
    pub fn args(self) -> &'static [&'static str] {
        match self {
            Self::Restore(..) => &["-w", "5", "--noflush", "--counters"],
            Self::Save(..) => &[],
            Self::Nft => &["-f", "-"],
        }
    }

    /// Looks for it in PATH and where administration programs usually lie.
    ///
    /// # Errors
    /// It is nowhere, or it does not start.
    pub fn find(self) -> Result<Found, Missing> {
        let missing = Missing { program: self.program(), package: self.package() };
        let paths = env::var_os("PATH").unwrap_or_default();
        let dirs = env::split_paths(&paths).chain(ALSO.iter().map(PathBuf::from));
        let files = dirs.map(|dir| dir.join(self.program()));
        let mut found =
            files.filter(|path| path.is_file()).filter_map(|path| version(&path).map(|version| (path, version)));
        let (path, version) = found.next().ok_or(missing)?;
        Ok(Found { tool: self, path, version })
    }
}

fn version(path: &Path) -> Option<String> {
    let output = Command::new(path).arg("--version").stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    output.status.success().then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let missing = Missing { program: Tool::Nft.program(), package: Tool::Nft.package() };
        assert_eq!(missing.to_string(), "nft is not installed: install the package nftables");
        let legacy = Tool::Restore(Variant::Legacy, Family::V6);
        assert_eq!((legacy.program(), legacy.package()), ("ip6tables-legacy-restore", "iptables"));
    }
}
