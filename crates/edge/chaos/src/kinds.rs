//! The kinds of documents and their fields, as Chaos Mesh 2.8 defines them, and the Experiment around them.

use crate::schema::Presence::{self, Optional, Required};
use crate::schema::{Field, Shape};

#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) api_version: &'static str,
    pub(crate) fields: &'static [Field],
}

const CHAOS_MESH: &str = "chaos-mesh.org/v1alpha1";
pub(crate) const OURS: &str = "mainstay/v1";
pub(crate) const EXPERIMENT: &str = "Experiment";

/// Kinds of which only the name is known here: no machine of its own can do what they ask.
pub(crate) const ELSEWHERE: &[&str] = &[
    "AWSChaos",
    "AzureChaos",
    "BlockChaos",
    "CiliumChaos",
    "CloudStackChaos",
    "GCPChaos",
    "JVMChaos",
    "KernelChaos",
    "PhysicalMachine",
    "PhysicalMachineChaos",
    "RemoteCluster",
    "StatusCheck",
];

pub(crate) fn find(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

pub(crate) fn names() -> Vec<&'static str> {
    KINDS.iter().map(|kind| kind.name).collect()
}

const fn field(name: &'static str, shape: &'static Shape, required: Presence) -> Field {
    Field {
        name,
        shape,
        required,
    }
}

const fn must(name: &'static str, shape: &'static Shape) -> Field {
    field(name, shape, Required)
}

const fn may(name: &'static str, shape: &'static Shape) -> Field {
    field(name, shape, Optional)
}

const TEXT: Shape = Shape::Text;
const TEXTS: Shape = Shape::List(&Shape::Text);
const LABELS: Shape = Shape::Map(&Shape::Text);
const COUNT: Shape = Shape::Whole(0);
const ANY: Shape = Shape::Any;

const MODE: Shape = Shape::OneOf(&["all", "one", "fixed", "fixed-percent", "random-max-percent"]);

const METADATA: Shape = Shape::Object(&[
    must("name", &TEXT),
    may("namespace", &TEXT),
    may("labels", &LABELS),
    may("annotations", &LABELS),
    may("finalizers", &TEXTS),
]);

const EXPRESSION: Shape = Shape::Object(&[
    must("key", &TEXT),
    must(
        "operator",
        &Shape::OneOf(&["In", "NotIn", "Exists", "DoesNotExist"]),
    ),
    may("values", &TEXTS),
]);

const SELECTOR: Shape = Shape::Object(&[
    may("namespaces", &TEXTS),
    may("nodes", &TEXTS),
    may("pods", &Shape::Map(&TEXTS)),
    may("nodeSelectors", &LABELS),
    may("fieldSelectors", &LABELS),
    may("labelSelectors", &LABELS),
    may("expressionSelectors", &Shape::List(&EXPRESSION)),
    may("annotationSelectors", &LABELS),
    may("podPhaseSelectors", &TEXTS),
]);

const TARGET: Shape = Shape::Object(&[
    must("mode", &MODE),
    must("selector", &SELECTOR),
    may("value", &TEXT),
]);

const DELAY: Shape = Shape::Object(&[
    must("latency", &TEXT),
    may("jitter", &TEXT),
    may("correlation", &TEXT),
    may(
        "reorder",
        &Shape::Object(&[
            must("reorder", &TEXT),
            must("gap", &Shape::Whole(0)),
            may("correlation", &TEXT),
        ]),
    ),
]);

const NETWORK: &[Field] = &[
    must(
        "action",
        &Shape::OneOf(&[
            "netem",
            "delay",
            "loss",
            "duplicate",
            "corrupt",
            "partition",
            "bandwidth",
        ]),
    ),
    must("mode", &MODE),
    must("selector", &SELECTOR),
    may("value", &TEXT),
    may("duration", &TEXT),
    may("direction", &Shape::OneOf(&["to", "from", "both"])),
    may("target", &TARGET),
    may("targetDevice", &TEXT),
    may("externalTargets", &TEXTS),
    may("device", &TEXT),
    may("remoteCluster", &TEXT),
    may("delay", &DELAY),
    may(
        "loss",
        &Shape::Object(&[must("loss", &TEXT), may("correlation", &TEXT)]),
    ),
    may(
        "duplicate",
        &Shape::Object(&[must("duplicate", &TEXT), may("correlation", &TEXT)]),
    ),
    may(
        "corrupt",
        &Shape::Object(&[must("corrupt", &TEXT), may("correlation", &TEXT)]),
    ),
    may("rate", &Shape::Object(&[must("rate", &TEXT)])),
    may(
        "bandwidth",
        &Shape::Object(&[
            must("rate", &TEXT),
            must("limit", &Shape::Whole(1)),
            must("buffer", &Shape::Whole(1)),
            may("peakrate", &COUNT),
            may("minburst", &COUNT),
        ]),
    ),
];

const POD: &[Field] = &[
    must(
        "action",
        &Shape::OneOf(&["pod-kill", "pod-failure", "container-kill"]),
    ),
    must("mode", &MODE),
    must("selector", &SELECTOR),
    may("value", &TEXT),
    may("duration", &TEXT),
    may("containerNames", &TEXTS),
    may("gracePeriod", &COUNT),
    may("remoteCluster", &TEXT),
];

const STRESS: &[Field] = &[
    must("mode", &MODE),
    must("selector", &SELECTOR),
    may("value", &TEXT),
    may("duration", &TEXT),
    may("containerNames", &TEXTS),
    may("remoteCluster", &TEXT),
    may("stressngStressors", &TEXT),
    may(
        "stressors",
        &Shape::Object(&[
            may(
                "cpu",
                &Shape::Object(&[
                    must("workers", &Shape::Whole(0)),
                    may("load", &COUNT),
                    may("options", &TEXTS),
                ]),
            ),
            may(
                "memory",
                &Shape::Object(&[
                    must("workers", &Shape::Whole(0)),
                    may("size", &TEXT),
                    may("oomScoreAdj", &Shape::Whole(-1_000)),
                    may("options", &TEXTS),
                ]),
            ),
        ]),
    ),
];

const TIME: &[Field] = &[
    must("mode", &MODE),
    must("selector", &SELECTOR),
    must("timeOffset", &TEXT),
    may("clockIds", &TEXTS),
    may("value", &TEXT),
    may("duration", &TEXT),
    may("containerNames", &TEXTS),
    may("remoteCluster", &TEXT),
];

const IO: &[Field] = &[
    must(
        "action",
        &Shape::OneOf(&["latency", "fault", "attrOverride", "mistake"]),
    ),
    must("mode", &MODE),
    must("selector", &SELECTOR),
    must("volumePath", &TEXT),
    may("value", &TEXT),
    may("duration", &TEXT),
    may("containerNames", &TEXTS),
    may("delay", &TEXT),
    may("errno", &COUNT),
    may("attr", &ANY),
    may("mistake", &ANY),
    may("path", &TEXT),
    may("methods", &TEXTS),
    may("percent", &COUNT),
    may("remoteCluster", &TEXT),
];

const DNS: &[Field] = &[
    must("action", &Shape::OneOf(&["error", "random"])),
    must("mode", &MODE),
    must("selector", &SELECTOR),
    may("value", &TEXT),
    may("duration", &TEXT),
    may("containerNames", &TEXTS),
    may("patterns", &TEXTS),
    may("remoteCluster", &TEXT),
];

const HTTP: &[Field] = &[
    must("target", &Shape::OneOf(&["Request", "Response"])),
    must("mode", &MODE),
    must("selector", &SELECTOR),
    may("value", &TEXT),
    may("duration", &TEXT),
    may("abort", &Shape::Flag),
    may("delay", &TEXT),
    may("replace", &ANY),
    may("patch", &ANY),
    may("port", &COUNT),
    may("path", &TEXT),
    may("method", &TEXT),
    may("code", &COUNT),
    may("request_headers", &LABELS),
    may("response_headers", &LABELS),
    may("tls", &ANY),
    may("remoteCluster", &TEXT),
];

const POLICY: Shape = Shape::OneOf(&["Forbid", "Allow"]);

/// The chaos that a Schedule or a template of a Workflow holds.
const EMBEDDED: [Field; 15] = [
    may("networkChaos", &Shape::Object(NETWORK)),
    may("podChaos", &Shape::Object(POD)),
    may("stressChaos", &Shape::Object(STRESS)),
    may("timeChaos", &Shape::Object(TIME)),
    may("ioChaos", &Shape::Object(IO)),
    may("dnsChaos", &Shape::Object(DNS)),
    may("httpChaos", &Shape::Object(HTTP)),
    may("awsChaos", &ANY),
    may("azureChaos", &ANY),
    may("blockChaos", &ANY),
    may("cloudStackChaos", &ANY),
    may("gcpChaos", &ANY),
    may("jvmChaos", &ANY),
    may("kernelChaos", &ANY),
    may("physicalmachineChaos", &ANY),
];

const fn with<const N: usize, const M: usize>(own: [Field; N]) -> [Field; M] {
    let mut all = [const { may("", &ANY) }; M];
    let mut place = 0;
    while place < M {
        all[place] = if place < N {
            Field {
                name: own[place].name,
                shape: own[place].shape,
                required: own[place].required,
            }
        } else {
            let other = &EMBEDDED[place - N];
            Field {
                name: other.name,
                shape: other.shape,
                required: other.required,
            }
        };
        place += 1;
    }
    all
}

const ONLY_CHAOS_SCHEDULE: &[Field] = &with::<5, 20>([
    must("schedule", &TEXT),
    must("type", &TEXT),
    may("concurrencyPolicy", &POLICY),
    may("startingDeadlineSeconds", &COUNT),
    may("historyLimit", &Shape::Whole(1)),
]);

const WORKFLOW: &[Field] = &[
    must("entry", &TEXT),
    must("templates", &Shape::List(&Shape::Object(TEMPLATE))),
];

const SCHEDULE: &[Field] = &with::<6, 21>([
    must("schedule", &TEXT),
    must("type", &TEXT),
    may("concurrencyPolicy", &POLICY),
    may("startingDeadlineSeconds", &COUNT),
    may("historyLimit", &Shape::Whole(1)),
    may("workflow", &Shape::Object(WORKFLOW)),
]);

const TEMPLATE: &[Field] = &with::<9, 24>([
    must("name", &TEXT),
    must("templateType", &TEXT),
    may("deadline", &TEXT),
    may("children", &TEXTS),
    may("task", &ANY),
    may(
        "conditionalBranches",
        &Shape::List(&Shape::Object(&[
            must("target", &TEXT),
            may("expression", &TEXT),
        ])),
    ),
    may("schedule", &Shape::Object(ONLY_CHAOS_SCHEDULE)),
    may("statusCheck", &ANY),
    may("abortWithStatusCheck", &Shape::Flag),
]);

const CONDITION: Shape = Shape::Object(&[
    must("name", &TEXT),
    may("query", &TEXT),
    may("objective", &TEXT),
    may("atLeast", &Shape::Number),
    may("atMost", &Shape::Number),
    may(
        "when",
        &Shape::List(&Shape::OneOf(&["before", "during", "after"])),
    ),
]);

const EXPERIMENT_SPEC: &[Field] = &[
    must("hypothesis", &TEXT),
    must(
        "run",
        &Shape::List(&Shape::Object(&[must("kind", &TEXT), must("name", &TEXT)])),
    ),
    may("seed", &COUNT),
    may("window", &TEXT),
    may("settle", &TEXT),
    may("steadyState", &Shape::List(&CONDITION)),
    may("abort", &Shape::List(&CONDITION)),
    may(
        "alerts",
        &Shape::Object(&[
            may("fire", &TEXTS),
            may("mayFire", &TEXTS),
            may("severities", &TEXTS),
        ]),
    ),
    may(
        "blastRadius",
        &Shape::Object(&[
            may("targets", &Shape::Whole(1)),
            may("sharePercent", &Shape::Whole(1)),
        ]),
    ),
    may(
        "budget",
        &Shape::List(&Shape::Object(&[
            must("objective", &TEXT),
            must("leftAtLeast", &Shape::Number),
        ])),
    ),
];

macro_rules! kinds {
    ($($name:literal of $version:ident = $spec:expr;)*) => {
        const KINDS: &[Kind] = &[$(Kind {
            name: $name,
            api_version: $version,
            fields: &[
                must("apiVersion", &TEXT),
                must("kind", &TEXT),
                must("metadata", &METADATA),
                must("spec", &$spec),
                may("status", &ANY),
            ],
        },)*];
    };
}

kinds! {
    "NetworkChaos" of CHAOS_MESH = Shape::Object(NETWORK);
    "PodChaos" of CHAOS_MESH = Shape::Object(POD);
    "StressChaos" of CHAOS_MESH = Shape::Object(STRESS);
    "TimeChaos" of CHAOS_MESH = Shape::Object(TIME);
    "IOChaos" of CHAOS_MESH = Shape::Object(IO);
    "DNSChaos" of CHAOS_MESH = Shape::Object(DNS);
    "HTTPChaos" of CHAOS_MESH = Shape::Object(HTTP);
    "Schedule" of CHAOS_MESH = Shape::Object(SCHEDULE);
    "Workflow" of CHAOS_MESH = Shape::Object(WORKFLOW);
    "Experiment" of OURS = Shape::Object(EXPERIMENT_SPEC);
    "AWSChaos" of CHAOS_MESH = ANY;
    "AzureChaos" of CHAOS_MESH = ANY;
    "BlockChaos" of CHAOS_MESH = ANY;
    "CiliumChaos" of CHAOS_MESH = ANY;
    "CloudStackChaos" of CHAOS_MESH = ANY;
    "GCPChaos" of CHAOS_MESH = ANY;
    "JVMChaos" of CHAOS_MESH = ANY;
    "KernelChaos" of CHAOS_MESH = ANY;
    "PhysicalMachine" of CHAOS_MESH = ANY;
    "PhysicalMachineChaos" of CHAOS_MESH = ANY;
    "RemoteCluster" of CHAOS_MESH = ANY;
    "StatusCheck" of CHAOS_MESH = ANY;
}
