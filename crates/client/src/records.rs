//! Routes about subscriptions, and about what the server has written down: changes and notices.

use crate::{Client, Result};
use model::JobName;
use ureq::http::Method;
use wire::{AuditEntry, List, Notice, Subscription, SubscriptionRequest};

impl Client {
    /// Every subscription, the first one first. Administrators only.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn subscriptions(&self) -> Result<Vec<Subscription>> {
        self.get::<List<_>>(&["subscriptions"]).map(|list| list.value)
    }

    /// Creates a subscription with its default resource group. Administrators only.
    ///
    /// # Errors
    /// [`wire::Code::AlreadyExists`] when another has the name.
    pub fn create_subscription(&self, request: &SubscriptionRequest) -> Result<Subscription> {
        self.send(&Method::POST, &["subscriptions"], request)
    }

    /// Renames a subscription. Administrators only.
    ///
    /// # Errors
    /// [`wire::Code::ResourceNotFound`], [`wire::Code::AlreadyExists`].
    pub fn rename_subscription(
        &self,
        id: &str,
        request: &SubscriptionRequest,
    ) -> Result<Subscription> {
        self.send(&Method::PATCH, &["subscriptions", id], request)
    }

    /// What was changed by whom: the entries after that one, or the newest; 1000 at most.
    /// Administrators only.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn audit(&self, after: Option<u64>) -> Result<Vec<AuditEntry>> {
        let after = after.map(|id| id.to_string());
        let query: Vec<(&str, &str)> = after.iter().map(|id| ("after", id.as_str())).collect();
        self.get_with::<List<_>>(&["audit"], &query).map(|list| list.value)
    }

    /// What people should hear of a job, or of all: those after that one, 1000 at most. An agent is
    /// told of its own jobs.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn notices(&self, job: Option<&JobName>, after: u64) -> Result<Vec<Notice>> {
        let after = after.to_string();
        let mut query = vec![("after", after.as_str())];
        query.extend(job.map(|job| ("job", job.as_str())));
        self.get_with::<List<_>>(&["notices"], &query).map(|list| list.value)
    }
}
