//! What is said to and read from the emulator: plain data, as `e2e/ec2/ec2.py` documents it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// How long things take. Fields left out keep what they were.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timing {
    /// From launched to running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_seconds: Option<f64>,
    /// Boots take this much more or less, at random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_jitter: Option<f64>,
    /// From launched to seen by DescribeInstances.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visible_after_seconds: Option<f64>,
    /// From terminate to terminated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown_seconds: Option<f64>,
    /// From terminated to forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forget_terminated_seconds: Option<f64>,
    /// Seed of all that is random.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// When a fault strikes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// Before the call does anything.
    #[default]
    Before,
    /// After it did everything: the caller is not told so.
    After,
}

/// A fault that strikes the next calls of an action. Start with `Fault::error`, `lost` or `slow`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// `RunInstances`; `*` is every action.
    pub action: String,
    /// Error code to answer with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// HTTP status; the code's own when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Answers this much later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_seconds: Option<f64>,
    /// How many calls it strikes; `None`: all of them.
    pub count: Option<u32>,
    /// Before or after the call does its work.
    pub when: When,
    /// The connection is closed without an answer.
    pub lose: bool,
    /// Only calls for this zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// Only calls for this instance type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
}

impl Fault {
    /// The next call of the action fails with this code and does nothing.
    pub fn error(action: &str, code: &str) -> Self {
        Self { code: Some(code.into()), ..Self::slow(action, 0.0) }
    }

    /// The next call of the action does its work, and the caller never hears of it.
    pub fn lost(action: &str) -> Self {
        Self { when: When::After, lose: true, delay_seconds: None, ..Self::slow(action, 0.0) }
    }

    /// The next call of the action takes this much longer.
    pub fn slow(action: &str, seconds: f64) -> Self {
        Self {
            action: action.into(),
            code: None,
            status: None,
            delay_seconds: Some(seconds),
            count: Some(1),
            when: When::Before,
            lose: false,
            zone: None,
            instance_type: None,
        }
    }

    /// Strikes `count` calls (all: `None`) instead of one.
    pub fn times(self, count: Option<u32>) -> Self {
        Self { count, ..self }
    }

    /// Strikes only calls for this zone.
    pub fn in_zone(self, zone: &str) -> Self {
        Self { zone: Some(zone.into()), ..self }
    }
}

/// An instance, whether DescribeInstances shows it already or not.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "each field is EC2's of that name")]
pub struct Instance {
    pub id: String,
    /// `pending`, `running`, `shutting-down`, `terminated`.
    pub state: String,
    pub zone: String,
    pub region: String,
    pub subnet: Option<String>,
    #[serde(rename = "type")]
    pub instance_type: String,
    pub vcpus: u32,
    #[serde(rename = "memoryMiB")]
    pub memory_mib: u64,
    pub private_ip: Option<String>,
    pub image_id: Option<String>,
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Plain text.
    pub user_data: Option<String>,
    pub launched_at: Option<Timestamp>,
    pub running_at: Option<Timestamp>,
    pub terminated_at: Option<Timestamp>,
    pub client_token: Option<String>,
}

/// One finished call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// Counts from 1 since the last reset.
    pub n: u64,
    /// When it finished.
    pub at: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// `ec2`, `servicequotas`, …
    pub service: String,
    /// `RunInstances`, …
    pub action: String,
    /// The zone it was about.
    pub zone: Option<String>,
    /// The instance type it was about.
    #[serde(rename = "type")]
    pub instance_type: Option<String>,
    /// Its parameters, in brief.
    pub params: Value,
    /// The error code; `None`: success.
    pub code: Option<String>,
    /// The HTTP status.
    pub status: u16,
    /// Instances that it really launched, even if nobody heard of it.
    pub launched: Option<u32>,
    /// Instances that it really terminated.
    pub terminated: Option<u32>,
    /// Instances that it described.
    pub returned: Option<u32>,
    /// The client token was known: nothing new was launched.
    pub replayed: bool,
    /// The answer was lost.
    pub lost: bool,
    /// The fault that struck it.
    pub fault: Option<Value>,
}

/// What to make so that instances can be launched.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FixtureRequest {
    /// Name of the launch template; a name that exists gets a new version.
    pub name: String,
    /// The network that it shares with other templates; one of its own when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// IDs that new subnets get, by zone, for manifests that name them.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub subnet_ids: BTreeMap<String, String>,
    /// Plain text; the emulator encodes it as EC2 has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// The machine image; one of the emulator's own when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// The template's instance type; none when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// Tags on every instance of the template.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub instance_tags: BTreeMap<String, String>,
    /// Size of each subnet, 20 (default) to 28: how soon addresses run out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet_prefix: Option<u8>,
}

/// What `fixture` made.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fixture {
    /// ID of the network.
    pub vpc: String,
    /// IDs of the subnets by zone.
    pub subnets: BTreeMap<String, String>,
    /// The launch template.
    pub launch_template: LaunchTemplate,
}

/// A launch template at one version.
#[derive(Debug, Clone, Deserialize)]
#[expect(missing_docs, reason = "each field is EC2's of that name")]
pub struct LaunchTemplate {
    pub id: String,
    pub name: String,
    pub version: u64,
}

/// User data of a burst node as an EKS launch template has it: labelled and tainted with its pool from registration on.
pub fn node_config(pool: &str) -> String {
    format!(
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"//\"\n\n--//\nContent-Type: application/node.eks.aws\n\n\
         apiVersion: node.eks.aws/v1alpha1\nkind: NodeConfig\nspec:\n  cluster: {{name: bed, apiServerEndpoint: \"https://bed\"}}\n  kubelet:\n    flags:\n    \
         - --node-labels=onsale.dev/pool={pool}\n    - --register-with-taints=onsale.dev/pool={pool}:NoSchedule\n\n--//--\n"
    )
}
