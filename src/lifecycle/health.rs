//! When the service's addresses are looked at.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::proxy::{server::Shared, upstream};

/// How often it is looked whether an edit has asked for checks.
const UNASKED: Duration = Duration::from_secs(1);
/// No service is asked more often.
const SHORTEST: Duration = Duration::from_millis(100);

/// Checks the addresses of the service in force as often as the settings say, until `stop`.
pub(super) async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    loop {
        let service = shared.rules.load().service.clone();
        let pause = match service.health() {
            Some(health) => {
                upstream::check(&service).await;
                health.every.0.max(SHORTEST)
            }
            None => UNASKED,
        };
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
    }
}
