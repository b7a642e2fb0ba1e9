//! What Helm says to the chart and to values, without a cluster.

use anyhow::{Context, Result, ensure};
use rdmamesh_e2e::chart::schemas;
use rdmamesh_e2e::progress::Progress;
use rdmamesh_e2e::suite::SharedPlane;
use rdmamesh_e2e::tools::{Tool, go};

/// Values that differ in what is rendered, by what they try.
pub const SETS: &[(&str, &str)] = &[
    ("defaults", "{}"),
    (
        "everything on",
        "
images: {pullSecrets: [{name: registry}], agent: {digest: 'sha256:0000000000000000000000000000000000000000000000000000000000000000'}}
log: {format: json, filter: info}
operator: {allowTaints: true, replicas: 3, podLabels: {a: b}, podAnnotations: {c: d}, nodeSelector: {e: f}, tolerations: [{operator: Exists}],
  topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: DoNotSchedule}]}
agent: {cpuBudget: 0.1, memoryBudgetMiB: 100, podLabels: {a: b}, podAnnotations: {c: d}, nodeSelector: {e: f}, listenAddress: '::', maxUnavailable: 3,
  affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: x, operator: Exists}]}]}}}}
tracer: {enabled: true}
telemetry: {otlp: {endpoint: 'http://otel:4317', headersSecret: otlp, caSecret: ca, resourceAttributes: {k8s.cluster.name: prod}}}
monitoring: {serviceMonitor: {enabled: true, labels: {release: prometheus}}, podMonitor: {enabled: true}, prometheusRule: {enabled: true, labels: {release: prometheus}}}
networkPolicy: {from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: monitoring}}}]}
extraObjects: [{apiVersion: rdmamesh.io/v1alpha1, kind: RdmaMesh, metadata: {name: fabric}, spec: {topology: {parallelPaths: 4}}}]
",
    ),
    (
        "a device plugin that is there already",
        "deviceAccess: {mode: external, external: {resourceName: rdma/hca_shared_devices_a, nodeSelector: {feature.node.kubernetes.io/rdma.available: 'true'}}}",
    ),
    ("host path", "deviceAccess: {mode: hostPath}"),
    (
        "as little as possible",
        "
crds: {install: false}
operator: {replicas: 1, priorityClassName: '', podDisruptionBudget: {enabled: false}, resources: {}}
agent: {priorityClassName: '', tolerations: [], ipcLock: true, resources: {}}
deviceAccess: {plugin: {hotplugNodes: 0}}
probeKeys: {existingSecret: my-keys}
networkPolicy: {enabled: false}
",
    ),
];

/// `helm lint`, with every set of values.
pub fn lint_finds_nothing(shared: &SharedPlane) -> Result<()> {
    let chart = shared.chart()?;
    let folder = chart.folder().display().to_string();
    for (name, values) in SETS {
        let answer =
            shared.wait(chart.helm(&["lint", &folder, "--strict", "--values", "-"], values))?;
        let said = answer.succeeded().with_context(|| (*name).to_owned())?;
        ensure!(!said.contains("[WARNING]"), "{name}: {said}");
    }
    Ok(())
}

/// `helm template | kubeconform -strict`, with every set of values.
pub fn what_it_renders_is_valid(shared: &SharedPlane) -> Result<()> {
    let chart = shared.chart()?;
    let tools = [Tool::Kubeconform];
    shared.wait(go::ensure(&shared.layout, &Progress::new(), &tools))?;
    for (name, values) in SETS {
        let rendered = shared
            .wait(chart.template(values, &[]))?
            .succeeded()
            .with_context(|| (*name).to_owned())?;
        let checked = kubeconform(shared, &rendered).with_context(|| (*name).to_owned())?;
        ensure!(
            checked.contains("Invalid: 0, Errors: 0, Skipped: 0"),
            "{name}: {checked}"
        );
        let broken = rendered.replacen("serviceAccountName:", "serviceAcountName:", 1);
        ensure!(
            kubeconform(shared, &broken)?.contains("Invalid: 1"),
            "{name}: a misspelt field is not noticed"
        );
    }
    Ok(())
}

fn kubeconform(shared: &SharedPlane, manifests: &str) -> Result<String> {
    let folder = tempfile::tempdir()?;
    shared.wait(schemas::write(&shared.layout, manifests, folder.path()))?;
    let file = folder.path().join("manifests.yaml");
    std::fs::write(&file, manifests)?;
    let location = folder.path().join(schemas::LOCATION);
    let output = std::process::Command::new(Tool::Kubeconform.path(&shared.layout))
        .args(["-strict", "-summary", "-schema-location"])
        .arg(location)
        .arg(file)
        .output()
        .context("run kubeconform")?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr))
}

/// Values that are wrong, and what Helm has to say: where, and what.
const MISTAKES: &[(&str, &[&str])] = &[
    (
        "agent: {tolerashuns: []}",
        &["at '/agent'", "'tolerashuns' not allowed"],
    ),
    ("opertor: {}", &["'opertor' not allowed"]),
    (
        "deviceAccess: {mode: plugn}",
        &["'/deviceAccess/mode'", "'plugin', 'external', 'hostPath'"],
    ),
    (
        "deviceAccess: {plugin: {resourceName: rdma}}",
        &["'/deviceAccess/plugin/resourceName'"],
    ),
    (
        "operator: {replicas: two}",
        &["'/operator/replicas'", "got string, want integer"],
    ),
    (
        "telemetry: {otlp: {endpoint: 'collector:4317'}}",
        &["'/telemetry/otlp/endpoint'"],
    ),
    (
        "deviceAccess: {mode: external}",
        &[
            "set deviceAccess.external.resourceName to the resource that your device plugin advertises",
        ],
    ),
    (
        "deviceAccess: {mode: external, external: {resourceName: rdma/hca}}",
        &["set deviceAccess.external.nodeSelector to labels of the nodes that have that resource"],
    ),
    (
        "deviceAccess: {external: {resourceName: rdma/hca}}",
        &["deviceAccess.mode is plugin: set deviceAccess.mode=external"],
    ),
    (
        "probeKeys: {ids: [1, 2], active: 3}",
        &["key 3 signs, but the keys are to be 1, 2"],
    ),
    (
        "probeKeys: {existingSecret: mine, active: 2}",
        &["rotate the keys in that Secret"],
    ),
];

/// A typo or a contradiction ends the command with a sentence that says where it is.
pub fn mistakes_are_refused(shared: &SharedPlane) -> Result<()> {
    let chart = shared.chart()?;
    for (values, wanted) in MISTAKES {
        let said = shared
            .wait(chart.template(values, &[]))?
            .refused()
            .with_context(|| (*values).to_owned())?;
        for part in *wanted {
            ensure!(said.contains(part), "{values}: {part:?} is not in: {said}");
        }
    }
    Ok(())
}

/// After `helm install`.
pub fn the_notes_say_what_is_next(shared: &SharedPlane) -> Result<()> {
    let chart = shared.chart()?;
    let folder = chart.folder().display().to_string();
    let dry = [
        "install",
        "--dry-run=client",
        "rdmamesh",
        &folder,
        "--namespace",
        "ns-of-mine",
    ];
    let said = shared.wait(chart.helm(&dry, ""))?.succeeded()?;
    let notes = said
        .split_once("NOTES:")
        .context("helm prints the notes")?
        .1;
    for command in [
        "helm test rdmamesh -n ns-of-mine --logs",
        "| kubectl apply -f -",
        "kubectl wait --for=condition=FabricHealthy rdmamesh/fabric",
    ] {
        ensure!(notes.contains(command), "{command:?} is not in: {notes}");
    }
    Ok(())
}
