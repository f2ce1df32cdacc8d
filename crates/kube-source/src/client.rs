//! The client of the API server: kube's credentials and certificates over a connection of our own.
//!
//! kube's own connector offers HTTP/1.1 alone (kube-client 5.0.0, `config_ext.rs`), where each watch occupies a connection.
//! Over TLS this one offers HTTP/2 as well, as client-go does: all watches and all writes of an agent share one connection.
use crate::{SourceError, Tally};
use http::{Request, Response};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::Config;
use kube::client::{Body, ConfigExt, RustlsTlsError};
use std::sync::Arc;
use std::time::Duration;
use tower::{BoxError, ServiceBuilder};

/// A server that does not take a connection for this long is given up.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection on which nothing came for this long is asked for a sign of life, and given up when none comes: a watch may
/// be quiet for minutes, and a server that lost its power says no goodbye. As client-go's (`ReadIdleTimeout`, `PingTimeout`).
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// What the server may send before it is read: of one watch or list, and of all together. A slow one leaves room for the others.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * STREAM_WINDOW_BYTES;

/// A client of one API server; clones share its connection.
#[derive(Clone)]
pub struct ApiClient {
    client: kube::Client,
    server: Arc<http::Uri>,
    tally: Arc<Tally>,
}

impl std::fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ApiClient").field("server", &self.server).finish_non_exhaustive()
    }
}

impl ApiClient {
    /// Time-outs and retries of a watch are the source's: the client's own would end a quiet one.
    pub(crate) fn new(config: &Config) -> Result<Self, SourceError> {
        if let Some(proxy) = &config.proxy_url {
            return Err(SourceError::Proxy(shown(proxy)));
        }
        let bad = |error| SourceError::Client(Box::new(error));
        let service = ServiceBuilder::new()
            .layer(config.base_uri_layer())
            .option_layer(config.auth_layer().map_err(bad)?)
            .layer(config.extra_headers_layer().map_err(bad)?)
            .map_err(BoxError::from)
            .service(connection(config).map_err(bad)?);
        let client = kube::Client::new(service, config.default_namespace.clone());
        Ok(Self { client, server: Arc::new(config.cluster_url.clone()), tally: Arc::default() })
    }

    /// The server's address.
    #[must_use]
    pub fn server(&self) -> &http::Uri {
        &self.server
    }

    /// What was followed through it so far, by all of its clones.
    #[must_use]
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Sends a request; the answer's body comes as it comes.
    pub(crate) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, kube::Error> {
        self.client.send(request).await
    }
}

/// A proxy as it may be shown: its URL may have a password.
fn shown(proxy: &http::Uri) -> String {
    let port = proxy.port().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}{port}", proxy.host().unwrap_or_default())
}

fn connection(config: &Config) -> Result<Client<HttpsConnector<HttpConnector>, Body>, kube::Error> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp.set_keepalive(Some(PING_INTERVAL));
    let tls = HttpsConnectorBuilder::new().with_tls_config(config.rustls_client_config()?).https_or_http();
    let tls = match config.tls_server_name.clone() {
        Some(name) => {
            let name = name.try_into().map_err(RustlsTlsError::InvalidServerName).map_err(kube::Error::RustlsTls)?;
            tls.with_server_name_resolver(FixedServerNameResolver::new(name))
        }
        None => tls,
    };
    Ok(Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_keep_alive_while_idle(true)
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .build(tls.enable_all_versions().wrap_connector(tcp)))
}
