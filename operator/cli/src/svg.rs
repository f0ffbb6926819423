//! A picture of the timeline for a change ticket: nodes by pool as steps, floors as steps, and the instants that matter. No script, no font of its own.

use std::fmt::Write;

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use onsale_planner::snapshot::WorkloadId;

use crate::{
    preview::{Preview, SalePreview, Times, Verdict, clock},
    rehearsal::Sample,
};

/// Width of the picture, and of the names on its left.
const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 24.0;
/// Height of one lane, and of the bars in it.
const LANE: f64 = 34.0;
const BAR: f64 = 26.0;
/// Above the lanes of a sale: headline, rows of markers.
const HEAD: f64 = 128.0;
/// Rows that the names of markers are spread over, so that neighbours stay legible.
const ROWS: usize = 3;
/// Below them: the axis.
const FOOT: f64 = 56.0;

/// One colour for pools, one for what is on its way, one for floors: they stay apart in grey too.
const NODES: &str = "#2563a8";
const COMING: &str = "#b9d0ea";
const FLOORS: &str = "#3f7f4f";
const INK: &str = "#1f2933";
const FAINT: &str = "#6b7885";

/// The picture.
#[must_use]
pub fn svg(preview: &Preview) -> String {
    let mut body = String::new();
    let mut top = 0.0;
    for sale in &preview.sales {
        top += panel(&mut body, sale, top, preview.sales.len() == 1);
    }
    let height = top.max(40.0);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" shape-rendering=\"crispEdges\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n{body}</svg>\n"
    )
}

/// From time to place.
struct Axis {
    from: Timestamp,
    seconds: f64,
    zone: TimeZone,
}

impl Axis {
    /// The window with a twentieth of air on both sides.
    fn of(times: &Times, zone: TimeZone) -> Self {
        let last =
            [Some(times.ends_at), times.back_at, times.stays_from, times.ready_at_latest, Some(times.ready_by)].into_iter().flatten().max();
        let length = last.unwrap_or(times.ends_at).duration_since(times.starts_at).max(SignedDuration::from_secs(60));
        let air = length / 20;
        let from = times.starts_at.checked_sub(air).unwrap_or(times.starts_at);
        Self { from, seconds: (length + air * 2).as_secs_f64(), zone }
    }

    fn x(&self, at: Timestamp) -> f64 {
        let share = at.duration_since(self.from).as_secs_f64() / self.seconds;
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn clock(&self, at: Timestamp, form: &str) -> String {
        onsale_api::time::whole_seconds(at).to_zoned(self.zone.clone()).strftime(form).to_string()
    }

    /// Round times of day, at most a dozen.
    fn ticks(&self) -> Vec<Timestamp> {
        const STEPS: [i64; 13] = [60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 604_800];
        let step = STEPS.into_iter().find(|s| self.seconds / *s as f64 <= 12.0).unwrap_or(604_800);
        let offset = i64::from(self.zone.to_offset(self.from).seconds());
        let first = ((self.from.as_second() + offset) / step + 1) * step - offset;
        let count = (self.seconds / step as f64) as i64 + 1;
        let ticks = (0..count).filter_map(|n| Timestamp::from_second(first + n * step).ok());
        ticks.filter(|t| t.duration_since(self.from).as_secs_f64() < self.seconds).collect()
    }
}

fn text(out: &mut String, (x, y): (f64, f64), style: &str, content: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {style}>{}</text>", escape(content));
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// One sale; returns its height.
fn panel(out: &mut String, sale: &SalePreview, top: f64, alone: bool) -> f64 {
    let (word, colour) = if sale.verdict == Verdict::Go { ("GO", "#1a7f37") } else { ("NO-GO", "#b42318") };
    let _ = writeln!(
        out,
        "<rect x=\"24\" y=\"{:.1}\" width=\"{}\" height=\"22\" rx=\"4\" fill=\"{colour}\"/>",
        top + 18.0,
        word.len() * 9 + 16
    );
    let bold = "font-weight=\"bold\" fill=\"#ffffff\"";
    text(out, (32.0, top + 33.5), bold, word);
    let head = 24.0 + (word.len() * 9 + 16) as f64 + 12.0;
    text(
        out,
        (head, top + 34.0),
        &format!("font-size=\"16\" font-weight=\"bold\" fill=\"{INK}\""),
        &format!("{}/{}", sale.namespace, sale.name),
    );
    let Some(times) = &sale.times else {
        text(out, (24.0, top + 60.0), &format!("fill=\"{INK}\""), &sale.summary);
        return 84.0;
    };
    let axis = Axis::of(times, clock::zone(&sale.time_zone));
    let day = axis.clock(times.opens_at, "%A %Y-%m-%d");
    let nodes: i32 = sale.cost.nodes;
    let facts = format!(
        "{day}, {}  ·  {}  ·  {nodes} nodes rented, {} per hour, {} in all",
        sale.time_zone, sale.summary, sale.cost.hourly, sale.cost.window
    );
    text(out, (24.0, top + 58.0), &format!("fill=\"{FAINT}\""), &facts);
    let lanes = lanes(sale);
    let (first, bottom) = (top + HEAD, top + HEAD + LANE * lanes.len() as f64);
    grid(out, &axis, first, bottom);
    markers(out, &axis, times, first, bottom);
    for (n, lane) in lanes.iter().enumerate() {
        lane.draw(out, &axis, first + LANE * n as f64, sale);
    }
    legend(out, bottom + 44.0, alone);
    HEAD + LANE * lanes.len() as f64 + FOOT
}

fn grid(out: &mut String, axis: &Axis, first: f64, bottom: f64) {
    let form = if axis.seconds > 172_800.0 { "%m-%d" } else { "%H:%M" };
    for tick in axis.ticks() {
        let x = axis.x(tick);
        let _ = writeln!(out, "<line x1=\"{x:.1}\" y1=\"{first:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#e4e9ee\"/>");
        text(out, (x, bottom + 16.0), &format!("text-anchor=\"middle\" fill=\"{FAINT}\""), &axis.clock(tick, form));
    }
}

/// Instants that matter.
fn markers(out: &mut String, axis: &Axis, times: &Times, first: f64, bottom: f64) {
    let late = times.ready_at_latest.is_some_and(|at| at > times.ready_by);
    let all = [
        (Some(times.starts_at), "start", INK),
        (times.ready_at_latest, "Ready, 99 of 100", if late { "#b42318" } else { FAINT }),
        (Some(times.ready_by), "ready-by", INK),
        (Some(times.opens_at), "T0", "#b42318"),
        (Some(times.ends_at), "return", INK),
        (times.back_at, "back", INK),
        (times.stays_from, "not back", "#b42318"),
    ];
    let mut shown: Vec<(Timestamp, &str, &str)> = all.into_iter().filter_map(|(at, name, colour)| Some((at?, name, colour))).collect();
    shown.sort_by_key(|(at, ..)| *at);
    let (mut ends, mut labels) = ([f64::MIN; ROWS], Vec::new());
    for (at, name, colour) in shown {
        let x = axis.x(at);
        // The headline has the date of the opening.
        let same_day = axis.clock(at, "%F") == axis.clock(times.opens_at, "%F");
        let label = format!("{name} {}", axis.clock(at, if same_day { "%H:%M:%S" } else { "%m-%d %H:%M:%S" }));
        let half = label.chars().count() as f64 * 3.4;
        let middle = x.clamp(LEFT + half, WIDTH - 8.0 - half);
        let row = ends.iter().position(|end| middle - half > end + 8.0).unwrap_or(ROWS - 1);
        ends[row] = middle + half;
        let y = first - 42.0 + 16.0 * row as f64;
        let _ = writeln!(
            out,
            "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"{colour}\" stroke-dasharray=\"3 3\"/>",
            y + 4.0
        );
        labels.push((middle, half, y, colour, label));
    }
    // Above the lines, on white, so that no line runs through a word.
    for (middle, half, y, colour, label) in labels {
        let (x, width) = (middle - half, half * 2.0);
        let _ = writeln!(out, "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"14\" fill=\"#ffffff\"/>", y - 11.0);
        text(out, (middle, y), &format!("text-anchor=\"middle\" font-size=\"11\" fill=\"{colour}\""), &label);
    }
}

fn legend(out: &mut String, y: f64, alone: bool) {
    let parts = [(COMING, "nodes on their way"), (NODES, "nodes Ready"), (FLOORS, "replicas guaranteed")];
    let mut x = LEFT;
    for (colour, name) in parts {
        let _ = writeln!(out, "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"12\" height=\"10\" fill=\"{colour}\"/>", y - 9.0);
        text(out, (x + 17.0, y), &format!("font-size=\"11\" fill=\"{FAINT}\""), name);
        x += 17.0 + name.len() as f64 * 6.0 + 22.0;
    }
    if !alone {
        text(out, (x, y), &format!("font-size=\"11\" fill=\"{FAINT}\""), "all sales together");
    }
}

/// One row of the picture.
enum Lane {
    /// Rented nodes of a pool.
    Pool(String),
    /// The floor of a workload.
    Floor(WorkloadId),
}

/// Pools that rent something, nearest first, then the workloads in the sale's order.
fn lanes(sale: &SalePreview) -> Vec<Lane> {
    let pools = sale.pools.iter().filter(|p| !p.rented.is_empty()).map(|p| Lane::Pool(p.name.clone()));
    let id = |w: &crate::preview::WorkloadPreview| WorkloadId { namespace: sale.namespace.clone(), kind: w.kind, name: w.name.clone() };
    pools.chain(sale.workloads.iter().map(|w| Lane::Floor(id(w)))).collect()
}

impl Lane {
    fn name(&self) -> &str {
        match self {
            Self::Pool(name) => name,
            Self::Floor(id) => &id.name,
        }
    }

    /// How much of it there is at an instant, and how much is on its way.
    fn value(&self, sample: &Sample) -> (i32, i32) {
        match self {
            Self::Pool(name) => {
                (sample.nodes.get(name).copied().unwrap_or_default(), sample.launching.get(name).copied().unwrap_or_default())
            }
            Self::Floor(id) => (sample.floors.get(id).copied().unwrap_or_default(), 0),
        }
    }

    fn draw(&self, out: &mut String, axis: &Axis, top: f64, sale: &SalePreview) {
        let base = top + LANE - 4.0;
        let name: String = self.name().chars().take(24).collect();
        text(out, (LEFT - 10.0, base - 8.0), &format!("text-anchor=\"end\" fill=\"{INK}\""), &name);
        let _ = writeln!(out, "<line x1=\"{LEFT}\" y1=\"{base:.1}\" x2=\"{:.1}\" y2=\"{base:.1}\" stroke=\"#c9d2da\"/>", WIDTH - RIGHT);
        let mut values: Vec<(Timestamp, (i32, i32))> = sale.samples.iter().map(|(at, sample)| (*at, self.value(sample))).collect();
        values.dedup_by_key(|(_, value)| *value);
        let most = values.iter().map(|(_, (there, coming))| there + coming).max().unwrap_or_default();
        if most <= 0 {
            return;
        }
        let height = |n: i32| BAR * f64::from(n) / f64::from(most);
        for (n, (at, (there, coming))) in values.iter().enumerate() {
            let until = values.get(n + 1).map_or(WIDTH - RIGHT, |(at, _)| axis.x(*at));
            let (x, width) = (axis.x(*at), until - axis.x(*at));
            if width <= 0.0 {
                continue;
            }
            let colour = if matches!(self, Self::Pool(_)) { NODES } else { FLOORS };
            bar(out, x, base, width, height(*there), colour);
            bar(out, x, base - height(*there), width, height(*coming), COMING);
        }
        self.figures(out, axis, base, &values, most);
    }

    /// The peak in the middle of its time; of a floor also where it comes from.
    fn figures(&self, out: &mut String, axis: &Axis, base: f64, values: &[(Timestamp, (i32, i32))], most: i32) {
        let peak = values.iter().position(|(_, (there, _))| *there == most);
        let Some(from) = peak else { return };
        let until = values[from..].iter().find(|(_, (there, _))| *there < most).map_or(WIDTH - RIGHT, |(at, _)| axis.x(*at));
        let middle = f64::midpoint(axis.x(values[from].0), until);
        let bold = "text-anchor=\"middle\" font-weight=\"bold\" fill=\"#ffffff\"";
        let unit = if matches!(self, Self::Pool(_)) && most == 1 {
            " node"
        } else if matches!(self, Self::Pool(_)) {
            " nodes"
        } else {
            ""
        };
        text(out, (middle, base - BAR / 2.0 + 4.0), bold, &format!("{most}{unit}"));
        if let (Self::Floor(_), Some((at, (low, _)))) = (self, values.first())
            && *low < most
            && *low > 0
        {
            let above = base - BAR * f64::from(*low) / f64::from(most) - 3.0;
            text(out, (axis.x(*at) + 3.0, above), &format!("font-size=\"10\" fill=\"{FAINT}\""), &low.to_string());
        }
    }
}

fn bar(out: &mut String, x: f64, base: f64, width: f64, height: f64, colour: &str) {
    if height > 0.0 {
        let _ =
            writeln!(out, "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>", base - height);
    }
}
