//! With a cluster: what it has is used, files stand before it, and what it refuses is said. The API server is a few canned lists on loopback.

#![expect(clippy::unwrap_used, reason = "clippy sees tests only in functions with #[test], and all of this file is one")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use serde_json::{Value, json};

fn checkout() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn documents(file: &str) -> Vec<Value> {
    let text = fs::read_to_string(checkout().join("examples").join(file)).unwrap();
    let all: Vec<Value> = text.split("\n---\n").filter_map(|t| serde_yaml::from_str(t).ok()).collect();
    all.into_iter().filter(|v: &Value| v.is_object()).collect()
}

/// Servers in Phoenix, each with 15 of the shop's pods, and with agents that take a third of it.
fn nodes_and_pods() -> (Vec<Value>, Vec<Value>) {
    let (mut nodes, mut pods) = (Vec::new(), Vec::new());
    for n in 0..20 {
        let name = format!("phx-{n:02}");
        nodes.push(json!({"metadata": {"name": name, "labels": {"eks.amazonaws.com/compute-type": "hybrid"}},
            "status": {"allocatable": {"cpu": "20", "memory": "96Gi", "pods": "110"}, "conditions": [{"type": "Ready", "status": "True"}]}}));
        let pod = |owner: (&str, &str), i: usize, cpu: &str| {
            json!({"metadata": {"name": format!("{}-{name}-{i}", owner.1), "namespace": "ticketing",
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": owner.0, "name": owner.1, "uid": "u", "controller": true}]},
                "spec": {"nodeName": name, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}]},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
        };
        for (deployment, replicas, cpu) in
            [("queue-page", 3, "650m"), ("seat-map", 5, "1300m"), ("checkout", 4, "1300m"), ("inventory", 3, "1300m")]
        {
            pods.extend((0..replicas).map(|i| pod(("ReplicaSet", &format!("{deployment}-5d9f8b7c6")), i, cpu)));
        }
        pods.push(pod(("DaemonSet", "agent"), 0, "2"));
    }
    (nodes, pods)
}

/// A pool with what the operator recorded of it three minutes ago: 40 free addresses in each of its subnets, and 800 vCPUs that others leave.
fn few_left(mut pool: Value) -> Value {
    let at = "2026-11-21T07:57:00Z";
    if let Some(ids) = pool.pointer("/spec/nodes/ec2/subnets").and_then(Value::as_array).cloned() {
        let subnets: Vec<Value> =
            ids.iter().map(|id| json!({"id": id, "zone": pool["spec"]["zone"], "freeAddresses": 40, "at": at})).collect();
        let quota = json!({"code": "L-1216C47A", "name": "Standard", "limit": 1000, "usedByOthers": 200, "at": at});
        pool["status"] = json!({"subnets": subnets, "quotas": [quota]});
    }
    pool
}

/// A pool with what the operator measured on a sale's worth of slow nodes, where it rents them.
fn measured(mut pool: Value) -> Value {
    if pool.pointer("/spec/nodes/ec2").is_some() && pool["metadata"]["name"] == "phx-local-zone" {
        let sample = |n: i32| json!({"instance": format!("i-{n:04}"), "seconds": 600 + n, "at": "2026-11-14T17:00:00Z"});
        pool["status"] = json!({"leadTimes": (0..40).map(sample).collect::<Vec<_>>()});
    }
    pool
}

/// What a list of `path` is answered with.
fn list(path: &str, refused: &str) -> (u16, Value) {
    let what = path.split(['?']).next().unwrap_or_default().rsplit('/').next().unwrap_or_default().to_owned();
    let of = |kind: &str, file: &str| documents(file).into_iter().filter(|d| d["kind"] == kind).collect::<Vec<_>>();
    let items = match what.as_str() {
        what if what == refused => {
            let message = format!("{what} is forbidden: User \"ci\" cannot list resource");
            return (403, json!({"kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403, "message": message}));
        }
        "capacitypools" if refused == "few-left" => of("CapacityPool", "pools.yaml").into_iter().map(few_left).collect(),
        "capacitypools" if refused == "measured" => of("CapacityPool", "pools.yaml").into_iter().map(measured).collect(),
        "capacitypools" => of("CapacityPool", "pools.yaml"),
        "onsales" => of("OnSale", "minimal.yaml"),
        "deployments" => of("Deployment", "shop.yaml"),
        "namespaces" => of("Namespace", "shop.yaml"),
        "nodes" => nodes_and_pods().0,
        "pods" => nodes_and_pods().1,
        "workloadplacements" => {
            return (404, json!("404 page not found"));
        }
        _ => Vec::new(),
    };
    (200, json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}))
}

fn answer(stream: TcpStream, refused: &str) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let (mut first, mut line) = (String::new(), String::new());
        if reader.read_line(&mut first)? == 0 {
            return Ok(());
        }
        while reader.read_line(&mut line)? > 2 {
            line.clear();
        }
        let path = first.split(' ').nth(1).unwrap_or_default();
        assert!(first.starts_with("GET "), "a plan only reads: {first}");
        let (code, body) = list(path, refused);
        let body = body.to_string();
        write!(writer, "HTTP/1.1 {code} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())?;
    }
}

/// Starts the API server and writes a kubeconfig that names it; the threads end with the test.
fn cluster(name: &str, refused: &'static str) -> PathBuf {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || drop(answer(stream, refused)));
        }
    });
    let config = json!({"apiVersion": "v1", "kind": "Config", "current-context": "prod",
        "clusters": [{"name": "c", "cluster": {"server": server}}], "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "prod", "context": {"cluster": "c", "user": "u", "namespace": "ticketing"}}]});
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.kubeconfig"));
    fs::write(&path, config.to_string()).unwrap();
    path
}

fn plan(kubeconfig: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-onsale"));
    command.current_dir(checkout()).env("KUBECONFIG", kubeconfig).args(["plan", "--at", "2026-11-21T08:00:00Z"]).args(args);
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_sale_is_planned_with_what_the_cluster_has() {
    let (code, text, err) = plan(&cluster("has", ""), &["--cluster", "-f", "examples/stadium-tour.yaml"]);
    assert_eq!((code, err.as_str()), (0, ""), "{text}");
    assert!(text.contains("FROM THE CLUSTER\n  Context prod, http://127.0.0.1:"), "{text}");
    assert!(text.contains("20 there already") && text.contains("seat-map is also raised by ticketing/club-night"), "{text}");
    // The agents take room that files alone would not know of: nothing more fits at home.
    assert!(text.contains("checkout    phx-dc           80    80  2.4ms"), "{text}");
}

#[test]
fn addresses_and_quotas_are_those_that_the_operator_recorded_with_their_age_and_what_would_do() {
    let (code, text, _) = plan(&cluster("few-left", "few-left"), &["--cluster", "-f", "examples/stadium-tour.yaml"]);
    assert_eq!(code, 2, "{text}");
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for wanted in [
        "Free addresses and vCPU quotas as of 3m ago, from the pools' status.",
        "the subnets of pool phx-local-zone have no free addresses left for another c6i.4xlarge: add a subnet, or free some (as of 3m ago)",
        "quota L-1216C47A (Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances) of us-west-2 is 1000 vCPUs, of which others use 200",
        "quota L-1216C47A of us-west-2: 1000 -> ",
    ] {
        assert!(flat.contains(wanted), "{wanted}\n{text}");
    }
}

#[test]
fn lead_times_are_those_that_were_measured_and_a_slow_place_is_started_earlier() {
    let start = |refused: &'static str| {
        let (_, text, _) = plan(&cluster(refused, refused), &["--cluster", "-f", "examples/stadium-tour.yaml", "-o", "json"]);
        let preview: Value = serde_json::from_str(&text).unwrap();
        (preview["sales"][0]["times"]["startsAt"].as_str().unwrap().to_owned(), preview["assumptions"].to_string())
    };
    let (measured, declared) = (start("measured"), start("declared"));
    assert!(measured.1.contains("Lead times: phx-local-zone measured on 40 nodes (p50 8m"), "{}", measured.1);
    assert!(measured.1.contains("of every other pool as declared") && !declared.1.contains("Lead times"), "{}", declared.1);
    assert!(measured.0 < declared.0, "{} {}", measured.0, declared.0);
}

#[test]
fn what_a_file_says_stands_before_what_the_cluster_says() {
    let pools = fs::read_to_string(checkout().join("examples/pools.yaml")).unwrap().replace("maxNodes: 45", "maxNodes: 46");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("more.yaml");
    fs::write(&file, pools).unwrap();
    let (code, text, _) = plan(&cluster("before", ""), &["--context", "prod", "-f", "examples/stadium-tour.yaml", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{text}");
    assert!(text.lines().any(|l| l.contains("phx-local-zone") && l.contains("c6i.4xlarge") && l.contains(" 46 ")), "{text}");
}

#[test]
fn a_cluster_that_is_not_asked_for_is_not_asked() {
    let (code, text, _) =
        plan(&cluster("not-asked", "pods"), &["-f", "examples/stadium-tour.yaml", "examples/pools.yaml", "examples/shop.yaml"]);
    assert_eq!(code, 0);
    assert!(text.contains("ASSUMED, FROM FILES ALONE"), "{text}");
}

#[test]
fn what_the_cluster_refuses_is_told_with_the_name_of_the_context() {
    let (code, out, err) = plan(&cluster("refuses", "pods"), &["--cluster", "-f", "examples/stadium-tour.yaml"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("context prod: you may not list pods in all namespaces, which a plan needs: pods is forbidden"), "{err}");
    let (code, _, err) = plan(Path::new("/nowhere"), &["--cluster", "-f", "examples/stadium-tour.yaml"]);
    assert_eq!((code, err.contains("no usable kubeconfig")), (1, true), "{err}");
}

#[test]
fn the_namespace_of_the_context_is_that_of_objects_without_one() {
    let sale = fs::read_to_string(checkout().join("examples/stadium-tour.yaml")).unwrap().replace(", namespace: ticketing", "");
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-namespace.yaml");
    fs::write(&file, sale).unwrap();
    let (code, text, err) = plan(&cluster("namespace", ""), &["--cluster", "-f", file.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
    assert!(text.starts_with("GO  ticketing/stadium-tour-phoenix"), "{text}");
}
