//! Nodes that KWOK plays: their objects, making them, taking them down and away.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, NodeSpec, NodeStatus, NodeSystemInfo, Pod, Taint};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::json;

use crate::kwok;

/// Requests under way at once: enough to make 100 nodes in a second, few enough for a busy machine.
const AT_ONCE: usize = 16;

/// What a node is to be. Start with `new` or `on_prem` and change what matters.
#[derive(Debug, Clone)]
pub struct NodeSpecification {
    /// Name of the Node object.
    pub name: String,
    /// `topology.kubernetes.io/zone`.
    pub zone: String,
    /// `topology.kubernetes.io/region`.
    pub region: String,
    /// As the cloud or the site calls the machine.
    pub provider_id: String,
    /// Labels besides those that every node has.
    pub labels: BTreeMap<String, String>,
    /// Taints from registration on.
    pub taints: Vec<Taint>,
    /// `cpu`, `memory`, `pods`: what the machine has.
    pub capacity: BTreeMap<String, String>,
    /// The same, as pods may use it; `capacity` when empty.
    pub allocatable: BTreeMap<String, String>,
}

impl NodeSpecification {
    /// A node with `cpu` ("16"), `memory` ("64Gi") and room for 110 pods.
    pub fn new(name: &str, zone: &str, region: &str, cpu: &str, memory: &str) -> Self {
        let capacity = resources(cpu, memory, "110");
        Self {
            name: name.into(),
            zone: zone.into(),
            region: region.into(),
            provider_id: format!("bed:///{zone}/{name}"),
            labels: BTreeMap::new(),
            taints: Vec::new(),
            allocatable: capacity.clone(),
            capacity,
        }
    }

    /// A server on premises, joined to the cluster as an EKS hybrid node.
    pub fn on_prem(name: &str, zone: &str, region: &str, cpu: &str, memory: &str) -> Self {
        let node = Self::new(name, zone, region, cpu, memory);
        Self { provider_id: format!("eks-hybrid:///{region}/bed/{name}"), ..node }.label("eks.amazonaws.com/compute-type", "hybrid")
    }

    /// Adds a label.
    pub fn label(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Adds a taint with the effect `NoSchedule`.
    pub fn taint(mut self, key: &str, value: &str) -> Self {
        self.taints.push(Taint { key: key.into(), value: Some(value.into()), effect: "NoSchedule".into(), time_added: None });
        self
    }

    /// The object as its kubelet would register it.
    pub fn object(&self) -> Node {
        let own = [
            ("kubernetes.io/hostname", self.name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
            ("topology.kubernetes.io/zone", &self.zone),
            ("topology.kubernetes.io/region", &self.region),
        ];
        let labels = own.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().chain(self.labels.clone());
        let allocatable = if self.allocatable.is_empty() { &self.capacity } else { &self.allocatable };
        Node {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(labels.collect()),
                annotations: Some([(kwok::PLAYED.0.to_owned(), kwok::PLAYED.1.to_owned())].into()),
                ..Default::default()
            },
            spec: Some(NodeSpec {
                provider_id: Some(self.provider_id.clone()),
                taints: (!self.taints.is_empty()).then(|| self.taints.clone()),
                ..Default::default()
            }),
            status: Some(NodeStatus {
                capacity: Some(quantities(&self.capacity)),
                allocatable: Some(quantities(allocatable)),
                node_info: Some(NodeSystemInfo {
                    kubelet_version: "v1.36.3".into(),
                    operating_system: "linux".into(),
                    architecture: "amd64".into(),
                    ..Default::default()
                }),
                ..Default::default()
            }),
        }
    }
}

/// `cpu`, `memory` and `pods` as a map.
pub fn resources(cpu: &str, memory: &str, pods: &str) -> BTreeMap<String, String> {
    [("cpu", cpu), ("memory", memory), ("pods", pods)].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn quantities(resources: &BTreeMap<String, String>) -> BTreeMap<String, Quantity> {
    resources.iter().map(|(name, value)| (name.clone(), Quantity(value.clone()))).collect()
}

/// Makes the nodes; one that exists already is left as it is.
pub async fn create(client: &Client, nodes: &[NodeSpecification]) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let requests: Vec<_> = nodes.iter().map(|node| create_one(api.clone(), node.name.clone(), node.object())).collect();
    at_once(requests).await
}

async fn create_one(api: Api<Node>, name: String, node: Node) -> Result<()> {
    match api.create(&PostParams::default(), &node).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        other => other.map(drop).with_context(|| format!("could not make node {name}")),
    }
}

async fn at_once(requests: Vec<impl Future<Output = Result<()>>>) -> Result<()> {
    futures::stream::iter(requests).buffer_unordered(AT_ONCE).try_collect::<Vec<_>>().await.map(drop)
}

/// Takes nodes away; those that are gone already are no error.
pub async fn delete(client: &Client, names: &[String]) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let requests: Vec<_> = names.iter().map(|name| delete_one(api.clone(), name.clone())).collect();
    at_once(requests).await
}

async fn delete_one(api: Api<Node>, name: String) -> Result<()> {
    match api.delete(&name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(drop).with_context(|| format!("could not delete node {name}")),
    }
}

/// Cuts a node off (`Ready` becomes `Unknown`, as when the link to a site goes down) or brings it back. Its pods are NotReady
/// meanwhile. The control plane reacts as it does in life: taints, no new pods, no endpoints. Only the 50 s until it notices
/// are skipped, so what the node controller writes when it notices is written here.
pub async fn set_down(client: &Client, name: &str, down: bool) -> Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let mark = if down { json!("true") } else { json!(null) };
    let metadata = json!({"metadata": {"annotations": {(kwok::DOWN): mark}}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(metadata)).await.with_context(|| format!("could not mark node {name}"))?;
    // `False` on the way back: KWOK makes Ready what is not, and it looks when the object changes.
    let (status, reason) = if down { ("Unknown", "NodeStatusUnknown") } else { ("False", "KubeletNotReady") };
    let condition = json!({"type": "Ready", "status": status, "reason": reason, "message": "set by the test bed"});
    let patch = Patch::Strategic(json!({"status": {"conditions": [condition]}}));
    api.patch_status(name, &PatchParams::default(), &patch).await.with_context(|| format!("could not set node {name}"))?;
    set_pods_ready(client, name, !down).await
}

async fn set_pods_ready(client: &Client, node: &str, ready: bool) -> Result<()> {
    let on_node = ListParams::default().fields(&format!("spec.nodeName={node}"));
    let pods = Api::<Pod>::all(client.clone()).list(&on_node).await.with_context(|| format!("could not list the pods of {node}"))?;
    let started = |pod: &Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running");
    let served = pods.items.into_iter().filter(|pod| started(pod) && !pod.annotations().contains_key(kwok::NEVER_READY));
    let requests = served.map(|pod| {
        let api: Api<Pod> = Api::namespaced(client.clone(), &pod.namespace().unwrap_or_default());
        set_pod_ready(api, pod.name_any(), ready)
    });
    at_once(requests.collect()).await
}

async fn set_pod_ready(api: Api<Pod>, name: String, ready: bool) -> Result<()> {
    let status = if ready { "True" } else { "False" };
    let patch = Patch::Strategic(json!({"status": {"conditions": [{"type": "Ready", "status": status}]}}));
    match api.patch_status(&name, &PatchParams::default(), &patch).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        other => other.map(drop).with_context(|| format!("could not set pod {name}")),
    }
}

/// Whether the node says that it is Ready.
pub fn is_ready(node: &Node) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.is_some_and(|all| all.iter().any(|it| it.type_ == "Ready" && it.status == "True"))
}
