//! Child processes: started from the workspace root, their output shown and read at the same time.
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The root of the workspace, found from where this crate was built.
pub(crate) fn workspace_root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).expect("invariant: crates/xtask lies two levels below the root").to_path_buf()
}

/// A command in the workspace root, reading nothing from the terminal.
pub(crate) fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(workspace_root()).stdin(Stdio::null());
    // `cargo run` describes this package in the environment. A cargo below it must not see that: build scripts that watch
    // those variables (ring's does) would run again, and again when cargo is next called by hand.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") || text.starts_with("CARGO_BIN_") {
            command.env_remove(&name);
        }
    }
    command
}

/// `cargo ARGS` with the toolchain that runs this.
pub(crate) fn cargo(args: &[&str]) -> Command {
    command("cargo", args)
}

/// Whether `program ARGS` starts and succeeds; its output is thrown away.
pub(crate) fn succeeds(program: &str, args: &[&str]) -> bool {
    command(program, args).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Runs a command with its output going where ours goes; an error when it fails.
pub(crate) fn run(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", line(&command)))?;
    check(&line(&command), status)
}

/// Runs a command and hands each line of its output, standard error included and in order, to `see` after showing it.
pub(crate) fn run_seen(mut command: Command, mut see: impl FnMut(&str)) -> Result<()> {
    let (reader, writer) = std::io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("cannot start `{}`", line(&command)))?;
    // The command still holds the writing end; as long as it does, the reader never sees the end.
    let described = line(&command);
    drop(command);
    let mut output = BufReader::new(reader);
    let mut bytes = Vec::new();
    while output.read_until(b'\n', &mut bytes)? > 0 {
        std::io::stdout().write_all(&bytes)?;
        see(String::from_utf8_lossy(&bytes).trim_end());
        bytes.clear();
    }
    check(&described, child.wait()?)
}

/// What a command left behind.
pub(crate) struct Captured {
    /// Its standard output.
    pub(crate) text: String,
    /// Its process id.
    pub(crate) pid: u32,
    /// How it ended.
    pub(crate) status: ExitStatus,
}

/// Runs a command that has to succeed, and returns its standard output and process id; it is killed, which is an error, after `limit`.
pub(crate) fn run_captured(command: Command, limit: Duration) -> Result<(String, u32)> {
    let described = line(&command);
    let Captured { text, pid, status } = captured(command, limit)?;
    // What it printed may say why it failed.
    check(&described, status).inspect_err(|_| println!("{text}"))?;
    Ok((text, pid))
}

/// As [`run_captured`], of a command whose failure is no error.
pub(crate) fn captured(mut command: Command, limit: Duration) -> Result<Captured> {
    let mut child =
        command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot start `{}`", line(&command)))?;
    let pid = child.id();
    let mut stdout = child.stdout.take().expect("invariant: stdout was asked for");
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        stdout.read_to_string(&mut text).map(|_| text)
    });
    let status = wait(&mut child, limit).with_context(|| format!("`{}`", line(&command)))?;
    let text = reader.join().expect("invariant: the reader does not panic")?;
    Ok(Captured { text, pid, status })
}

fn wait(child: &mut Child, limit: Duration) -> Result<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("still running after {} s, killed", limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn check(described: &str, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{described}`: {status}");
    }
    Ok(())
}

/// The command as one would type it.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seen_command_shows_both_streams_in_order_and_reports_failure() {
        let mut lines = Vec::new();
        let result =
            run_seen(command("sh", &["-c", "echo one; echo two >&2; exit 3"]), |line| lines.push(line.to_owned()));
        assert_eq!(lines, ["one", "two"]);
        assert!(result.is_err_and(|error| error.to_string().contains("exit status: 3")));
    }

    #[test]
    fn a_captured_command_that_fails_is_an_error_only_where_it_has_to_succeed() {
        let fails = || command("sh", &["-c", "echo why; exit 3"]);
        let seen = captured(fails(), Duration::from_secs(60)).unwrap();
        assert_eq!((seen.text.as_str(), seen.status.code()), ("why\n", Some(3)));
        let error = run_captured(fails(), Duration::from_secs(60)).unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
    }

    #[test]
    fn a_captured_command_that_hangs_is_killed_at_its_limit() {
        let error = run_captured(command("sleep", &["600"]), Duration::from_millis(10)).unwrap_err();
        assert!(format!("{error:#}").contains("killed"), "{error:#}");
    }

    #[test]
    fn the_workspace_root_holds_the_lock_file() {
        assert!(workspace_root().join("Cargo.lock").is_file());
    }
}
