//! What all requests share. Owns everything that lives as long as the server; does nothing itself.

use crate::backends::Backends;
use crate::config::Config;
use crate::db::Db;
use crate::deletions::Carrier;
use crate::entra::Entra;
use crate::exports::Lists;
use crate::groups::Group;
use crate::jobs::Changes;
use crate::machines::Heard;
use crate::objects::Objects;
use crate::publication::Publications;
use crate::quota::Usage;
use crate::receipt::ReceiptKey;
use crate::seen::{Moment, Seen};
use jiff::Timestamp;
use keyring::Keyring;
use model::{ServerName, VaultName};
use wire::{Credentials, Role};

/// What all requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) config: Config,
    pub(crate) db: Db,
    /// Of vaults and of what comes with jobs.
    pub(crate) objects: Objects,
    /// Of storage accounts.
    pub(crate) backends: Backends,
    pub(crate) receipt_key: ReceiptKey,
    pub(crate) keyring: Keyring,
    pub(crate) ca_pem: String,
    /// Where what is made without a group lies: of the first subscription.
    pub(crate) group: Group,
    pub(crate) endpoint: String,
    pub(crate) publications: Publications,
    pub(crate) changes: Changes,
    pub(crate) exports: Lists,
    pub(crate) carrier: Carrier,
    pub(crate) usage: Usage,
    pub(crate) entra: Entra,
    pub(crate) heard: Heard,
    pub(crate) seen: Seen,
}

impl App {
    pub(crate) fn now(&self) -> Timestamp {
        self.config.clock.now()
    }

    /// Now, for what is counted in time that was seen to pass as well.
    pub(crate) fn moment(&self) -> Moment {
        self.seen.now(&self.config.clock)
    }

    /// The credentials document that goes with a new token.
    pub(crate) fn credentials(
        &self,
        role: Role,
        own: Option<(VaultName, ServerName)>,
        user: String,
        token: String,
    ) -> Credentials {
        let (vault, server) = own.unzip();
        Credentials {
            version: Credentials::VERSION,
            endpoint: self.endpoint.clone(),
            ca_pem: Some(self.ca_pem.clone()),
            ca_file: None,
            role,
            vault,
            server,
            user,
            token,
            receipt_key: self.receipt_key.public(),
            tenant_id: None,
            subscription_id: None,
            client_id: None,
            certificate_file: None,
        }
    }
}
