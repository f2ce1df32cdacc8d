//! `sheave status`: what the running agent of this node tells of itself, and waiting until a Service is programmed.
mod flows;
mod text;
mod watch;

pub(crate) use text::{maps, table};

use crate::output::{Output, note, print};
use anyhow::{Context as _, bail};
use clap::Args;
use sheave_agent::admin::{self, ClientError};
use sheave_agent::config::Config;
use sheave_agent::status::{ServiceStatus, State};
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

#[derive(Args)]
#[command(
    after_help = "Exit status: 0 when the agent answered and, of a Service, when it is programmed; 1 when the Service is \
    not programmed (in time); 2 for bad input, or when no agent answers.\n\nExamples:\n  sudo sheave status\n  \
    sudo sheave status --watch\n  sudo sheave status svc/shop/web\n  \
    sudo sheave status svc/shop/web --wait --timeout 30s\n\n  \
    version=$(kubectl -n shop apply -f web.yaml -o jsonpath='{.metadata.resourceVersion}')\n  \
    sudo sheave status svc/shop/web --wait --resource-version \"$version\""
)]
pub(crate) struct Arguments {
    /// One Service, as svc/NAMESPACE/NAME; without it: the agent as a whole
    #[arg(value_name = "SERVICE")]
    service: Option<Service>,
    /// Wait until the Service is programmed
    #[arg(long, requires = "service")]
    wait: bool,
    /// How long to wait: 30s, 5m, 1h
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    timeout: Duration,
    /// The Service is programmed only when this version of it, or of one of its EndpointSlices, or a newer one is
    #[arg(long, value_name = "N", requires = "service", default_value_t = 0, hide_default_value = true)]
    resource_version: u64,
    /// Go on showing it: on a terminal a table with rates, else a line for each change
    #[arg(long, conflicts_with = "wait")]
    watch: bool,
    /// The agent's admin socket [default: adminSocket of the configuration, /run/sheave/admin.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The agent's configuration file, which may name another socket
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// `NAMESPACE/NAME`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Service(String);

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let kinds = ["svc/", "service/", "services/"];
        let name = kinds.iter().find_map(|kind| text.strip_prefix(kind)).unwrap_or(text);
        let word =
            |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b));
        match name.split_once('/') {
            Some((namespace, service)) if word(namespace) && word(service) => Ok(Self(name.to_owned())),
            _ => Err("write svc/NAMESPACE/NAME".to_owned()),
        }
    }
}

/// Whole seconds, minutes or hours.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit_s) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1),
        Some((at, 'm')) => (&text[..at], 60),
        Some((at, 'h')) => (&text[..at], 3600),
        _ => (text, 1),
    };
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_s));
    let seconds = seconds.filter(|seconds| *seconds <= WAIT_MAX_S);
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("write a time up to {} h, as 30s, 5m or 1h", WAIT_MAX_S / 3600))
}

/// The agent lets nobody wait longer.
const WAIT_MAX_S: u64 = 3600;
/// The exit status when a Service is not programmed.
const NOT_PROGRAMMED: u8 = 1;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let socket = socket(arguments.socket.as_ref(), arguments.config.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
    runtime.block_on(async {
        match (&arguments.service, arguments.watch) {
            (None, false) => {
                let status = admin::status(&socket).await.map_err(told)?;
                print(&match arguments.output {
                    Output::Json => serde_json::to_string_pretty(&status)?,
                    Output::Text => text::agent(&status),
                })?;
                Ok(ExitCode::SUCCESS)
            }
            (None, true) => watch::agent(&socket, arguments.output).await,
            (Some(Service(service)), true) => watch::service(&socket, service, arguments.output).await,
            (Some(Service(service)), false) => {
                let status = of_service(&socket, service, arguments).await?;
                print(&shown(&status, arguments.output)?)?;
                Ok(exit(&status))
            }
        }
    })
}

/// The socket of the agent of this node.
pub(crate) fn socket(socket: Option<&PathBuf>, config: Option<&std::path::Path>) -> anyhow::Result<PathBuf> {
    let configured =
        || Ok::<_, anyhow::Error>(config.map_or_else(|| Ok(Config::default()), Config::read)?.admin_socket);
    socket.cloned().map_or_else(configured, Ok)
}

/// An error of the socket, with what to do about it.
pub(crate) fn told(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::Permission(_) => anyhow::anyhow!("{error}; run: {}", crate::output::with_sudo()),
        ClientError::NoAgent { .. } | ClientError::Broken { .. } | ClientError::Refused { .. } => error.into(),
    }
}

async fn of_service(socket: &std::path::Path, name: &str, arguments: &Arguments) -> anyhow::Result<ServiceStatus> {
    let version = arguments.resource_version;
    if !arguments.wait {
        return admin::service(socket, name, None, version).await.map_err(told);
    }
    if arguments.timeout.is_zero() {
        bail!("--timeout 0s is no time to wait; leave --wait out to ask once");
    }
    let seconds = arguments.timeout.as_secs();
    if std::io::stderr().is_terminal() {
        note(&format!("sheave: waiting for {name}, at most {seconds} s"));
    }
    let status = admin::service(socket, name, Some(arguments.timeout), version).await.map_err(told)?;
    if status.state != State::Programmed {
        note(&format!("sheave: {name} is not programmed after {seconds} s: {}", status.waiting_for.join("; ")));
    }
    Ok(status)
}

fn shown(status: &ServiceStatus, output: Output) -> anyhow::Result<String> {
    Ok(match output {
        Output::Json => serde_json::to_string_pretty(status)?,
        Output::Text => text::service(status),
    })
}

fn exit(status: &ServiceStatus) -> ExitCode {
    if status.state == State::Programmed { ExitCode::SUCCESS } else { NOT_PROGRAMMED.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_as_kubectl_names_it() {
        for (text, want) in [
            ("svc/shop/web", Ok("shop/web")),
            ("service/shop/web", Ok("shop/web")),
            ("shop/web", Ok("shop/web")),
            ("svc/svc/web", Ok("svc/web")),
            ("web", Err(())),
            ("svc/web", Err(())),
            ("shop/web/x", Err(())),
            ("svc/shop/", Err(())),
            ("shop/we b", Err(())),
            ("shop/we?wait=1", Err(())),
        ] {
            let got = text.parse::<Service>();
            assert_eq!(got.as_ref().map(|Service(name)| &**name).map_err(|_| ()), want, "{text}");
        }
    }

    #[test]
    fn a_time_has_a_unit_and_an_end() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        for (text, want) in [
            ("30s", seconds(30)),
            ("5m", seconds(300)),
            ("1h", seconds(3600)),
            ("90", seconds(90)),
            ("2h", None),
            ("", None),
            ("s", None),
            ("-1s", None),
            ("1.5m", None),
            ("18446744073709551615m", None),
            ("5µ", None),
        ] {
            assert_eq!(duration(text).ok(), want, "{text:?}");
        }
    }
}
