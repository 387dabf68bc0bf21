//! What the sample API holds when it starts.

use serde_json::{Value, json};

use super::{
    flows::{Family, Flows, Item},
    people::{Actor, People, Person},
    routes::{Group, World},
};

impl World {
    /// A small company: six people, two processes, two boards, two datasets.
    pub(super) fn sample() -> Self {
        let people = vec![
            person("UsZoeL8KMQzG", "Zoe Lindqvist", "zoe@acme.example", Some("maya@acme.example")),
            person("UsMayaO3vTkP", "Maya Okafor", "maya@acme.example", Some("ceo@acme.example")),
            person("UsOmarH5wRxD", "Omar Haddad", "omar@acme.example", Some("maya@acme.example")),
            person("UsIvanP7yNcB", "Ivan Petrov", "ivan@acme.example", Some("maya@acme.example")),
            person("UsLenaT2mXqA", "Lena Fischer", "lena@acme.example", Some("maya@acme.example")),
            person("UsCarlW9hJfS", "Carla Weiss", "ceo@acme.example", None),
        ];
        let owner = Actor::Account("sample data".to_owned());
        let zoe = people.first().map_or_else(|| owner.clone(), |zoe| Actor::Person(zoe.clone()));
        let mut flows = Flows::default();
        for (family, id) in [
            (Family::Process, "Purchase_Request"),
            (Family::Process, "Purchase_Order"),
            (Family::Process, "Leave_Request"),
            (Family::Board, "Office_Moves"),
            (Family::Board, "Incidents"),
            (Family::Dataset, "Vendors"),
            (Family::Dataset, "Salaries"),
            (Family::Form, "Asset_Register"),
        ] {
            flows.open(family, id);
        }
        let mut add = |family, flow, prefix, actor: &Actor, body: Value| flows.create(family, flow, prefix, actor, &body);
        for (name, city, rating) in [("Northwind Paper", "Oslo", 5), ("Tailspin Toys", "Turin", 3), ("Contoso Steel", "Leeds", 4)] {
            add(Family::Dataset, "Vendors", "Rw", &owner, json!({"Name": name, "City": city, "Rating": rating}));
        }
        for (name, amount) in [("Zoe Lindqvist", 61_000), ("Omar Haddad", 58_000)] {
            add(Family::Dataset, "Salaries", "Rw", &owner, json!({"Name": name, "Amount": amount}));
        }
        for (title, status) in [("Move finance to floor 3", "Planned"), ("New desks for support", "Done")] {
            add(Family::Board, "Office_Moves", "Ca", &zoe, json!({"Title": title, "StatusId": status, "Requester": zoe.reference()}));
        }
        add(Family::Board, "Incidents", "Ca", &zoe, json!({"Title": "Printer on fire", "StatusId": "Open", "Requester": zoe.reference()}));
        add(Family::Form, "Asset_Register", "Fm", &owner, json!({"Name": "Projector", "Room": "2.14"}));
        let groups = vec![
            Group { id: "GrFinance01".into(), name: "Finance".into(), members: vec!["UsZoeL8KMQzG".into(), "UsMayaO3vTkP".into()] },
            Group { id: "GrEverybody".into(), name: "Everybody".into(), members: people.iter().map(|p| p.id.clone()).collect() },
        ];
        Self { people: People::new(people), groups, flows, messages: Vec::<Item>::new() }
    }
}

fn person(id: &str, name: &str, email: &str, manager: Option<&str>) -> Person {
    Person { id: id.to_owned(), name: name.to_owned(), email: email.to_owned(), manager: manager.map(str::to_owned), active: true }
}
