//! Byte order (I9): addresses and ports stand in memory as on the wire, ids and counters as the processor has them.
use sheave_abi::{
    BACKEND_SERVING, BackendV4, FRONTEND_CLUSTER_IP, FrontendKeyV4, FrontendKeyV6, FrontendValue, IPPROTO_TCP, NetPort,
    SetWord,
};
use zerocopy::IntoBytes;

#[test]
fn a_port_stands_in_memory_as_on_the_wire_and_reads_back_in_host_order() {
    for (port, wire) in [(80, [0, 80]), (0x1234, [0x12, 0x34]), (65535, [255, 255])] {
        let from_host = NetPort::from_host(port);
        assert_eq!(from_host.as_bytes(), wire, "port {port}");
        assert_eq!(from_host.to_host(), port);
        assert_eq!(NetPort::from_wire(u16::from_ne_bytes(wire)), from_host, "port {port}");
        assert_eq!(from_host.to_wire().to_ne_bytes(), wire, "port {port}");
    }
    assert_eq!(NetPort::ANY.to_host(), 0);
}

#[test]
fn a_frontend_key_is_address_port_and_protocol_as_a_packet_carries_them() {
    let port = NetPort::from_host(443);
    let v4 = FrontendKeyV4 { addr: [10, 96, 0, 10], port, protocol: IPPROTO_TCP, zero: 0 };
    assert_eq!(v4.as_bytes(), [10, 96, 0, 10, 1, 187, 6, 0]);
    let mut addr = [0; 16];
    (addr[0], addr[1], addr[15]) = (0xfd, 0x00, 0x10);
    let v6 = FrontendKeyV6 { addr, port, protocol: IPPROTO_TCP, zero: 0 };
    assert_eq!(v6.as_bytes()[..2], [0xfd, 0x00]);
    assert_eq!(v6.as_bytes()[16..], [1, 187, 6, 0]);
}

#[test]
fn ids_and_counts_stand_in_host_order() {
    let word = SetWord { block: 0x0102_0304, count: 5 };
    assert_eq!(word.as_bytes()[..4], 0x0102_0304_u32.to_ne_bytes());
    assert_eq!(word.as_bytes()[4..], 5_u32.to_ne_bytes());
    let value = FrontendValue { service: 7, kind: FRONTEND_CLUSTER_IP, zero: [0; 3] };
    assert_eq!(value.as_bytes()[..4], 7_u32.to_ne_bytes());
    let port = NetPort::from_host(8080);
    let backend = BackendV4 { addr: [10, 244, 1, 11], service: 7, port, state: BACKEND_SERVING, zero: [0; 5] };
    assert_eq!(backend.as_bytes()[..4], [10, 244, 1, 11]);
    assert_eq!(backend.as_bytes()[4..8], 7_u32.to_ne_bytes());
    assert_eq!(backend.as_bytes()[8..11], [0x1f, 0x90, BACKEND_SERVING]);
}
