//! How to reach the API server, and at what pace.
use crate::SourceError;
use crate::client::ApiClient;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use std::path::PathBuf;
use std::time::Duration;

/// How to reach the API server.
#[derive(Clone, Debug)]
pub struct KubeConfig {
    login: Login,
    server: Option<String>,
    token_file: Option<PathBuf>,
}

#[derive(Clone, Debug)]
enum Login {
    Infer,
    File(PathBuf),
    Anonymous,
}

/// Time-outs and retries. The defaults suit a cluster of thousands of nodes: what could happen on all of them at once is
/// spread by jitter.
#[derive(Clone, Debug)]
pub struct Pace {
    /// The first request waits a random part of this, so that a restarted DaemonSet does not arrive all at once.
    pub start_jitter_max: Duration,
    /// A server that leaves a request or the middle of a list unanswered for this long is given up.
    pub answer_timeout: Duration,
    /// A watch asks the server to end it after a random time between this and twice this, as client-go does. A watch that is silent for longer
    /// than it asked for, plus `answer_timeout`, has stalled.
    pub watch_min: Duration,
    /// The first wait after a failure; each further one doubles, with jitter.
    pub retry_min: Duration,
    /// The longest wait after a failure.
    pub retry_max: Duration,
    /// ServiceCIDRs that the server does not serve, or does not let us see, are asked for again after this.
    pub absent_retry: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            start_jitter_max: Duration::from_millis(500),
            answer_timeout: Duration::from_secs(20),
            watch_min: Duration::from_secs(300),
            retry_min: Duration::from_millis(200),
            retry_max: Duration::from_secs(30),
            absent_retry: Duration::from_secs(600),
        }
    }
}

impl KubeConfig {
    fn new(login: Login, server: Option<String>) -> Self {
        Self { login, server, token_file: None }
    }

    /// What the environment says: `$KUBECONFIG`, `~/.kube/config`, or the service account of a pod.
    #[must_use]
    pub fn infer() -> Self {
        Self::new(Login::Infer, None)
    }

    /// A kubeconfig file.
    #[must_use]
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self::new(Login::File(path.into()), None)
    }

    /// A server, without credentials unless [`token_file`](Self::token_file) adds them.
    #[must_use]
    pub fn url(url: impl Into<String>) -> Self {
        Self::new(Login::Anonymous, Some(url.into()))
    }

    /// Another address for the same server. A service proxy needs one where its credentials name a ClusterIP: it cannot
    /// reach a ClusterIP before it has itself made it work.
    #[must_use]
    pub fn server(mut self, url: impl Into<String>) -> Self {
        self.server = Some(url.into());
        self
    }

    /// A file with a bearer token, read again when it changes.
    #[must_use]
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.token_file = Some(path.into());
        self
    }

    /// A client for it. Nothing is sent before the first request.
    ///
    /// # Errors
    /// [`SourceError`]: there is no way to the server, or its credentials, certificates or address cannot be used.
    pub async fn connect(&self) -> Result<ApiClient, SourceError> {
        let mut config = self.load().await?;
        if let Some(path) = &self.token_file {
            config.auth_info.token_file = Some(path.to_string_lossy().into_owned());
        }
        config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static(USER_AGENT)));
        ApiClient::new(&config)
    }

    async fn load(&self) -> Result<Config, SourceError> {
        let server = match &self.server {
            Some(url) => Some(url.parse().map_err(|_| SourceError::Url(url.clone()))?),
            None => None,
        };
        let mut config = match &self.login {
            Login::Infer => Config::infer().await.map_err(|error| SourceError::Infer(Box::new(error)))?,
            Login::File(path) => {
                let bad = |error| SourceError::Kubeconfig(path.clone(), Box::new(error));
                let file = Kubeconfig::read_from(path).map_err(bad)?;
                Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(bad)?
            }
            Login::Anonymous => Config::new(server.clone().unwrap_or_default()),
        };
        if let Some(server) = server {
            config.cluster_url = server;
        }
        absolute(&config.cluster_url)?;
        Ok(config)
    }
}

/// kube's client panics at its first request when the server's address has no scheme or no host (`middleware/base_uri.rs`).
fn absolute(url: &http::Uri) -> Result<(), SourceError> {
    match (url.scheme_str(), url.host()) {
        (Some("http" | "https"), Some(_)) => Ok(()),
        _ => Err(SourceError::Url(url.to_string())),
    }
}

const USER_AGENT: &str = concat!("sheave/", env!("CARGO_PKG_VERSION"));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_a_url_with_scheme_and_host() {
        for (url, want) in [
            ("https://10.0.0.1:6443", true),
            ("http://[::1]:8080/prefix", true),
            ("api.example", false),
            ("api.example:6443", false),
            ("/path", false),
            ("ftp://api.example", false),
        ] {
            assert_eq!(absolute(&url.parse().unwrap()).is_ok(), want, "{url}");
        }
    }
}
