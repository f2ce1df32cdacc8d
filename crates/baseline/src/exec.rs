//! Runs a tool on a script, in the network namespace of the calling thread.
use crate::script::{Read, Script};
use crate::tool::Found;
use std::io::{self, Read as _, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use wait4::{ResUse, Wait4 as _};

/// How much of what a tool says is kept.
const SAID_MAX: usize = 2000;

/// A run that succeeded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// From its start to its end.
    pub wall: Duration,
    /// CPU time of the tool in user space.
    pub user: Duration,
    /// CPU time of the tool in the kernel.
    pub system: Duration,
    /// The most memory the tool held.
    pub rss_max_bytes: u64,
}

/// A run that did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The tool could not be run.
    #[error("{program}: {source}")]
    Start {
        /// Its name.
        program: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The tool refused the script; the kernel holds what it held before.
    #[error("{program} refused {lines} lines with {status}: {said}")]
    Refused {
        /// Its name.
        program: &'static str,
        /// How many lines it was given.
        lines: usize,
        /// How it ended.
        status: ExitStatus,
        /// What it printed on standard error, or the beginning of that.
        said: String,
    },
}

/// Applies a script.
///
/// # Errors
/// The tool does not start, or refuses the script.
///
/// # Panics
/// With a tool that is not the script's.
pub fn apply(found: &Found, script: &Script) -> Result<Run, ExecError> {
    assert_eq!(found.tool, script.tool, "the script is for another tool");
    run(found, script.tool.args(), &script.text, script.counts.lines)
}

/// Performs a read and drops what it prints.
///
/// # Errors
/// The tool does not start, or fails.
///
/// # Panics
/// With a tool that is not the one to read with.
pub fn read(found: &Found, read: &Read) -> Result<Run, ExecError> {
    assert_eq!(found.tool, read.tool, "the read is for another tool");
    run(found, &read.args, "", 0)
}

fn run<A: AsRef<str>>(found: &Found, args: &[A], input: &str, lines: usize) -> Result<Run, ExecError> {
    let program = found.tool.program();
    let failed = |source| ExecError::Start { program, source };
    let start = Instant::now();
    let mut command = Command::new(&found.path);
    command.args(args.iter().map(AsRef::as_ref));
    let child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let (used, said) = child.and_then(|child| feed(child, input)).map_err(failed)?;
    let wall = start.elapsed();
    if !used.status.success() {
        return Err(ExecError::Refused { program, lines, status: used.status, said: shortened(&said) });
    }
    Ok(Run { wall, user: used.rusage.utime, system: used.rusage.stime, rss_max_bytes: used.rusage.maxrss })
}

/// Writes and reads at once, so that neither side waits for ever for the other.
fn feed(mut child: Child, input: &str) -> io::Result<(ResUse, String)> {
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let mut said = Vec::new();
    thread::scope(|scope| {
        scope.spawn(move || {
            // A tool that ends early closes the pipe; its status says why.
            stdin.map(|mut stdin| stdin.write_all(input.as_bytes()))
        });
        stderr.map_or(Ok(0), |mut stderr| stderr.read_to_end(&mut said))
    })?;
    Ok((child.wait4()?, String::from_utf8_lossy(&said).into_owned()))
}

fn shortened(said: &str) -> String {
    match said.char_indices().nth(SAID_MAX) {
        Some((end, _)) => format!("{}…", said[..end].trim()),
        None => said.trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Counts;
    use crate::tool::Tool;

    fn cat(path: &str) -> Found {
        Found { tool: Tool::Nft, path: path.into(), version: String::new() }
    }

    #[test]
    fn a_refusal_carries_what_the_tool_said() {
        let script = Script { tool: Tool::Nft, text: "x".repeat(1 << 20), counts: Counts::default(), reads: vec![] };
        let refused = apply(&cat("/bin/false"), &script).unwrap_err().to_string();
        assert_eq!(refused, "nft refused 0 lines with exit status: 1: ");
        let absent = apply(&cat("/nowhere/nft"), &script).unwrap_err().to_string();
        assert_eq!(absent, "nft: No such file or directory (os error 2)");
    }
}
