//! The messages of the API in protobuf, as far as its objects are served so: fields by number, as Kubernetes' generated.proto
//! files have them (api: core/v1, discovery/v1, networking/v1; apimachinery: meta/v1, runtime).

/// What stands in a field. Go's marshaller writes a field that is no pointer even when it is empty; [`Optional`](Self::Optional)
/// ones are pointers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    Text,
    Number,
    Flag,
    Time,
    /// A number or a text (`intstr.IntOrString`).
    NumberOrText,
    /// `map<string, string>`
    Texts,
    /// Whatever the document has there, as a text of JSON (`meta/v1.FieldsV1`).
    Json,
    Message(&'static [Field]),
    Optional(&'static Shape),
    List(&'static Shape),
}

/// Number, name in JSON, shape.
pub(crate) type Field = (u32, &'static str, Shape);

use Shape::{Flag, Json, List, Message, Number, NumberOrText, Optional, Text, Texts, Time};

const OPTIONAL_TEXT: Shape = Optional(&Text);
const OPTIONAL_NUMBER: Shape = Optional(&Number);
const OPTIONAL_FLAG: Shape = Optional(&Flag);
const OPTIONAL_TIME: Shape = Optional(&Time);

/// The message of a kind; `None` for kinds that are served as JSON only.
pub(crate) fn of_kind(kind: &str) -> Option<&'static [Field]> {
    Some(match kind {
        "Service" => &SERVICE,
        "EndpointSlice" => &SLICE,
        "Node" => &NODE,
        "ServiceCIDR" => &SERVICE_CIDR,
        "Status" => &STATUS,
        _ => return None,
    })
}

pub(crate) const LIST_METADATA: [Field; 4] = [
    (1, "selfLink", Text),
    (2, "resourceVersion", Text),
    (3, "continue", Text),
    (4, "remainingItemCount", OPTIONAL_NUMBER),
];

const METADATA: Shape = Message(&[
    (1, "name", Text),
    (2, "generateName", Text),
    (3, "namespace", Text),
    (4, "selfLink", Text),
    (5, "uid", Text),
    (6, "resourceVersion", Text),
    (7, "generation", Number),
    (8, "creationTimestamp", Time),
    (9, "deletionTimestamp", OPTIONAL_TIME),
    (10, "deletionGracePeriodSeconds", OPTIONAL_NUMBER),
    (11, "labels", Texts),
    (12, "annotations", Texts),
    (13, "ownerReferences", List(&OWNER)),
    (14, "finalizers", List(&Text)),
    (17, "managedFields", List(&MANAGED)),
]);

const OWNER: Shape = Message(&[
    (1, "kind", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "controller", OPTIONAL_FLAG),
    (7, "blockOwnerDeletion", OPTIONAL_FLAG),
]);

const MANAGED: Shape = Message(&[
    (1, "manager", Text),
    (2, "operation", Text),
    (3, "apiVersion", Text),
    (4, "time", OPTIONAL_TIME),
    (6, "fieldsType", Text),
    (7, "fieldsV1", Optional(&Json)),
    (8, "subresource", Text),
]);

const CONDITION: Shape = Message(&[
    (1, "type", Text),
    (2, "status", Text),
    (3, "observedGeneration", Number),
    (4, "lastTransitionTime", Time),
    (5, "reason", Text),
    (6, "message", Text),
]);

const SERVICE: [Field; 3] = [(1, "metadata", METADATA), (2, "spec", SERVICE_SPEC), (3, "status", SERVICE_STATUS)];

const SERVICE_SPEC: Shape = Message(&[
    (1, "ports", List(&SERVICE_PORT)),
    (2, "selector", Texts),
    (3, "clusterIP", Text),
    (4, "type", Text),
    (5, "externalIPs", List(&Text)),
    (7, "sessionAffinity", Text),
    (8, "loadBalancerIP", Text),
    (9, "loadBalancerSourceRanges", List(&Text)),
    (10, "externalName", Text),
    (11, "externalTrafficPolicy", Text),
    (12, "healthCheckNodePort", Number),
    (13, "publishNotReadyAddresses", Flag),
    (14, "sessionAffinityConfig", Optional(&AFFINITY)),
    (17, "ipFamilyPolicy", OPTIONAL_TEXT),
    (18, "clusterIPs", List(&Text)),
    (19, "ipFamilies", List(&Text)),
    (20, "allocateLoadBalancerNodePorts", OPTIONAL_FLAG),
    (21, "loadBalancerClass", OPTIONAL_TEXT),
    (22, "internalTrafficPolicy", OPTIONAL_TEXT),
    (23, "trafficDistribution", OPTIONAL_TEXT),
]);

const SERVICE_PORT: Shape = Message(&[
    (1, "name", Text),
    (2, "protocol", Text),
    (3, "port", Number),
    (4, "targetPort", NumberOrText),
    (5, "nodePort", Number),
    (6, "appProtocol", OPTIONAL_TEXT),
]);

const AFFINITY: Shape = Message(&[(1, "clientIP", Optional(&Message(&[(1, "timeoutSeconds", OPTIONAL_NUMBER)])))]);

const SERVICE_STATUS: Shape =
    Message(&[(1, "loadBalancer", Message(&[(1, "ingress", List(&INGRESS))])), (2, "conditions", List(&CONDITION))]);

const INGRESS: Shape = Message(&[
    (1, "ip", Text),
    (2, "hostname", Text),
    (3, "ipMode", OPTIONAL_TEXT),
    (4, "ports", List(&Message(&[(1, "port", Number), (2, "protocol", Text), (3, "error", OPTIONAL_TEXT)]))),
]);

const SLICE: [Field; 4] = [
    (1, "metadata", METADATA),
    (2, "endpoints", List(&ENDPOINT)),
    (3, "ports", List(&SLICE_PORT)),
    (4, "addressType", Text),
];

const ENDPOINT: Shape = Message(&[
    (1, "addresses", List(&Text)),
    (
        2,
        "conditions",
        Message(&[(1, "ready", OPTIONAL_FLAG), (2, "serving", OPTIONAL_FLAG), (3, "terminating", OPTIONAL_FLAG)]),
    ),
    (3, "hostname", OPTIONAL_TEXT),
    (4, "targetRef", Optional(&REFERENCE)),
    (5, "deprecatedTopology", Texts),
    (6, "nodeName", OPTIONAL_TEXT),
    (7, "zone", OPTIONAL_TEXT),
    (8, "hints", Optional(&Message(&[(1, "forZones", HINTED), (2, "forNodes", HINTED)]))),
]);

const HINTED: Shape = List(&Message(&[(1, "name", Text)]));

const REFERENCE: Shape = Message(&[
    (1, "kind", Text),
    (2, "namespace", Text),
    (3, "name", Text),
    (4, "uid", Text),
    (5, "apiVersion", Text),
    (6, "resourceVersion", Text),
    (7, "fieldPath", Text),
]);

const SLICE_PORT: Shape = Message(&[
    (1, "name", OPTIONAL_TEXT),
    (2, "protocol", OPTIONAL_TEXT),
    (3, "port", OPTIONAL_NUMBER),
    (4, "appProtocol", OPTIONAL_TEXT),
]);

/// Without capacity, images and volumes, which no service proxy reads.
const NODE: [Field; 3] = [
    (1, "metadata", METADATA),
    (
        2,
        "spec",
        Message(&[
            (1, "podCIDR", Text),
            (2, "externalID", Text),
            (3, "providerID", Text),
            (4, "unschedulable", Flag),
            (5, "taints", List(&TAINT)),
            (7, "podCIDRs", List(&Text)),
        ]),
    ),
    (
        3,
        "status",
        Message(&[(3, "phase", Text), (5, "addresses", List(&Message(&[(1, "type", Text), (2, "address", Text)])))]),
    ),
];

const TAINT: Shape =
    Message(&[(1, "key", Text), (2, "value", Text), (3, "effect", Text), (4, "timeAdded", OPTIONAL_TIME)]);

const SERVICE_CIDR: [Field; 3] = [
    (1, "metadata", METADATA),
    (2, "spec", Message(&[(1, "cidrs", List(&Text))])),
    (3, "status", Message(&[(1, "conditions", List(&CONDITION))])),
];

const STATUS: [Field; 6] = [
    (1, "metadata", Message(&LIST_METADATA)),
    (2, "status", Text),
    (3, "message", Text),
    (4, "reason", Text),
    (5, "details", Optional(&DETAILS)),
    (6, "code", Number),
];

const DETAILS: Shape = Message(&[
    (1, "name", Text),
    (2, "group", Text),
    (3, "kind", Text),
    (4, "causes", List(&Message(&[(1, "reason", Text), (2, "message", Text), (3, "field", Text)]))),
    (5, "retryAfterSeconds", Number),
    (6, "uid", Text),
]);
