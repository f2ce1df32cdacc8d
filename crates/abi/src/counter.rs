//! Counters of the kernel programs: map `counters` (per-CPU array of u64), one per outcome (I10).

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)+) => {
        /// Index into the map `counters`.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[repr(u32)]
        pub enum Counter { $($(#[$doc])* $name,)+ }
        /// The counters' names, by index, as metrics and tests print them.
        pub const COUNTER_NAMES: &[&str] = &[$($text,)+];
        /// How many counters there are.
        #[expect(clippy::cast_possible_truncation, reason = "a list of a few dozen")]
        pub const COUNTERS: u32 = COUNTER_NAMES.len() as u32;
    };
}

counters! {
    /// connect() or datagram translated at the socket entrance.
    SocketForward = "socket_forward",
    /// connect() or datagram refused at the socket entrance: no usable endpoint (E11), a port the address does not have (A2), or a
    /// source that may not dial an address of the node's own (R8).
    SocketReject = "socket_reject",
    /// connect() or datagram to a frontend left to the device entrance.
    SocketDecline = "socket_decline",
    /// First packet of a flow translated at the device entrance: its destination, at egress both.
    FlowNew = "flow_new",
    /// Packet of a known flow, client to backend; one that is masqueraded is counted at ingress and at egress.
    FlowForward = "flow_forward",
    /// Packet of a known flow, backend to client; one that is masqueraded is counted at ingress and at egress.
    FlowReply = "flow_reply",
    /// Packet answered with a TCP reset.
    RejectReset = "reject_reset",
    /// Packet answered with ICMP or ICMPv6 port unreachable.
    RejectUnreachable = "reject_unreachable",
    /// Packet dropped: no room for its flow. The ACK that ends a handshake, too: flows in the table go on (I7).
    DropFlowTableFull = "drop_flow_table_full",
    /// Packet dropped: the set changed under the reader on every retry.
    DropSetRaced = "drop_set_raced",
    /// Packet dropped: writing the translated headers failed.
    DropRewriteFailed = "drop_rewrite_failed",
    /// Passed: no frontend and no flow, or an address of the node's own.
    PassNoFrontend = "pass_no_frontend",
    /// Passed: TCP or SCTP that neither begins a flow nor belongs to one, whoever it is for: all of it between pods without a Service in
    /// between, and flows of a previous proxy, which live on.
    PassNotFirst = "pass_not_first",
    /// Passed: a fragment of a datagram that is not known here.
    PassFragment = "pass_fragment",
    /// Passed: header shorter than it says, or cut off.
    PassTruncated = "pass_truncated",
    /// Passed: neither IPv4 nor IPv6, or a protocol sheave does not serve.
    PassProtocol = "pass_protocol",
    /// Passed: a first packet in a frame for another host or for many; nobody answers or translates it in our name.
    PassNotHost = "pass_not_host",
    /// Besides the packet's own outcome: its established UDP flow had to stay in the LRU table, the plain one being full.
    EventEstablishedFull = "event_established_full",
    /// Passed: it would be refused, but its source is no single host's address (RFC 1122 §3.2.2, RFC 4443 §2.4).
    PassSource = "pass_source",
    /// First packet of a masqueraded flow given its source at egress; or of one that dials a backend by its own address from a port that
    /// another flow to that backend has, and gets another.
    FlowMasquerade = "flow_masquerade",
    /// ICMP error about a known flow, translated with what is embedded in it.
    FlowError = "flow_error",
    /// Packet of a known flow handed from a port of a bridge to the stack.
    FlowHandedUp = "flow_handed_up",
    /// Packet dropped: its policy is Local and no usable endpoint is on this node (E4, E5).
    DropNoLocalEndpoint = "drop_no_local_endpoint",
    /// Packet dropped: its source may not dial this LoadBalancer address (R8).
    DropSourceRange = "drop_source_range",
    /// Packet dropped: an address inside a ServiceCIDR that no Service has (A3).
    DropUnallocated = "drop_unallocated",
    /// Packet dropped: every source port that was tried is taken.
    DropNoSourcePort = "drop_no_source_port",
    /// Packet dropped: the node has no address to masquerade with by this device.
    DropNoSourceAddress = "drop_no_source_address",
    /// Packet dropped: decided at egress, and there is no route to the backend from there, or the backend is the node itself.
    DropNoRoute = "drop_no_route",
    /// ICMP redirect about a known flow dropped: the way past this node is not translated.
    DropRedirect = "drop_redirect",
    /// Besides the packet's own outcome: a source port was taken, and another one was tried.
    EventPortTaken = "event_port_taken",
    /// Packet sent past the stack answered with ICMP "fragmentation needed" or ICMPv6 "packet too big": its way has a smaller MTU.
    RejectTooLong = "reject_too_long",
    /// Passed: part of a flow that another translator of this node carries, found when the agent first started here.
    PassForeign = "pass_foreign",
    /// Passed at a bridge: a port has decided it. Passed at a port: the bridge has sent it, and decided it.
    PassBridgePort = "pass_bridge_port",
    /// First fragment of an SCTP packet dropped: a port is to change, and how the checksum then changes depends on how long
    /// the whole is.
    DropSctpFragment = "drop_sctp_fragment",
}

/// Entries of the map `counters`: room for counters to come, so that a pinned map serves the next version too.
pub const COUNTERS_MAX: u32 = 64;
const _: () = assert!(COUNTERS <= COUNTERS_MAX);
