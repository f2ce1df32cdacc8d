//! Manifests read at once: the text `kubectl get` prints, files, directories and streams.

use proptest::prelude::*;
use sheave_core::{Event, Index, Kind, ObjectName, ServiceName};
use sheave_kube_source::{Absent, Manifests, object_ref};
use std::error::Error;
use std::fs;
use std::io::{self, Read};
use std::path::Path;

const WEB: &str = "
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {clusterIP: 10.96.0.1, ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints: [{addresses: [10.244.1.1], nodeName: node-a}]
---
apiVersion: v1
kind: Node
metadata: {name: node-a, labels: {topology.kubernetes.io/zone: z1}}
---
apiVersion: networking.k8s.io/v1
kind: ServiceCIDR
metadata: {name: kubernetes}
spec: {cidrs: [10.96.0.0/16]}
";

fn index(events: Vec<Event>) -> Index {
    let mut index = Index::new("node-a");
    events.into_iter().for_each(|event| index.apply(event));
    index
}

fn names(index: &Index) -> Vec<String> {
    index.names().iter().filter(|name| index.service(name).is_some()).map(ToString::to_string).collect()
}

fn said(manifests: &Manifests) -> Vec<String> {
    manifests.diagnostics("node-a").iter().map(ToString::to_string).collect()
}

#[test]
fn w12_what_is_read_at_once_is_complete_and_names_its_nodes() {
    let manifests = Manifests::parse("<stdin>", WEB);
    let events = manifests.listed("node-a");
    let kinds: Vec<_> =
        events.iter().filter_map(|e| if let Event::Listed { kind, .. } = e { Some(*kind) } else { None }).collect();
    assert_eq!(kinds, Kind::ALL);
    let index = index(events);
    assert_eq!(index.missing().count(), 0);
    let web = ServiceName::new("shop", "web");
    assert_eq!(index.service(&web).unwrap().origin.as_deref(), Some("<stdin>:1"));
    assert_eq!(index.slices(&web).count(), 1);
    assert_eq!(index.node().unwrap().zone.as_deref(), Some("z1"));
    assert_eq!(index.service_cidrs().count(), 1);
    assert_eq!(manifests.nodes().iter().map(|node| &**node).collect::<Vec<_>>(), ["node-a"]);
    assert_eq!(index_of_nothing().missing().count(), 0, "an empty text is a complete list of nothing");
}

fn index_of_nothing() -> Index {
    index(Manifests::parse("<stdin>", "").listed("node-a"))
}

/// `kubectl get svc,endpointslices,nodes,servicecidrs -A -o yaml | sheave explain --manifests - …`
#[test]
fn a_list_as_kubectl_prints_it_is_read_with_everything_in_it() {
    let manifests = Manifests::parse("<stdin>", include_str!("manifests/kubectl-get.yaml"));
    let index = index(manifests.listed("node-a"));
    assert_eq!(said(&manifests), [""; 0]);
    assert_eq!(names(&index), ["default/kubernetes", "shop/web"]);
    assert_eq!(manifests.nodes().len(), 2);
    let web = index.service(&ServiceName::new("shop", "web")).unwrap();
    assert_eq!(web.ports[0].node_port.map(sheave_core::Port::get), Some(30080));
    assert_eq!(web.load_balancer_ips, ["192.0.2.10".parse::<std::net::IpAddr>().unwrap()]);
    let absent: Vec<_> = manifests.absent().map(|(name, absent)| (object_ref(name).to_string(), absent)).collect();
    let want = [
        ("Service shop/db".to_owned(), Absent::Headless),
        ("Service shop/mail".to_owned(), Absent::ExternalName),
        ("EndpointSlice shop/db-7xk2q".to_owned(), Absent::HeadlessSlice { service: ServiceName::new("shop", "db") }),
    ];
    assert_eq!(absent, want);
}

#[test]
fn every_reason_to_be_absent_is_a_sentence_with_its_rule() {
    let service = ServiceName::new("shop", "web");
    for absent in [
        Absent::OtherProxy { cluster_ips: vec![] },
        Absent::Headless,
        Absent::NoClusterIp,
        Absent::ExternalName,
        Absent::HeadlessSlice { service: service.clone() },
        Absent::FqdnSlice { service },
        Absent::NoService,
    ] {
        let text = absent.to_string();
        assert!(text.starts_with("it") && !text.ends_with('.'), "{text}");
        assert!(["W1", "W2", "W3", "W4", "W5"].contains(&absent.rule()), "{text}");
    }
}

#[test]
fn one_bad_document_hides_no_other_and_is_named_by_its_line() {
    let bad = "---\nspec: [1,\n---\napiVersion: v1\nkind: Service\nmetadata: {name: a/b}\n---\n";
    let manifests = Manifests::parse("all.yaml", &format!("{bad}{WEB}"));
    assert_eq!(names(&index(manifests.listed("node-a"))), ["shop/web"]);
    let said = said(&manifests);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said.iter().all(|said| said.starts_with("all.yaml:") && said.contains("the rest of the file is served")));
    let diagnosed = index(manifests.listed("node-a")).diagnostics().count();
    assert_eq!(diagnosed, 2, "the index holds them, too");
}

#[test]
fn an_object_of_a_list_is_named_by_its_place_there() {
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-a"}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"clusterIP": "x", "ports": [{"port": 80}]}},
        {"apiVersion": "v1", "kind": "Service", "metadata": {}}, null
    ]}"#;
    let manifests = Manifests::parse("<stdin>", list);
    let said = said(&manifests);
    for (said, want) in said.iter().zip([
        "<stdin>:1, items[2]: File <stdin>: Service without a usable metadata.name",
        "<stdin>:1, items[3]: File <stdin>: not a Kubernetes object",
        "<stdin>:1, items[1]: Service default/web: spec.clusterIP",
    ]) {
        assert!(said.starts_with(want), "{said}");
    }
    assert_eq!(said.len(), 3);
}

#[test]
fn a_text_is_empty_when_no_object_in_it_can_be_used() {
    for (text, want) in [
        (WEB, false),
        ("", true),
        ("# nothing\n---\n", true),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\n", true),
        ("apiVersion: v1\nkind: List\nitems: []\n", true),
        ("apiVersion: v1\nkind: List\nitems: [{\n", true),
        ("apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\nmetadata: {name: a}\n", true),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: []\n", true),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: ExternalName}\n", false),
        ("apiVersion: v1\nkind: Node\nmetadata: {name: a}\n", false),
    ] {
        assert_eq!(Manifests::parse("<stdin>", text).is_empty(), want, "{text}");
    }
}

#[test]
fn of_an_object_that_is_defined_twice_the_first_is_served() {
    let twice = format!("{WEB}---\n{}", WEB.replace("10.96.0.1,", "10.96.0.2,"));
    let manifests = Manifests::parse("all.yaml", &twice);
    let index = index(manifests.listed("node-a"));
    let web = index.service(&ServiceName::new("shop", "web")).unwrap();
    assert_eq!(web.cluster_ips, ["10.96.0.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(
        said(&manifests)[0],
        "all.yaml:22: Service shop/web: defined a second time; the one at all.yaml:1 is served"
    );
}

#[test]
fn of_the_other_nodes_nothing_is_said() {
    let node = |name: &str| {
        format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\nstatus: {{addresses: [{{type: InternalIP, address: x}}]}}\n"
        )
    };
    let manifests = Manifests::parse("nodes.yaml", &[node("node-a"), node("node-b")].concat());
    assert_eq!(
        said(&manifests),
        ["nodes.yaml:1: Node node-a: status.addresses[0].address: \"x\" is not an IP address"]
    );
    assert_eq!(manifests.diagnostics("node-c"), []);
    assert_eq!(manifests.nodes().len(), 2);
}

#[test]
fn a_step_applies_and_deletes_objects_one_by_one() {
    let mut index = index(Manifests::parse("start", WEB).listed("node-a"));
    let step = |index: &mut Index, events: Vec<Event>| events.into_iter().for_each(|event| index.apply(event));
    let api = "apiVersion: v1\nkind: Service\nmetadata: {name: api, namespace: shop}\nspec: {clusterIP: 10.96.0.x, ports: [{port: 80}]}\n";
    step(&mut index, Manifests::parse("step", api).applied("node-a"));
    assert_eq!(names(&index), ["shop/api", "shop/web"], "what the step does not name stays");
    assert_eq!(index.diagnostics().count(), 1);
    step(&mut index, Manifests::parse("step", &api.replace(".x", ".2")).applied("node-a"));
    assert_eq!(index.diagnostics().count(), 0, "what was wrong is taken back");
    let external = api.replace("spec: {", "spec: {type: ExternalName, ");
    step(&mut index, Manifests::parse("step", &external).applied("node-a"));
    assert_eq!(names(&index), ["shop/web"], "W3: becoming absent is a deletion");
    step(&mut index, Manifests::parse("step", &api.replace(".x", ".2")).applied("node-a"));
    assert_eq!(names(&index), ["shop/api", "shop/web"], "W3: and back");
    step(&mut index, Manifests::parse("step", "spec: [1,").applied("node-a"));
    assert_eq!((names(&index).len(), index.diagnostics().count()), (2, 1), "what does not read changes nothing");
    step(&mut index, Manifests::parse("step", api).deleted());
    assert_eq!(names(&index), ["shop/web"]);
}

#[test]
fn a_file_a_directory_and_a_stream_are_read_alike() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("all.yaml");
    fs::write(&file, WEB).unwrap();
    fs::write(directory.path().join("notes.txt"), "kind: Service").unwrap();
    let shown = |manifests: &Manifests| names(&index(manifests.listed("node-a")));
    for manifests in [
        Manifests::read(&file).unwrap(),
        Manifests::read(directory.path()).unwrap(),
        Manifests::read_from("<stdin>", WEB.as_bytes()).unwrap(),
    ] {
        assert_eq!((shown(&manifests), said(&manifests)), (vec!["shop/web".to_owned()], vec![]));
    }
    fs::write(directory.path().join("b.yaml"), b"\xff").unwrap();
    let manifests = Manifests::read(directory.path()).unwrap();
    assert_eq!(shown(&manifests), ["shop/web"], "one file that is no text hides no other");
    assert_eq!(said(&manifests).len(), 1);
}

#[test]
fn what_cannot_be_read_at_all_is_an_error_that_names_it() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("pulled out"))
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let missing = directory.path().join("missing.yaml");
    let error = Manifests::read(&missing).unwrap_err();
    assert_eq!(error.to_string(), format!("{} cannot be read", missing.display()));
    assert!(error.source().is_some());
    let error = Manifests::read(directory.path()).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{} holds no manifest", directory.path().display())), "{error}");
    for error in [Manifests::read_from("<stdin>", Broken), Manifests::read_from("<stdin>", &b"\xff"[..])] {
        assert_eq!(error.unwrap_err().to_string(), "<stdin> cannot be read");
    }
}

#[test]
fn the_examples_read_without_a_word() {
    let manifests = Manifests::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples")).unwrap();
    assert_eq!(said(&manifests), [""; 0]);
    assert_eq!(manifests.absent().count(), 0);
    assert_eq!(manifests.nodes().len(), 2);
}

proptest! {
    /// One bad object never hides another, whatever it looks like.
    #[test]
    fn any_document_leaves_the_others_alone(
        spec in "[-a-zA-Z0-9.:/{}\\[\\] \n&*!|>'\",]{0,120}",
        kind in prop::sample::select(vec!["v1\nkind: Service", "discovery.k8s.io/v1\nkind: EndpointSlice", "v1\nkind: Node"]),
    ) {
        prop_assume!(!spec.contains("\n---"));
        let bad = format!("apiVersion: {kind}\nmetadata: {{name: bad, namespace: shop}}\nspec: {spec}\n");
        let manifests = Manifests::parse("all.yaml", &format!("{bad}---\n{WEB}---\n{bad}"));
        let index = index(manifests.listed("node-a"));
        prop_assert!(index.service(&ServiceName::new("shop", "web")).is_some());
        prop_assert_eq!(index.slices(&ServiceName::new("shop", "web")).count(), 1);
        let _ = (manifests.applied("node-a"), manifests.deleted(), manifests.absent().count());
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes: Vec<u8>) {
        if let Ok(manifests) = Manifests::read_from("<stdin>", &bytes[..]) {
            let named = |event: &Event| matches!(event, Event::Deleted(ObjectName::Node(_)));
            prop_assert!(!manifests.deleted().iter().any(named));
        }
    }
}
