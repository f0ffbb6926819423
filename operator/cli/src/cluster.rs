//! What a cluster has: one list of each kind, read and never written. Only when it is asked for.

use std::{fmt::Debug, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{Namespace, Node, Pod},
};
use kube::{
    Api, Client, Config, Resource,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use onsale_api::{CapacityPool, OnSale, WorkloadPlacement, names};
use serde::de::DeserializeOwned;

use crate::{flags::Plan, preview::timeline::span, read::Object, world::Facts};

/// For one list; the largest clusters answer in seconds.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the cluster of the flags has, and the namespace of its context.
pub fn ask(flags: &Plan, now: Timestamp) -> (Result<Facts, String>, Option<String>) {
    // Refused only where one is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return (Err(format!("cannot ask the cluster: {error}")), None),
    };
    runtime.block_on(async {
        match config(flags).await {
            Err(why) => (Err(why), None),
            Ok((config, context)) => {
                let namespace = config.default_namespace.clone();
                (facts(config, &context, now).await, Some(namespace))
            }
        }
    })
}

async fn config(flags: &Plan) -> Result<(Config, String), String> {
    let file = match &flags.kubeconfig {
        Some(path) => Kubeconfig::read_from(path).map_err(|e| format!("{}: {e}", path.display())),
        None => Kubeconfig::read().map_err(|e| format!("no usable kubeconfig in KUBECONFIG or ~/.kube/config: {e}")),
    }?;
    let context = flags.context.clone().or_else(|| file.current_context.clone()).unwrap_or_default();
    let known: Vec<&str> = file.contexts.iter().map(|c| c.name.as_str()).collect();
    if !known.contains(&context.as_str()) {
        return Err(format!("context {context:?} is not in the kubeconfig; there are {}", known.join(", ")));
    }
    let options = KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(file, &options).await.map_err(|e| format!("context {context}: {e}"))?;
    Ok((config, context))
}

async fn facts(config: Config, context: &str, now: Timestamp) -> Result<Facts, String> {
    let server = config.cluster_url.to_string();
    let client = Client::try_from(config).map_err(|e| format!("context {context}: {e}"))?;
    let mut facts = Facts::default();
    let ask = Lists { client, context };
    let (sales, pools, placements) =
        tokio::try_join!(ask.list::<OnSale>(true), ask.list::<CapacityPool>(true), ask.list::<WorkloadPlacement>(true))?;
    let age = recorded(&pools, now);
    sales.into_iter().for_each(|o| facts.add_object(&Object::Sale(Box::new(o))));
    pools.into_iter().for_each(|o| facts.add_object(&Object::Pool(Box::new(o))));
    placements.into_iter().for_each(|o| facts.add_object(&Object::Placement(Box::new(o))));
    let (deployments, sets, scalers) =
        tokio::try_join!(ask.list::<Deployment>(false), ask.list::<StatefulSet>(false), ask.list::<HorizontalPodAutoscaler>(false))?;
    deployments.into_iter().for_each(|o| facts.add_object(&Object::Deployment(Box::new(o))));
    sets.into_iter().for_each(|o| facts.add_object(&Object::StatefulSet(Box::new(o))));
    ask.list::<DaemonSet>(false).await?.into_iter().for_each(|o| facts.add_object(&Object::DaemonSet(Box::new(o))));
    scalers.into_iter().for_each(|o| facts.add_object(&Object::Scaler(Box::new(o))));
    let (nodes, pods, namespaces) = tokio::try_join!(ask.list::<Node>(false), ask.list::<Pod>(false), ask.list::<Namespace>(false))?;
    nodes.into_iter().for_each(|o| facts.add_object(&Object::Node(Box::new(o))));
    pods.into_iter().for_each(|o| facts.add_object(&Object::Pod(Box::new(o))));
    namespaces.into_iter().for_each(|o| facts.add_object(&Object::Namespace(Box::new(o))));
    ask.scaled_objects(&mut facts).await?;
    facts.cluster =
        Some(format!("Context {context}, {server}. Of the cloud itself only what the operator recorded in the pools' status{age}."));
    Ok(facts)
}

/// How old the youngest record of a pool is.
fn recorded(pools: &[CapacityPool], now: Timestamp) -> String {
    let ours = |m: &&k8s_openapi::apimachinery::pkg::apis::meta::v1::ManagedFieldsEntry| {
        m.manager.as_deref() == Some(names::MANAGER) && m.subresource.as_deref() == Some("status")
    };
    let written = pools.iter().flat_map(|p| p.metadata.managed_fields.iter().flatten()).filter(ours).filter_map(|m| m.time.as_ref());
    written
        .map(|t| t.0)
        .max()
        .map_or_else(|| ", which has none yet".to_owned(), |t| format!(", last changed {} ago", span(now.duration_since(t))))
}

struct Lists<'a> {
    client: Client,
    context: &'a str,
}

impl Lists<'_> {
    /// Every object of a kind; none where the kind may be unknown and is.
    async fn list<K>(&self, optional: bool) -> Result<Vec<K>, String>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        self.all(Api::<K>::all(self.client.clone()), &K::plural(&()), optional).await
    }

    async fn all<K: Clone + Debug + DeserializeOwned>(&self, api: Api<K>, what: &str, optional: bool) -> Result<Vec<K>, String> {
        let context = self.context;
        match tokio::time::timeout(PATIENCE, api.list(&ListParams::default())).await {
            Ok(Ok(list)) => Ok(list.items),
            // Without a `Status`, so that kube's own `is_not_found` does not know it.
            Ok(Err(kube::Error::Api(status))) if optional && status.code == 404 => Ok(Vec::new()),
            Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => {
                Err(format!("context {context}: you may not list {what} in all namespaces, which a plan needs: {}", status.message))
            }
            Ok(Err(kube::Error::Api(status))) => Err(format!("context {context}: {what} cannot be listed: {}", status.message)),
            Ok(Err(error)) => Err(format!("context {context}: {what} cannot be listed: {}", chain(&error))),
            Err(_) => Err(format!("context {context}: no answer to a list of {what} within {} s", PATIENCE.as_secs())),
        }
    }

    /// Only where one owns an HPA, so that nothing is asked of clusters without KEDA.
    async fn scaled_objects(&self, facts: &mut Facts) -> Result<(), String> {
        if !facts.scalers.values().any(|hpa| hpa.scaled_object.is_some()) {
            return Ok(());
        }
        let kind = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk("keda.sh", "v1alpha1", "ScaledObject"), "scaledobjects");
        let all = self.all(Api::<DynamicObject>::all_with(self.client.clone(), &kind), "scaledobjects", false).await?;
        for object in all {
            facts.add_object(&Object::ScaledObject(Box::new((object.metadata, object.data))));
        }
        Ok(())
    }
}

/// An error with its causes: the last of them is the one that helps.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}
