//! The namespaces: a client's pod, its node, and a far node that stands for all pods.
use crate::cluster::{ENDPOINTS, NODE_ADDR, TARGET_PORT};
use crate::contender::ContenderError;
use ipnet::{IpNet, Ipv4Net};
use sheave_baseline::{Counts, Script, Tool, exec};
use sheave_lab::{Cluster, Node, Pod};
use socket2::{Domain, Socket, Type};
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

const NODE: &str = "node";
const FAR: &str = "far";
const CLIENT: &str = "client";
const FAR_ADDR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2));
/// In the pods' network, where no endpoint is: to the proxies the client is a pod like any other.
const CLIENT_ADDR: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 255, 255, 10));
const CLIENT_NET: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(10, 255, 255, 0), 24));
/// Connections that wait for a server: the most that the kernel takes.
const BACKLOG: i32 = 65_535;
/// Connections that are answered at a time.
const SERVERS: usize = 4;

/// The devices of the node that packets of the client pass: those an agent would serve.
pub(crate) const DEVICES: [&str; 2] = ["veth-client", "eth0"];

/// The namespaces and the server; gone when dropped.
pub(crate) struct Network {
    cluster: Cluster,
}

impl Network {
    /// Builds it, without any dataplane. The node tracks connections, as the nodes of most clusters do whatever their proxy is: who
    /// masquerades what leaves the cluster, or has network policies, needs it.
    pub(crate) fn new() -> Result<Self, ContenderError> {
        let builder =
            Cluster::builder("bench").node(NODE, [NODE_ADDR], [CLIENT_NET]).node(FAR, [FAR_ADDR], [ENDPOINTS]);
        let mut cluster = builder.build()?;
        cluster.add_pod(NODE, CLIENT, &[CLIENT_ADDR])?;
        let network = Self { cluster };
        network.node().sandbox().run(track)??;
        network.serve()?;
        Ok(network)
    }

    /// The node with the dataplane.
    pub(crate) fn node(&self) -> &Node {
        self.cluster.node(NODE).expect("invariant: built with the network")
    }

    /// The client's pod.
    pub(crate) fn client(&self) -> &Pod {
        self.cluster.pod(CLIENT).expect("invariant: built with the network")
    }

    /// Threads that end with the process, which ends with the run.
    fn serve(&self) -> Result<(), ContenderError> {
        let far = self.cluster.node(FAR).expect("invariant: built with the network").sandbox();
        far.answer_for(&[ENDPOINTS])?;
        let listener = Arc::new(far.run(listen)?.map_err(ContenderError::Listen)?);
        for _ in 0..SERVERS {
            let listener = Arc::clone(&listener);
            far.start("server", move || listener.incoming().flatten().for_each(answer))?;
        }
        Ok(())
    }
}

/// Turns connection tracking on in the calling thread's namespace: the least that does is a rule that asks for it.
fn track() -> Result<(), ContenderError> {
    let text = "table inet tracked {\n chain forward {\n  type filter hook forward priority 0;\n  ct state established,related accept\n }\n}\n";
    let script = Script { tool: Tool::Nft, text: text.to_owned(), counts: Counts::default(), reads: Vec::new() };
    exec::apply(&Tool::Nft.find()?, &script)?;
    Ok(())
}

/// With room for every connection of a round. Servers share the CPUs with tools that write rules, and what finds no room in the
/// queue is lost: the client would wait a second for its SYN to be sent again, whatever the dataplane did.
fn listen() -> io::Result<TcpListener> {
    fs::write("/proc/sys/net/core/somaxconn", BACKLOG.to_string())?;
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, TARGET_PORT)).into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Sends back every byte until the client ends, in whatever way.
fn answer(mut stream: TcpStream) {
    let mut byte = [0];
    let _unused = stream.set_nodelay(true);
    while matches!(stream.read(&mut byte), Ok(1)) && stream.write_all(&byte).is_ok() {}
}
