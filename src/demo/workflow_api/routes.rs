//! The sample API's endpoints: which path does what. The paths are those of `config/catalog/kissflow.yaml`.

use serde_json::{Value, json};

use super::{
    answer::{Answer, query_value},
    flows::{Family, Flows, Item, Step},
    people::{Actor, People},
};

/// The one account that the sample API serves, as it stands in paths.
pub(super) const ACCOUNT: &str = "Ac1";

/// Groups and chat messages kept at most.
const KEPT_MAX: usize = 200;

/// One request, read.
#[derive(Debug)]
pub(super) struct Ask<'a> {
    pub(super) method: &'a str,
    pub(super) segments: &'a [&'a str],
    pub(super) query: &'a str,
    pub(super) actor: &'a Actor,
    pub(super) body: &'a Value,
}

/// All that the API keeps.
#[derive(Debug)]
pub(super) struct World {
    pub(super) people: People,
    pub(super) groups: Vec<Group>,
    pub(super) flows: Flows,
    pub(super) messages: Vec<Item>,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) members: Vec<String>,
}

// ===== the table of endpoints =====

impl World {
    pub(super) fn answer(&mut self, ask: &Ask<'_>) -> Answer {
        let [service, "2", account, rest @ ..] = ask.segments else { return Answer::missing("endpoint") };
        if *account != ACCOUNT {
            return Answer::missing("account");
        }
        match *service {
            "user" => self.user(ask, rest),
            "group" => self.group(ask, rest),
            "portal" => portal(ask, rest),
            "process" => self.process(ask, rest),
            "process-report" => self.report(ask, rest),
            "case" => self.board(ask, rest),
            "dataset" => self.dataset(ask, rest),
            "form" => self.form(ask, rest),
            "flow" => self.flow(ask, rest),
            "integration" => integration(ask, rest),
            "chat" => self.chat(ask, rest),
            _ => Answer::missing("endpoint"),
        }
    }

    fn user(&mut self, ask: &Ask<'_>, rest: &[&str]) -> Answer {
        match (ask.method, rest) {
            ("GET", []) => Answer::page(self.people.list(), ask.query),
            ("POST", []) => {
                let id = self.flows.fresh_id("Us");
                self.people
                    .add(id, ask.body)
                    .map_or_else(|| Answer::refused(400, "a new user needs a Name and an Email of its own"), Answer::ok)
            }
            ("POST", ["batch"]) => {
                let named = ask.body.get("Deactivate").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                let done = named.iter().filter_map(Value::as_str).filter(|who| self.people.deactivate(who)).count();
                Answer::ok(json!({"Deactivated": done}))
            }
            ("GET", ["portal", _, _, "list"]) => Answer::page(Vec::new(), ask.query),
            ("GET", ["portal", _, _, "count"]) => Answer::ok(json!({"Count": 0})),
            ("GET", [id]) => self.people.find(id).map_or_else(|| Answer::missing("user"), |person| Answer::ok(person.to_json())),
            _ => Answer::missing("endpoint"),
        }
    }

    fn group(&mut self, ask: &Ask<'_>, rest: &[&str]) -> Answer {
        match (ask.method, rest) {
            ("GET", ["list"]) => Answer::page(self.groups.iter().map(Group::to_json).collect(), ask.query),
            ("POST", []) => {
                let Some(name) = name_of(ask.body).filter(|_| self.groups.len() < KEPT_MAX) else {
                    return Answer::refused(400, "a new group needs a Name");
                };
                let group = Group { id: self.flows.fresh_id("Gr"), name, members: Vec::new() };
                let shown = group.to_json();
                self.groups.push(group);
                Answer::ok(shown)
            }
            ("GET", [id]) => self.groups.iter().find(|g| g.id == *id).map_or_else(|| Answer::missing("group"), |g| Answer::ok(g.to_json())),
            ("GET", [id, "members"]) => match self.groups.iter().find(|g| g.id == *id) {
                Some(group) => {
                    let members = group.members.iter().filter_map(|id| self.people.find(id)).map(super::Person::to_json).collect();
                    Answer::page(members, ask.query)
                }
                None => Answer::missing("group"),
            },
            ("POST", [id]) => match (self.groups.iter_mut().find(|g| g.id == *id), name_of(ask.body)) {
                (Some(group), Some(name)) => {
                    group.name = name;
                    Answer::ok(group.to_json())
                }
                (Some(_), None) => Answer::refused(400, "a group needs a Name"),
                (None, _) => Answer::missing("group"),
            },
            ("DELETE", [id]) => {
                let before = self.groups.len();
                self.groups.retain(|g| g.id != *id);
                if self.groups.len() == before { Answer::missing("group") } else { Answer::ok(json!({"deleted": id})) }
            }
            _ => Answer::missing("endpoint"),
        }
    }

    fn process(&mut self, ask: &Ask<'_>, rest: &[&str]) -> Answer {
        const F: Family = Family::Process;
        match (ask.method, rest) {
            ("GET" | "POST", ["admin", flow, "item"]) => self.list(F, flow, ask),
            ("GET", ["admin", flow, id]) => self.show(F, flow, id),
            ("PUT", ["admin", flow, id]) => self.flows.update(F, flow, id, ask.actor, ask.body),
            ("DELETE", ["admin", flow, id]) => self.flows.delete(F, flow, id),
            ("GET", ["pwa", flow, "myitems"] | [flow, "myitems"]) => self.mine(ask, Some(flow), "_created_by"),
            ("GET", ["pwa", flow, "pending"]) => self.mine(ask, Some(flow), "_current_assigned_to"),
            ("POST", [flow]) => self.flows.create(F, flow, "Pk", ask.actor, ask.body),
            ("GET", [flow, id, _]) => self.show(F, flow, id),
            ("POST", [flow, id, activity, "submit"]) => self.act(ask, flow, id, activity, Step::Submit),
            ("POST", [flow, id, activity, "reject"]) => self.act(ask, flow, id, activity, Step::Reject),
            _ => Answer::missing("endpoint"),
        }
    }

    fn report(&self, ask: &Ask<'_>, rest: &[&str]) -> Answer {
        match (ask.method, rest) {
            ("GET", [flow, _, "count"]) => self.count(Family::Process, flow),
            ("GET", [flow, _, "fields"]) => self.fields(Family::Process, flow),
            ("GET", [flow, _, id]) => self.show(Family::Process, flow, id),
            _ => Answer::missing("endpoint"),
        }
    }

    fn board(&mut self, ask: &Ask<'_>, rest: &[&str]) -> Answer {
        const F: Family = Family::Board;
        match (ask.method, rest) {
            ("POST", [flow]) => self.flows.create(F, flow, "Ca", ask.actor, ask.body),
            ("POST", [flow, "count"]) => self.count(F, flow),
            ("GET", [flow, "fields"]) => self.fields(F, flow),
            ("POST", [flow, _, "items"]) => self.list(F, flow, ask),
            ("GET", [_, _, "activity" | "transition" | "watchers"]) => Answer::page(Vec::new(), ask.query),
            ("GET", [flow, id]) => self.show(F, flow, id),
            ("DELETE", [flow, id]) => self.flows.delete(F, flow, id),
            ("POST", [flow, id, _] | [flow, id, _, "move" | "reassign"])
            | ("PUT", [flow, id, _, "DueDate" | "Requester" | "_priority_id"]) => self.flows.update(F, flow, id, ask.actor, ask.body),
            _ => Answer::missing("endpoint"),
        }
    }

    fn dataset(&mut self, ask: &Ask<'_>, rest: &[&str]) -> Answer {
        const F: Family = Family::Dataset;
        // A row is named in the query, or by the body of a PUT or DELETE.
        let named = query_value(ask.query, "Name").map(str::to_owned).or_else(|| name_of(ask.body));
        let row = |world: &Self, flow: &str| {
            let items = world.flows.items(F, flow)?;
            items
                .iter()
                .find(|i| i.get("Name").and_then(Value::as_str) == named.as_deref())
                .and_then(|i| i.get("_id")?.as_str().map(str::to_owned))
        };
        match (ask.method, rest) {
            ("GET", [flow, "list"] | [flow, "view", _, "list"]) => self.list(F, flow, ask),
            ("GET", [flow, "aggregation"]) => self.count(F, flow),
            ("POST", [flow]) => self.flows.create(F, flow, "Rw", ask.actor, ask.body),
            ("POST", [flow, "batch"] | [flow, "view", _, "batch"]) => self.batch(F, flow, "Rw", ask),
            ("GET" | "PUT" | "DELETE", [flow]) => match (row(self, flow), ask.method) {
                (None, _) => Answer::missing("row"),
                (Some(id), "PUT") => self.flows.update(F, flow, &id, ask.actor, ask.body),
                (Some(id), "DELETE") => self.flows.delete(F, flow, &id),
                (Some(id), _) => self.show(F, flow, &id),
            },
            _ => Answer::missing("endpoint"),
        }
    }

    fn form(&mut self, ask: &Ask<'_>, rest: &[&str]) -> Answer {
        const F: Family = Family::Form;
        match (ask.method, rest) {
            ("GET", [flow, "list"] | [flow, "view", _, "list"]) => self.list(F, flow, ask),
            ("POST", [flow, "create", "submit"]) => self.flows.create(F, flow, "Fm", ask.actor, ask.body),
            ("POST", [flow, "batch"]) => self.batch(F, flow, "Fm", ask),
            ("GET", [flow, id]) => self.show(F, flow, id),
            ("POST", [flow, id]) => self.flows.update(F, flow, id, ask.actor, ask.body),
            ("DELETE", [flow, id]) => self.flows.delete(F, flow, id),
            _ => Answer::missing("endpoint"),
        }
    }

    fn flow(&self, ask: &Ask<'_>, rest: &[&str]) -> Answer {
        match (ask.method, rest) {
            ("GET", ["myitems"]) => self.mine(ask, None, "_created_by"),
            ("GET", ["mytasks"]) => self.mine(ask, None, "_current_assigned_to"),
            _ => Answer::missing("endpoint"),
        }
    }

    fn chat(&mut self, ask: &Ask<'_>, rest: &[&str]) -> Answer {
        match (ask.method, rest) {
            ("GET", [channel, "messages"]) => {
                let said = self.messages.iter().filter(|m| m.get("Channel").and_then(Value::as_str) == Some(channel));
                Answer::page(said.map(|m| Value::Object(m.clone())).collect(), ask.query)
            }
            ("POST", [channel, "messages"]) => {
                let text = ask.body.get("Text").and_then(Value::as_str).unwrap_or_default();
                let message =
                    json!({"_id": self.flows.fresh_id("Ms"), "Channel": channel, "Text": text, "_created_by": ask.actor.reference()});
                if self.messages.len() >= KEPT_MAX {
                    self.messages.remove(0);
                }
                self.messages.extend(message.as_object().cloned());
                Answer::ok(message)
            }
            _ => Answer::missing("endpoint"),
        }
    }
}

// ===== what several families do alike =====

impl World {
    fn list(&self, family: Family, flow: &str, ask: &Ask<'_>) -> Answer {
        match self.flows.items(family, flow) {
            Some(items) => Answer::page(items.iter().cloned().map(Value::Object).collect(), ask.query),
            None => Answer::missing("flow"),
        }
    }

    fn show(&self, family: Family, flow: &str, id: &str) -> Answer {
        self.flows.item(family, flow, id).map_or_else(|| Answer::missing("item"), |item| Answer::ok(item.clone().into()))
    }

    fn count(&self, family: Family, flow: &str) -> Answer {
        self.flows.items(family, flow).map_or_else(|| Answer::missing("flow"), |items| Answer::ok(json!({"Count": items.len()})))
    }

    fn fields(&self, family: Family, flow: &str) -> Answer {
        match self.flows.items(family, flow) {
            Some(items) => {
                let names: Vec<&str> = items.first().into_iter().flat_map(|item| item.keys().map(String::as_str)).collect();
                Answer::ok(json!({"Data": names}))
            }
            None => Answer::missing("flow"),
        }
    }

    fn batch(&mut self, family: Family, flow: &str, prefix: &str, ask: &Ask<'_>) -> Answer {
        let rows = ask.body.get("Data").or(Some(ask.body)).and_then(Value::as_array).cloned().unwrap_or_default();
        if rows.len() > 500 {
            return Answer::refused(400, "at most 500 records in one batch");
        }
        for row in &rows {
            let made = self.flows.create(family, flow, prefix, ask.actor, row);
            if !made.status.is_success() {
                return made;
            }
        }
        Answer::ok(json!({"Count": rows.len()}))
    }

    /// Process items that name the actor in `field`, of one flow or of all.
    fn mine(&self, ask: &Ask<'_>, only: Option<&str>, field: &str) -> Answer {
        let is_actor = |item: &Item| item.get(field).and_then(|who| who.get("_id")).and_then(Value::as_str) == Some(ask.actor.id());
        let found = self.flows.all_of(Family::Process).filter(|(flow, item)| only.is_none_or(|o| o == *flow) && is_actor(item));
        Answer::page(found.map(|(_, item)| Value::Object(item.clone())).collect(), ask.query)
    }

    fn act(&mut self, ask: &Ask<'_>, flow: &str, id: &str, activity: &str, step: Step) -> Answer {
        let manager = match ask.actor {
            Actor::Person(person) => person.manager.as_deref().and_then(|m| self.people.find(m)).cloned(),
            Actor::Account(_) => None,
        };
        self.flows.act(flow, id, activity, step, ask.actor, manager.as_ref())
    }
}

impl Group {
    fn to_json(&self) -> Value {
        json!({"_id": self.id, "Name": self.name, "Members": self.members.len()})
    }
}

fn name_of(body: &Value) -> Option<String> {
    body.get("Name").and_then(Value::as_str).map(str::trim).filter(|name| !name.is_empty() && name.len() <= 200).map(str::to_owned)
}

fn portal(ask: &Ask<'_>, rest: &[&str]) -> Answer {
    match (ask.method, rest) {
        ("GET", ["Vendor_Portal"]) => Answer::ok(json!({"_id": "Vendor_Portal", "Name": "Vendor portal", "Status": "Live"})),
        ("GET", [_]) => Answer::missing("portal"),
        _ => Answer::missing("endpoint"),
    }
}

fn integration(ask: &Ask<'_>, rest: &[&str]) -> Answer {
    let known = json!({"_id": "Request_To_Order", "Name": "Purchase request to order", "Status": "Active"});
    match (ask.method, rest) {
        ("GET", []) => Answer::page(vec![known], ask.query),
        ("GET", ["Request_To_Order"]) => Answer::ok(known),
        ("POST", ["Request_To_Order", "run"]) => Answer::ok(json!({"Run": "started", "by": ask.actor.reference()})),
        _ => Answer::missing("integration"),
    }
}
