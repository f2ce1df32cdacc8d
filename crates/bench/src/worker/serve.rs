//! The worker's side: reads what is to be done, does it, says what came of it.
use super::Stage;
use super::alone::Alone;
use super::networked::Networked;
use super::protocol::{Job, Reply, Request, Setting};
use std::io::{self, BufRead, Write};

/// A worker cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Standard input or output.
    #[error("the bench does not listen: {0}")]
    Pipe(#[from] io::Error),
    /// A line that is no request.
    #[error("not a request of this version's bench: {0}; `sheave bench` starts its workers itself")]
    Request(#[from] serde_json::Error),
}

/// Works until the input ends: so a worker never outlives its bench.
///
/// # Errors
/// The other side says what this version does not know, or is gone.
pub fn serve(input: &mut impl BufRead, output: &mut impl Write) -> Result<(), ServeError> {
    let Some(job) = line::<Job>(input)? else { return Ok(()) };
    let mut stage: Box<dyn Stage> = match job.setting {
        Setting::Alone => Box::new(Alone::new(job)),
        Setting::Networked => Box::new(Networked::new(job)),
    };
    while let Some(request) = line::<Request>(input)? {
        let reply = stage.perform(request).unwrap_or_else(|error| Reply::Failed(error.to_string()));
        serde_json::to_writer(&mut *output, &reply)?;
        output.write_all(b"\n")?;
        output.flush()?;
    }
    Ok(())
}

fn line<T: serde::de::DeserializeOwned>(input: &mut impl BufRead) -> Result<Option<T>, ServeError> {
    let mut line = String::new();
    if input.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_str(&line)?))
}
