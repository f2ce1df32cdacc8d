//! Flows of Services and backends, for a reader.
use super::text::table;
use sheave_agent::status::{BusyPort, FlowCountsStatus, FlowsStatus, PortStatus};

/// The busiest Service ports; nothing where none had a flow.
pub(super) fn busiest(flows: &FlowsStatus) -> Option<String> {
    let FlowsStatus { seconds, moved, ports } = flows;
    if ports.is_empty() {
        return None;
    }
    let shown = match *seconds > 0.0 {
        true => table(["BUSIEST SERVICE PORTS", "NEW/S", "REFUSED/S", "NEW", "REFUSED"], rows(ports, with_rates), 4),
        false => table(["BUSIEST SERVICE PORTS", "NEW FLOWS", "REFUSED"], rows(ports, with_totals), 2),
    };
    let more = moved.saturating_sub(ports.len());
    Some(if more > 0 { format!("{shown}\n  and {more} more") } else { shown })
}

fn rows<const N: usize>(ports: &[BusyPort], row: fn(&BusyPort) -> [String; N]) -> Vec<[String; N]> {
    ports.iter().map(row).collect()
}

fn with_totals(BusyPort { port, flows, .. }: &BusyPort) -> [String; 3] {
    let [new, refused] = flows.tally().map(|count| count.to_string());
    [port.clone(), new, refused]
}

fn with_rates(busy: &BusyPort) -> [String; 5] {
    let [port, new, refused] = with_totals(busy);
    let rate = |rate: Option<f64>| format!("{:.1}", rate.unwrap_or_default());
    [port, rate(busy.per_second), rate(busy.refused_per_second), new, refused]
}

/// What the ports of one Service had, and each of their backends; nothing where it is not known.
pub(super) fn of_ports(ports: &[PortStatus]) -> Option<String> {
    let counted = || ports.iter().filter_map(|port| Some((port.port.clone(), port.flows.as_ref()?)));
    let port = |(port, flows): (String, &sheave_agent::status::PortFlowsStatus)| {
        let FlowCountsStatus { new_flows, rejected, no_local_endpoint, source_range } = flows.flows;
        let [new, rejected, no_local, source] =
            [new_flows, rejected, no_local_endpoint, source_range].map(|n| n.to_string());
        [port, new, rejected, no_local, source]
    };
    let ports: Vec<_> = counted().map(port).collect();
    if ports.is_empty() {
        return None;
    }
    let header = ["PORT", "NEW FLOWS", "REJECTED", "NOT ON THIS NODE", "SOURCE NOT ALLOWED"];
    let of_backends = counted().flat_map(|(port, flows)| {
        flows.backends.iter().map(move |(backend, new)| [port.clone(), backend.clone(), new.to_string()])
    });
    let backends: Vec<_> = of_backends.collect();
    let backends = (!backends.is_empty()).then(|| table(["PORT", "BACKEND", "NEW FLOWS"], backends, 1));
    Some([table(header, ports, 4)].into_iter().chain(backends).collect::<Vec<_>>().join("\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use sheave_agent::status::PortFlowsStatus;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
    }

    fn flows() -> FlowCountsStatus {
        FlowCountsStatus { new_flows: 1200, rejected: 1, no_local_endpoint: 2, source_range: 3 }
    }

    #[test]
    fn the_busiest_are_shown_with_rates_where_it_was_looked_for_a_time() {
        let port = BusyPort {
            port: "shop/web:http/TCP/IPv4".to_owned(),
            per_second: Some(12.34),
            refused_per_second: Some(0.5),
            flows: flows(),
        };
        let status = FlowsStatus { seconds: 2.0, moved: 4, ports: vec![port.clone()] };
        let want =
            "BUSIEST SERVICE PORTS NEW/S REFUSED/S NEW REFUSED\nshop/web:http/TCP/IPv4 12.3 0.5 1200 6\nand 3 more";
        assert_eq!(lines(&busiest(&status).unwrap()), want.lines().collect::<Vec<_>>());
        let ever = FlowsStatus {
            seconds: 0.0,
            moved: 1,
            ports: vec![BusyPort { per_second: None, refused_per_second: None, ..port }],
        };
        let want = "BUSIEST SERVICE PORTS NEW FLOWS REFUSED\nshop/web:http/TCP/IPv4 1200 6";
        assert_eq!(lines(&busiest(&ever).unwrap()), want.lines().collect::<Vec<_>>());
        assert_eq!(busiest(&FlowsStatus::default()), None);
    }

    #[test]
    fn a_service_is_shown_with_its_refusals_by_reason_and_its_backends() {
        let backends = [("10.244.0.1:8080".to_owned(), 700), ("10.244.0.2:8080".to_owned(), 500)].into();
        let port = |flows| PortStatus {
            port: "shop/web:http/TCP/IPv4".to_owned(),
            frontends: Vec::new(),
            backends: 2,
            local: None,
            draining: 0,
            flows,
        };
        let shown = of_ports(&[port(Some(PortFlowsStatus { flows: flows(), backends })), port(None)]).unwrap();
        let want = "PORT NEW FLOWS REJECTED NOT ON THIS NODE SOURCE NOT ALLOWED\nshop/web:http/TCP/IPv4 1200 1 2 3\n\n\
                    PORT BACKEND NEW FLOWS\nshop/web:http/TCP/IPv4 10.244.0.1:8080 700\n\
                    shop/web:http/TCP/IPv4 10.244.0.2:8080 500";
        assert_eq!(lines(&shown), want.lines().collect::<Vec<_>>());
        assert_eq!(of_ports(&[port(None)]), None);
    }
}
