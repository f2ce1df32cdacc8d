//! A kernel of Debian's: found by the beginning of its version, downloaded, unpacked into the cache, never installed.
use super::cpio::Archive;
use crate::debian::View;
use crate::process::{command, run};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Whose kernels are looked at.
const RELEASES: [&str; 6] = ["bullseye", "bookworm", "bookworm-backports", "trixie", "trixie-backports", "sid"];
/// What the first process needs before it has the host's root: its bus, the host's file system, and copy on write.
const FIRST_MODULES: [&str; 4] = ["virtio_pci", "9p", "9pnet_virtio", "overlay"];
/// The parts of a kernel that a guest may want. Sound and graphics are most of the rest.
const PARTS: [&str; 20] = [
    "*/vmlinuz*",
    "*/modules.builtin*",
    "*/modules.order",
    "*/kernel/arch/*",
    "*/kernel/crypto/*",
    "*/kernel/fs/9p/*",
    "*/kernel/fs/fscache/*",
    "*/kernel/fs/netfs/*",
    "*/kernel/fs/overlayfs/*",
    "*/kernel/lib/*",
    "*/kernel/net/*",
    "*/kernel/drivers/virtio/*",
    "*/kernel/drivers/net/bonding/*",
    "*/kernel/drivers/net/ipvlan/*",
    "*/kernel/drivers/net/vxlan/*",
    "*/kernel/drivers/net/wireguard/*",
    "*/kernel/drivers/net/[a-z]*.ko*",
    "*/kernel/net",
    "*/kernel/lib",
    "*/boot",
];
const BUSYBOX: &str = "busybox-static";

/// A kernel that is ready to boot.
pub(super) struct Kernel {
    /// What `uname -r` says in the guest.
    pub(super) release: String,
    pub(super) directory: PathBuf,
}

impl Kernel {
    pub(super) fn image(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    pub(super) fn first_root(&self) -> PathBuf {
        self.directory.join("initrd")
    }
}

/// The newest kernel whose version begins so, `6.12` for instance: from the cache if it has one, or else from Debian.
pub(super) fn get(version: &str, cache: &Path) -> Result<Kernel> {
    ensure!(
        !version.is_empty()
            && version.split('.').all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit())),
        "{version:?} is no version of Linux: numbers with dots, 6.12 for instance"
    );
    fs::create_dir_all(cache.join("kernels"))?;
    // Two that want the same kernel: the second one finds it.
    let lock = fs::File::create(cache.join("lock"))?;
    lock.lock()?;
    let cached =
        fs::read_dir(cache.join("kernels"))?.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let release = match newest(version, cached) {
        Some(release) => release,
        None => fetch(version, cache)?,
    };
    Ok(Kernel { directory: cache.join("kernels").join(&release), release })
}

fn fetch(version: &str, cache: &Path) -> Result<String> {
    eprintln!("vm: looking for Linux {version} at Debian");
    let view = View::new(&cache.join("apt"), &RELEASES)?;
    view.update();
    let names = view.names(&format!("^linux-(image|binary|modules)-{}[.-]", version.replace('.', "\\.")))?;
    let releases = names
        .iter()
        .filter_map(|name| name.strip_prefix("linux-image-"))
        .filter_map(|name| name.strip_suffix("-amd64"));
    let Some(release) = newest(version, releases.map(|release| format!("{release}-amd64"))) else {
        bail!("none of {} has a kernel {version}; `apt-cache search` there knows {names:?}", RELEASES.join(", "));
    };
    // Image and modules in one package, or, since 6.19, in one each that the first one depends on.
    let known: BTreeSet<&String> = names.iter().collect();
    let parts = ["image", "binary", "modules"].map(|part| format!("linux-{part}-{release}"));
    let packages: Vec<String> =
        parts.into_iter().filter(|package| known.contains(package)).chain([BUSYBOX.to_owned()]).collect();
    eprintln!("vm: downloading {}", packages.join(", "));
    let files = view.download(&packages, &cache.join("packages"))?;
    let unfinished = tempfile::Builder::new().prefix(".unpacking-").tempdir_in(cache)?;
    files.iter().try_for_each(|file| unpack(file, unfinished.path()))?;
    prepare(&release, unfinished.path())?;
    fs::rename(unfinished.keep(), cache.join("kernels").join(&release))
        .context("cannot put the kernel into the cache")?;
    Ok(release)
}

/// The release with the highest version that begins with the wanted one. Kernels for the cloud have no 9p, real-time ones are others.
fn newest(wanted: &str, releases: impl Iterator<Item = String>) -> Option<String> {
    let fits = |release: &String| {
        let plain =
            release.strip_suffix("-amd64").is_some_and(|rest| !rest.ends_with("-cloud") && !rest.ends_with("-rt"));
        plain && release.strip_prefix(wanted).is_some_and(|rest| rest.starts_with(['.', '-', '+']))
    };
    releases.filter(fits).max_by_key(|release| numbers(release))
}

fn numbers(release: &str) -> Vec<u64> {
    release.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

/// The wanted parts of a package, in a directory.
fn unpack(package: &Path, into: &Path) -> Result<()> {
    let mut unpacked =
        Command::new("dpkg-deb").arg("--fsys-tarfile").arg(package).stdout(std::process::Stdio::piped()).spawn()?;
    let pipe = unpacked.stdout.take().context("invariant: its output was asked for")?;
    let mut tar = command("tar", &["--extract", "--wildcards", "--directory"]);
    tar.arg(into).args(["*/bin/busybox"]).args(PARTS).stdin(pipe).stderr(std::process::Stdio::null());
    // tar fails when a pattern matches nothing, and no package has all parts: whether they are there is looked at in the end.
    tar.status().context("cannot start tar")?;
    ensure!(unpacked.wait()?.success(), "dpkg-deb cannot read {}", package.display());
    Ok(())
}

/// From unpacked packages to what [`Kernel`] promises.
fn prepare(release: &str, directory: &Path) -> Result<()> {
    let merged = directory.join("usr/lib/modules");
    if merged.is_dir() {
        fs::create_dir_all(directory.join("lib"))?;
        fs::rename(merged, directory.join("lib/modules"))?;
    }
    let image = [
        format!("boot/vmlinuz-{release}"),
        format!("usr/lib/modules/{release}/vmlinuz"),
        format!("lib/modules/{release}/vmlinuz"),
    ];
    let image = image.iter().map(|path| directory.join(path)).find(|path| path.is_file());
    fs::rename(image.context("the packages hold no vmlinuz")?, directory.join("vmlinuz"))?;
    let mut depmod = command("depmod", &["-b"]);
    depmod.arg(directory).arg(release);
    run(depmod)?;
    fs::write(directory.join("initrd"), first_root(release, directory)?)?;
    Ok(())
}

fn first_root(release: &str, directory: &Path) -> Result<Vec<u8>> {
    let busybox = ["bin/busybox", "usr/bin/busybox"].iter().find_map(|path| fs::read(directory.join(path)).ok());
    let mut archive = Archive::default();
    ["bin", "modules"].into_iter().for_each(|name| archive.directory(name));
    archive.file("bin/busybox", &busybox.with_context(|| format!("{BUSYBOX} holds no busybox"))?);
    archive.file("init", include_bytes!("init.sh"));
    for (index, module) in first_modules(release, directory)?.iter().enumerate() {
        let name = Path::new(module).file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = name.trim_end_matches(".xz").to_owned();
        archive.file(&format!("modules/{index:02}-{name}"), &decompressed(module)?);
    }
    Ok(archive.finish())
}

/// The files of the first modules and of what they need, in the order in which they have to be loaded.
fn first_modules(release: &str, directory: &Path) -> Result<Vec<String>> {
    let mut files: Vec<String> = Vec::new();
    for module in FIRST_MODULES {
        let mut modprobe = command("modprobe", &["--show-depends", "--set-version", release, "--dirname"]);
        let output = modprobe.arg(directory).arg(module).output().context("cannot start modprobe")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // What is built in is said so, and nothing is to be loaded.
        for file in text.lines().filter_map(|line| line.strip_prefix("insmod ")).map(str::trim) {
            if !files.iter().any(|held| held == file) {
                files.push(file.to_owned());
            }
        }
    }
    Ok(files)
}

fn decompressed(module: &str) -> Result<Vec<u8>> {
    if Path::new(module).extension().is_none_or(|extension| extension != "xz") {
        return fs::read(module).with_context(|| format!("cannot read {module}"));
    }
    let output = command("xz", &["--decompress", "--stdout", module]).output().context("cannot start xz")?;
    ensure!(output.status.success(), "xz {module}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_names_its_newest_plain_kernel() {
        let releases = [
            "5.10.0-30-amd64",
            "5.10.0-32-amd64",
            "6.1.0-50-amd64",
            "6.12.95+deb12-amd64",
            "6.12.107+deb13-amd64",
            "6.12.108+deb13-cloud-amd64",
            "6.12.108+deb13-rt-amd64",
            "7.2.13+deb14-amd64",
            "7.3.4+deb13-amd64",
        ];
        for (wanted, want) in [
            ("5.10", Some("5.10.0-32-amd64")),
            ("6.1", Some("6.1.0-50-amd64")),
            ("6.12", Some("6.12.107+deb13-amd64")),
            ("6.12.95", Some("6.12.95+deb12-amd64")),
            ("7", Some("7.3.4+deb13-amd64")),
            ("6", Some("6.12.107+deb13-amd64")),
            ("5.1", None),
        ] {
            let got = newest(wanted, releases.iter().map(|&release| release.to_owned()));
            assert_eq!(got.as_deref(), want, "wanted: {wanted}");
        }
    }

    #[test]
    fn what_is_no_version_is_refused_before_anything_is_made() {
        for version in ["", "6.", "../6.1", "newest", "6.1-rc1"] {
            let error = get(version, Path::new("/nowhere")).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("is no version of Linux"), "{version:?}: {error}");
        }
    }
}
