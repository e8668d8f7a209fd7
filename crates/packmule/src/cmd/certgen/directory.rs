//! What the certificate utility asks of a server: applications, grants, subscriptions, accounts. Prints
//! nothing.

use crate::failure::Failure;
use client::{Application, Client, ResourceKind};
use credfile::{Certificate, Guid};
use model::{AccountName, ErrorKind};

/// Applications as the server has them.
pub(super) struct Directory<'a> {
    client: &'a Client,
    /// The caller's own client id.
    own: String,
}

/// What lets an application make import jobs.
const ROLE: &str = "Contributor";

impl<'a> Directory<'a> {
    pub(super) fn new(client: &'a Client) -> Result<Self, Failure> {
        let own = client.credentials().client_id.clone().ok_or_else(|| {
            let words =
                "these credentials name no application: give the server's admin.json with --server";
            Failure::new(ErrorKind::Invalid, words)
        })?;
        Ok(Self { client, own })
    }

    /// The id of whoever calls: the service principal of their application.
    pub(super) fn user(&self) -> Result<String, Failure> {
        let own = self.client.applications()?.into_iter().find(|it| it.client_id == self.own);
        own.and_then(|own| own.service_principal)
            .ok_or_else(|| Failure::new(ErrorKind::Denied, "the server does not know who you are"))
    }

    /// The application of that name.
    pub(super) fn find(&self, name: &str) -> Result<Option<Application>, Failure> {
        Ok(self.client.applications()?.into_iter().find(|it| it.name == name))
    }

    /// Makes it, with that certificate, and lets it make import jobs in the subscription.
    pub(super) fn create(
        &self,
        name: &str,
        certificate: &Certificate,
        subscription: Guid,
    ) -> Result<Application, Failure> {
        let made = self.client.create_application(name)?;
        self.complete(made, certificate, subscription)
    }

    /// Does what of that is not done yet: a call before may have ended in the middle of it.
    pub(super) fn complete(
        &self,
        application: Application,
        certificate: &Certificate,
        subscription: Guid,
    ) -> Result<Application, Failure> {
        let application = if has(&application, certificate) {
            application
        } else {
            self.client.add_certificate(&application, certificate.as_der())?
        };
        let principal = application.service_principal.as_deref().ok_or_else(|| {
            let words = format!(
                "application {} has no service principal: delete it, and run this again",
                application.name
            );
            Failure::new(ErrorKind::Conflict, words)
        })?;
        let scope = format!("/subscriptions/{subscription}");
        let given = self.client.role_assignments()?.into_iter().any(|it| {
            it.principal == principal && it.role == ROLE && it.scope.eq_ignore_ascii_case(&scope)
        });
        if !given {
            self.client.grant_role(principal, ROLE, &scope)?;
        }
        Ok(application)
    }

    /// Refuses a subscription that the server does not have.
    pub(super) fn subscription(&self, id: Guid) -> Result<(), Failure> {
        let wanted = id.to_string();
        if self.client.subscriptions()?.iter().any(|it| it.id == wanted) {
            return Ok(());
        }
        Err(Failure::new(ErrorKind::NotFound, format!("there is no subscription {id}")))
    }

    /// The resource manager's id of a storage account in that subscription.
    pub(super) fn account(&self, id: Guid, name: &AccountName) -> Result<String, Failure> {
        let all = self.client.resources(ResourceKind::StorageAccount, &id.to_string())?;
        let found = all.into_iter().find(|it| it.name == name.as_str());
        found.map(|it| it.id).ok_or_else(|| {
            let words = format!("there is no storage account {name} in subscription {id}");
            Failure::new(ErrorKind::NotFound, words)
        })
    }
}

/// Whether the certificate is among the application's.
pub(super) fn has(application: &Application, certificate: &Certificate) -> bool {
    let wanted = certificate.thumbprint().to_string();
    application.certificates.iter().any(|it| it.thumbprint.eq_ignore_ascii_case(&wanted))
}
