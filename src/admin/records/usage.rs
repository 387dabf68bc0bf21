//! What is used and what is not.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{aside, source};
use crate::{
    admin::{
        Desk,
        refusal::Refusal,
        roles::{Right, Scope, permit},
        sign_in::Who,
        views::holdings,
    },
    audit::{self, AccountUsage, Filter, KnownKey, KnownShare, Usage, UsageQuestion},
    identity::AccountId,
    settings::Span,
};

/// How long a page waits for the use of shares to be counted.
const USE_PATIENCE: Duration = Duration::from_secs(2);
/// How long an answer about shares is good.
const USE_FRESH: Duration = Duration::from_secs(60);
/// Keys that end within this are named in usage.
const EXPIRING: Span = Span::days(30);

/// What is known of the use of each account that a page was shown for.
pub(super) type Counts = Mutex<HashMap<AccountId, Slot>>;

/// What is known of one account's use.
#[derive(Debug, Default)]
pub(super) struct Slot {
    at: Option<Instant>,
    counting: bool,
    used: Option<Arc<AccountUsage>>,
}

/// What is used and what is not, of the accounts that `who` may see.
pub(in crate::admin) async fn usage(
    desk: &Desk,
    who: &Who,
    account: Option<&AccountId>,
    since: Option<Timestamp>,
) -> Result<Usage, Refusal> {
    let scope = account.map_or(Scope::Visible, Scope::Account);
    let permitted = permit(&who.admin, Right::ReadUsage, scope)?;
    let wanted = |id: &AccountId| permitted.covers(id) && account.is_none_or(|account| account == id);
    let now = Timestamp::now();
    let seen = holdings(&*desk.shared.backend, wanted).await?;
    let rules = desk.shared.rules.load_full();
    let shares = seen.iter().flat_map(|holding| {
        let id = &holding.account.id;
        rules.policy.shares(id).into_iter().map(move |share| KnownShare {
            account: id.to_string(),
            name: share.share,
            title: format!("{} on {}", share.actions.join(", "), share.resources.join(", ")),
        })
    });
    let keys = seen.iter().flat_map(|holding| &holding.keys).map(|key| KnownKey {
        account: key.account.to_string(),
        id: key.id.to_string(),
        name: key.name.clone(),
        expires: key.expires,
        last_used: key.last_used,
    });
    let accounts: Vec<String> = seen.iter().map(|holding| holding.account.id.to_string()).collect();
    if accounts.is_empty() {
        return Ok(Usage::default());
    }
    let question = UsageQuestion {
        filter: Filter { since, accounts: accounts.clone(), ..Filter::default() },
        shares: shares.collect(),
        keys: keys.collect(),
        accounts,
        expiring_before: now.checked_add(EXPIRING.0).unwrap_or(now),
    };
    let source = source(desk)?;
    aside(desk, async move { Ok(audit::usage(&source, &question, &mut |_| {}).await?) }).await
}

/// How often the shares of one account were used lately; `None` while the log cannot tell (yet). Counting goes on when a
/// page has waited long enough, and the next page has what it came to.
pub(in crate::admin) async fn share_use(desk: &Desk, who: &Who, account: &AccountId, days: u64) -> Option<Arc<AccountUsage>> {
    let counting = {
        let mut used = desk.readers.used.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = used.entry(account.clone()).or_default();
        if slot.counting || slot.at.is_some_and(|at| at.elapsed() < USE_FRESH) {
            return slot.used.clone();
        }
        slot.counting = true;
        let (desk, who, account) = (desk.clone(), who.clone(), account.clone());
        tokio::spawn(async move {
            let since = Timestamp::now().checked_sub(Span::days(days).0).ok();
            let counted = usage(&desk, &who, Some(&account), since).await;
            let counted = counted.inspect_err(|error| tracing::debug!(%error, "usage cannot be told")).ok();
            let counted = counted.and_then(|usage| usage.accounts.into_iter().find(|used| used.account == account.as_str())).map(Arc::new);
            let slot = Slot { at: Some(Instant::now()), counting: false, used: counted.clone() };
            desk.readers.used.lock().unwrap_or_else(PoisonError::into_inner).insert(account, slot);
            counted
        })
    };
    tokio::time::timeout(USE_PATIENCE, counting).await.ok()?.ok()?
}
