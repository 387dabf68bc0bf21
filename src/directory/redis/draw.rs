//! Requests a minute that a fleet shares: each sidecar draws some at a time.
//!
//! A quota is a string of its own beside the directory, on the same slot of a cluster by its hash tag, and gone two
//! minutes after it was last drawn from. Nothing is lost with it: it would be full by then.

use std::num::NonZeroU32;

use redis::Value;

use super::{RedisDirectory, link::Patience, script::DRAW};
use crate::directory::{DirectoryError, Draw, Drawn, Quota};

/// Quotas that are drawn from at once.
const AT_ONCE: usize = 500;

impl RedisDirectory {
    pub(super) async fn draw_all(&self, per_minute: NonZeroU32, draws: &[Draw]) -> Result<Vec<Drawn>, DirectoryError> {
        let mut drawn = Vec::with_capacity(draws.len());
        for some in draws.chunks(AT_ONCE) {
            drawn.extend(self.draw_some(per_minute, some).await?);
        }
        Ok(drawn)
    }

    async fn draw_some(&self, per_minute: NonZeroU32, draws: &[Draw]) -> Result<Vec<Drawn>, DirectoryError> {
        let shared = self.link.shared();
        let quotas = draws.iter().map(|draw| self.quota(&draw.quota)).collect::<Vec<_>>();
        let numbers = draws.iter().flat_map(|draw| [draw.owed, draw.unused, draw.wanted]);
        let words = std::iter::once(per_minute.get()).chain(numbers).map(|number| number.to_string()).collect::<Vec<_>>();
        let patience = Patience::of_a_request(shared.timeout);
        let live = self.link.live(0, patience).await?;
        let keys = quotas.iter().map(String::as_str).collect::<Vec<_>>();
        let arguments = words.iter().map(String::as_str).collect::<Vec<_>>();
        // Asked once: a quota that is on its way to another node is drawn from a moment later, and it is for those who
        // ask about keys to follow it there.
        let answer = match tokio::time::timeout_at(patience.until, DRAW.run(&live, &keys, &arguments)).await {
            Ok(Ok(Value::Array(parts))) => parts,
            Ok(Ok(_)) => return Err(self.foreign("", "an answer that is none of ours")),
            Ok(Err(fault)) => return Err(fault.into_error(shared)),
            Err(_) => return Err(shared.unavailable("it does not answer in time; see that the server is not overloaded")),
        };
        if self.word(&answer)? != "ok" {
            let quota = answer.get(1).and_then(|part| self.text(part.clone()).ok().flatten()).unwrap_or_default();
            return Err(DirectoryError::Foreign { place: format!("{} {quota}", shared.address), what: "no quota".to_owned() });
        }
        let mut numbers = answer.iter().skip(1);
        let mut drawn = Vec::with_capacity(draws.len());
        while let (Some(Value::Int(requests)), Some(Value::Int(left))) = (numbers.next(), numbers.next()) {
            drawn.push(Drawn { requests: u32::try_from(*requests).unwrap_or(0), left: *left });
        }
        if drawn.len() == draws.len() { Ok(drawn) } else { Err(self.foreign("", "an answer that is none of ours")) }
    }

    fn quota(&self, quota: &Quota) -> String {
        let quotas = &self.link.shared().names.quotas;
        match quota {
            Quota::Account(id) => format!("{quotas}account:{id}"),
            Quota::Key(id) => format!("{quotas}key:{id}"),
        }
    }
}
