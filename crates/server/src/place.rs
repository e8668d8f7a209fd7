//! Where things lie in the object store. The one place that knows the layout; touches nothing.

use crate::Error;
use model::{
    AccountName, ContainerName, Digest, DriveSerial, JobName, ObjectKey, ServerName, VaultName,
};
use object_store::path::Path;
use wire::SeedId;

/// A folder that has restic's layout below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place(String);

impl Place {
    /// What is visible in a vault.
    pub(crate) fn published(vault: &VaultName, server: &ServerName) -> Self {
        Self(format!("vaults/{vault}/{server}/repository"))
    }

    /// What is in a vault and not visible yet.
    pub(crate) fn pending(vault: &VaultName, server: &ServerName) -> Self {
        Self(format!("vaults/{vault}/{server}/pending"))
    }

    /// What was backed up into a vault while that seed travelled.
    pub(crate) fn increments(vault: &VaultName, server: &ServerName, seed: SeedId) -> Self {
        Self(format!("vaults/{vault}/{server}/increments/{seed}"))
    }

    /// Snapshots of what was backed up while that seed travelled, which are never shown.
    pub(crate) fn withheld(vault: &VaultName, server: &ServerName, seed: SeedId) -> Self {
        Self(format!("vaults/{vault}/{server}/withheld/{seed}"))
    }

    /// What has landed in a storage account.
    pub(crate) fn landed(
        account: &AccountName,
        container: &ContainerName,
        repository: &Digest,
    ) -> Self {
        Self(format!("accounts/{account}/{container}/{repository}"))
    }

    /// Index files that came with an export job.
    pub(crate) fn exported(job: &JobName) -> Self {
        Self(format!("jobs/{job}/export"))
    }

    /// Where damaged objects of this place are put aside.
    pub(crate) fn damaged(&self) -> Self {
        Self(format!("damaged/{}", self.0))
    }

    pub(crate) fn folder(&self) -> Path {
        Path::from(self.0.as_str())
    }

    pub(crate) fn object(&self, key: &ObjectKey) -> Path {
        Path::from(format!("{}/{key}", self.0))
    }

    pub(crate) fn below(&self, folder: &str) -> Path {
        Path::from(format!("{}/{folder}", self.0))
    }

    /// The object that lies at a path below this folder; none when it is something else.
    pub(crate) fn key_of(&self, at: &Path) -> Option<ObjectKey> {
        let rest = at.as_ref().strip_prefix(self.0.as_str())?.strip_prefix('/')?;
        ObjectKey::from_path(rest)
    }
}

/// A drive's manifest as handed over.
pub(crate) fn manifest(job: &JobName, drive: &DriveSerial) -> Path {
    Path::from_iter(["jobs", job.as_str(), &format!("{drive}.manifest")])
}

/// All that was handed over with a job.
pub(crate) fn job(job: &JobName) -> Path {
    Path::from_iter(["jobs", job.as_str()])
}

/// All that has landed in a storage account.
pub(crate) fn account(account: &AccountName) -> Path {
    Path::from_iter(["accounts", account.as_str()])
}

/// All that a vault has of a source server.
pub(crate) fn server(vault: &VaultName, server: &ServerName) -> Path {
    Path::from_iter(["vaults", vault.as_str(), server.as_str()])
}

/// What a vault asks for of a seed.
pub(crate) fn want_list(vault: &VaultName, server: &ServerName, seed: SeedId) -> Path {
    let name = format!("{seed}.want-list");
    Path::from_iter(["vaults", vault.as_str(), server.as_str(), "wanted", &name])
}

/// A revision of a seed, by the SHA-256 of its file.
pub(crate) fn revision(
    vault: &VaultName,
    server: &ServerName,
    seed: SeedId,
    digest: &Digest,
) -> Path {
    let name = format!("{seed}.{digest}");
    Path::from_iter(["vaults", vault.as_str(), server.as_str(), "revisions", &name])
}

/// A revision on its way in, before its signature is verified.
pub(crate) fn incoming_revision(
    vault: &VaultName,
    server: &ServerName,
    seed: SeedId,
    token: &str,
) -> Path {
    let name = format!("{seed}.incoming.{token}");
    Path::from_iter(["vaults", vault.as_str(), server.as_str(), "revisions", &name])
}

/// What of a job's drives the vault asks for, in the job's log.
pub(crate) fn wanted_log(
    account: &AccountName,
    diagnostics: &ContainerName,
    job: &JobName,
) -> Path {
    let parts = ["accounts", account.as_str(), diagnostics.as_str(), job.as_str()];
    Path::from_iter(parts.into_iter().chain(["wanted.jsonl"]))
}

/// The inventory of a job's seed as handed over.
pub(crate) fn inventory(job: &JobName) -> Path {
    Path::from_iter(["jobs", job.as_str(), "inventory"])
}

/// An inventory on its way in, before its signature is verified.
pub(crate) fn incoming_inventory(job: &JobName) -> Path {
    Path::from_iter(["jobs", job.as_str(), "inventory.incoming"])
}

/// A drive's copy log.
pub(crate) fn copy_log(
    account: &AccountName,
    diagnostics: &ContainerName,
    job: &JobName,
    drive: &DriveSerial,
) -> Path {
    let name = format!("{drive}.copylog.jsonl");
    Path::from_iter(["accounts", account.as_str(), diagnostics.as_str(), job.as_str(), &name])
}

/// A segment that could be taken for a repository's folder, or for an inventory.
pub(crate) fn check_diagnostics(
    container: &ContainerName,
    diagnostics: &ContainerName,
) -> Result<(), Error> {
    if container == diagnostics {
        let message = "diagnosticsPath must name another container than the one for the objects";
        return Err(Error::invalid(message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ObjectKind;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_object_is_found_again_from_its_path(
            kind in prop::sample::select(ObjectKind::ALL.to_vec()), bytes: [u8; 32]
        ) {
            let place = Place::published(&"v1".parse().unwrap(), &"fs01.x".parse().unwrap());
            let key = ObjectKey::new(kind, Digest(bytes));
            prop_assert_eq!(place.key_of(&place.object(&key)), Some(key));
        }

        #[test]
        fn no_drive_serial_leaves_its_job(serial in "[!-~]{1,64}") {
            if let Ok(serial) = serial.parse::<DriveSerial>() {
                let at = manifest(&"job1".parse().unwrap(), &serial);
                prop_assert_eq!(at.parts().count(), 3);
                prop_assert!(at.as_ref().starts_with("jobs/job1/"));
            }
        }
    }
}
