//! Over TLS, as every real server is reached: one HTTP/2 connection for everything.
use crate::follower::{Follower, api_until, pace};
use crate::watch::{service, shop};
use sheave_apistub::{Api, serve_connection};
use sheave_kube_source::{KubeConfig, Source};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// An API server behind TLS that offers these protocols (ALPN).
struct TlsServer {
    address: SocketAddr,
    open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn certificate() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/server.crt"))
}

impl TlsServer {
    async fn new(api: &Api, protocols: &[&str]) -> Self {
        let chain = vec![CertificateDer::from_pem_file(certificate()).unwrap()];
        let key = PrivateKeyDer::from_pem_file(certificate().with_extension("key")).unwrap();
        let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        let (acceptor, api) = (TlsAcceptor::from(Arc::new(config)), api.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, open) = (listener.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let count = open.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, api, count) = (acceptor.clone(), api.clone(), count.clone());
                connections.spawn(async move {
                    count.fetch_add(1, Ordering::SeqCst);
                    if let Ok(stream) = acceptor.accept(stream).await {
                        serve_connection(api, stream).await;
                    }
                    count.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, open, task }
    }

    /// Follows it by a kubeconfig that trusts its certificate.
    async fn follower(&self) -> Follower {
        let directory = tempfile::tempdir().unwrap();
        let kubeconfig = directory.path().join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: it\n\
             clusters: [{{name: it, cluster: {{server: 'https://{}', certificate-authority: {}}}}}]\n\
             contexts: [{{name: it, context: {{cluster: it, user: it}}}}]\nusers: [{{name: it, user: {{}}}}]\n",
            self.address,
            certificate().display(),
        );
        std::fs::write(&kubeconfig, text).unwrap();
        Follower::of(Source::Kube(KubeConfig::file(&kubeconfig).connect().await.unwrap(), pace()))
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

/// Each protocol that a server may speak, and the connections of an agent that watches four kinds.
#[tokio::test]
async fn four_watches_share_one_http2_connection_and_http1_is_served_as_well() {
    for (protocols, connections) in [(["h2", "http/1.1"].as_slice(), 1), (&["http/1.1"], 4)] {
        let api = shop();
        let server = TlsServer::new(&api, protocols).await;
        let mut follower = server.follower().await;
        follower.until("complete", Follower::is_complete).await;
        // Whoever connected at the same time as another finds that one connection is enough, and closes its own.
        let settled = |api: &Api| api.watches() == 4 && server.open() == connections;
        api_until(&api, "settled", settled).await;
        for n in 0..20 {
            api.apply(service("new", n)).unwrap();
        }
        follower.until("changed", |f| format!("{:?}", f.objects).contains("10.96.1.19")).await;
        assert_eq!((server.open(), api.watches()), (connections, 4), "{protocols:?}");
        api.cut_connections();
        api.apply(service("later", 1)).unwrap();
        follower.until("connected again", |f| f.holds("Service shop/later")).await;
        api_until(&api, "settled again", settled).await;
    }
}

#[tokio::test]
async fn a_server_with_another_certificate_is_not_believed() {
    let api = shop();
    let server = TlsServer::new(&api, &["h2"]).await;
    let url = format!("https://{}", server.address);
    let mut follower = Follower::of_url(&url).await;
    api_until(&api, "tried", |_| server.open() > 0).await;
    api_until(&api, "given up", |_| server.open() == 0).await;
    assert_eq!(follower.reported_since(0), []);
    assert_eq!(api.requests(), [], "nothing was asked before the server had shown who it is");
}
