//! Lists, in pages that belong together: all of them show the objects as they were when the first was asked for.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{failure::Failure, request::Ask, select::Selection, store::Store};

/// Lists that may be under way at once; older ones have expired.
const MOST: usize = 64;

/// What is left of lists that are under way, by token.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    begun: u64,
    rest: BTreeMap<u64, Page>,
}

#[derive(Clone, Debug)]
struct Page {
    version: u64,
    items: Vec<Arc<Value>>,
}

impl Pages {
    fn keep(&mut self, page: Page) -> u64 {
        self.begun += 1;
        self.rest.insert(self.begun, page);
        while self.rest.len() > MOST {
            self.rest.pop_first();
        }
        self.begun
    }
}

/// One page, or everything.
///
/// # Errors
/// 400 for a token that this API never gave, 410 for one that has expired.
pub fn list(store: &mut Store, ask: &Ask) -> Result<Value, Failure> {
    let mut page = match ask.param("continue") {
        Some(token) => {
            let token: u64 = token.parse().map_err(|_| Failure::bad_request("continue key is not valid"))?;
            store.pages.rest.get(&token).cloned().ok_or_else(Failure::expired)?
        }
        None => {
            let selection = Selection::of(ask);
            Page { version: store.version(), items: store.list(ask.kind).filter(|o| selection.matches(o)).cloned().collect() }
        }
    };
    let limit = ask.param("limit").and_then(|l| l.parse::<usize>().ok()).filter(|l| *l > 0).unwrap_or(usize::MAX);
    let rest = page.items.split_off(limit.min(page.items.len()));
    let mut metadata = json!({"resourceVersion": page.version.to_string()});
    if !rest.is_empty() {
        metadata["continue"] = json!(store.pages.keep(Page { version: page.version, items: rest }).to_string());
    }
    let items: Vec<&Value> = page.items.iter().map(|o| &**o).collect();
    Ok(json!({"apiVersion": ask.kind.api_version(), "kind": format!("{}List", ask.kind.kind), "metadata": metadata, "items": items}))
}
