//! One guest: qemu without acceleration, which every machine has; the host's root below a layer in memory; one command.
use super::kernel::Kernel;
use anyhow::{Context, Result, bail};
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Guests at a time, where several are wanted: verifiers and the selftest use one processor each, with what waits beside it.
pub(super) const AT_A_TIME: usize = 2;
/// The exit status of a command that took too long, as `timeout` has it.
pub(super) const TIMED_OUT: u8 = 124;
/// How long a guest may take from its start to its command. It takes 10 s on an idle machine.
const BOOT_LIMIT: Duration = Duration::from_secs(240);
const POLL: Duration = Duration::from_millis(20);
/// What a command finds in its environment as its caller has it.
const KEPT: [&str; 8] =
    ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "CARGO_TARGET_DIR", "REQUIRE_KERNEL", "RUST_LOG", "RUST_BACKTRACE"];

/// What a guest has and how long it may take.
#[derive(Clone, Copy, clap::Args)]
pub(super) struct Size {
    /// Processors of the guest.
    #[arg(long, default_value_t = Size::default().cpus, value_name = "N")]
    cpus: u8,
    /// Memory of the guest in MiB; what it writes goes there too.
    #[arg(long, default_value_t = Size::default().memory, value_name = "MIB")]
    memory: u32,
    /// The command is killed after so many seconds, exit status 124.
    #[arg(long, default_value_t = Size::default().timeout, value_name = "SECONDS")]
    timeout: u64,
}

impl Default for Size {
    /// As the arguments have it.
    fn default() -> Self {
        Self { cpus: 2, memory: 3072, timeout: 900 }
    }
}

impl Size {
    /// With at least so many seconds for the command.
    pub(super) fn lasting(self, seconds: u64) -> Self {
        Self { timeout: self.timeout.max(seconds), ..self }
    }
}

/// A guest at work; gone when dropped.
struct Guest<'a> {
    qemu: Child,
    share: TempDir,
    kernel: &'a Kernel,
}

/// Boots the kernel, runs the command in this directory, with its output going to `output`, and returns its exit status.
///
/// # Errors
/// The guest does not come up, or dies: its last words are in the error.
pub(super) fn run(kernel: &Kernel, command: &[String], size: Size, output: Stdio) -> Result<u8> {
    let share = tempfile::Builder::new().prefix("sheave-vm-").tempdir()?;
    fs::write(share.path().join("main"), include_str!("main.sh"))?;
    fs::write(share.path().join("kernel"), format!("{}\n", kernel.directory.display()))?;
    fs::write(share.path().join("command"), script(command)?)?;
    eprintln!("vm: booting Linux {}", kernel.release);
    let qemu = qemu(kernel, share.path(), size)
        .stdin(Stdio::null())
        .stdout(output)
        .spawn()
        .context("cannot start qemu-system-x86_64: `cargo xtask test --only preflight --install` brings it")?;
    let mut guest = Guest { qemu, share, kernel };
    guest.wait_for_boot()?;
    guest.wait_for_end(Duration::from_secs(size.timeout))
}

/// As [`run`], with each line of the output told when it comes.
///
/// # Errors
/// The guest does not come up, or dies.
pub(super) fn run_telling(
    kernel: &Kernel,
    command: &[String],
    size: Size,
    mut tell: impl FnMut(&str) + Send,
) -> Result<u8> {
    let (said, output) = io::pipe()?;
    thread::scope(|scope| {
        let listener = scope.spawn(move || -> io::Result<()> {
            for line in BufReader::new(said).split(b'\n') {
                tell(String::from_utf8_lossy(&line?).trim_end());
            }
            Ok(())
        });
        let status = run(kernel, command, size, output.into());
        listener.join().expect("invariant: a listener that panics is a bug of its caller")?;
        status
    })
}

/// The command for the guest's shell, where and with what it would have run here.
fn script(command: &[String]) -> Result<String> {
    let mut script = String::new();
    for name in KEPT {
        if let Ok(value) = std::env::var(name) {
            script += &format!("export {name}={}\n", quoted(&value));
        }
    }
    script += &format!("cd {}\n", quoted(&std::env::current_dir()?.display().to_string()));
    script += &command.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    Ok(script + "\n")
}

/// One word of a shell's command line.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

fn qemu(kernel: &Kernel, share: &Path, size: Size) -> Command {
    // util-linux's: however this process ends, the guest ends with it.
    let mut qemu = Command::new("setpriv");
    qemu.args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-machine", "q35", "-cpu", "max"])
        .args([
            "-accel",
            "tcg,thread=multi,tb-size=512",
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-nic",
            "none",
        ])
        .args(["-no-reboot", "-smp", &size.cpus.to_string(), "-m", &size.memory.to_string()])
        .arg("-serial")
        .arg(format!("file:{}/console", share.display()))
        .args(["-serial", "stdio", "-kernel"])
        .arg(kernel.image())
        .arg("-initrd")
        .arg(kernel.first_root())
        // Several file systems below the host's root have inodes of the same number.
        .args(["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap", "-fsdev"])
        .arg(format!("local,id=share,path={},security_model=none", share.display()))
        .args([
            "-device",
            "virtio-9p-pci,fsdev=host,mount_tag=host",
            "-device",
            "virtio-9p-pci,fsdev=share,mount_tag=share",
        ])
        .args(["-append", "console=ttyS0 panic=-1 mitigations=off loglevel=4 quiet"]);
    qemu
}

impl Guest<'_> {
    fn wait_for_boot(&mut self) -> Result<()> {
        let began = Instant::now();
        while self.read("up").is_none() {
            if self.qemu.try_wait()?.is_some() {
                bail!("Linux {} ended before its command: {}", self.kernel.release, self.last_words());
            }
            if began.elapsed() > BOOT_LIMIT {
                bail!("Linux {} is not up after {BOOT_LIMIT:?}: {}", self.kernel.release, self.last_words());
            }
            thread::sleep(POLL);
        }
        eprintln!("vm: Linux {} is up after {:.0} s", self.kernel.release, began.elapsed().as_secs_f64());
        Ok(())
    }

    fn wait_for_end(&mut self, limit: Duration) -> Result<u8> {
        let began = Instant::now();
        while self.qemu.try_wait()?.is_none() {
            if began.elapsed() > limit {
                eprintln!("vm: the command still runs after {} s; the guest is ended", limit.as_secs());
                return Ok(TIMED_OUT);
            }
            thread::sleep(POLL);
        }
        let status = self.read("status").and_then(|status| status.trim().parse().ok());
        status.with_context(|| format!("Linux {} died under the command: {}", self.kernel.release, self.last_words()))
    }

    fn read(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.share.path().join(name)).ok().filter(|text| !text.is_empty())
    }

    /// The end of what the kernel said.
    fn last_words(&self) -> String {
        let console = fs::read(self.share.path().join("console")).unwrap_or_default();
        let text = String::from_utf8_lossy(&console).replace('\r', "");
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        lines[lines.len().saturating_sub(12)..].join("\n")
    }
}

impl Drop for Guest<'_> {
    fn drop(&mut self) {
        // Fails when it has ended already, which is what is wanted.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_means_to_the_shell_what_it_meant_to_its_caller() {
        for word in ["plain", "two words", "it's", "$HOME", "", "a\nb", "--only=*", r"back\slash"] {
            let output = Command::new("sh").args(["-c", &format!("printf %s {}", quoted(word))]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), word);
        }
    }
}
