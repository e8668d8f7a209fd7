//! The credentials document: all that an agent, a dock or an administrator needs to reach a
//! server. Holds a secret: [`Debug`](std::fmt::Debug) does not show it.

use crate::PublicKey;
use model::{ServerName, VaultName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Who a token speaks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Administers the server.
    Admin,
    /// One source server's agent, in one vault.
    Agent,
    /// Takes drives in.
    Dock,
    /// Writes the drives of one seed, away from its source server.
    Copy,
    /// Prunes one source server's repository, away from it.
    Maintenance,
}

/// What a caller needs to reach a server and be believed. The token is shown once, in here.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Version of this document: 1.
    pub version: u32,
    /// `https://host:port`, without a path.
    pub endpoint: String,
    /// The certificate authority to trust for the endpoint, and nothing else, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// A file with that authority instead, absolute or relative to the document's folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// What the token allows.
    pub role: Role,
    /// The vault; for [`Role::Agent`], [`Role::Copy`] and [`Role::Maintenance`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vault: Option<VaultName>,
    /// The source server; for the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<ServerName>,
    /// User name of Basic authentication: the source server's name, `dock`, `copy`, `maintenance` or `admin`.
    pub user: String,
    /// The password of Basic authentication; empty for a machine, which gets access tokens by its certificate.
    pub token: String,
    /// What the vault signs receipts with.
    pub receipt_key: PublicKey,
    /// The server's tenant, as Azure's clients call it; for [`Role::Admin`], like all below, and for a machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// The server's first subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription_id: Option<String>,
    /// The application that may do everything; of a machine, the one that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// A file with that application's key and certificate in PEM; absolute or relative as above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<String>,
}

impl Credentials {
    /// The version of the document that this code writes and reads.
    pub const VERSION: u32 = 1;

    /// Whether whoever calls by these proves itself with a certificate.
    #[must_use]
    pub fn by_certificate(&self) -> bool {
        self.token.is_empty() && self.tenant_id.is_some() && self.client_id.is_some()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("endpoint", &self.endpoint)
            .field("role", &self.role)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_shown_by_debug() {
        let credentials = Credentials {
            version: Credentials::VERSION,
            endpoint: "https://localhost:1".into(),
            ca_pem: None,
            ca_file: None,
            role: Role::Dock,
            vault: None,
            server: None,
            user: "dock".into(),
            token: "s3cret".into(),
            receipt_key: PublicKey([0; 32]),
            tenant_id: None,
            subscription_id: None,
            client_id: None,
            certificate_file: None,
        };
        assert!(!format!("{credentials:?}").contains("s3cret"));
        assert!(serde_json::to_string(&credentials).unwrap().contains("s3cret"));
    }

    #[test]
    fn a_document_without_the_newer_fields_is_read_and_written_as_it_was() {
        let text = format!(
            r#"{{"version":1,"endpoint":"https://localhost:1","caFile":"tls/ca.pem","role":"admin","user":"admin","token":"t","receiptKey":"{}"}}"#,
            "0".repeat(64)
        );
        let credentials: Credentials = serde_json::from_str(&text).unwrap();
        assert_eq!((&credentials.tenant_id, &credentials.certificate_file), (&None, &None));
        assert_eq!(serde_json::to_string(&credentials).unwrap(), text);
    }
}
