//! Routes about what a vault allows, and about deletions that are asked for by name.

use crate::{Client, Result};
use model::{ServerName, VaultName};
use ureq::http::Method;
use wire::{
    Deletion, DeletionRequest, List, Pin, PinUse, ServerPatch, ServerSettings, VaultPatch,
    VaultSettings,
};

impl Client {
    /// What a vault allows; with `usage`, what lies there as well, which takes a while the first time.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn vault_settings(&self, vault: &VaultName, usage: bool) -> Result<VaultSettings> {
        let usage = usage.to_string();
        self.get_with(&["vaults", vault.as_str(), "settings"], &[("usage", usage.as_str())])
    }

    /// Changes what a vault allows. Administrators only.
    ///
    /// # Errors
    /// [`wire::Code::RetentionRefused`] where that would loosen an immutable vault.
    pub fn set_vault(&self, vault: &VaultName, patch: &VaultPatch) -> Result<VaultSettings> {
        self.send(&Method::PATCH, &["vaults", vault.as_str(), "settings"], patch)
    }

    /// What a source server may have in its vault, and has.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn server_settings(
        &self,
        vault: &VaultName,
        server: &ServerName,
        usage: bool,
    ) -> Result<ServerSettings> {
        let path = ["vaults", vault.as_str(), "servers", server.as_str(), "settings"];
        let usage = usage.to_string();
        self.get_with(&path, &[("usage", usage.as_str())])
    }

    /// Changes what a source server may have in its vault. Administrators only.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn set_server(
        &self,
        vault: &VaultName,
        server: &ServerName,
        patch: &ServerPatch,
    ) -> Result<ServerSettings> {
        let path = ["vaults", vault.as_str(), "servers", server.as_str(), "settings"];
        self.send(&Method::PATCH, &path, patch)
    }

    /// Makes a PIN for a vault; the one before ends. Administrators only.
    ///
    /// # Errors
    /// [`wire::Code::RetentionRefused`] where the vault is immutable.
    pub fn make_pin(&self, vault: &VaultName) -> Result<Pin> {
        self.post(&["vaults", vault.as_str(), "pin"])
    }

    /// Deletions of a vault, the newest first, or of one of its source servers.
    ///
    /// # Errors
    /// What the server refuses: those of all are for administrators.
    pub fn deletions(
        &self,
        vault: &VaultName,
        server: Option<&ServerName>,
    ) -> Result<Vec<Deletion>> {
        let list = match server {
            None => self.get::<List<_>>(&["vaults", vault.as_str(), "deletions"]),
            Some(server) => self.get(&deletions(vault, server)),
        };
        list.map(|list| list.value)
    }

    /// Asks to have objects removed; from the answer on they are not to be seen any more.
    ///
    /// # Errors
    /// [`wire::Code::RetentionRefused`], [`wire::Code::DataInTransit`], [`wire::Code::JobState`].
    pub fn delete(
        &self,
        vault: &VaultName,
        server: &ServerName,
        request: &DeletionRequest,
    ) -> Result<Deletion> {
        self.send(&Method::POST, &deletions(vault, server), request)
    }

    /// Brings back what is held of a deletion and of those after it; answers which these were.
    ///
    /// # Errors
    /// [`wire::Code::JobState`] once it is being carried out.
    pub fn undelete(
        &self,
        vault: &VaultName,
        server: &ServerName,
        id: u64,
    ) -> Result<Vec<Deletion>> {
        let (base, id) = (deletions(vault, server), id.to_string());
        let path: Vec<&str> = base.into_iter().chain([id.as_str(), "undelete"]).collect();
        self.post::<List<_>>(&path).map(|list| list.value)
    }

    /// Ends the hold of a deletion and of those before it, by a PIN; answers which these were.
    ///
    /// # Errors
    /// [`wire::Code::PinRefused`]; [`wire::Code::RetentionRefused`] where the vault is immutable.
    pub fn shorten(
        &self,
        vault: &VaultName,
        server: &ServerName,
        id: u64,
        pin: &str,
    ) -> Result<Vec<Deletion>> {
        let (base, id) = (deletions(vault, server), id.to_string());
        let path: Vec<&str> = base.into_iter().chain([id.as_str(), "shorten"]).collect();
        let request = PinUse { pin: pin.to_owned() };
        self.send::<_, List<_>>(&Method::POST, &path, &request).map(|list| list.value)
    }
}

fn deletions<'a>(vault: &'a VaultName, server: &'a ServerName) -> [&'a str; 5] {
    ["vaults", vault.as_str(), "servers", server.as_str(), "deletions"]
}
