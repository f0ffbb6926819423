//! What a case stands on: a client, a namespace, a name that no other case uses, objects under that name, and comparisons.

use std::{fmt::Debug, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Node, Pod, PodTemplate},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{Patch, PatchParams, PostParams},
    core::{ClusterResourceScope, NamespaceResourceScope, Status},
};
use onsale_api::{CapacityPool, OnSale, WorkloadPlacement};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

/// What a finalizer of a case is called.
pub const FINALIZER: &str = "onsale.dev/conformance";
/// Who writes unless a case says otherwise.
pub const MANAGER: &str = "conformance";
/// A server that has not done in this time what it does by itself never will.
const SOON: Duration = Duration::from_secs(20);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// What a case stands on.
pub struct Ground {
    /// May do everything.
    pub client: Client,
    /// Where its objects are.
    pub namespace: String,
    /// Of its objects; no other case uses it.
    pub name: String,
}

impl Ground {
    pub(super) fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self { client, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// A namespaced kind.
    pub fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// A cluster-scoped kind.
    pub fn all<K: Resource<DynamicType = (), Scope = ClusterResourceScope>>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// The case's name with a suffix.
    pub fn named(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.name)
    }

    /// A sale that opens in years: no operator would touch it.
    pub fn sale(&self) -> Result<OnSale> {
        object(json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "OnSale", "metadata": {"name": self.name},
            "spec": {"opensAt": "2036-12-05T12:00:00Z", "workloads": [{"target": {"kind": "Deployment", "name": "seat-map"}, "peakReplicas": 9}]}}))
    }

    /// A pool of existing nodes, of which there are none.
    pub fn pool(&self) -> Result<CapacityPool> {
        object(json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "CapacityPool", "metadata": {"name": self.name},
            "spec": {"tier": "OnPrem", "zone": "nowhere", "latency": [{"site": "phx-dc", "rtt": "1ms"}],
                "nodes": {"existing": {"selector": {"matchLabels": {"conformance": self.name}}}}, "allowedNamespaces": {"from": "All"}}}))
    }

    /// The record of a workload.
    pub fn placement(&self) -> Result<WorkloadPlacement> {
        object(json!({"apiVersion": "onsale.dev/v1alpha1", "kind": "WorkloadPlacement", "metadata": {"name": self.name},
            "spec": {"target": {"kind": "Deployment", "name": self.name}, "field": {"kind": "Replicas", "name": self.name},
                "baseline": 4, "before": 4, "intended": 6}}))
    }

    /// A Deployment whose pods find no node.
    pub fn deployment(&self, replicas: i32) -> Result<Deployment> {
        object(json!({"metadata": {"name": self.name}, "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": self.name}},
            "template": {"metadata": {"labels": {"app": self.name}}, "spec": spec()}}}))
    }

    /// An overlay with annotations.
    pub fn template(&self, annotations: &Value) -> Result<PodTemplate> {
        object(json!({"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": self.name, "annotations": annotations},
            "template": {"metadata": {"labels": {"app": self.name}}, "spec": spec()}}))
    }

    /// A pod that nobody schedules.
    pub fn pod(&self, name: &str) -> Result<Pod> {
        let mut spec = spec();
        spec["schedulerName"] = json!("nobody");
        object(json!({"metadata": {"name": name, "labels": {"app": self.name}}, "spec": spec}))
    }

    /// A node that no kubelet keeps.
    pub fn node(&self) -> Result<Node> {
        object(json!({"metadata": {"name": self.name, "labels": {"conformance": self.name}}, "spec": {},
            "status": {"capacity": {"cpu": "4", "memory": "8Gi", "pods": "110"}, "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"}}}))
    }
}

fn spec() -> Value {
    let container = json!({"name": "main", "image": "example/main", "resources": {"requests": {"cpu": "1", "memory": "1Gi"}}});
    json!({"nodeSelector": {"conformance": "nowhere"}, "containers": [container]})
}

/// An object from what a manifest would say.
pub fn object<K: DeserializeOwned>(manifest: Value) -> Result<K> {
    serde_json::from_value(manifest).context("the case's own object cannot be read")
}

/// Creates it under the usual manager.
pub async fn create<K>(api: &Api<K>, object: &K) -> Result<K>
where
    K: Clone + Debug + Serialize + DeserializeOwned,
{
    let params = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    api.create(&params, object).await.context("it cannot be created")
}

/// Writes in the name of a manager.
pub fn manager(name: &str) -> PatchParams {
    PatchParams { field_manager: Some(name.to_owned()), ..PatchParams::default() }
}

/// The same for what is created or replaced.
pub fn as_manager() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

/// A merge patch under the usual manager.
pub async fn merge<K: Clone + Debug + DeserializeOwned>(api: &Api<K>, name: &str, patch: Value) -> kube::Result<K> {
    api.patch(name, &manager(MANAGER), &Patch::Merge(patch)).await
}

/// A JSON Patch.
pub fn json_patch(operations: Value) -> Result<Patch<()>> {
    Ok(Patch::Json(serde_json::from_value(operations)?))
}

/// What the server said when it refused; an error when it did not, or with another code or reason.
pub fn refused<T: Debug>(result: kube::Result<T>, code: u16, reason: &str) -> Result<Status> {
    match result {
        Ok(done) => bail!("done, and not refused with {code} {reason}: {done:?}"),
        Err(kube::Error::Api(status)) => {
            ensure!((status.code, status.reason.as_str()) == (code, reason), "refused, but not with {code} {reason}: {status:?}");
            Ok(*status)
        }
        Err(other) => Err(other).context("no answer"),
    }
}

/// Reasons of the causes that a refusal names.
pub fn causes(status: &Status) -> Vec<&str> {
    status.details.iter().flat_map(|d| &d.causes).map(|c| c.reason.as_str()).collect()
}

/// A merge patch that carries another UID is no conflict, as one would think, but an invalid value: that of `metadata.uid`.
pub fn named(status: &Status) -> Result<()> {
    let mut fields = status.details.iter().flat_map(|d| &d.causes).map(|c| c.field.as_str());
    ensure!(fields.any(|f| f == "metadata.uid"), "it is not the UID that is refused: {status:?}");
    Ok(())
}

/// An error that shows both, unless they are equal.
pub fn equal<T: PartialEq + Debug>(what: &str, found: T, wanted: T) -> Result<()> {
    ensure!(found == wanted, "{what}: {found:?}, not {wanted:?}");
    Ok(())
}

/// The resourceVersion, which is a number that grows.
pub fn version<K: Resource>(object: &K) -> Result<u64> {
    number(object.resource_version().as_deref())
}

/// The same, from its text.
pub fn number(version: Option<&str>) -> Result<u64> {
    let version = version.context("no resourceVersion")?;
    version.parse().with_context(|| format!("resourceVersion {version:?} is no number"))
}

/// Looks until it holds: for what a server's own controllers do, and for tries that they may be faster than.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> Result<()>) -> Result<()> {
    let deadline = Instant::now() + SOON;
    loop {
        match holds().await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error).with_context(|| format!("{what}: not within {SOON:?}")),
            Err(_) => sleep_until(Instant::now() + PAUSE).await,
        }
    }
}
