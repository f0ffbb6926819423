//! What the CRDs of our own kinds ask for: bounds and CEL rules, as a real API server holds objects against them.

use std::{collections::BTreeMap, sync::LazyLock};

use kube::CustomResourceExt;
use kube_cel::{CompiledSchema, ErrorKind, Validator, compile_schema};
use onsale_api::{CapacityPool, OnSale, WorkloadPlacement};
use onsale_cli::read::schema;
use serde_json::Value;

use super::{failure::Failure, kinds::Kind};

struct Schema {
    structure: Value,
    rules: CompiledSchema,
}

/// Those of all our kinds.
struct Schemas(BTreeMap<&'static str, Schema>);

/// A constant, but for the time that it takes to compile: too much for each of a thousand nights.
static SCHEMAS: LazyLock<Schemas> = LazyLock::new(Schemas::default);

fn of<K: CustomResourceExt>(plural: &'static str) -> Option<(&'static str, Schema)> {
    let crd = serde_json::to_value(K::crd()).ok()?;
    let structure = crd.pointer("/spec/versions/0/schema/openAPIV3Schema")?.clone();
    Some((plural, Schema { rules: compile_schema(&structure), structure }))
}

impl Default for Schemas {
    fn default() -> Self {
        let all = [of::<OnSale>("onsales"), of::<CapacityPool>("capacitypools"), of::<WorkloadPlacement>("workloadplacements")];
        Self(all.into_iter().flatten().collect())
    }
}

/// Holds against its CRD what differs from `old` in an object.
///
/// # Errors
/// 422, with the first field that is refused.
pub fn check(kind: Kind, object: &Value, old: Option<&Value>) -> Result<(), Failure> {
    let Some(Schema { structure, rules }) = SCHEMAS.0.get(kind.plural) else { return Ok(()) };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let changed = |part: &str| !object[part].is_null() && old.is_none_or(|old| old[part] != object[part]);
    for part in ["spec", "status"].into_iter().filter(|part| changed(part)) {
        if let Some(fault) = schema::check(&structure["properties"][part], &object[part]).into_iter().next() {
            return Err(Failure::invalid(kind, name, &format!("{part}.{}", fault.field), &fault.message));
        }
    }
    // Rules speak of the spec, but for the one on changes of it, which reads the old status.
    if !changed("spec") {
        return Ok(());
    }
    let broken = Validator::new().validate_compiled(rules, object, old).err();
    let failures = broken.into_iter().flat_map(kube_cel::ValidationErrors::into_vec);
    match failures.into_iter().find(|error| error.kind == ErrorKind::ValidationFailure) {
        Some(error) => Err(Failure::invalid(kind, name, &error.field_path, &error.message)),
        None => Ok(()),
    }
}
