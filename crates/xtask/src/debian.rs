//! Where this machine takes its packages from, and a private view of other releases: apt with lists of its own, which downloads and
//! installs nothing.
use crate::process::{command, run};
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// For machines that are no Debian, or have no mirror of their own.
const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The mirror this machine takes its packages from.
pub(crate) fn mirror() -> String {
    let mut files: Vec<PathBuf> =
        fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    files.sort();
    files.push("/etc/apt/sources.list".into());
    let texts: Vec<String> = files.into_iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    chosen(texts.iter().flat_map(|text| text.lines())).unwrap_or(DEFAULT_MIRROR).to_owned()
}

/// The first address that ends as Debian's do; or else the first one that is not for security updates.
fn chosen<'a>(lines: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let addresses: Vec<&str> = lines.filter_map(address_in).filter(|address| !address.contains("security")).collect();
    addresses.iter().find(|address| address.ends_with("/debian")).or(addresses.first()).copied()
}

/// The address in a line of either format.
fn address_in(line: &str) -> Option<&str> {
    let words = line.strip_prefix("URIs:").or_else(|| line.strip_prefix("deb "))?;
    words.split_whitespace().find(|word| word.contains("://")).map(|address| address.trim_end_matches('/'))
}

/// A view of some releases, below a directory.
pub(crate) struct View {
    directory: PathBuf,
}

impl View {
    /// Of these releases, `trixie-backports` for instance.
    pub(crate) fn new(directory: &Path, releases: &[&str]) -> Result<Self> {
        fs::create_dir_all(directory.join("lists/partial"))?;
        fs::create_dir_all(directory.join("archives/partial"))?;
        let mirror = mirror();
        let line = |release: &&str| format!("deb [signed-by={KEYRING}] {mirror} {release} main\n");
        fs::write(directory.join("sources.list"), releases.iter().map(line).collect::<String>())?;
        let options = format!(
            "Dir::State::Lists \"{0}/lists\";\nDir::Cache \"{0}\";\nDir::Etc::SourceList \"{0}/sources.list\";\n\
             Dir::Etc::SourceParts \"/dev/null\";\nDir::Etc::PreferencesParts \"/dev/null\";\nAPT::Sandbox::User \"root\";\n\
             Acquire::Languages \"none\";\n",
            directory.display()
        );
        fs::write(directory.join("apt.conf"), options)?;
        Ok(Self { directory: directory.to_owned() })
    }

    /// apt's tool of this name, looking at these releases.
    pub(crate) fn apt(&self, tool: &str, args: &[&str]) -> Command {
        let mut apt = command(tool, args);
        apt.env("APT_CONFIG", self.directory.join("apt.conf")).env("DEBIAN_FRONTEND", "noninteractive");
        apt
    }

    /// Fetches the lists of packages. A release that the mirror has no more only takes its packages away.
    pub(crate) fn update(&self) {
        if let Err(error) = run(self.apt("apt-get", &["--quiet=2", "update"])) {
            eprintln!("going on without some lists: {error:#}");
        }
    }

    /// The packages whose names match an expression.
    pub(crate) fn names(&self, expression: &str) -> Result<Vec<String>> {
        let mut search = self.apt("apt-cache", &["search", "--names-only", expression]);
        let output = search.output().context("cannot start apt-cache: this needs Debian's apt")?;
        if !output.status.success() {
            bail!("apt-cache search {expression}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Downloads packages into a directory, and says where each one is.
    pub(crate) fn download(&self, packages: &[String], into: &Path) -> Result<Vec<PathBuf>> {
        fs::create_dir_all(into)?;
        let names: Vec<&str> = packages.iter().map(String::as_str).collect();
        let mut download = self.apt("apt-get", &[&["--quiet=2", "download"], &names[..]].concat());
        download.current_dir(into);
        run(download)?;
        packages.iter().map(|package| file_of(package, into)).collect()
    }
}

/// The file of a package: its name, an underscore, version and architecture.
fn file_of(package: &str, directory: &Path) -> Result<PathBuf> {
    let prefix = format!("{package}_");
    let files = fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        files.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))).collect();
    found.sort();
    found.pop().with_context(|| format!("apt-get downloaded no {package} into {}", directory.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_read_from_both_formats_and_is_never_the_one_for_security() {
        let security = "URIs: http://mirror.example/debian-security";
        for (name, lines, want) in [
            (
                "deb822",
                &["Suites: bookworm", "URIs: http://mirror.example/debian"][..],
                Some("http://mirror.example/debian"),
            ),
            (
                "one line",
                &["deb [arch=amd64] https://mirror.example/debian/ bookworm main"],
                Some("https://mirror.example/debian"),
            ),
            ("security alone", &[security], None),
            ("a comment", &["# URIs: http://mirror.example/debian"], None),
            (
                "somebody else's first",
                &["deb https://packages.example/apt cloud main", "URIs: http://mirror.example/debian"],
                Some("http://mirror.example/debian"),
            ),
            (
                "an unusual name",
                &[security, "URIs: http://cache.example/debian-remote"],
                Some("http://cache.example/debian-remote"),
            ),
        ] {
            assert_eq!(chosen(lines.iter().copied()), want, "case: {name}");
        }
    }
}
