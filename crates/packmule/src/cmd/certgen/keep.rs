//! What of it is kept in the agent's state: the certificate with its key, the file for each storage
//! account, and which certificate was uploaded for whom. Calls nobody.

use crate::failure::Failure;
use credfile::{Certificate, Identity, OfflineApplicationParams, Thumbprint, seeding_identity};
use model::{AccountName, ErrorKind};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where the utility keeps its things, below the agent's state.
pub(super) struct Keep {
    folder: PathBuf,
}

impl Keep {
    pub(super) fn new(state: &Path) -> Self {
        Self { folder: state.join("offline") }
    }

    fn identity_file(&self) -> PathBuf {
        self.folder.join("seeding.pem")
    }

    fn make(&self) -> Result<(), Failure> {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(|e| Failure::io("creating", &self.folder, e))
    }

    /// The certificate that is there, with its key.
    pub(super) fn known(&self) -> Result<Identity, Failure> {
        self.read()?.ok_or_else(|| {
            let words = "there is no certificate yet: packmule certgen CreateNewApplication SubscriptionId:ID makes it";
            Failure::new(ErrorKind::NotFound, words)
        })
    }

    /// The certificate that is there, or a new one.
    pub(super) fn identity(&self, resource_id: i64) -> Result<Identity, Failure> {
        if let Some(identity) = self.read()? {
            return Ok(identity);
        }
        let identity = seeding_identity(resource_id, jiff::Timestamp::now())?;
        self.make()?;
        write(&self.identity_file(), identity.to_pem().as_bytes())?;
        Ok(identity)
    }

    fn read(&self) -> Result<Option<Identity>, Failure> {
        let path = self.identity_file();
        let text = match std::fs::read(&path) {
            Ok(text) => Zeroizing::new(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Failure::io("reading", &path, error)),
        };
        let damaged = |_| {
            let words = format!("{} holds no certificate with its key", path.display());
            Failure::new(ErrorKind::Corrupt, words)
        };
        Ok(Some(Identity::from_pem(&text).map_err(damaged)?))
    }

    /// The file for a storage account; where it was written.
    pub(super) fn offline(
        &self,
        account: &AccountName,
        params: &OfflineApplicationParams,
    ) -> Result<PathBuf, Failure> {
        self.make()?;
        let path = self.folder.join(OfflineApplicationParams::file_name(account));
        write(&path, params.write()?.as_bytes())?;
        Ok(path)
    }

    /// Notes which certificate was uploaded to the application of that user; where.
    pub(super) fn record(&self, user: &str, thumbprint: &Thumbprint) -> Result<PathBuf, Failure> {
        self.make()?;
        let path = self.folder.join(format!("AzureADAppCertThumbprint_{user}"));
        write(&path, format!("{thumbprint}\n").as_bytes())?;
        Ok(path)
    }
}

/// Writes a file that only its owner reads, whole or not at all.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error| Failure::io("writing", path, error);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&beside).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)
}

/// The first certificate of a PEM text.
pub(super) fn first_certificate(pem: &str) -> Result<Certificate, Failure> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| {
        Failure::new(ErrorKind::Invalid, format!("the server's authority is not in PEM: {error}"))
    })?;
    Ok(Certificate::from_der(&der)?)
}
