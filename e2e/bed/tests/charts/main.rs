//! The charts: as helm renders them, and their admission policies on a real API server.
//!
//! - `render.rs`: runs helm, reads what it renders, compares it with the files in `snapshots/`
//! - `policies.rs`: what the policies do to pods, and what they keep the operator from; each test has a bed of its own
//! - `restraint.rs`: what it may change of nodes and HPAs, case by case
//!
//! After a change that is meant: `ONSALE_ACCEPT=1 cargo test -p onsale-bed --test charts` writes the snapshots anew; review them like code.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod policies;
mod render;
mod restraint;

use render::{Render, refused, render, snapshot};

const DEFAULT: &[&str] = &["--set=clusterName=ticketing-prod"];

fn default() -> Render {
    render(DEFAULT)
}

/// The default with more values.
fn with(values: &[&str]) -> Render {
    render(&[DEFAULT, values].concat())
}

#[test]
fn by_default_it_is_two_replicas_and_what_they_need() {
    snapshot("default-objects", &default().objects());
}

#[test]
fn the_operator_may_do_this_and_nothing_else() {
    let rights = default().rights();
    snapshot("default-rights", &rights);
    for word in ["secrets", "*", "impersonate", "escalate", "deletecollection", "serviceaccounts/token"] {
        assert!(!rights.contains(word), "{word}\n{rights}");
    }
}

#[test]
fn every_rule_has_its_reason_beside_it() {
    for (rule, above) in default().lines_before("- apiGroups:") {
        assert!(above.trim_start().starts_with("# "), "no comment above {rule}");
    }
}

#[test]
fn the_operator_starts_with_these_flags() {
    snapshot("default-flags", &default().flags());
}

#[test]
fn its_pods_pass_the_restricted_standard() {
    let pod = default().pod();
    let container = &pod["containers"][0];
    for (where_, field, expected) in [
        (&pod["securityContext"], "runAsNonRoot", "true"),
        (&pod["securityContext"], "seccompProfile", r#"{"type":"RuntimeDefault"}"#),
        (&container["securityContext"], "allowPrivilegeEscalation", "false"),
        (&container["securityContext"], "readOnlyRootFilesystem", "true"),
        (&container["securityContext"], "capabilities", r#"{"drop":["ALL"]}"#),
    ] {
        assert_eq!(where_[field].to_string(), expected, "{field}");
    }
    assert_eq!(pod["containers"].as_array().map(Vec::len), Some(1));
    assert!(pod.get("volumes").is_none() && pod.get("hostNetwork").is_none());
}

#[test]
fn one_replica_without_election_has_no_right_to_leases() {
    let single = with(&["--set=replicas=1", "--set=leaderElection.enabled=false"]);
    snapshot("single", &single.difference(&default()));
}

#[test]
fn three_replicas_that_insist_on_zones() {
    snapshot("high-availability", &with(&["--set=replicas=3", "--set=topologySpread=DoNotSchedule"]).difference(&default()));
}

#[test]
fn everything_on() {
    let all = with(&[
        "--set=image.digest=sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "--set=serviceAccount.annotations.eks\\.amazonaws\\.com/role-arn=arn:aws:iam::111122223333:role/onsale",
        "--set=aws.region=us-west-2",
        "--set=aws.endpointUrl=http://127.0.0.1:5000",
        "--set=priorityClass.create=true",
        "--set=imagePullSecrets[0].name=mirror",
        "--set=podLabels.team=sales",
        "--set=podAnnotations.note=hello",
        "--set=nodeSelector.disk=ssd",
        "--set=tolerations[0].operator=Exists",
        "--set-json=extraEnv=[{\"name\":\"AWS_PROFILE\",\"value\":\"sales\"}]",
        "--set=metrics.podMonitor.enabled=true",
        "--set=metrics.podMonitor.labels.release=prometheus",
        "--set=networkPolicy.enabled=true",
    ]);
    snapshot("everything-on", &all.difference(&default()));
}

#[test]
fn everything_off_leaves_what_it_cannot_run_without() {
    let none = with(&[
        "--set=serviceAccount.create=false",
        "--set=serviceAccount.name=mine",
        "--set=rbac.create=false",
        "--set=placement.policies=false",
        "--set=restraint.enabled=false",
        "--set=metrics.service=false",
        "--set=podDisruptionBudget.enabled=false",
    ]);
    assert_eq!(none.objects(), "Deployment onsale-operator\n");
}

#[test]
fn older_clusters_are_refused_with_the_reason() {
    let error = refused(&[DEFAULT, &["--kube-version=1.35.9"]].concat());
    let sentence = "onsale-operator needs Kubernetes 1.36 or newer, and this is v1.35.9: it places pods through MutatingAdmissionPolicy, which is stable from 1.36 on";
    assert!(error.contains(sentence), "{error}");
    for version in ["1.36.0", "1.36.3-eks-1a2b3c4", "1.37.0-alpha.1"] {
        with(&[&format!("--kube-version={version}")]);
    }
}

#[test]
fn values_that_make_no_sense_are_refused() {
    for (values, sentence) in [
        (vec![], "clusterName must be set: it is the value of the tag that marks this cluster's instances in EC2"),
        (vec!["--set=clusterName=a b"], "at '/clusterName'"),
        (vec!["--set=clusterName=a", "--set=replica=3"], "additional properties 'replica' not allowed"),
        (vec!["--set=clusterName=a", "--set=log.level=debug"], "additional properties 'level' not allowed"),
        (vec!["--set=clusterName=a", "--set=replicas=0"], "at '/replicas'"),
        (vec!["--set=clusterName=a", "--set=settings.resync=5"], "at '/settings/resync'"),
        (vec!["--set=clusterName=a", "--set=settings.resync=5d"], "at '/settings/resync'"),
        (vec!["--set=clusterName=a", "--set=leaderElection.enabled=false"], "replicas must be 1 when leaderElection.enabled is false"),
        (vec!["--set=clusterName=a", "--set=serviceAccount.create=false"], "serviceAccount.name must be set"),
    ] {
        let error = refused(&values);
        assert!(error.contains(sentence), "{values:?}\n{error}");
    }
}

#[test]
fn the_schema_knows_every_value_and_no_other() {
    let (values, schema) = (render::file("values.yaml"), render::file("values.schema.json"));
    let (mut documented, mut known) = (Vec::new(), Vec::new());
    render::paths("", &render::yaml(&values), &mut documented);
    render::schema_paths("", &render::yaml(&schema), &mut known);
    known.retain(|path| path != "global");
    documented.sort();
    known.sort();
    assert_eq!(documented, known);
}

#[test]
fn the_crds_survive_helm_unchanged() {
    let rendered = render::crds();
    for (name, text) in render::crd_files() {
        assert!(!text.contains("{{"), "{name}: helm would take it for a template");
        assert!(rendered.contains(text.trim_end()), "{name} is not what helm renders");
    }
}
