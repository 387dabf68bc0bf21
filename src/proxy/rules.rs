//! Everything that an edit may change, compiled, and swapped as one.
//!
//! A request takes the rules once, at its beginning, so it never sees half of an edit.

use std::sync::Arc;

use ipnet::IpNet;

use super::{
    assertion::{AssertionError, Signer},
    counts::Vocabulary,
    names::{Names, guard_passes},
    rewrite::Rewriting,
    upstream::{Service, ServiceError},
};
use crate::{
    catalog::{Catalog, path::PathRules},
    policy::Policy,
    settings::{Pass, SelfService, Settings, Timeouts},
};

/// The rules in force.
#[derive(Debug)]
pub struct Rules {
    /// What endpoints there are.
    pub catalog: Catalog,
    /// Who may do what.
    pub policy: Policy,
    /// Which header names mean something.
    pub names: Names,
    /// What the upstream is told.
    pub rewriting: Rewriting,
    /// How paths are read.
    pub path: PathRules,
    /// Media types for endpoints that name none.
    pub content_types: Vec<Box<str>>,
    /// Query names refused where the endpoint names none, folded.
    pub reserved_query: Vec<String>,
    /// Peers whose claims about the way of a request count.
    pub trusted: Vec<IpNet>,
    /// What a key may do about itself.
    pub self_service: Vec<SelfService>,
    /// Largest request body, in bytes.
    pub body_limit: u64,
    /// Largest body that is read to find the subject, in bytes.
    pub subject_body_limit: u64,
    /// How long each phase may take.
    pub timeouts: Timeouts,
    /// What signs for the upstream, if anything does.
    pub assertion: Option<Signer>,
    /// What the metrics call kinds and actions.
    pub words: Vocabulary,
    /// The service behind.
    pub service: Arc<Service>,
}

/// Rules that cannot be had from the settings.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The service behind.
    #[error("{0}")]
    Service(#[from] ServiceError),
    /// The signed assertion.
    #[error("{0}")]
    Assertion(#[from] AssertionError),
}

impl Rules {
    /// Compiles what `settings` say around a catalog and a policy.
    ///
    /// # Errors
    /// [`RulesError`] when the service behind or the assertions cannot be had from what they say about them.
    pub fn new(settings: &Settings, catalog: Catalog, policy: Policy) -> Result<Self, RulesError> {
        let service = Arc::new(Service::new(&settings.upstream)?);
        let assertion = settings.impersonation.assertion.as_ref().map(Signer::load).transpose()?;
        let names = Names::new(settings);
        let rewriting = Rewriting::new(settings, &names, &service.authority());
        Ok(Self {
            assertion,
            words: Vocabulary::of(&catalog),
            catalog,
            policy,
            rewriting,
            names,
            path: PathRules { allow_parameters: guard_passes(&settings.guard, Pass::PathParameters) },
            content_types: settings.guard.content_types.iter().map(|t| t.to_ascii_lowercase().into_boxed_str()).collect(),
            reserved_query: super::query::reserved(settings),
            trusted: settings.trusted_proxies.clone(),
            self_service: settings.self_service.clone(),
            body_limit: settings.limits.body.0,
            subject_body_limit: settings.impersonation.body_limit.0,
            timeouts: settings.limits.timeouts.clone(),
            service,
        })
    }

    /// Keeps the service of the rules before, and with it its connections, where the edit left it as it was.
    #[must_use]
    pub fn after(mut self, before: &Self) -> Self {
        if self.service.same_as(&before.service) {
            self.service = before.service.clone();
        }
        self
    }
}
