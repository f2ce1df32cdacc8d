//! What the machine must have before anything is built: each thing with the command that brings it.
use crate::debian::View;
use crate::ebpf_tools::{TOOLCHAIN, target_directory};
use crate::process::{command, run, succeeds};
use anyhow::{Context as _, Result, bail};
use std::path::Path;
use std::process::Command;

/// Something this workspace needs from outside Cargo.
struct Need {
    /// Says whether it is there.
    present: fn() -> bool,
    /// What brings it.
    from: From,
    /// What needs it.
    why: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// A Debian package.
    Debian(&'static str),
    /// A Debian package, as new as there is one for this release: others that are installed may be as well.
    Backports(&'static str),
    /// A component of the Rust toolchain.
    Component(&'static str),
    /// A Rust toolchain.
    Toolchain(&'static str),
}

const NEEDS: &[Need] = &[
    Need { present: || in_path("cc"), from: From::Debian("gcc"), why: "links Rust programs and compiles ring" },
    Need {
        present: || Path::new("/usr/include/stdio.h").exists(),
        from: From::Debian("libc6-dev"),
        why: "the C library to link with",
    },
    Need {
        present: || in_path("iptables-legacy-restore") && in_path("iptables-nft-restore"),
        from: From::Debian("iptables"),
        why: "loads the rules that sheave is compared with",
    },
    Need {
        present: || in_path("nft"),
        from: From::Debian("nftables"),
        why: "loads the rules that sheave is compared with",
    },
    Need { present: || in_path("buildah"), from: From::Debian("buildah"), why: "makes the container image" },
    Need {
        present: || in_path("ip"),
        from: From::Debian("iproute2"),
        why: "makes devices in tests, and tells what a run leaves behind",
    },
    Need {
        present: || in_path("bpftool"),
        from: From::Debian("bpftool"),
        why: "tells which programs and links a run leaves behind",
    },
    Need { present: || in_path("ipset"), from: From::Debian("ipset"), why: "tells which sets a run leaves behind" },
    Need {
        present: || in_path("conntrack"),
        from: From::Debian("conntrack"),
        why: "empties connection tracking in tests",
    },
    Need { present: || in_path("ethtool"), from: From::Debian("ethtool"), why: "turns offloads off in tests" },
    Need { present: || in_path("wg"), from: From::Debian("wireguard-tools"), why: "makes tunnels in tests" },
    Need {
        present: || in_path("modprobe"),
        from: From::Debian("kmod"),
        why: "finds what a kernel for virtual machines needs to boot",
    },
    Need {
        present: || in_path("xz"),
        from: From::Debian("xz-utils"),
        why: "unpacks modules of kernels for virtual machines",
    },
    Need {
        present: || in_path("qemu-system-x86_64"),
        from: From::Backports("qemu-system-x86"),
        why: "runs other kernels",
    },
    Need {
        present: || succeeds("cargo", &["fmt", "--version"]),
        from: From::Component("rustfmt"),
        why: "checks the format",
    },
    Need { present: || succeeds("cargo", &["clippy", "--version"]), from: From::Component("clippy"), why: "lints" },
    Need {
        present: pinned_toolchain,
        from: From::Toolchain(TOOLCHAIN),
        why: "builds the kernel programs, byte for byte the same everywhere",
    },
];

/// Asked of the list: naming a toolchain that is not there makes rustup download it.
fn pinned_toolchain() -> bool {
    let list = command("rustup", &["toolchain", "list"]).output();
    list.is_ok_and(|list| String::from_utf8_lossy(&list.stdout).lines().any(|line| line.starts_with(TOOLCHAIN)))
}

/// Whether this process may load kernel programs and make namespaces.
pub(crate) fn is_root() -> bool {
    // The effective uid is the second of the four that the kernel prints.
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| {
        let uids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        uids.and_then(|uids| uids.split_whitespace().nth(1)) == Some("0")
    })
}

/// Checks every need; with `install`, brings what is missing and checks again.
///
/// # Errors
/// Names each missing thing, what needs it, and the commands that bring it.
pub(crate) fn check(install: bool) -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let commands = commands(&missing, is_root());
    if install {
        for line in &commands {
            println!("+ {}", line.join(" "));
            run(to_command(line))?;
        }
        install_backports(&missing)?;
        return check(false);
    }
    let mut text = String::from("missing on this machine:\n");
    for need in &missing {
        text += &format!("  {} ({})\n", need.from.name(), need.why);
    }
    text += "install it with\n";
    for line in commands {
        text += &format!("  {}\n", line.join(" "));
    }
    for name in backports(&missing) {
        text += &format!("  {name} of your release's backports, if the release's own clashes with what is installed\n");
    }
    bail!("{text}or let `cargo xtask test --install` do it");
}

fn missing() -> Vec<&'static Need> {
    NEEDS.iter().filter(|need| !(need.present)()).collect()
}

impl From {
    fn name(self) -> &'static str {
        match self {
            Self::Debian(name) | Self::Backports(name) | Self::Component(name) | Self::Toolchain(name) => name,
        }
    }
}

/// The commands that bring what is missing, in order.
fn commands(missing: &[&Need], root: bool) -> Vec<Vec<&'static str>> {
    let of = |name: fn(From) -> Option<&'static str>| missing.iter().filter_map(|need| name(need.from)).collect();
    let debian: Vec<_> = of(|from| if let From::Debian(name) = from { Some(name) } else { None });
    let components: Vec<_> = of(|from| if let From::Component(name) = from { Some(name) } else { None });
    let toolchains: Vec<_> = of(|from| if let From::Toolchain(name) = from { Some(name) } else { None });
    let apt: &[&str] = if root { &["apt-get"] } else { &["sudo", "apt-get"] };
    let mut commands = Vec::new();
    if !debian.is_empty() {
        commands.push([apt, &["update"]].concat());
        commands.push([apt, &["install", "--yes", "--no-install-recommends"], &debian].concat());
    }
    if !components.is_empty() {
        commands.push([&["rustup", "component", "add"][..], &components].concat());
    }
    if !toolchains.is_empty() {
        commands.push([&["rustup", "toolchain", "install", "--profile", "minimal"][..], &toolchains].concat());
    }
    commands
}

fn backports<'a>(missing: &'a [&Need]) -> impl Iterator<Item = &'static str> + 'a {
    missing.iter().filter_map(|need| if let From::Backports(name) = need.from { Some(name) } else { None })
}

/// By a view of apt that has the backports, whether this machine's own lists have them or not.
fn install_backports(missing: &[&Need]) -> Result<()> {
    let names: Vec<&str> = backports(missing).collect();
    if names.is_empty() {
        return Ok(());
    }
    let os = std::fs::read_to_string("/etc/os-release").context("cannot tell which release of Debian this is")?;
    let release = os.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let release = release.context("/etc/os-release names no release of Debian")?;
    let backports = format!("{release}-backports");
    let view = View::new(&std::path::absolute(target_directory())?.join("apt"), &[release, &backports])?;
    view.update();
    let install = ["install", "--yes", "--no-install-recommends", "--target-release", &backports];
    run(view.apt("apt-get", &[&install[..], &names].concat()))
}

fn to_command(line: &[&str]) -> Command {
    let (program, args) = line.split_first().expect("invariant: no command is empty");
    let mut command = command(program, args);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(from: From) -> Need {
        Need { present: || false, from, why: "a test" }
    }

    #[test]
    fn missing_things_become_the_exact_commands_that_bring_them() {
        let needs = [
            need(From::Debian("gcc")),
            need(From::Component("clippy")),
            need(From::Debian("llvm")),
            need(From::Toolchain("1.2.3")),
        ];
        let [gcc, clippy, llvm, rust] = &needs;
        for (name, missing, root, want) in [
            ("nothing", &[][..], true, ""),
            (
                "packages, as root",
                &[gcc, llvm],
                true,
                "apt-get update; apt-get install --yes --no-install-recommends gcc llvm",
            ),
            (
                "packages, as a user",
                &[llvm],
                false,
                "sudo apt-get update; sudo apt-get install --yes --no-install-recommends llvm",
            ),
            ("a component needs no root", &[clippy], false, "rustup component add clippy"),
            ("a toolchain", &[rust], true, "rustup toolchain install --profile minimal 1.2.3"),
        ] {
            let got: Vec<_> = commands(missing, root).iter().map(|line| line.join(" ")).collect();
            assert_eq!(got.join("; "), want, "case: {name}");
        }
    }
}
