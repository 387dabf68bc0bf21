//! Flows of the sample API and the items in them: processes, boards, datasets, dataforms.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    answer::Answer,
    people::{Actor, Person},
};

/// Items kept at most in one flow.
const ITEMS_MAX: usize = 500;
/// Fields taken at most from one body.
const FIELDS_MAX: usize = 100;

/// What a flow is; ids are unique within one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Family {
    Process,
    Board,
    Dataset,
    Form,
}

/// One item: its JSON object, as it is shown.
pub(super) type Item = Map<String, Value>;

/// All flows by family and id.
#[derive(Debug, Default)]
pub(super) struct Flows {
    all: BTreeMap<(Family, String), Vec<Item>>,
    made: u64,
}

/// What happens to a process item at its step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Submit,
    Reject,
}

impl Flows {
    pub(super) fn open(&mut self, family: Family, id: &str) {
        self.all.entry((family, id.to_owned())).or_default();
    }

    pub(super) fn items(&self, family: Family, flow: &str) -> Option<&Vec<Item>> {
        self.all.get(&(family, flow.to_owned()))
    }

    pub(super) fn items_mut(&mut self, family: Family, flow: &str) -> Option<&mut Vec<Item>> {
        self.all.get_mut(&(family, flow.to_owned()))
    }

    pub(super) fn item(&self, family: Family, flow: &str, id: &str) -> Option<&Item> {
        self.items(family, flow)?.iter().find(|item| has_id(item, id))
    }

    pub(super) fn all_of(&self, family: Family) -> impl Iterator<Item = (&str, &Item)> {
        self.all.iter().filter(move |((f, _), _)| *f == family).flat_map(|((_, id), items)| items.iter().map(move |i| (id.as_str(), i)))
    }

    pub(super) fn fresh_id(&mut self, prefix: &str) -> String {
        self.made += 1;
        format!("{prefix}{:04}", self.made)
    }

    /// Puts what the body says into the flow, made by `actor`.
    pub(super) fn create(&mut self, family: Family, flow: &str, prefix: &str, actor: &Actor, body: &Value) -> Answer {
        let id = self.fresh_id(prefix);
        let step = (family == Family::Process).then(|| self.fresh_id("Ac"));
        let Some(items) = self.items_mut(family, flow) else { return Answer::missing("flow") };
        if items.len() >= ITEMS_MAX {
            return Answer::refused(507, "this flow is full");
        }
        let mut item = Item::new();
        item.insert("_id".into(), id.into());
        take_fields(&mut item, body);
        if let Some(step) = step {
            item.insert("_activity_instance_id".into(), step.into());
            item.insert("_status".into(), "Draft".into());
        }
        item.insert("_created_by".into(), actor.reference());
        item.insert("_created_at".into(), Timestamp::now().to_string().into());
        items.push(item.clone());
        Answer::ok(item.into())
    }

    /// Changes fields of an item on behalf of `actor`.
    pub(super) fn update(&mut self, family: Family, flow: &str, id: &str, actor: &Actor, body: &Value) -> Answer {
        let Some(item) = self.items_mut(family, flow).and_then(|items| items.iter_mut().find(|item| has_id(item, id))) else {
            return Answer::missing("item");
        };
        take_fields(item, body);
        touch(item, actor);
        Answer::ok(item.clone().into())
    }

    pub(super) fn delete(&mut self, family: Family, flow: &str, id: &str) -> Answer {
        let Some(items) = self.items_mut(family, flow) else { return Answer::missing("flow") };
        let before = items.len();
        items.retain(|item| !has_id(item, id));
        if items.len() == before { Answer::missing("item") } else { Answer::ok(json!({"deleted": id})) }
    }

    /// Submits or rejects a process item at its present step: a draft by whoever made it, a
    /// waiting one by whoever it is assigned to.
    pub(super) fn act(&mut self, flow: &str, id: &str, activity: &str, step: Step, actor: &Actor, manager: Option<&Person>) -> Answer {
        let next = self.fresh_id("Ac");
        let Some(item) = self.items_mut(Family::Process, flow).and_then(|items| items.iter_mut().find(|item| has_id(item, id))) else {
            return Answer::missing("item");
        };
        if text(item, "_activity_instance_id") != activity {
            return Answer::refused(409, "the item is no longer at this step");
        }
        let owner = |field: &str| item.get(field).and_then(|who| who.get("_id")).and_then(Value::as_str) == Some(actor.id());
        match (text(item, "_status"), step) {
            ("Draft", Step::Submit) if !owner("_created_by") => return Answer::refused(403, "only its initiator submits a draft"),
            ("Draft", Step::Submit) => {
                let assignee = manager.map(|m| Actor::Person(m.clone()).reference());
                item.insert("_status".into(), if assignee.is_some() { "InProgress" } else { "Completed" }.into());
                item.insert("_current_assigned_to".into(), assignee.unwrap_or_default());
            }
            ("InProgress", _) if !owner("_current_assigned_to") => {
                return Answer::refused(403, "the item waits for somebody else");
            }
            ("InProgress", Step::Submit) => finish(item, "Completed", "_approved_by", actor),
            ("InProgress", Step::Reject) => finish(item, "Rejected", "_rejected_by", actor),
            _ => return Answer::refused(409, "there is nothing to do at this step"),
        }
        item.insert("_activity_instance_id".into(), next.into());
        touch(item, actor);
        Answer::ok(item.clone().into())
    }
}

fn finish(item: &mut Item, status: &str, by: &str, actor: &Actor) {
    item.insert("_status".into(), status.into());
    item.insert("_current_assigned_to".into(), Value::Null);
    item.insert(by.into(), actor.reference());
}

pub(super) fn touch(item: &mut Item, actor: &Actor) {
    item.insert("_modified_by".into(), actor.reference());
    item.insert("_modified_at".into(), Timestamp::now().to_string().into());
}

/// Fields that begin with `_` are the API's own: a body cannot claim them.
fn take_fields(item: &mut Item, body: &Value) {
    let Some(fields) = body.as_object() else { return };
    for (name, value) in fields.iter().filter(|(name, _)| !name.starts_with('_')).take(FIELDS_MAX) {
        item.insert(name.clone(), value.clone());
    }
}

pub(super) fn has_id(item: &Item, id: &str) -> bool {
    text(item, "_id") == id
}

fn text<'i>(item: &'i Item, field: &str) -> &'i str {
    item.get(field).and_then(Value::as_str).unwrap_or_default()
}
