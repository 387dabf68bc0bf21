//! Refusals of callers who have no valid key, counted where there are too many to write each down.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::event::Event;

/// How many a client address may cause in a minute, unless the settings say.
pub(super) const USUAL: u32 = 60;
/// All addresses together may cause so many times what one may.
const ALL: u64 = 100;
/// Addresses that are told apart.
const CLIENTS: usize = 4096;
/// Addresses that get a record of their own each time.
const NAMED: usize = 32;
const WINDOW: Duration = Duration::from_secs(60);
/// How often the counts are written down.
const TELL: Duration = Duration::from_secs(10);

/// Counts refusals.
#[derive(Debug)]
pub(super) struct Flood {
    per_minute: u32,
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    window: Instant,
    told: Instant,
    recorded: u64,
    clients: HashMap<IpAddr, Client>,
    others: Client,
}

#[derive(Debug, Clone, Copy, Default)]
struct Client {
    recorded: u32,
    folded: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
}

/// What to do about one refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fold {
    /// Write it down.
    Record,
    /// It has been counted.
    Counted,
}

impl Flood {
    pub(super) fn new(per_minute: u32, now: Instant) -> Self {
        let table = Table { window: now, told: now, recorded: 0, clients: HashMap::new(), others: Client::default() };
        Self { per_minute, table: Mutex::new(table) }
    }

    pub(super) fn meets(&self, client: IpAddr, time: Timestamp, now: Instant) -> Fold {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let table = &mut *table;
        if now.saturating_duration_since(table.window) >= WINDOW {
            table.window = now;
            table.recorded = 0;
            table.clients.retain(|_, client| client.folded > 0);
            for client in table.clients.values_mut() {
                client.recorded = 0;
            }
        }
        let client = network(client);
        let known = table.clients.len() < CLIENTS || table.clients.contains_key(&client);
        let seen = if known { table.clients.entry(client).or_default() } else { &mut table.others };
        if known && seen.recorded < self.per_minute && table.recorded < u64::from(self.per_minute) * ALL {
            seen.recorded += 1;
            table.recorded += 1;
            return Fold::Record;
        }
        seen.folded += 1;
        seen.first.get_or_insert(time);
        seen.last = Some(time);
        Fold::Counted
    }

    /// What has been counted since it was last told, if it is time to tell.
    pub(super) fn tell(&self, now: Instant) -> Vec<Event> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(table.told) < TELL {
            return Vec::new();
        }
        table.told = now;
        table.take()
    }

    /// What has been counted since it was last told.
    pub(super) fn tell_all(&self) -> Vec<Event> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Table {
    fn take(&mut self) -> Vec<Event> {
        let mut folded: Vec<(IpAddr, Client)> =
            self.clients.iter().filter(|(_, client)| client.folded > 0).map(|(at, client)| (*at, *client)).collect();
        folded.sort_unstable_by_key(|(at, client)| (std::cmp::Reverse(client.folded), *at));
        let mut others = std::mem::take(&mut self.others);
        for (_, client) in folded.iter().skip(NAMED) {
            others.folded += client.folded;
            others.first = others.first.min(client.first).or(client.first);
            others.last = others.last.max(client.last);
        }
        for client in self.clients.values_mut() {
            *client = Client { recorded: client.recorded, ..Client::default() };
        }
        let mut events: Vec<Event> =
            folded.iter().take(NAMED).map(|(at, client)| client.event(&format!("from {}", shown(*at))).client(*at)).collect();
        if others.folded > 0 {
            events.push(others.event("from further addresses"));
        }
        events
    }
}

impl Client {
    fn event(&self, from: &str) -> Event {
        let between = match (self.first, self.last) {
            (Some(first), Some(last)) => format!(" between {first:.3} and {last:.3}"),
            _ => String::new(),
        };
        Event::system("refusals-folded").detail(format!("{} refusals without a valid key {from}{between}", self.folded))
    }
}

/// One subscriber has 2^64 addresses of IPv6: they count as one.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        v4 @ IpAddr::V4(_) => v4,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

fn shown(client: IpAddr) -> String {
    match client {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("{v6}/64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_its_memory_is_bounded() {
        let (now, time) = (Instant::now(), Timestamp::UNIX_EPOCH);
        let flood = Flood::new(3, now);
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let verdicts: Vec<Fold> = (0..5).map(|_| flood.meets(one, time, now)).collect();
        assert_eq!(verdicts, [Fold::Record, Fold::Record, Fold::Record, Fold::Counted, Fold::Counted]);
        for n in 0..100_000u32 {
            flood.meets(IpAddr::from(n.to_be_bytes()), time, now);
        }
        assert!(flood.table.lock().unwrap().clients.len() <= CLIENTS);
        let told = flood.tell(now + TELL);
        assert!(told.len() <= NAMED + 1 && !told.is_empty(), "{}", told.len());
        assert!(flood.tell_all().is_empty(), "nothing is told twice");
        let later = now + WINDOW;
        assert_eq!(flood.meets(one, time, later), Fold::Record);
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_together() {
        let (now, time) = (Instant::now(), Timestamp::UNIX_EPOCH);
        let flood = Flood::new(1, now);
        assert_eq!(flood.meets("2001:db8::1".parse().unwrap(), time, now), Fold::Record);
        assert_eq!(flood.meets("2001:db8::2".parse().unwrap(), time, now), Fold::Counted);
        assert_eq!(flood.meets("2001:db8:0:1::1".parse().unwrap(), time, now), Fold::Record);
    }
}
