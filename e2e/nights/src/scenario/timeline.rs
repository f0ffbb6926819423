//! What happens when: faults and edits as acts at instants.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use onsale_api::names;
use onsale_cloud::CloudError;
use serde_json::{Value, json};

use super::{
    Scenario,
    start::{key, pool_named, put_sale},
    time::{Moment, std_of},
    trouble::{Edit, Fault, NoCapacity, Refusal, Scale, SlowBoots, Span},
};
use crate::{
    api::{
        kinds::{self, Kind},
        store::key_of,
    },
    night::build::try_put,
    sim::Inner,
    world::{kubelet, nodes},
};

/// One thing that happens.
pub struct Step {
    /// When.
    pub at: Timestamp,
    /// By whom.
    pub by: String,
    /// In words; empty where the outcome need not tell.
    pub said: String,
    /// What.
    pub act: Act,
}

/// Says what is not as it must be.
pub type Look = Box<dyn Fn(&Inner) -> Option<String>>;

/// What happens.
pub enum Act {
    /// The world changes.
    Change(Box<dyn Fn(&mut Inner)>),
    /// Somebody looks.
    Look(Look),
    /// Every operator dies.
    Stop,
    /// An operator starts.
    Start,
    /// The one that has been there longest dies.
    StopOldest,
}

/// Everything that happens in a scenario, in order.
///
/// # Errors
/// Which field of the file makes no sense, why, and what to write.
pub fn of(scenario: &Scenario, start: &Inner) -> Result<Vec<Step>, String> {
    let mut all = Steps { scenario, start, steps: Vec::new(), field: String::new() };
    for (i, fault) in scenario.file.faults.iter().enumerate() {
        all.field = format!("faults[{i}]");
        all.fault(fault)?;
    }
    for (i, edit) in scenario.file.edits.iter().enumerate() {
        all.field = format!("edits[{i}]");
        all.edit(edit)?;
    }
    all.steps.sort_by_key(|step| step.at);
    let ends = scenario.ends();
    match all.steps.iter().find(|step| step.at < scenario.file.begins || step.at > ends) {
        Some(step) => Err(format!("{} happens at {}, and the night is from {} to {ends}", step.said, step.at, scenario.file.begins)),
        None => Ok(all.steps),
    }
}

struct Steps<'a> {
    scenario: &'a Scenario,
    start: &'a Inner,
    steps: Vec<Step>,
    /// Field of the file that is being read.
    field: String,
}

impl Scenario {
    /// An instant of the file.
    #[must_use]
    pub fn instant(&self, moment: Moment) -> Timestamp {
        moment.instant(self.file.begins, &self.zone)
    }

    /// When the night ends.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        self.instant(self.file.ends)
    }
}

impl Steps<'_> {
    fn push(&mut self, at: Timestamp, by: &str, said: String, act: Act) {
        self.steps.push(Step { at, by: by.to_owned(), said, act });
    }

    /// Something that begins and, perhaps, ends.
    fn span(&mut self, span: Span, said: &str, begin: impl Fn(&mut Inner, Timestamp) + 'static, end: impl Fn(&mut Inner) + 'static) {
        let from = span.from.map_or(self.scenario.file.begins, |m| self.scenario.instant(m));
        let until = span.until.map(|m| self.scenario.instant(m));
        let last = until.unwrap_or_else(|| self.scenario.ends());
        self.push(from, "fault", said.to_owned(), Act::Change(Box::new(move |inner| begin(inner, last))));
        if let Some(until) = until {
            self.push(until, "fault", format!("over: {said}"), Act::Change(Box::new(end)));
        }
    }

    fn fault(&mut self, fault: &Fault) -> Result<(), String> {
        match fault {
            Fault::NoCapacity(fault) => self.no_capacity(fault),
            Fault::SlowBoots(slow) => self.slow_boots(slow),
            Fault::Quota(_) | Fault::Refused(_) | Fault::Throttled(_) | Fault::Silent(_) | Fault::Blind(_) => {
                self.cloud(fault);
                Ok(())
            }
            Fault::NodeLost(_) | Fault::ZoneDown(_) => self.lost(fault),
            Fault::NeverJoin(_) | Fault::Unmarked(_) | Fault::PoliciesOff(_) => {
                self.cluster(fault);
                Ok(())
            }
            Fault::OperatorDown(_) | Fault::LeadershipLost(_) => {
                self.operator(fault);
                Ok(())
            }
        }
    }

    fn cloud(&mut self, fault: &Fault) {
        match fault {
            Fault::Quota(q) => {
                let (type_, again, most) = (q.r#type.clone(), q.r#type.clone(), q.most);
                let begin = move |inner: &mut Inner, _| {
                    inner.cloud.hidden_quota.insert(type_.clone(), most);
                };
                let end = move |inner: &mut Inner| {
                    inner.cloud.hidden_quota.remove(&again);
                };
                self.span(Span { from: q.from, until: q.until }, &format!("the account's quota is {most} {}", q.r#type), begin, end);
            }
            Fault::Refused(refused) => {
                let message = "injected fault".to_owned();
                let (said, error) = match refused.reason {
                    Refusal::Unauthorized => ("the cloud refuses the credentials of launches", CloudError::Unauthorized { message }),
                    Refusal::InvalidConfiguration => ("the cloud refuses the launch template", CloudError::Invalid { message }),
                };
                let begin = move |inner: &mut Inner, _| inner.cloud.refuses = Some(error.clone());
                self.span(Span { from: refused.from, until: refused.until }, said, begin, |inner| inner.cloud.refuses = None);
            }
            Fault::Throttled(span) => {
                let begin = |inner: &mut Inner, last| inner.cloud.throttled_until = Some(last);
                self.span(*span, "the cloud throttles every call", begin, |_| ());
            }
            Fault::Silent(span) => {
                self.span(*span, "the cloud does not answer", |inner, last| inner.cloud.silent_until = Some(last), |_| ());
            }
            Fault::Blind(span) => {
                self.span(*span, "instances cannot be listed", |inner, last| inner.cloud.blind_until = Some(last), |_| ());
            }
            _ => {}
        }
    }

    fn slow_boots(&mut self, slow: &SlowBoots) -> Result<(), String> {
        pool_named(self.start, &slow.pool, &format!("{}.pool", self.field))?;
        let (pool, again, boot) = (slow.pool.clone(), slow.pool.clone(), slow.boot);
        let begin = move |inner: &mut Inner, _| {
            inner.cloud.boots.insert(pool.clone(), boot.0);
        };
        let end = move |inner: &mut Inner| {
            inner.cloud.boots.remove(&again);
        };
        self.span(Span { from: slow.from, until: slow.until }, &format!("instances in {} boot in {boot:?}", slow.pool), begin, end);
        Ok(())
    }

    fn cluster(&mut self, fault: &Fault) {
        match fault {
            Fault::NeverJoin(next) => {
                let (count, span) = (next.count, Span { from: next.from, until: None });
                let said = format!("the next {count} instances will never become nodes");
                self.span(span, &said, move |inner, _| inner.world.never_join = count, |_| ());
            }
            Fault::Unmarked(next) => {
                let (count, span) = (next.count, Span { from: next.from, until: None });
                let said = format!("the next {count} nodes will register without label and taint");
                self.span(span, &said, move |inner, _| inner.world.unmarked = count, |_| ());
            }
            Fault::PoliciesOff(span) => {
                let begin = |inner: &mut Inner, _| inner.world.policies_off = true;
                self.span(*span, "the admission policies are not in force", begin, |inner| inner.world.policies_off = false);
            }
            _ => {}
        }
    }

    fn no_capacity(&mut self, fault: &NoCapacity) -> Result<(), String> {
        let pool = pool_named(self.start, &fault.pool, &format!("{}.pool", self.field))?;
        let strings = |list: Vec<&Value>| list.into_iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>();
        let ec2 = &pool["spec"]["nodes"]["ec2"];
        let mut types = strings(ec2["instanceTypes"].as_array().into_iter().flatten().map(|t| &t["name"]).collect());
        if let Some(wanted) = &fault.r#type {
            if !types.contains(wanted) {
                return Err(format!("{}.type: pool {} has no {wanted}: write one of {}", self.field, fault.pool, types.join(", ")));
            }
            types.retain(|t| t == wanted);
        }
        let subnets = strings(ec2["subnets"].as_array().into_iter().flatten().collect());
        let places: Vec<(String, String)> = types.iter().flat_map(|t| subnets.iter().map(|s| (t.clone(), s.clone()))).collect();
        let (again, most) = (places.clone(), fault.most);
        let said = match most {
            0 => format!("no {} can be had in {}", types.join(" and no "), fault.pool),
            most => format!("no more than {most} {} can be had in {}", types.join(" and "), fault.pool),
        };
        let begin = move |inner: &mut Inner, _| inner.cloud.capacity.extend(places.iter().map(|place| (place.clone(), most)));
        let end = move |inner: &mut Inner| inner.cloud.capacity.retain(|place, _| !again.contains(place));
        self.span(Span { from: fault.from, until: fault.until }, &said, begin, end);
        Ok(())
    }

    fn lost(&mut self, fault: &Fault) -> Result<(), String> {
        match fault {
            Fault::NodeLost(lost) => {
                pool_named(self.start, &lost.pool, &format!("{}.pool", self.field))?;
                let (pool, at) = (lost.pool.clone(), self.scenario.instant(lost.at));
                let act = move |inner: &mut Inner| {
                    let oldest = inner.cloud.machines.iter().find(|(_, m)| m.pool_name == pool && m.is_alive()).map(|(id, _)| id.clone());
                    if let Some(id) = oldest {
                        nodes::lose(inner, &id);
                    }
                };
                self.push(at, "fault", format!("a host of {} fails", lost.pool), Act::Change(Box::new(act)));
            }
            Fault::ZoneDown(down) => {
                let pool = pool_named(self.start, &down.pool, &format!("{}.pool", self.field))?;
                let zone = pool["spec"]["zone"].clone();
                let again = zone.clone();
                let span = Span { from: Some(down.from), until: Some(down.until) };
                let said = format!("the line to {} is cut", down.pool);
                self.span(span, &said, move |inner, _| line(inner, &zone, false), move |inner| line(inner, &again, true));
            }
            _ => {}
        }
        Ok(())
    }

    fn operator(&mut self, fault: &Fault) {
        match fault {
            Fault::OperatorDown(span) => {
                let from = span.from.map_or(self.scenario.file.begins, |m| self.scenario.instant(m));
                self.push(from, "fault", "the operator dies".to_owned(), Act::Stop);
                if let Some(until) = span.until {
                    self.push(self.scenario.instant(until), "fault", "the operator starts".to_owned(), Act::Start);
                }
            }
            Fault::LeadershipLost(lost) => {
                let (at, overlap) = (self.scenario.instant(lost.at), lost.overlap.map(std_of).unwrap_or_default());
                self.push(at, "fault", "another operator becomes the leader".to_owned(), Act::Start);
                let said = if overlap.is_zero() { String::new() } else { "the first one notices and stops".to_owned() };
                self.push(at + overlap, "fault", said, Act::StopOldest);
            }
            _ => {}
        }
    }

    fn edit(&mut self, edit: &Edit) -> Result<(), String> {
        let field = self.field.clone();
        match edit {
            Edit::Scale(scale) => self.scale(scale)?,
            Edit::Load(load) => {
                let (key, replicas) = (self.deployment(&load.workload)?, load.replicas);
                if self.start.store.get(&kinds::SCALERS, &key.0, &key.1).is_none() {
                    return Err(format!("{field}.workload: {} has no HPA, which a load would move: give it `hpa`", load.workload));
                }
                let act = move |inner: &mut Inner| {
                    inner.world.loads.insert(key.clone(), replicas);
                };
                let said = format!("keep {replicas} replicas of {} busy", load.workload);
                self.push(self.scenario.instant(load.at), "buyers", said, Act::Change(Box::new(act)));
            }
            Edit::Change(change) => {
                let (sale, spec, by) = (change.sale.clone(), change.spec.clone(), change.by.clone());
                // Tried on a copy: what is refused is found now.
                put_sale(&mut self.start.clone(), &sale, &spec, &by).map_err(|e| format!("{field}{e}"))?;
                let act = move |inner: &mut Inner| drop(put_sale(inner, &sale, &spec, &by));
                let said = format!("changes {}: {}", change.sale, brief(&change.spec));
                self.push(self.scenario.instant(change.at), &change.by, said, Act::Change(Box::new(act)));
            }
            Edit::Apply(a) => {
                try_put(&mut self.start.clone(), &a.manifest, &a.by).map_err(|e| format!("{field}.manifest: {e}"))?;
                let (kind, name) = (a.manifest["kind"].as_str().unwrap_or_default(), key_of(&a.manifest).1);
                let said = format!("applies {kind} {name}");
                self.push(self.scenario.instant(a.at), &a.by, said, apply(a.manifest.clone(), &a.by));
            }
            Edit::Delete(d) => {
                let kind = kind_named(&d.kind)
                    .ok_or_else(|| format!("{field}.kind: this API does not serve {:?}: write a kind such as OnSale", d.kind))?;
                let (namespace, name) = if kind.namespaced { key(&d.name) } else { (String::new(), d.name.clone()) };
                let act = move |inner: &mut Inner| {
                    if let Some(object) = inner.store.get(kind, &namespace, &name).cloned() {
                        inner.store.delete(kind, &object, inner.now);
                    }
                };
                let said = format!("deletes {} {}", d.kind, d.name);
                self.push(self.scenario.instant(d.at), &d.by, said, Act::Change(Box::new(act)));
            }
        }
        Ok(())
    }

    fn scale(&mut self, scale: &Scale) -> Result<(), String> {
        let (namespace, name) = self.deployment(&scale.workload)?;
        let metadata = json!({"name": name, "namespace": namespace});
        let manifest = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"replicas": scale.replicas}});
        let (first, every) = (self.scenario.instant(scale.at), scale.every.map_or(Duration::MAX, std_of));
        let last = scale.until.map_or_else(|| self.scenario.ends(), |m| self.scenario.instant(m));
        if every < Duration::from_secs(1) {
            return Err(format!("{}.every: {every:?} is too often to be played: write 1s or more", self.field));
        }
        let again = scale.every.map(|every| format!(", and again every {every}")).unwrap_or_default();
        let mut said = format!("sets replicas of {} to {}{again}", scale.workload, scale.replicas);
        let instants = std::iter::successors(Some(first), |at| at.checked_add(every).ok());
        for at in instants.take_while(|at| *at <= last || *at == first) {
            self.push(at, &scale.by, std::mem::take(&mut said), apply(manifest.clone(), &scale.by));
        }
        Ok(())
    }

    fn deployment(&self, name: &str) -> Result<(String, String), String> {
        deployment_named(self.start, name, &format!("{}.workload", self.field))
    }
}

/// A Deployment that a scenario names.
///
/// # Errors
/// When there is none; says which there are.
pub fn deployment_named(inner: &Inner, name: &str, field: &str) -> Result<(String, String), String> {
    let key = key(name);
    let all = || inner.store.list(&kinds::DEPLOYMENTS).map(|d| key_of(d).1).collect::<Vec<_>>().join(", ");
    let there = inner.store.get(&kinds::DEPLOYMENTS, &key.0, &key.1).is_some();
    if there { Ok(key) } else { Err(format!("{field}: no Deployment is called {name:?}: write one of {}", all())) }
}

fn kind_named(kind: &str) -> Option<Kind> {
    kinds::ALL.iter().find(|k| k.kind == kind).copied()
}

fn apply(manifest: Value, by: &str) -> Act {
    let by = by.to_owned();
    // An object that is gone by then is not brought back by a tool that only writes a field of it.
    Act::Change(Box::new(move |inner| drop(try_put(inner, &manifest, &by))))
}

/// Nodes of a zone, and all on them, are cut off or back.
fn line(inner: &mut Inner, zone: &Value, up: bool) {
    let there = |node: &Value| node["metadata"]["labels"][names::ZONE] == *zone;
    let all: Vec<String> = inner.store.list(&kinds::NODES).filter(|n| there(n)).map(|n| key_of(n).1).collect();
    for node in all {
        nodes::ready(inner, &node, up);
        let pods: Vec<_> = inner.store.list(&kinds::PODS).filter(|p| p["spec"]["nodeName"] == node.as_str()).map(|p| key_of(p)).collect();
        for pod in pods.iter().filter(|_| up) {
            kubelet::set_ready(inner, pod, true);
        }
    }
    inner.world.stirred = true;
}

/// Fields of a spec, as short as can be read.
fn brief(spec: &Value) -> String {
    let of = |(name, value): (&String, &Value)| match (name.as_str(), value) {
        ("workloads", Value::Array(all)) => {
            let peak = |w: &Value| format!("{} {}", w["target"]["name"].as_str().unwrap_or_default(), w["peakReplicas"]);
            format!("peaks {}", all.iter().map(peak).collect::<Vec<_>>().join(", "))
        }
        (name, Value::String(text)) => format!("{name} {text}"),
        (name, value) => format!("{name} {value}"),
    };
    let fields: BTreeMap<&String, &Value> = spec.as_object().into_iter().flatten().collect();
    fields.into_iter().map(of).collect::<Vec<_>>().join(", ")
}
