//! What one would look at first when a test has failed.

use onsale_bed::Bed;

/// Lines of each log and list that are printed.
const TAIL: usize = 15;

/// Objects, events, calls to EC2 and logs; of the test's own shop where it has one.
pub async fn tell(bed: &Bed, shops: &[&str]) -> String {
    let scope: &[&str] = match shops {
        [shop] => &["-n", shop],
        _ => &["-A"],
    };
    let status = "jsonpath={range .items[*]}{.metadata.name} {.status}{\"\\n\"}{end}";
    let scoped: [&[&str]; 5] = [
        &["get", "onsales,workloadplacements", "-o", "wide"],
        &["get", "onsales", "-o", status],
        &["get", "deployments,replicasets,hpa,jobs"],
        &["get", "pods", "--field-selector=status.phase!=Running"],
        &["get", "events", "--sort-by=.lastTimestamp"],
    ];
    let global: [&[&str]; 2] = [&["get", "capacitypools", "-o", "wide"], &["get", "nodes", "-o", "wide"]];
    let looks = scoped.iter().map(|look| [look, scope].concat()).chain(global.iter().map(|look| look.to_vec()));
    let mut text = String::new();
    for look in looks {
        let output = bed.kubectl(&look).await.map_or_else(|error| format!("{error:#}"), |output| output.stdout + &output.stderr);
        text += &last(&format!("kubectl {}", look.join(" ")), &output.lines().collect::<Vec<_>>());
    }
    text += &calls(bed).await;
    text + &bed.log_tails(TAIL) + &format!("all of it: {}\n", bed.dir().display())
}

/// The last calls to EC2 that were more than looking.
async fn calls(bed: &Bed) -> String {
    let Ok(ec2) = bed.ec2() else { return String::new() };
    let all = ec2.calls(0).await.unwrap_or_default();
    let acts: Vec<String> = all.iter().filter(|c| c.action != "DescribeInstances").map(|c| format!("{c:?}")).collect();
    last("EC2 calls but DescribeInstances", &acts.iter().map(String::as_str).collect::<Vec<_>>())
}

fn last(title: &str, lines: &[&str]) -> String {
    format!("--- {title} ({} lines, the last are) ---\n{}\n", lines.len(), lines[lines.len().saturating_sub(TAIL)..].join("\n"))
}
