//! Routes about storage accounts, vaults, docks, publication and receipts.

use crate::{Client, Error, Result, verify_receipt};
use model::{AccountName, BackendName, ContainerName, Digest, JobName, ServerName, VaultName};
use serde::Serialize;
use std::io::Read;
use ureq::http::Method;
use url::Url;
use wire::{
    CERTIFICATE_TYPE, CertificateClaims, Credentials, DockRequest, Health, KeyRemoval,
    KeyRemovalRequest, List, Location, MachineCertificate, PublicKey, Publication,
    PublicationRequest, Receipt, SUCCESSOR_TYPE, SeedId, SeedRevision, SeedUnderWay, ServerRequest,
    SignedReceipt, StorageAccount, StorageAccountRequest, Successor, SuccessorClaims,
    SuccessorRequest, Vault,
};
use zeroize::Zeroizing;

impl Client {
    /// Whether the server is up. Needs no valid token.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub fn health(&self) -> Result<Health> {
        self.get(&["health"])
    }

    /// Creates a storage account; one that exists is answered as it is. Administrators only.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn create_storage_account(&self, account: &AccountName) -> Result<StorageAccount> {
        self.send(&Method::PUT, &["storage-accounts", account.as_str()], &())
    }

    /// The same on one of the operator's backends.
    ///
    /// # Errors
    /// There is no such backend, or the account exists on another one.
    pub fn create_storage_account_on(
        &self,
        account: &AccountName,
        backend: &BackendName,
    ) -> Result<StorageAccount> {
        let request = StorageAccountRequest { backend: Some(backend.clone()) };
        self.send(&Method::PUT, &["storage-accounts", account.as_str()], &request)
    }

    /// Every storage account. Administrators only.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn storage_accounts(&self) -> Result<Vec<StorageAccount>> {
        self.get::<List<_>>(&["storage-accounts"]).map(|list| list.value)
    }

    /// Creates a vault; one that exists is answered as it is. Administrators only.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn create_vault(&self, vault: &VaultName) -> Result<Vault> {
        self.send(&Method::PUT, &["vaults", vault.as_str()], &())
    }

    /// Every vault with its source servers. Administrators only.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn vaults(&self) -> Result<Vec<Vault>> {
        self.get::<List<_>>(&["vaults"]).map(|list| list.value)
    }

    /// Registers a source server with a vault. The token in the answer is shown only now.
    /// Administrators only.
    ///
    /// # Errors
    /// [`wire::Code::AlreadyExists`] when it is registered and `replace` is not set.
    pub fn register_server(
        &self,
        vault: &VaultName,
        server: &ServerName,
        request: &ServerRequest,
    ) -> Result<Credentials> {
        let path = ["vaults", vault.as_str(), "servers", server.as_str()];
        self.send(&Method::POST, &path, request)
    }

    /// Makes the credentials of a host that prunes a source server's repository in its stead. Administrators only.
    ///
    /// # Errors
    /// [`wire::Code::AlreadyExists`] when there are some and `replace` is not set.
    pub fn make_maintenance_host(
        &self,
        vault: &VaultName,
        server: &ServerName,
        request: &ServerRequest,
    ) -> Result<Credentials> {
        let path = ["vaults", vault.as_str(), "servers", server.as_str(), "maintenance"];
        self.send(&Method::POST, &path, request)
    }

    /// Ends these credentials. Administrators only.
    ///
    /// # Errors
    /// [`wire::Code::ResourceNotFound`] where there are none.
    pub fn end_maintenance_host(&self, vault: &VaultName, server: &ServerName) -> Result<()> {
        self.delete_at(&["vaults", vault.as_str(), "servers", server.as_str(), "maintenance"])
    }

    /// The credentials of a vault, as a file: machines register by it, for ten days. The one before ends.
    /// Administrators only.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn vault_credentials(&self, vault: &VaultName) -> Result<Zeroizing<Vec<u8>>> {
        self.file(&["vaults", vault.as_str(), "vault-credentials"])
    }

    /// Publish settings of a subscription, as a file with a new certificate. Administrators only.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn publish_settings(&self, subscription: &str) -> Result<Zeroizing<Vec<u8>>> {
        self.file(&["subscriptions", subscription, "publish-settings"])
    }

    /// A machine's next certificate, in DER: good beside the one that this machine has, whose key signs for it. Where that
    /// is the same one, others end.
    ///
    /// # Errors
    /// [`wire::Code::AuthorizationFailed`] for a caller that has no certificate; what else the server refuses.
    pub fn put_certificate(
        &self,
        vault: &VaultName,
        server: &ServerName,
        certificate: &[u8],
    ) -> Result<()> {
        use base64::Engine as _;
        let path = ["vaults", vault.as_str(), "servers", server.as_str(), "certificate"];
        let mut sha256 = Digest([0; 32]);
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, certificate);
        sha256.0.copy_from_slice(hash.as_ref());
        let claims = CertificateClaims { vault: vault.clone(), server: server.clone(), sha256 };
        let certificate = base64::engine::general_purpose::STANDARD.encode(certificate);
        self.stated(CERTIFICATE_TYPE, &claims, |statement| {
            let certificate = certificate.clone();
            self.tell(&Method::PUT, &path, &MachineCertificate { certificate, statement })
        })
    }

    /// Says by this machine's certificate what `claims` are: with each that may be good, until one is taken.
    fn stated(
        &self,
        kind: &str,
        claims: &impl Serialize,
        say: impl Fn(String) -> Result<()>,
    ) -> Result<()> {
        let statements = match self.tokens() {
            Some(tokens) => tokens.statements(kind, claims)?,
            // The server says why not.
            None => vec![String::new()],
        };
        let mut refused = None;
        for statement in statements {
            match say(statement) {
                Err(error) if error.code() == Some(&wire::Code::AuthorizationFailed) => {
                    refused = refused.or(Some(error));
                }
                other => return other,
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Key files of the vault's repository that will be removed.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn key_removals(&self, vault: &VaultName, server: &ServerName) -> Result<Vec<KeyRemoval>> {
        self.get::<List<_>>(&removals(vault, server)).map(|list| list.value)
    }

    /// Asks for a key file to be removed, which is done after a hold. Asked again, it changes nothing.
    ///
    /// # Errors
    /// [`wire::Code::ResourceNotFound`] when it is not there; no other key would be left.
    pub fn remove_key(
        &self,
        vault: &VaultName,
        server: &ServerName,
        key: Digest,
    ) -> Result<KeyRemoval> {
        self.send(&Method::POST, &removals(vault, server), &KeyRemovalRequest { key })
    }

    /// Lets a key file stay.
    ///
    /// # Errors
    /// [`wire::Code::ResourceNotFound`] when nobody has asked for its removal.
    pub fn keep_key(&self, vault: &VaultName, server: &ServerName, key: Digest) -> Result<()> {
        let key = key.to_hex();
        let path = [removals(vault, server).as_slice(), &[key.as_str()]].concat();
        self.delete_at(&path)
    }

    /// Registers a dock. The token in the answer is shown only now. Administrators only.
    ///
    /// # Errors
    /// [`wire::Code::AlreadyExists`] when it is registered and `replace` is not set.
    pub fn register_dock(&self, request: &DockRequest) -> Result<Credentials> {
        self.send(&Method::POST, &["docks"], request)
    }

    /// Where drives can be sent.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn locations(&self) -> Result<Vec<Location>> {
        self.get::<List<_>>(&["locations"]).map(|list| list.value)
    }

    /// Starts publication of a seed, or continues it, and answers how far it is.
    ///
    /// # Errors
    /// [`wire::Code::ResourceNotFound`] when no job of that source server carries the seed.
    pub fn publish(
        &self,
        vault: &VaultName,
        server: &ServerName,
        request: &PublicationRequest,
    ) -> Result<Publication> {
        self.send(&Method::POST, &publications(vault, server), request)
    }

    /// How far the source server's latest publication is.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn publication(&self, vault: &VaultName, server: &ServerName) -> Result<Publication> {
        self.get(&publications(vault, server))
    }

    /// The receipt for a seed, or the latest, verified against the receipt key in the credentials
    /// and checked to be of this vault, server and seed; with the bytes to keep.
    ///
    /// # Errors
    /// [`wire::Code::ResourceNotFound`] when there is none yet; [`Error::Receipt`] when it is not
    /// to be believed.
    pub fn receipt(
        &self,
        vault: &VaultName,
        server: &ServerName,
        seed: Option<SeedId>,
    ) -> Result<(Receipt, SignedReceipt)> {
        let id = seed.map_or_else(|| "latest".to_owned(), |seed| seed.to_string());
        let path = ["vaults", vault.as_str(), "servers", server.as_str(), "receipts", &id];
        let signed: SignedReceipt = self.get(&path)?;
        let receipt = verify_receipt(&signed, &self.credentials().receipt_key)?;
        let other = |what: &str| Err(Error::Receipt { what: what.to_owned() });
        if receipt.vault != *vault || receipt.server != *server {
            return other("it is for another vault or source server");
        }
        if seed.is_some_and(|seed| seed != receipt.seed) {
            return other("it is for another seed");
        }
        Ok((receipt, signed))
    }

    /// Says what a seed consists of from now on; said again, it changes nothing.
    ///
    /// # Errors
    /// [`wire::Code::AlreadyExists`] when it does not come next, or the seed is published;
    /// [`wire::Code::ConcurrentChange`] while it is being published.
    pub fn put_revision(
        &self,
        vault: &VaultName,
        server: &ServerName,
        seed: SeedId,
        length: u64,
        from: &mut dyn Read,
    ) -> Result<()> {
        let seed = seed.to_string();
        let path = ["vaults", vault.as_str(), "servers", server.as_str(), "revisions", &seed];
        self.upload(&path, length, from)
    }

    /// The newest revision of a seed that the server has; none where the seed is as its drives say.
    ///
    /// # Errors
    /// The server is away or refuses.
    pub fn revision(
        &self,
        vault: &VaultName,
        server: &ServerName,
        seed: SeedId,
    ) -> Result<Option<SeedRevision>> {
        let seed = seed.to_string();
        let path = ["vaults", vault.as_str(), "servers", server.as_str(), "revisions", &seed];
        match self.get(&path) {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.code() == Some(&wire::Code::ResourceNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The seeds of a source server that have an import job and are not over.
    ///
    /// # Errors
    /// [`wire::Code::ResourceNotFound`] where the server is older than this.
    pub fn seeds_under_way(
        &self,
        vault: &VaultName,
        server: &ServerName,
    ) -> Result<Vec<SeedUnderWay>> {
        let path = ["vaults", vault.as_str(), "servers", server.as_str(), "seeds"];
        self.get::<List<_>>(&path).map(|list| list.value)
    }

    /// Says that nobody goes on with a seed; said again, it changes nothing.
    ///
    /// # Errors
    /// [`wire::Code::ResourceNotFound`] when the server has never heard of it; [`wire::Code::AlreadyExists`] when it is
    /// published, or its publication has begun; [`wire::Code::ConcurrentChange`] while it is being published.
    pub fn abandon_seed(&self, vault: &VaultName, server: &ServerName, seed: SeedId) -> Result<()> {
        let seed = seed.to_string();
        let path = ["vaults", vault.as_str(), "servers", server.as_str(), "abandoned-seeds", &seed];
        self.tell(&Method::PUT, &path, &())
    }

    /// Names the key that signs the revisions of a seed in the place of its drives' signer, by this machine's certificate; said
    /// again, it changes nothing.
    ///
    /// # Errors
    /// [`wire::Code::AuthorizationFailed`] for a caller that has no certificate; [`wire::Code::AlreadyExists`] when the
    /// seed is published.
    pub fn name_successor(
        &self,
        vault: &VaultName,
        server: &ServerName,
        seed: SeedId,
        key: PublicKey,
    ) -> Result<()> {
        let id = seed.to_string();
        let path = ["vaults", vault.as_str(), "servers", server.as_str(), "successors", &id];
        let claims = SuccessorClaims { vault: vault.clone(), server: server.clone(), seed, key };
        self.stated(SUCCESSOR_TYPE, &claims, |statement| {
            self.tell(&Method::PUT, &path, &SuccessorRequest { statement })
        })
    }

    /// Who signs for a seed in the place of its drives' signer; none where that one does.
    ///
    /// # Errors
    /// The server is away or refuses.
    pub fn successor(
        &self,
        vault: &VaultName,
        server: &ServerName,
        seed: SeedId,
    ) -> Result<Option<Successor>> {
        let seed = seed.to_string();
        let path = ["vaults", vault.as_str(), "servers", server.as_str(), "successors", &seed];
        match self.get(&path) {
            Ok(successor) => Ok(Some(successor)),
            Err(error) if error.code() == Some(&wire::Code::ResourceNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What the vault asks for of a seed, as it was signed; none when that is nothing.
    ///
    /// # Errors
    /// The server is away or refuses; the list is longer than `limit`.
    pub fn want_list(
        &self,
        vault: &VaultName,
        server: &ServerName,
        seed: SeedId,
        limit: u64,
    ) -> Result<Option<Vec<u8>>> {
        let seed = seed.to_string();
        let path = ["vaults", vault.as_str(), "servers", server.as_str(), "want-lists", &seed];
        match self.download(&path) {
            Ok(body) => self.read_all(body, limit).map(Some),
            Err(error) if error.code() == Some(&wire::Code::ResourceNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where what a vault has of a source server's seeds before they are published answers restic's REST
    /// protocol: without credentials in it.
    #[must_use]
    pub fn pending_url(&self, vault: &VaultName, server: &ServerName) -> Url {
        self.url(&["pending", vault.as_str(), server.as_str()], true)
    }

    /// Where what a source server backs up while that seed travels answers restic's REST protocol: without
    /// credentials in it.
    #[must_use]
    pub fn increments_url(&self, vault: &VaultName, server: &ServerName, seed: SeedId) -> Url {
        let seed = seed.to_string();
        self.url(&["increments", vault.as_str(), server.as_str(), &seed], true)
    }

    /// Where the published repository of a source server answers restic's REST protocol: without
    /// credentials in it.
    #[must_use]
    pub fn repository_url(&self, vault: &VaultName, server: &ServerName) -> Url {
        self.url(&["vaults", vault.as_str(), server.as_str()], true)
    }

    /// Where what an export job asks for can be read, in restic's REST protocol; and where its index files are brought to: without
    /// credentials in it.
    #[must_use]
    pub fn export_url(&self, job: &JobName) -> Url {
        self.url(&["exports", job.as_str()], true)
    }

    /// Where a repository lands in a storage account, in restic's REST protocol: without
    /// credentials in it.
    #[must_use]
    pub fn landing_url(
        &self,
        account: &AccountName,
        container: &ContainerName,
        repository: &Digest,
    ) -> Url {
        let id = repository.to_hex();
        self.url(&["storage", account.as_str(), container.as_str(), &id], true)
    }
}

fn removals<'a>(vault: &'a VaultName, server: &'a ServerName) -> [&'a str; 5] {
    ["vaults", vault.as_str(), "servers", server.as_str(), "key-removals"]
}

fn publications<'a>(vault: &'a VaultName, server: &'a ServerName) -> [&'a str; 5] {
    ["vaults", vault.as_str(), "servers", server.as_str(), "publications"]
}
