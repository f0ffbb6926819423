//! EC2's query protocol on loopback: records calls, answers as told. The SDK, its signing, encoding and decoding are the real ones.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    panic::resume_unwind,
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use tokio::net::TcpListener;

/// One request: the form's fields, and the signature under its header's name.
#[derive(Clone, Debug)]
pub struct Call(BTreeMap<String, String>);

impl Call {
    /// A field; empty if it is missing.
    pub fn get(&self, field: &str) -> &str {
        self.0.get(field).map_or("", String::as_str)
    }

    /// Region that the request is signed for: `Credential=<key>/<date>/<region>/ec2/aws4_request`.
    pub fn region(&self) -> &str {
        self.get("authorization").split('/').nth(2).unwrap_or_default()
    }

    /// `InstanceId.1`, `InstanceId.2`, ...
    pub fn numbered(&self, field: &str) -> Vec<&str> {
        (1..).map_while(|n| self.0.get(&format!("{field}.{n}"))).map(String::as_str).collect()
    }

    /// Filters by name.
    pub fn filters(&self) -> BTreeMap<&str, Vec<&str>> {
        (1..)
            .map_while(|n| {
                let name = self.0.get(&format!("Filter.{n}.Name"))?;
                Some((name.as_str(), self.numbered(&format!("Filter.{n}.Value"))))
            })
            .collect()
    }
}

/// What the server does with a call.
pub enum Answer {
    /// Status and body.
    Body(u16, String),
    /// The call is taken, and the connection ends without an answer.
    Lost,
    /// The connection stays open, and nothing comes.
    Silence,
}

type Play = dyn Fn(&Call, usize) -> Answer + Send + Sync;

/// The server; it ends with the test's runtime.
#[derive(Clone)]
pub struct Ec2 {
    calls: Arc<Mutex<Vec<Call>>>,
    play: Arc<Play>,
    pub url: String,
}

impl Ec2 {
    /// Answers each call as `play` says, which is told how many came before it.
    pub async fn start(play: impl Fn(&Call, usize) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let ec2 = Self { calls: Arc::default(), play: Arc::new(play), url };
        let app = Router::new().route("/", post(serve)).with_state(ec2.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        ec2
    }

    /// All calls so far.
    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("no test panics inside").clone()
    }

    /// Actions of all calls so far.
    pub fn actions(&self) -> Vec<String> {
        self.calls().iter().map(|c| c.get("Action").to_owned()).collect()
    }
}

async fn serve(State(ec2): State<Ec2>, headers: HeaderMap, body: String) -> Response {
    let mut fields: BTreeMap<_, _> = body.split('&').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (decode(k), decode(v))).collect();
    let signature = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or_default();
    fields.insert("authorization".to_owned(), signature.to_owned());
    if let Some(target) = headers.get("x-amz-target").and_then(|v| v.to_str().ok()) {
        // The JSON protocol names the action in a header, and its body is the answer's own affair.
        fields = [("authorization", signature), ("Action", target.rsplit('.').next().unwrap_or_default()), ("json", &body)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
    }
    let call = Call(fields);
    let before = {
        let mut calls = ec2.calls.lock().expect("no test panics inside");
        calls.push(call.clone());
        calls.len() - 1
    };
    match (ec2.play)(&call, before) {
        Answer::Body(status, body) => (StatusCode::from_u16(status).expect("a status"), body).into_response(),
        // Ends this connection's task, and so the connection, without the noise of a panic's message.
        Answer::Lost => resume_unwind(Box::new("lost")),
        Answer::Silence => std::future::pending().await,
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let hex: String = rest.by_ref().take(2).map(char::from).collect();
                bytes.push(u8::from_str_radix(&hex, 16).expect("two digits"));
            }
            other => bytes.push(other),
        }
    }
    String::from_utf8(bytes).expect("UTF-8")
}

/// An error as EC2 words it.
pub fn error(status: u16, code: &str, message: &str) -> Answer {
    let body = format!(
        "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors><RequestID>r-1</RequestID></Response>"
    );
    Answer::Body(status, body)
}

/// A successful `RunInstances`.
pub fn launched(ids: &[&str]) -> Answer {
    let items: String = ids.iter().map(|id| format!("<item><instanceId>{id}</instanceId></item>")).collect();
    Answer::Body(200, format!("<RunInstancesResponse><instancesSet>{items}</instancesSet></RunInstancesResponse>"))
}

/// A running instance of somebody's, of a type with so many cores of two threads, and what else its XML says.
pub fn other(id: &str, instance_type: &str, cores: i32, more: &str) -> String {
    format!(
        "<item><instanceId>{id}</instanceId><instanceState><code>16</code><name>running</name></instanceState><instanceType>{instance_type}</instanceType>\
         <cpuOptions><coreCount>{cores}</coreCount><threadsPerCore>2</threadsPerCore></cpuOptions>{more}</item>"
    )
}

/// A page of `DescribeSubnets`: IDs and free addresses.
pub fn subnets(found: &[(&str, i32)], next: &str) -> Answer {
    let item = |(id, free): &(&str, i32)| {
        format!(
            "<item><subnetId>{id}</subnetId><availabilityZone>us-west-2-phx-2a</availabilityZone><availableIpAddressCount>{free}</availableIpAddressCount></item>"
        )
    };
    let items: String = found.iter().map(item).collect();
    Answer::Body(
        200,
        format!("<DescribeSubnetsResponse><subnetSet>{items}</subnetSet><nextToken>{next}</nextToken></DescribeSubnetsResponse>"),
    )
}

/// A successful `GetServiceQuota`.
pub fn quota(vcpus: f64) -> Answer {
    Answer::Body(200, format!("{{\"Quota\":{{\"ServiceCode\":\"ec2\",\"Value\":{vcpus:.1}}}}}"))
}

/// An error of the JSON protocol.
pub fn json_error(code: &str) -> Answer {
    Answer::Body(400, format!("{{\"__type\":\"com.amazonaws.servicequotas#{code}\",\"message\":\"no\"}}"))
}

/// A successful `TerminateInstances`.
pub fn terminated() -> Answer {
    Answer::Body(200, "<TerminateInstancesResponse><instancesSet/></TerminateInstancesResponse>".to_owned())
}

/// One page of `DescribeInstances`.
pub fn page(instances: &[String], next: &str) -> Answer {
    let items = instances.concat();
    let body = format!(
        "<DescribeInstancesResponse><reservationSet><item><instancesSet>{items}</instancesSet></item></reservationSet><nextToken>{next}</nextToken></DescribeInstancesResponse>"
    );
    Answer::Body(200, body)
}

/// An instance of `DescribeInstances` with these tags.
pub fn instance(id: &str, state: &str, tags: &[(&str, &str)]) -> String {
    let mut set = String::new();
    for (key, value) in tags {
        write!(set, "<item><key>{key}</key><value>{value}</value></item>").expect("memory");
    }
    format!(
        "<item><instanceId>{id}</instanceId><instanceState><code>0</code><name>{state}</name></instanceState><instanceType>c6i.4xlarge</instanceType>\
         <launchTime>2026-12-05T16:20:00.000Z</launchTime><placement><availabilityZone>us-west-2-phx-2a</availabilityZone></placement><tagSet>{set}</tagSet></item>"
    )
}

/// Keys for a role, from STS.
pub fn role() -> Answer {
    let keys = "<AccessKeyId>ASIAEXAMPLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>";
    let user = "<AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/onsale/x</Arn><AssumedRoleId>AROA:x</AssumedRoleId></AssumedRoleUser>";
    let result = format!("<AssumeRoleWithWebIdentityResult><Credentials>{keys}</Credentials>{user}</AssumeRoleWithWebIdentityResult>");
    Answer::Body(200, format!("<AssumeRoleWithWebIdentityResponse>{result}</AssumeRoleWithWebIdentityResponse>"))
}

/// No keys, from STS.
pub fn refused_role(status: u16, code: &str) -> Answer {
    Answer::Body(
        status,
        format!("<ErrorResponse><Error><Code>{code}</Code><Message>no</Message></Error><RequestId>r-2</RequestId></ErrorResponse>"),
    )
}
