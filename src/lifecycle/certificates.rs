//! Certificates: looked at twice a second, and in force for new connections within one, or refused and said so.

use std::{path::Path, sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    audit::Event,
    proxy::{
        server::Shared,
        tls::{Refreshed, ServerTls},
    },
};

/// How often files are looked at. Two looks must agree before a change is taken.
const LOOK: Duration = Duration::from_millis(400);

/// Takes changed certificates into force until `stop`.
pub(super) async fn watch(shared: Arc<Shared>, certificates: Vec<Arc<ServerTls>>, stop: CancellationToken) {
    let mut every = tokio::time::interval(LOOK);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while stop.run_until_cancelled(every.tick()).await.is_some() {
        for tls in &certificates {
            say(&shared, tls.refresh(), tls.certificate());
        }
        let service = shared.rules.load().service.clone();
        if let Some(tls) = service.tls() {
            say(&shared, tls.refresh(), Path::new("upstream.tls"));
        }
    }
}

fn say(shared: &Shared, refreshed: Refreshed, what: &Path) {
    let what = what.display();
    match refreshed {
        Refreshed::Unchanged => {}
        Refreshed::Taken => {
            tracing::info!(%what, "a changed certificate is in force for new connections");
            shared.audit.record_event(Event::system("certificate").detail(format!("{what} replaced")));
        }
        Refreshed::Refused(error) => {
            tracing::error!(%what, %error, "a changed certificate was not taken; the one before stays in force");
            shared.audit.record_event(Event::system("certificate-refused").detail(error.to_string()));
        }
    }
}
