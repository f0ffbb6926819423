//! Ways into the cluster: kubeconfig files and clients, for the administrator, plain users and service accounts.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

use crate::certs::Pair;
use crate::files;

/// Where the cluster is and how its certificate is checked.
#[derive(Debug, Clone)]
pub struct Cluster {
    /// `https://127.0.0.1:PORT`.
    pub url: String,
    /// The authority's certificate.
    pub ca: PathBuf,
}

impl Cluster {
    /// Writes a kubeconfig for the bearer of a client certificate.
    pub fn write_for_certificate(&self, path: &Path, pair: &Pair) -> Result<()> {
        self.write(path, &json!({"client-certificate": pair.cert, "client-key": pair.key}))
    }

    /// Writes a kubeconfig for the bearer of a token.
    pub fn write_for_token(&self, path: &Path, token: &str) -> Result<()> {
        self.write(path, &json!({ "token": token }))
    }

    fn write(&self, path: &Path, user: &serde_json::Value) -> Result<()> {
        // JSON is YAML, and every reader of kubeconfigs reads it.
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "bed",
            "clusters": [{"name": "bed", "cluster": {"server": self.url, "certificate-authority": self.ca}}],
            "users": [{"name": "bed", "user": user}],
            "contexts": [{"name": "bed", "context": {"cluster": "bed", "user": "bed", "namespace": "default"}}],
        });
        files::write_private(path, format!("{config:#}\n"))
    }
}

/// A client for what that kubeconfig says.
pub async fn client(path: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(path).with_context(|| format!("could not read {}", path.display()))?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("{} does not make a client", path.display()))?;
    // A proxy of the environment would never reach loopback.
    config.proxy_url = None;
    Client::try_from(config).with_context(|| format!("{} does not make a client", path.display()))
}

/// A token of a service account, as a pod would have it. Lasts a day: longer than any night that is played.
pub async fn service_account_token(client: &Client, namespace: &str, name: &str) -> Result<String> {
    const DAY: i64 = 86_400;
    let api: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
    let request =
        TokenRequest { spec: Some(TokenRequestSpec { expiration_seconds: Some(DAY), ..Default::default() }), ..Default::default() };
    let answer = api
        .create_token_request(name, &PostParams::default(), &request)
        .await
        .with_context(|| format!("no token for service account {namespace}/{name}"))?;
    answer.status.and_then(|status| status.token).context("the API server answered without a token")
}
