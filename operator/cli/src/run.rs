//! One run of `plan`: from flags to output and exit code.

use std::io::Read;

use jiff::Timestamp;
use onsale_planner::snapshot::SaleId;

use crate::{
    assumed,
    flags::{Output, Plan},
    preview::{Preview, Verdict, preview},
    read::{self, Mistake, Object},
    svg,
    text::{self, Style},
    world::{Facts, world},
};

/// What comes out of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// For standard output.
    pub out: String,
    /// For standard error.
    pub err: String,
    /// 0 go, 2 no-go, 1 bad input.
    pub code: u8,
}

impl Outcome {
    fn bad(lines: &[String]) -> Self {
        let what = if lines.len() == 1 { "1 mistake".to_owned() } else { format!("{} mistakes", lines.len()) };
        Self { out: String::new(), err: format!("{}\n{what}; nothing was planned\n", lines.join("\n")), code: 1 }
    }
}

/// Reads, plans and tells. `cluster` is what a cluster says, or why it cannot be asked; `None` where none was to be asked.
#[must_use]
pub fn run(
    flags: &Plan,
    cluster: Option<Result<Facts, String>>,
    namespace: &str,
    now: Timestamp,
    stdin: &mut dyn Read,
    style: Style,
) -> Outcome {
    let (inputs, mut mistakes) = read::inputs(&flags.filename, flags.recursive, stdin);
    let objects = read::read(&inputs, namespace);
    mistakes.extend(objects.mistakes);
    let wanted: Vec<SaleId> = objects.found.iter().filter_map(|f| if let Object::Sale(sale) = f { Some(id(sale)) } else { None }).collect();
    if wanted.is_empty() && mistakes.is_empty() {
        mistakes.push(Mistake::of_file(&flags.filename.join(", "), "there is no OnSale here: nothing to plan"));
    }
    let mut lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    let mut facts = Facts::default();
    let cluster_is_unknown = matches!(cluster, Some(Err(_)));
    match cluster {
        Some(Ok(known)) => facts = known,
        Some(Err(why)) => lines.push(why),
        None => {}
    }
    facts.add(&objects.found);
    facts.mentions = objects.mentions;
    // A pool may be missing only because it could not be read: then that is what has to be said.
    let unread =
        |pool: &str| cluster_is_unknown || mistakes.iter().any(|m| m.object.as_ref().is_none_or(|o| *o == format!("CapacityPool {pool}")));
    lines.extend(assumed::add(&mut facts, &flags.nodes, unread));
    if !lines.is_empty() {
        return Outcome::bad(&lines);
    }
    tell(&preview(&world(&facts, now), &wanted, now), flags.output, style)
}

fn id(sale: &onsale_api::OnSale) -> SaleId {
    let meta = &sale.metadata;
    SaleId { namespace: meta.namespace.clone().unwrap_or_default(), name: meta.name.clone().unwrap_or_default() }
}

fn tell(preview: &Preview, output: Output, style: Style) -> Outcome {
    let out = match output {
        Output::Text => Ok(text::text(preview, style)),
        Output::Json => serde_json::to_string_pretty(preview).map(|json| json + "\n").map_err(|e| e.to_string()),
        Output::Yaml => serde_yaml::to_string(preview).map_err(|e| e.to_string()),
        Output::Svg => Ok(svg::svg(preview)),
    };
    match out {
        Ok(out) => Outcome { out, err: String::new(), code: if preview.verdict == Verdict::Go { 0 } else { 2 } },
        Err(error) => Outcome::bad(&[error]),
    }
}
