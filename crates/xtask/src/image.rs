//! `cargo xtask image`: the container image, FROM scratch, as an OCI archive. buildah makes it; no registry is asked for anything.
mod trial;

pub(crate) use trial::{TrialArgs, resolve};

use crate::dist;
use crate::ebpf_tools::target_directory;
use crate::preflight::is_root;
use crate::process::{command, run};
use anyhow::{Context, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes the container image and leaves it as `target/sheave-VERSION-ARCH.oci.tar`.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    dist: dist::Args,
    /// Take this static binary instead of building one.
    #[arg(long, value_name = "FILE", conflicts_with = "profile")]
    binary: Option<PathBuf>,
    /// Try the image out as well, in an empty root directory; needs root.
    #[arg(long)]
    r#try: bool,
}

/// What is made of the binary.
pub(crate) struct Image {
    /// The OCI archive.
    pub(crate) archive: PathBuf,
    /// The image's files, unpacked: what a container sees.
    pub(crate) root: PathBuf,
}

/// Builds binary and image, as asked.
///
/// # Errors
/// When one of them cannot be built, or does not work.
pub(crate) fn main(args: &Args) -> Result<()> {
    let binary = match &args.binary {
        Some(binary) => dist::take(binary)?,
        None => dist::main(&args.dist)?,
    };
    let image = build(&binary)?;
    if args.r#try { trial::try_out(&image.root) } else { Ok(()) }
}

/// The image of a binary that stands alone in its directory.
fn build(binary: &Path) -> Result<Image> {
    let context = binary.parent().context("invariant: the binary stands in a directory")?;
    let (version, arch) = (env!("CARGO_PKG_VERSION"), std::env::consts::ARCH);
    let name = format!("sheave:{version}");
    let archive = target_directory().join(format!("sheave-{version}-{arch}.oci.tar"));
    remove(&archive)?;
    let store = Store::new()?;
    let mut build = store.buildah(&["build", "--format", "oci", "--timestamp", "0", "--tag", &name]);
    build.args(["--file", "deploy/Containerfile"]).arg(context);
    run(build)?;
    let mut push = store.buildah(&["push", &name]);
    push.arg(format!("oci-archive:{}:{name}", archive.display()));
    run(push)?;
    let bytes = fs::metadata(&archive)?.len();
    println!("{}: {}.{} MB", archive.display(), bytes / 1_000_000, bytes / 100_000 % 10);
    let root = unpack(&archive)?;
    Ok(Image { archive, root })
}

/// Where buildah keeps what it is at work on, apart from what this machine has of its own; gone at the end.
struct Store(PathBuf);

impl Store {
    fn new() -> Result<Self> {
        let place = target_directory().join("buildah");
        remove(&place)?;
        fs::create_dir_all(&place)?;
        Ok(Self(place))
    }

    /// The driver `vfs` works on every file system, an overlay among them. Nothing is run in the image, so nothing has to be isolated.
    fn buildah(&self, args: &[&str]) -> Command {
        let mut command = command("buildah", &["--storage-driver", "vfs"]);
        command.arg("--root").arg(self.0.join("root")).arg("--runroot").arg(self.0.join("run")).args(args);
        command
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // What is left is thrown away by the next run.
        let _unused = fs::remove_dir_all(&self.0);
    }
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

/// Unpacks the layers of an archive, lowest first, by the index, the manifest and the layers it names.
fn unpack(archive: &Path) -> Result<PathBuf> {
    let place = target_directory().join("image");
    remove(&place)?;
    let (layout, root) = (place.join("layout"), place.join("root"));
    for directory in [&layout, &root] {
        fs::create_dir_all(directory)?;
    }
    run(tar(archive, &layout))?;
    let read = |path: PathBuf| -> Result<serde_json::Value> {
        serde_json::from_slice(&fs::read(&path)?).with_context(|| path.display().to_string())
    };
    let blob = |digest: &serde_json::Value| -> Result<PathBuf> {
        let digest = digest["digest"].as_str().context("a descriptor without digest")?;
        Ok(layout.join("blobs").join(digest.replace(':', "/")))
    };
    let index = read(layout.join("index.json"))?;
    let manifest = read(blob(&index["manifests"][0])?)?;
    let layers = manifest["layers"].as_array().context("a manifest without layers")?;
    ensure!(layers.len() == 1, "{} layers, not the binary's alone", layers.len());
    for layer in layers {
        run(tar(&blob(layer)?, &root))?;
    }
    Ok(root)
}

fn tar(archive: &Path, to: &Path) -> Command {
    let mut command = command("tar", &["--extract", "--file"]);
    command.arg(archive).arg("--directory").arg(to);
    command
}

/// The stage: the image is made, and its binary does its work where nothing else is.
///
/// # Errors
/// When the image cannot be made, or something does not work in it.
pub(crate) fn stage() -> Result<()> {
    let binary = dist::main(&dist::Args { profile: STAGE_PROFILE.to_owned() })?;
    let image = build(&binary)?;
    ensure!(image.archive.is_file(), "buildah left no archive");
    if !is_root() {
        println!("the image is made; trying it needs root, for chroot(2)");
        return Ok(());
    }
    trial::try_out(&image.root)
}

/// Minutes faster to make than `dist`, and static in the same way.
const STAGE_PROFILE: &str = "release";
