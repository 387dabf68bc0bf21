//! The audit log as a test reads it whole: in a stream or a journal, record by record.

use std::{collections::HashMap, ops::ControlFlow};

use vicar::{
    audit::{self, Filter, LogSource, Page, Record},
    settings,
};

/// Random enough to hit different instants; its seed is printed by whoever rolls it, so that a run can be had again.
#[derive(Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// The stream in the Redis at `url`.
pub fn stream(url: &str) -> LogSource {
    LogSource::Stream(Box::new(settings::Stream {
        redis: url.to_owned().into(),
        name: "vicar:audit".to_owned(),
        keep: settings::Span::days(90),
        partitions: 1,
        tls: settings::UpstreamTls::default(),
        backlog: settings::Size(1 << 30),
    }))
}

/// Shows every record to `each`, oldest first.
pub fn each_record(source: &LogSource, mut each: impl FnMut(&Record) + Send) {
    let (everything, mut each) = (Filter::default(), |line: audit::Line<'_>| {
        each(line.record);
        ControlFlow::Continue(())
    });
    runtime().block_on(audit::read(source, &everything, Page::default(), &mut each)).unwrap();
}

/// How many records each request has, by request id.
pub fn times(source: &LogSource) -> HashMap<String, u64> {
    let mut times = HashMap::new();
    each_record(source, |record| {
        if record.path.is_some() {
            *times.entry(record.id.to_string()).or_default() += 1;
        }
    });
    times
}

/// Whether the chains hold.
pub fn verified(source: &LogSource) -> audit::Verification {
    runtime().block_on(audit::verify(source, None, &mut |_| {})).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
