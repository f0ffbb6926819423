//! The EC2 emulator: started and stopped with the bed, with its administration as typed calls.
//!
//! Programs under test reach it as they reach EC2: `Ec2::url` is their `AWS_ENDPOINT_URL`. Everything here is what no
//! program under test may do: set capacity, delays, quotas and faults, read what was called.
//!
//! - `mod.rs`: the emulator and its administration
//! - `types.rs`: what is said and read

mod types;

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hyper::http::Method;
use serde::Serialize;
use serde_json::{Value, json};

use crate::files;
use crate::http::Http;
use crate::process::{Processes, Program};
use crate::tools::checkout;
use crate::wait::wait_for;

pub use types::{Call, Fault, Fixture, FixtureRequest, Instance, LaunchTemplate, Timing, When, node_config};

/// Python and moto need about 2 s, longer beside a compiler.
const DEADLINE: Duration = Duration::from_secs(60);
/// Name of the program and its log.
pub const NAME: &str = "ec2";

/// The running emulator. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Ec2 {
    http: Http,
}

impl Ec2 {
    /// Starts the emulator with that interpreter on that port, and waits for the line that says that it listens. Restarted
    /// (`Processes::restart`) it listens there again and remembers nothing.
    pub async fn start(processes: &Processes, python: &Path, port: u16) -> Result<Self> {
        let script = checkout().join("e2e/ec2/ec2.py");
        let emulator = Program::new(NAME, python)
            .arg("-u")
            .arg(script)
            .args(["--port", &port.to_string(), "--exit-with-stdin"])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .holding_stdin();
        processes.start(emulator)?;
        let log = processes.log(NAME);
        let url = wait_for("the EC2 emulator says where it listens", DEADLINE, async || {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let url = text.lines().find_map(|line| line.split("listening on ").nth(1)).map(|url| url.trim().to_owned());
            // A dead emulator will not say it any more; what it said last is told below.
            Ok(if url.is_none() && processes.check(NAME).is_err() { Some(String::new()) } else { url })
        });
        let url = url.await.with_context(|| files::tail(&log, 25))?;
        processes.check(NAME)?;
        Ok(Self { http: Http::new(&url) })
    }

    /// `http://127.0.0.1:PORT`, for `AWS_ENDPOINT_URL`.
    pub fn url(&self) -> &str {
        self.http.base()
    }

    /// Forgets all instances, faults and settings.
    pub async fn reset(&self) -> Result<()> {
        self.post("/_bed/reset", &json!({})).await.map(drop)
    }

    /// How many instances of a type (`*`: all types together) a zone holds at once; `None`: as many as one likes.
    pub async fn set_capacity(&self, zone: &str, instance_type: &str, count: Option<u32>) -> Result<()> {
        self.put("/_bed/capacity", &json!({"zone": zone, "type": instance_type, "count": count})).await
    }

    /// How long things take, for launches and terminations from now on.
    pub async fn set_timing(&self, timing: &Timing) -> Result<()> {
        self.put("/_bed/timing", timing).await
    }

    /// Whether the account has opted in to a group of Local Zones (`us-west-2-phx-2`).
    pub async fn set_opted_in(&self, group: &str, opted_in: bool) -> Result<()> {
        let wish = if opted_in { "opted-in" } else { "not-opted-in" };
        self.put("/_bed/zones", &json!({ group: {"optIn": wish} })).await
    }

    /// Adds a fault.
    pub async fn add_fault(&self, fault: &Fault) -> Result<()> {
        self.post("/_bed/faults", fault).await.map(drop)
    }

    /// Removes the faults that are left.
    pub async fn clear_faults(&self) -> Result<()> {
        let _: Value = self.http.json(Method::DELETE, "/_bed/faults", None::<&Value>).await?;
        Ok(())
    }

    /// The calls that finished after number `since`, in that order.
    pub async fn calls(&self, since: u64) -> Result<Vec<Call>> {
        #[derive(serde::Deserialize)]
        struct Answer {
            calls: Vec<Call>,
        }
        let answer: Answer = self.get(&format!("/_bed/calls?since={since}")).await?;
        Ok(answer.calls)
    }

    /// Counts of calls, errors and instances.
    pub async fn stats(&self) -> Result<Value> {
        self.get("/_bed/stats").await
    }

    /// All instances that are not forgotten.
    pub async fn instances(&self) -> Result<Vec<Instance>> {
        self.get("/_bed/instances").await
    }

    /// A network with one subnet per zone, and a launch template: what launching needs.
    pub async fn fixture(&self, request: &FixtureRequest) -> Result<Fixture> {
        self.http.json(Method::POST, "/_bed/fixture", Some(request)).await
    }

    /// One call of EC2's own wire API (`RunInstances`, …) in a region, as XML. For tests that have no SDK.
    pub async fn call(&self, region: &str, action: &str, params: &[(&str, &str)]) -> Result<String> {
        let all = [("Action", action), ("Version", "2016-11-15")].into_iter().chain(params.iter().copied());
        let form: Vec<String> = all.map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
        // The emulator routes by the scope and checks no signature.
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential=bed/20260101/{region}/ec2/aws4_request, SignedHeaders=host, Signature=0000");
        let headers = [("content-type", "application/x-www-form-urlencoded; charset=utf-8"), ("authorization", &authorization)];
        let (status, text) = self.http.send(Method::POST, "/", &headers, form.join("&").into_bytes()).await?;
        if status != 200 {
            bail!("{action}: {status} {text}");
        }
        Ok(text)
    }

    async fn get<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.http.json(Method::GET, path, None::<&Value>).await
    }

    async fn post(&self, path: &str, body: &impl Serialize) -> Result<Value> {
        self.http.json(Method::POST, path, Some(body)).await
    }

    async fn put(&self, path: &str, body: &impl Serialize) -> Result<()> {
        let _: Value = self.http.json(Method::PUT, path, Some(body)).await?;
        Ok(())
    }
}

/// Percent-encodes all but unreserved characters.
fn escape(text: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_a_form_cannot_carry() {
        assert_eq!(escape("a b=c&d~é"), "a%20b%3Dc%26d~%C3%A9");
    }
}
