//! Evenings of more than one sale, past midnight, and without an end: what is told is what happens.

#![expect(clippy::unwrap_used, reason = "clippy sees tests only in functions with #[test], and all of this file is one")]

mod shared;

use onsale_cli::run::Outcome;

const WEB: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  replicas: 10
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: web, resources: {requests: {cpu: 500m, memory: 1Gi}}}]}
---
apiVersion: onsale.dev/v1alpha1
kind: CapacityPool
metadata: {name: cloud}
spec:
  tier: Region
  zone: us-west-2a
  latency: [{site: dc, rtt: 30ms}]
  leadTime: {p50: 1m, p95: 2m}
  nodes:
    ec2:
      region: us-west-2
      launchTemplate: {name: web, version: "1"}
      subnets: [subnet-0abc1234]
      instanceTypes: [{name: c6i.large, hourlyCost: "0.1", allocatable: {cpu: 1900m, memory: 4Gi}}]
  limits: {maxNodes: 400}
  allowedNamespaces: {from: All}
"#;

const HOME: &str = r#"---
apiVersion: onsale.dev/v1alpha1
kind: CapacityPool
metadata: {name: dc}
spec:
  tier: OnPrem
  zone: dc
  latency: [{site: dc, rtt: 200us}]
  nodes: {existing: {selector: {matchLabels: {site: dc}}}}
  allowedNamespaces: {from: All}
---
apiVersion: v1
kind: Node
metadata: {name: n1, labels: {site: dc}}
status: {allocatable: {cpu: "20", memory: 40Gi, pods: "200"}, conditions: [{type: Ready, status: "True"}]}
"#;

fn sale(name: &str, opens_at: &str, peak: i32, more: &str) -> String {
    format!(
        "---\napiVersion: onsale.dev/v1alpha1\nkind: OnSale\nmetadata: {{name: {name}, namespace: shop}}\nspec:\n  opensAt: \"{opens_at}\"\n  \
         timeZone: America/Phoenix\n  workloads: [{{target: {{kind: Deployment, name: web}}, peakReplicas: {peak}}}]\n{more}"
    )
}

fn plan(manifests: &str, at: &str) -> Outcome {
    shared::plan(manifests.as_bytes(), "text", at)
}

/// The page of one sale, its lines joined.
fn page(outcome: &Outcome, sale: &str) -> String {
    let from = outcome.out.find(&format!("GO  shop/{sale}: ")).unwrap();
    let page = outcome.out[from..].split("\n\nGO ").next().unwrap();
    page.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A presale and, an hour later, the general one: each adds to the same floor.
fn presale_and_general() -> Outcome {
    let sales = sale("presale", "2026-12-05T10:00:00", 60, "") + &sale("general", "2026-12-05T11:00:00", 120, "");
    plan(&format!("{WEB}{HOME}{sales}"), "2026-12-01T00:00:00Z")
}

#[test]
fn each_sales_movement_is_a_line_of_its_own() {
    let outcome = presale_and_general();
    let (presale, general) = (page(&outcome, "presale"), page(&outcome, "general"));
    for (page, line) in [
        (&presale, " floors rise web 10 -> 60, step by step until 09:4"),
        (&presale, " floors rise web 60 -> 170, step by step until 10:4"),
        (&general, "11:00:00 floors fall web 170 -> 120, step by step until 11:27:00"),
        (&general, "12:00:00 floors fall web 120 -> 10, step by step until 12:27:00"),
    ] {
        assert!(page.contains(line), "{line} in {page}");
    }
}

#[test]
fn what_another_sale_keeps_is_not_said_to_be_back() {
    let outcome = presale_and_general();
    let (presale, general) = (page(&outcome, "presale"), page(&outcome, "general"));
    assert!(
        presale.contains("11:27:00 back what was for this sale is back; for shop/general stay web at 120, 44 nodes in cloud"),
        "{presale}"
    );
    assert!(general.contains("12:27:00 back everything is back as it was"), "{general}");
}

/// As large as the presale, whose nodes it goes on with: 80 of 120 replicas on 27 nodes at 0.10.
fn general_after_presale(budget: &str) -> Outcome {
    let more = "  combine: Max\n";
    let sales =
        sale("presale", "2026-12-05T10:00:00", 120, more) + &sale("general", "2026-12-05T11:00:00", 120, &format!("{more}{budget}"));
    plan(&format!("{WEB}{HOME}{sales}"), "2026-12-01T00:00:00Z")
}

#[test]
fn nodes_that_a_sale_hands_over_are_in_the_cost_of_the_next() {
    let outcome = general_after_presale("");
    assert_eq!(outcome.code, 0, "{}", outcome.out);
    let (presale, general) = (page(&outcome, "presale"), page(&outcome, "general"));
    assert!(presale.contains("27 rented 2.70 4.78 for the whole window"), "{presale}");
    assert!(!presale.contains("as rehearsed"), "{presale}");
    // More and more of them from the end of the presale at 11:00 on, all from 11:27 on, until the last goes at 12:21.
    assert!(general.contains("0 rented 2.70 3.02 for the whole window, as rehearsed beside shop/presale"), "{general}");
}

#[test]
fn nodes_that_a_sale_hands_over_are_within_the_money_of_the_next_or_it_is_a_no_go() {
    assert_eq!(general_after_presale("  budget: {maxTotalCost: \"4\"}\n").code, 0);
    let outcome = general_after_presale("  budget: {maxTotalCost: \"3\"}\n");
    assert_eq!(outcome.code, 2, "{}", outcome.out);
    let general = page(&outcome, "general");
    assert!(general.starts_with("GO shop/general: it would cost more than budget.maxTotalCost"), "{general}");
    for shown in [
        "BudgetReached: it would cost 3.02 in all beside shop/presale, and budget.maxTotalCost is 3.00",
        "raise it to 4, or shorten duration",
    ] {
        assert!(general.contains(shown), "{shown} in {general}");
    }
}

/// The figures of two sales at the same prices: nodes rented, per hour, for the window.
fn figures(outcome: &Outcome, sale: &str) -> String {
    let page = page(outcome, sale);
    page.split(" all ").last().unwrap().split(" for the whole window").next().unwrap().to_owned()
}

#[test]
fn who_pays_does_not_depend_on_names() {
    let evening = |presale: &str, general: &str, combine: &str| {
        let sales =
            sale(presale, "2026-12-05T10:00:00", 60, &format!("  combine: {combine}\n  budget: {{maxTotalCost: \"1.3\", maxNodes: 7}}\n"))
                + &sale(general, "2026-12-05T11:00:00", 120, &format!("  combine: {combine}\n"));
        let outcome = plan(&format!("{WEB}{HOME}{sales}"), "2026-12-01T00:00:00Z");
        assert_eq!(outcome.code, 0, "{}", outcome.out);
        [figures(&outcome, presale), figures(&outcome, general)]
    };
    for combine in ["Max", "Sum"] {
        let told = evening("a", "b", combine);
        assert!(told[0].starts_with("7 rented 7 0.70 1.24 of 1.30"), "each pays for its own: {told:?}");
        assert_eq!(evening("b", "a", combine), told);
    }
}

#[test]
fn a_sale_whose_money_is_spent_leaves_the_rest_to_one_that_can_pay() {
    for (poor, rich) in [("a", "b"), ("b", "a")] {
        for opens_at in ["2026-12-05T10:00:00", "2026-12-05T10:00:01"] {
            let sales =
                sale(poor, "2026-12-05T10:00:00", 60, "  budget: {maxNodes: 5, maxTotalCost: \"0.9\"}\n") + &sale(rich, opens_at, 60, "");
            let outcome = plan(&format!("{WEB}{HOME}{sales}"), "2026-12-01T00:00:00Z");
            assert_eq!(outcome.code, 0, "{}", outcome.out);
            assert!(figures(&outcome, poor).starts_with("5 rented 5 "), "{}", outcome.out);
            assert!(figures(&outcome, rich).starts_with("19 rented "), "{}", outcome.out);
        }
    }
}

#[test]
fn nodes_that_go_from_sale_to_sale_are_planned_once() {
    let more = "  combine: Max\n  budget: {maxTotalCost: \"4\"}\n";
    let third = sale("third", "2026-12-05T12:00:00", 120, more);
    let sales = sale("presale", "2026-12-05T10:00:00", 120, "  combine: Max\n")
        + &sale("general", "2026-12-05T11:00:00", 120, "  combine: Max\n")
        + &third;
    let outcome = plan(&format!("{WEB}{HOME}{sales}"), "2026-12-01T00:00:00Z");
    assert_eq!(outcome.code, 0, "{}", outcome.out);
    assert!(figures(&outcome, "third").starts_with("0 rented 2.70 3.02 of 4.00"), "{}", outcome.out);
}

#[test]
fn what_is_only_looked_at_costs_no_other_sale_anything() {
    let sales = sale("look", "2026-12-05T10:00:00", 200, "  combine: Max\n  mode: Plan\n")
        + &sale("general", "2026-12-05T11:00:00", 120, "  combine: Max\n  budget: {maxTotalCost: \"5\"}\n");
    let outcome = plan(&format!("{WEB}{HOME}{sales}"), "2026-12-01T00:00:00Z");
    assert_eq!(outcome.code, 0, "{}", outcome.out);
    assert!(figures(&outcome, "general").starts_with("27 rented 2.70 4.78 of 5.00"), "{}", outcome.out);
}

#[test]
fn another_sales_opening_does_not_break_a_steady_fall() {
    let sales = sale("presale", "2026-12-05T10:00:00", 60, "") + &sale("general", "2026-12-05T11:10:00", 120, "");
    let outcome = plan(&format!("{WEB}{HOME}{sales}"), "2026-12-01T00:00:00Z");
    let presale = page(&outcome, "presale");
    assert!(presale.contains("11:00:00 floors fall web 170 -> 120, step by step until 11:27:00"), "{presale}");
}

#[test]
fn ways_back_that_follow_each_other_are_two_lines() {
    let sales = sale("a", "2026-12-05T10:00:00", 60, "") + &sale("b", "2026-12-05T10:30:00", 60, "");
    let outcome = plan(&format!("{WEB}{HOME}{sales}"), "2026-12-01T00:00:00Z");
    let b = page(&outcome, "b");
    assert!(b.contains("11:00:00 floors fall web 110 -> 60, step by step until 11:27:00 11:30:00"), "{b}");
    assert!(b.contains("floors fall web 60 -> 10, step by step until 11:57:00"), "{b}");
}

#[test]
fn the_tables_say_which_sales_they_count() {
    let outcome = presale_and_general();
    let (presale, general) = (page(&outcome, "presale"), page(&outcome, "general"));
    assert!(
        presale.contains("its floor reaches 170. REPLICAS counts this sale alone, NODES AND COST what is rented for this sale"),
        "{presale}"
    );
    assert!(general.contains("its floor reaches 170. REPLICAS counts both, NODES AND COST what is rented for this sale"), "{general}");
}

#[test]
fn steps_that_end_after_midnight_have_the_date() {
    let outcome = plan(&format!("{WEB}{HOME}{}", sale("late", "2026-12-05T23:00:00", 60, "  duration: 50m\n")), "2026-12-01T00:00:00Z");
    assert!(outcome.out.contains("23:50:00  floors fall  web 60 -> 10, step by step until 2026-12-06 00:17:00\n"), "{}", outcome.out);
}

#[test]
fn nodes_that_nobody_ever_gives_back_are_a_no_go() {
    // Six of ten replicas run nowhere today: once they have a place on rented nodes, they have no other.
    let home = HOME.replace("cpu: \"20\"", "cpu: \"2\"");
    let outcome = plan(&format!("{WEB}{home}{}", sale("tour", "2026-12-05T10:00:00", 60, "")), "2026-12-01T00:00:00Z");
    assert_eq!(outcome.code, 2, "{}", outcome.out);
    assert!(
        outcome.out.starts_with("NO-GO  shop/tour: it never comes back: 2 nodes in cloud would stay rented for ever\n"),
        "{}",
        outcome.out
    );
    let why = "NoHome: after 11:27:00 nothing more happens, and it is not back; 2 nodes in cloud stay rented: replicas of the baseline fit on no node that is not \
               rented: pool cloud keeps nodes until others have room for them, or the baseline is lowered";
    assert!(outcome.out.contains(why), "{}", outcome.out);
    for shown in
        ["11:00:00  floors fall  web 60 -> 10, step by step until 11:27:00\n", "11:27:00  stays        after 11:27:00 nothing more happens"]
    {
        assert!(outcome.out.contains(shown), "{}", outcome.out);
    }
}

#[test]
fn a_window_that_is_over_is_told_in_the_sales_zone() {
    let outcome = plan(&format!("{WEB}{HOME}{}", sale("tour", "2026-11-01T10:00:00", 60, "")), "2026-12-01T00:00:00Z");
    assert!(outcome.out.contains("its window was over at 2026-11-01 11:00:00 America/Phoenix: nothing would be done"), "{}", outcome.out);
}
