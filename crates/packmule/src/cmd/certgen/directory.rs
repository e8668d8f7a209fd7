//! What the certificate utility asks of a server: Graph's applications, grants, subscriptions, accounts.
//! Prints nothing.

use crate::failure::Failure;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use client::{Client, Method};
use credfile::{Certificate, Guid};
use model::{AccountName, ErrorKind};
use serde_json::{Value, json};

/// Applications as the server has them.
pub(super) struct Directory<'a> {
    client: &'a Client,
    /// The caller's own client id.
    own: String,
}

/// An application that is there.
pub(super) struct Application {
    pub(super) name: String,
    /// Its client id.
    pub(super) client: String,
    object: String,
}

/// Azure's own id of the role that lets the application make import jobs.
const CONTRIBUTOR: &str = "b24988ac-6180-42a0-ab88-20f7382dd24c";

fn text(value: &Value, key: &str) -> Result<String, Failure> {
    let found = value.get(key).and_then(Value::as_str);
    found.map(str::to_owned).ok_or_else(|| {
        Failure::new(ErrorKind::Internal, format!("the server's answer has no {key}"))
    })
}

fn list(answer: &Value) -> &[Value] {
    answer.get("value").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

impl Application {
    fn of(value: &Value) -> Result<Self, Failure> {
        let name = text(value, "displayName")?;
        Ok(Self { name, client: text(value, "appId")?, object: text(value, "id")? })
    }
}

impl<'a> Directory<'a> {
    pub(super) fn new(client: &'a Client) -> Result<Self, Failure> {
        let own = client.credentials().client_id.clone().ok_or_else(|| {
            let words =
                "these credentials name no application: give the server's admin.json with --server";
            Failure::new(ErrorKind::Invalid, words)
        })?;
        Ok(Self { client, own })
    }

    fn get(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Failure> {
        Ok(self.client.call(Method::GET, path, query, None)?)
    }

    /// The id of whoever calls: the service principal of their application.
    pub(super) fn user(&self) -> Result<String, Failure> {
        let filter = format!("appId eq '{}'", self.own);
        let answer = self.get(&["v1.0", "serviceprincipals"], &[("$filter", &filter)])?;
        list(&answer).first().map_or_else(
            || Err(Failure::new(ErrorKind::Denied, "the server does not know who you are")),
            |principal| text(principal, "id"),
        )
    }

    /// The application of that name.
    pub(super) fn find(&self, name: &str) -> Result<Option<Application>, Failure> {
        let filter = format!("displayName eq '{name}'");
        let answer = self.get(&["v1.0", "applications"], &[("$filter", &filter)])?;
        list(&answer).first().map(Application::of).transpose()
    }

    /// Whether the certificate is among the application's.
    pub(super) fn has(
        &self,
        application: &Application,
        certificate: &Certificate,
    ) -> Result<bool, Failure> {
        let answer = self.get(&["v1.0", "applications", &application.object], &[])?;
        let wanted = certificate.thumbprint().to_string();
        let keys = answer.get("keyCredentials").and_then(Value::as_array);
        let is = |key: &Value| {
            let id = key.get("customKeyIdentifier").and_then(Value::as_str);
            id.is_some_and(|id| id.eq_ignore_ascii_case(&wanted))
        };
        Ok(keys.is_some_and(|keys| keys.iter().any(is)))
    }

    /// Makes it, with that certificate, and lets it make import jobs in the subscription.
    pub(super) fn create(
        &self,
        name: &str,
        certificate: &Certificate,
        subscription: Guid,
    ) -> Result<Application, Failure> {
        let key = json!({
            "type": "AsymmetricX509Cert", "usage": "Verify", "displayName": certificate.subject(),
            "key": STANDARD.encode(certificate.as_der()),
        });
        let body = json!({ "displayName": name, "keyCredentials": [key] });
        let made = self.client.call(Method::POST, &["v1.0", "applications"], &[], Some(&body))?;
        let application = Application::of(&made)?;
        let body = json!({ "appId": application.client });
        let principal =
            self.client.call(Method::POST, &["v1.0", "serviceprincipals"], &[], Some(&body))?;
        let principal = text(&principal, "id")?;
        let subscription = subscription.to_string();
        let definition = format!(
            "/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/{CONTRIBUTOR}"
        );
        let body = json!({ "properties": { "roleDefinitionId": definition, "principalId": principal, "principalType": "ServicePrincipal" } });
        // Any GUID will do for a name: the application's own is as good as a new one.
        let path = [
            "subscriptions",
            &subscription,
            "providers",
            "microsoft.authorization",
            "roleassignments",
            &application.object,
        ];
        self.client.call(Method::PUT, &path, &[("api-version", "2022-04-01")], Some(&body))?;
        Ok(application)
    }

    /// Refuses a subscription that the server does not have.
    pub(super) fn subscription(&self, id: Guid) -> Result<(), Failure> {
        let id = id.to_string();
        self.get(&["subscriptions", &id], &[("api-version", "2022-12-01")]).map(|_| ())
    }

    /// The resource manager's id of a storage account in that subscription.
    pub(super) fn account(
        &self,
        subscription: Guid,
        name: &AccountName,
    ) -> Result<String, Failure> {
        let id = subscription.to_string();
        let path = ["subscriptions", &id, "providers", "microsoft.storage", "storageaccounts"];
        let answer = self.get(&path, &[("api-version", "2023-05-01")])?;
        let is = |account: &&Value| account.get("name").is_some_and(|it| it == name.as_str());
        let found = list(&answer).iter().find(is);
        found.map_or_else(
            || {
                let words = format!("there is no storage account {name} in subscription {id}");
                Err(Failure::new(ErrorKind::NotFound, words))
            },
            |account| text(account, "id"),
        )
    }
}
