//! Where a dataplane is measured: a network namespace that talks to itself, with one listener for all backends.
use crate::cluster::{NETWORK, NODE_ADDR, Step, TARGET_PORT};
use crate::contender::ContenderError;
use sheave_lab::{ProcessCgroup, Sandbox, ThreadCgroup};
use socket2::SockRef;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// A connection within one namespace is there at once, or it is lost.
const TIMEOUT: Duration = Duration::from_secs(5);

/// One namespace. Whatever a dataplane puts into it goes with it.
pub(crate) struct Place {
    listener: Arc<TcpListener>,
    sandbox: Sandbox,
    /// Last: it can be removed when no thread is in it any more.
    cgroup: Arc<ThreadCgroup>,
}

/// How to see, in the place, whether a change is in force.
#[derive(Clone)]
pub(crate) struct Lookup {
    listener: Arc<TcpListener>,
}

impl Place {
    /// A new one; its cgroup is below the process's.
    pub(crate) fn new(process: &ProcessCgroup) -> Result<Self, ContenderError> {
        let cgroup = Arc::new(process.for_threads("place")?);
        let sandbox = Sandbox::with_bpffs("bench")?;
        sandbox.talk_to_itself(NODE_ADDR, &[NETWORK])?;
        let listen = || TcpListener::bind((Ipv4Addr::UNSPECIFIED, TARGET_PORT));
        let listener = sandbox.run(listen)?.map_err(ContenderError::Listen)?;
        Ok(Self { listener: Arc::new(listener), sandbox, cgroup })
    }

    /// The cgroup whose sockets are those of the place.
    pub(crate) fn cgroup(&self) -> &ThreadCgroup {
        &self.cgroup
    }

    /// Runs a closure on a thread in the place.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        body: impl FnOnce(&Lookup) -> T + Send + 'static,
    ) -> Result<T, ContenderError> {
        let cgroup = Arc::clone(&self.cgroup);
        let lookup = Lookup { listener: Arc::clone(&self.listener) };
        let entered = self.sandbox.run(move || cgroup.enter().map(|()| body(&lookup)))?;
        Ok(entered?)
    }
}

impl Lookup {
    /// A first connection, which one of those who may answer has to answer; refused, when nobody may.
    pub(crate) fn expect(&self, step: &Step) -> Result<(), ContenderError> {
        let frontend = step.frontend;
        let wrong = match self.dial(frontend) {
            Ok(backend) if step.answers.contains(&backend) => return Ok(()),
            Ok(backend) => format!("was answered by {backend}, which is no backend of that Service now"),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused && step.answers.is_empty() => return Ok(()),
            Err(error) => format!("failed: {error}"),
        };
        Err(ContenderError::Lookup { frontend, wrong })
    }

    /// Who answers.
    fn dial(&self, frontend: SocketAddr) -> io::Result<IpAddr> {
        let client = TcpStream::connect_timeout(&frontend, TIMEOUT)?;
        // The handshake is complete, so the other end waits in the backlog.
        let (server, _) = self.listener.accept()?;
        let backend = server.local_addr()?.ip();
        // Reset instead of closed: neither end leaves a port in TIME_WAIT. By the client: on a connection that the server has
        // reset, conntrack lets a later SYN from the same port go where the one before went (nf_conntrack_tcp_packet).
        SockRef::from(&client).set_linger(Some(Duration::ZERO))?;
        drop(client);
        Ok(backend)
    }
}
