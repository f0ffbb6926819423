//! What a pod asks for, counted as the scheduler counts (`component-helpers/resource`, `PodRequests`).

use std::collections::BTreeMap;

use k8s_openapi::{
    api::core::v1::{Container, PodSpec, ResourceRequirements},
    apimachinery::pkg::api::resource::Quantity,
};
use onsale_api::Amount;

use crate::resources::Resources;

type Quantities = BTreeMap<String, Quantity>;

/// Requests of one pod, itself counted as one of `pods`.
#[must_use]
pub fn of(spec: &PodSpec) -> Resources {
    let mut total = Resources::default();
    for container in &spec.containers {
        total.add(&container_requests(container), 1);
    }
    let (mut sidecars, mut start) = (Resources::default(), Resources::default());
    for container in spec.init_containers.iter().flatten() {
        let own = container_requests(container);
        if is_sidecar(container) {
            sidecars.add(&own, 1);
            start = larger(start, &sidecars);
        } else {
            let mut while_it_runs = sidecars.clone();
            while_it_runs.add(&own, 1);
            start = larger(start, &while_it_runs);
        }
    }
    total.add(&sidecars, 1);
    total = larger(total, &start);
    if let Some(resources) = &spec.resources {
        override_with(&mut total, &requests(resources));
    }
    if let Some(overhead) = &spec.overhead {
        total.add(&resources(overhead), 1);
    }
    total.pods = 1;
    total
}

/// Whether CPU or memory requests are missing in some container, so that nothing can be planned.
#[must_use]
pub fn missing(spec: &PodSpec) -> bool {
    let for_pod = spec.resources.as_ref().map(requests).unwrap_or_default();
    let runs = spec.init_containers.iter().flatten().filter(|c| is_sidecar(c)).chain(&spec.containers);
    let own: Vec<Quantities> = runs.map(|c| c.resources.as_ref().map(requests).unwrap_or_default()).collect();
    ["cpu", "memory"].iter().any(|what| !for_pod.contains_key(*what) && own.iter().any(|r| !r.contains_key(*what)))
}

fn is_sidecar(container: &Container) -> bool {
    container.restart_policy.as_deref() == Some("Always")
}

fn container_requests(container: &Container) -> Resources {
    container.resources.as_ref().map(|r| resources(&requests(r))).unwrap_or_default()
}

/// Requests, completed by limits: the API server does the same when a pod is made from a template.
fn requests(resources: &ResourceRequirements) -> Quantities {
    let mut all = resources.limits.clone().unwrap_or_default();
    all.extend(resources.requests.clone().unwrap_or_default());
    all
}

/// From Kubernetes' map; what cannot be read is left out.
#[must_use]
pub fn resources(quantities: &Quantities) -> Resources {
    let amounts: BTreeMap<String, Amount> =
        quantities.iter().filter_map(|(name, q)| q.0.parse().ok().map(|amount| (name.clone(), amount))).collect();
    Resources::of(&amounts)
}

fn larger(mut a: Resources, b: &Resources) -> Resources {
    a.cpu = a.cpu.max(b.cpu);
    a.memory = a.memory.max(b.memory);
    for (name, amount) in &b.extended {
        let mine = a.extended.entry(name.clone()).or_default();
        *mine = (*mine).max(*amount);
    }
    a
}

/// Requests of the pod as a whole take the place of the sum of its containers.
fn override_with(total: &mut Resources, pod: &Quantities) {
    let whole = resources(pod);
    for name in pod.keys() {
        match name.as_str() {
            "cpu" => total.cpu = whole.cpu,
            "memory" => total.memory = whole.memory,
            _ => {
                total.extended.insert(name.clone(), whole.extended.get(name).copied().unwrap_or_default());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(value: Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    fn container(cpu: &str, memory: &str) -> Value {
        json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}}})
    }

    #[test]
    fn sums_containers_and_overhead() {
        let pod = spec(json!({"containers": [container("250m", "1Gi"), container("1", "1Gi")], "overhead": {"cpu": "50m"}}));
        assert_eq!((of(&pod).cpu, of(&pod).memory, of(&pod).pods), (1_300, 2 << 30, 1));
    }

    #[test]
    fn the_largest_init_container_counts_with_the_sidecars_started_before_it() {
        let mut sidecar = container("300m", "0");
        sidecar["restartPolicy"] = json!("Always");
        let pod = spec(json!({"initContainers": [sidecar, container("2", "3Gi")], "containers": [container("1", "1Gi")]}));
        assert_eq!((of(&pod).cpu, of(&pod).memory), (2_300, 3 << 30));
        let mut late = container("300m", "0");
        late["restartPolicy"] = json!("Always");
        let pod = spec(json!({"initContainers": [container("1", "0"), late], "containers": [container("1", "1Gi")]}));
        assert_eq!(of(&pod).cpu, 1_300);
    }

    #[test]
    fn limits_stand_in_for_requests_and_pod_level_requests_replace_the_sum() {
        let pod = spec(json!({"containers": [{"name": "c", "resources": {"limits": {"cpu": "2", "memory": "1Gi"}}}]}));
        assert_eq!((of(&pod).cpu, missing(&pod)), (2_000, false));
        let pod = spec(json!({"containers": [container("100m", "1Gi"), {"name": "d"}], "resources": {"requests": {"cpu": "3"}}}));
        assert_eq!((of(&pod).cpu, of(&pod).memory, missing(&pod)), (3_000, 1 << 30, true));
    }
}
