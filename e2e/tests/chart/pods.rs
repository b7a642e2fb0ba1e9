//! Least privilege, container by container, as rendered.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::render::SETS;
use rdmamesh_e2e::suite::SharedPlane;

/// Pod templates and pods by `Kind/name`.
pub fn pod_specs(manifests: &str) -> Result<Vec<(String, Value)>> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(manifests).context("parse manifests")?;
    let found = objects.into_iter().filter_map(|object| {
        let name = format!(
            "{}/{}",
            object["kind"].as_str()?,
            object["metadata"]["name"].as_str()?
        );
        match object["kind"].as_str()? {
            "Pod" => Some((name, object["spec"].clone())),
            "Deployment" | "DaemonSet" => Some((name, object["spec"]["template"]["spec"].clone())),
            _ => None,
        }
    });
    Ok(found.collect())
}

/// Everything that a container may have beyond nothing: (capabilities added, user). Whatever is not listed here has no
/// capability and is user 65532.
const EXTRAS: &[(&str, &str, i64)] = &[("device-plugin", "MKNOD", 0), ("tracer", "NET_RAW", 0)];

/// Host paths, by pod.
const HOST_PATHS: &[(&str, &[&str])] = &[(
    "DaemonSet/rdmamesh-device-plugin",
    &["/run/rdmamesh/dev", "/var/lib/kubelet/device-plugins"],
)];

/// With everything on, no container has more than its line above.
pub fn pods_are_confined(shared: &SharedPlane) -> Result<()> {
    let chart = shared.chart()?;
    let (_, everything) = SETS[1];
    let rendered = shared.wait(chart.template(everything, &[]))?.succeeded()?;
    let specs = pod_specs(&rendered)?;
    ensure!(
        specs.len() == 4,
        "pods: {:?}",
        specs.iter().map(|(name, _)| name).collect::<Vec<_>>()
    );
    for (pod, spec) in &specs {
        for forbidden in ["hostPID", "hostIPC"] {
            ensure!(spec[forbidden].is_null(), "{pod} has {forbidden}");
        }
        let host_network = spec["hostNetwork"] == true;
        ensure!(
            host_network == pod.starts_with("DaemonSet/"),
            "{pod}: hostNetwork {host_network}"
        );
        for container in spec["containers"].as_array().context("containers")? {
            confined(pod, container)?;
        }
        let mut paths: Vec<&str> = host_paths(spec);
        paths.sort_unstable();
        let allowed = HOST_PATHS.iter().find(|(name, _)| name == pod);
        let allowed = allowed.map_or(&[][..], |(_, paths)| *paths);
        ensure!(paths == allowed, "{pod} has the host paths {paths:?}");
    }
    tokens(&specs.into_iter().collect())
}

fn confined(pod: &str, container: &Value) -> Result<()> {
    let name = container["name"].as_str().unwrap_or_default();
    let extra = EXTRAS.iter().find(|(known, _, _)| *known == name);
    let (capabilities, user) = match extra {
        Some((_, capability, user)) => (json!({"drop": ["ALL"], "add": [capability]}), *user),
        None => (json!({"drop": ["ALL"]}), 65532),
    };
    let context = &container["securityContext"];
    let wanted = json!({
        "runAsUser": user, "runAsGroup": 65532, "runAsNonRoot": user != 0,
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
        "capabilities": capabilities, "seccompProfile": {"type": "RuntimeDefault"},
    });
    ensure!(
        *context == wanted,
        "{pod}, container {name}: {context}, not {wanted}"
    );
    Ok(())
}

fn host_paths(spec: &Value) -> Vec<&str> {
    let volumes = spec["volumes"].as_array().into_iter().flatten();
    volumes
        .filter_map(|volume| volume["hostPath"]["path"].as_str())
        .collect()
}

/// Only who talks to the API server has a token: in the agent's pod that is the prober.
fn tokens(specs: &BTreeMap<String, Value>) -> Result<()> {
    let plugin = &specs["DaemonSet/rdmamesh-device-plugin"];
    ensure!(
        plugin["automountServiceAccountToken"] == false,
        "the device plugin gets a token"
    );
    let agent = &specs["DaemonSet/rdmamesh-agent"];
    ensure!(
        agent["automountServiceAccountToken"] == false,
        "all containers of the agent get a token"
    );
    let containers = agent["containers"].as_array().into_iter().flatten();
    let with_token: Vec<&str> = containers
        .filter(|container| {
            let mounts = container["volumeMounts"].as_array().into_iter().flatten();
            mounts.into_iter().any(|mount| mount["name"] == "api-token")
        })
        .filter_map(|container| container["name"].as_str())
        .collect();
    ensure!(with_token == ["prober"], "tokens: {with_token:?}");
    Ok(())
}

/// Resource, selector, privilege and host paths of the prober by mode.
pub fn device_access_is_what_its_mode_says(shared: &SharedPlane) -> Result<()> {
    let chart = shared.chart()?;
    let agent = |set: usize| -> Result<(Value, bool)> {
        let rendered = shared.wait(chart.template(SETS[set].1, &[]))?.succeeded()?;
        let specs: BTreeMap<String, Value> = pod_specs(&rendered)?.into_iter().collect();
        let plugin = specs.contains_key("DaemonSet/rdmamesh-device-plugin");
        Ok((specs["DaemonSet/rdmamesh-agent"].clone(), plugin))
    };
    let limits = |spec: &Value| spec["containers"][0]["resources"]["limits"].clone();

    let (plugin, has_plugin) = agent(0)?;
    ensure!(
        has_plugin && limits(&plugin)["rdmamesh.io/rdma"] == 1,
        "{plugin}"
    );
    ensure!(host_paths(&plugin).is_empty(), "{plugin}");

    let (external, has_plugin) = agent(2)?;
    ensure!(
        !has_plugin && limits(&external)["rdma/hca_shared_devices_a"] == 1,
        "{external}"
    );
    ensure!(
        external["nodeSelector"]["feature.node.kubernetes.io/rdma.available"] == "true",
        "agents would be Pending where the resource is not: {external}"
    );
    ensure!(host_paths(&external).is_empty(), "{external}");

    let (host_path, has_plugin) = agent(3)?;
    ensure!(
        !has_plugin && host_paths(&host_path) == ["/dev/infiniband"],
        "{host_path}"
    );
    let context = &host_path["containers"][0]["securityContext"];
    ensure!(
        context["privileged"] == true && context["runAsUser"] == 65532,
        "{context}"
    );
    ensure!(
        limits(&host_path)
            .as_object()
            .is_some_and(|limits| limits.keys().eq(["memory"])),
        "{host_path}"
    );
    Ok(())
}
