//! The binary as a person or a Deployment starts it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::process::{Command, Output};

fn operator(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onsale-operator"));
    command.args(args).env_clear().env("KUBECONFIG", "/does/not/exist").envs(env.iter().copied()).output().unwrap()
}

/// The first line of what it complains about, which must be the whole complaint.
fn refusal(args: &[&str], env: &[(&str, &str)]) -> String {
    let output = operator(args, env);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    text.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn help_names_every_variable() {
    let output = operator(&["--help"], &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0));
    for word in ["--cluster-name", "ONSALE_CLUSTER_NAME", "POD_NAME", "POD_NAMESPACE", "ONSALE_LISTEN", "0.0.0.0:8080", "KUBECONFIG"] {
        assert!(text.contains(word), "{word} is missing in\n{text}");
    }
    assert_eq!(operator(&["--version"], &[]).stdout, format!("onsale-operator {}\n", env!("CARGO_PKG_VERSION")).into_bytes());
}

#[test]
fn bad_flags_end_it_with_a_sentence_and_code_2() {
    for (args, env, sentence) in [
        (
            vec!["--cluster-name=prod"],
            vec![],
            "error: --pod-name (POD_NAME) is needed for leader election: give every process its own, or run one with --leader-elect=false",
        ),
        (
            vec!["--cluster-name=a b"],
            vec![],
            "error: invalid value 'a b' for '--cluster-name <CLUSTER_NAME>': must be 1 to 100 letters, digits, '-', '_' or '.', the first a letter or digit",
        ),
        (
            vec!["--resync=90"],
            vec![("ONSALE_CLUSTER_NAME", "prod")],
            "error: invalid value '90' for '--resync <RESYNC>': \"90\" is not a duration; write one such as 1h30m, 90s or 1.6ms",
        ),
        (
            vec![],
            vec![("ONSALE_CLUSTER_NAME", "prod"), ("POD_NAME", "a"), ("ONSALE_LEASE_DURATION", "5s")],
            "error: the lease duration (5s) must be longer than the renew deadline (10s)",
        ),
        (
            vec!["--log-filter=a=b=c"],
            vec![],
            "error: invalid value 'a=b=c' for '--log-filter <LOG_FILTER>': write a level, or levels by module, such as info,onsale_controller=debug",
        ),
        (vec!["--what"], vec![], "error: unexpected argument '--what' found"),
    ] {
        assert_eq!(refusal(&args, &env), sentence);
    }
    assert!(refusal(&[], &[]).starts_with("error: the following required arguments were not provided"));
}

#[test]
fn a_cluster_that_cannot_be_reached_is_said_in_a_line_and_code_1() {
    let output = operator(&["--cluster-name=prod", "--pod-name=a", "--listen=127.0.0.1:0"], &[]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    let last = text.lines().last().unwrap_or_default();
    assert!(last.contains("\"level\":\"ERROR\"") && last.contains("no way to the cluster"), "{text}");
}
