//! What the agent says, and where: standard error, never waiting for who reads it.
use sheave_agent::config::{LogFormat, Logging};
use sheave_agent::log::{LogGuard, queue};
use std::io::IsTerminal as _;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

/// Lines are written until the guard is dropped.
#[must_use]
pub(super) fn start(logging: Logging) -> LogGuard {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter(logging.level)));
    let terminal = std::io::stderr().is_terminal();
    let (writer, guard) = queue(std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_ansi(terminal);
    match logging.format {
        LogFormat::Json => builder.json().init(),
        LogFormat::Auto if !terminal => builder.json().init(),
        LogFormat::Auto | LogFormat::Text => builder.init(),
    }
    guard
}

/// The API client's own lines say what the source says as well, with less; of the libraries nobody asks for more than `info`.
fn filter(level: LevelFilter) -> String {
    let others = level.min(LevelFilter::INFO);
    format!("{others},kube_client=off,tower_http=off,sheave={level}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_heard_of_sheave_alone_and_less_of_all() {
        for (level, want) in [
            (LevelFilter::INFO, "info,kube_client=off,tower_http=off,sheave=info"),
            (LevelFilter::TRACE, "info,kube_client=off,tower_http=off,sheave=trace"),
            (LevelFilter::ERROR, "error,kube_client=off,tower_http=off,sheave=error"),
        ] {
            assert_eq!(filter(level), want);
            assert!(EnvFilter::try_new(filter(level)).is_ok());
        }
    }
}
