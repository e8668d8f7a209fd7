//! The resource manager, as far as administrators need it: groups, vaults, storage accounts, and what it alone
//! can do to import jobs. Its answers have much more in them than is read here.

use crate::{Client, Result};
use model::{Address, BackendName, DriveSerial, Package};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use ureq::http::Method;
use url::Url;
use wire::{Job, JobPatch, JobState, List};
use zeroize::Zeroizing;

/// Of `Microsoft.ImportExport`, the newest.
const IMPORT_EXPORT: &str = "2021-01-01";
/// Of everything else. Not newer: from 2024-04-01 on, deleting a vault does not say whether there was one.
const RESOURCES: &str = "2023-04-01";

/// What lies in a resource group, beside import jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResourceKind {
    /// `Microsoft.Storage/storageAccounts`.
    StorageAccount,
    /// `Microsoft.RecoveryServices/vaults`.
    Vault,
}

impl ResourceKind {
    fn path(self) -> [&'static str; 3] {
        match self {
            Self::StorageAccount => ["providers", "Microsoft.Storage", "storageAccounts"],
            Self::Vault => ["providers", "Microsoft.RecoveryServices", "vaults"],
        }
    }
}

/// A vault or a storage account, as the resource manager knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// Its name.
    pub name: String,
    /// The resource manager's id of it.
    pub id: String,
    /// The id of its subscription.
    pub subscription: String,
    /// Its resource group.
    pub resource_group: String,
    /// Where it is.
    pub location: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Of a storage account, the vaults of other subscriptions that may read it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub readers: Vec<String>,
    /// Of a storage account, where its objects are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
}

/// A resource group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResourceGroup {
    /// Its name.
    pub name: String,
    /// The resource manager's id of it.
    pub id: String,
    /// The id of its subscription.
    pub subscription: String,
    /// Where it is.
    pub location: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// What is said of a resource that is made; what is absent is as the server has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct NewResource {
    /// Where it is to be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// Its tags, all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<BTreeMap<String, String>>,
    /// What only one kind of resource has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub properties: Option<NewProperties>,
}

/// What is said of a storage account that is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NewProperties {
    /// Where its objects shall be.
    pub packmule_backend: BackendName,
}

/// The password of a drive. Whatever its job is, it is a text here.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriveKey {
    /// The drive.
    pub drive_id: DriveSerial,
    /// Its password.
    pub bit_locker_key: Zeroizing<String>,
}

impl std::fmt::Debug for DriveKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DriveKey").field("drive_id", &self.drive_id).finish_non_exhaustive()
    }
}

/// Of an answer, what is read.
#[derive(Deserialize)]
struct Answered {
    id: String,
    name: String,
    #[serde(default)]
    location: String,
    #[serde(default)]
    tags: BTreeMap<String, Value>,
    #[serde(default)]
    properties: Properties,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Properties {
    packmule_readers: Vec<String>,
    packmule_backend: Option<String>,
}

impl Answered {
    /// The segment of its id that follows that word.
    fn part(&self, word: &str) -> String {
        let mut parts = self.id.split('/').skip_while(|part| !part.eq_ignore_ascii_case(word));
        parts.nth(1).unwrap_or_default().to_owned()
    }

    fn resource(self) -> Resource {
        Resource {
            subscription: self.part("subscriptions"),
            resource_group: self.part("resourceGroups"),
            tags: texts(self.tags),
            name: self.name,
            id: self.id,
            location: self.location,
            readers: self.properties.packmule_readers,
            backend: self.properties.packmule_backend,
        }
    }

    fn group(self) -> ResourceGroup {
        ResourceGroup {
            subscription: self.part("subscriptions"),
            tags: texts(self.tags),
            name: self.name,
            id: self.id,
            location: self.location,
        }
    }
}

fn texts(tags: BTreeMap<String, Value>) -> BTreeMap<String, String> {
    let text = |value: Value| match value {
        Value::String(text) => text,
        other => other.to_string(),
    };
    tags.into_iter().map(|(name, value)| (name, text(value))).collect()
}

/// A change of a job in the import service's words.
#[derive(Serialize)]
struct Change<'a> {
    properties: Changed<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    return_address: Option<&'a Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_package: Option<&'a Package>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<JobState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_requested: Option<bool>,
}

const NOTHING: Option<&()> = None;

impl Client {
    /// What the resource manager has at that id, and below it.
    pub(crate) fn managed(&self, id: &str, below: &[&str], version: &str) -> Url {
        let whole: Vec<&str> =
            id.split('/').filter(|part| !part.is_empty()).chain(below.iter().copied()).collect();
        let mut url = self.url(&whole, false);
        url.query_pairs_mut().append_pair("api-version", version);
        url
    }

    fn read<T: DeserializeOwned>(&self, url: &Url) -> Result<T> {
        self.azure(Method::GET, url, None, NOTHING)?.json()
    }

    /// The resource groups of a subscription.
    ///
    /// # Errors
    /// [`Error::Azure`](crate::Error::Azure), as everywhere here.
    pub fn resource_groups(&self, subscription: &str) -> Result<Vec<ResourceGroup>> {
        let url = self.managed("subscriptions", &[subscription, "resourceGroups"], RESOURCES);
        let list: List<Answered> = self.read(&url)?;
        Ok(list.value.into_iter().map(Answered::group).collect())
    }

    /// Creates a resource group, or changes its tags. It has to have a location.
    ///
    /// # Errors
    /// What the server refuses, such as another location than it has.
    pub fn put_resource_group(
        &self,
        subscription: &str,
        name: &str,
        new: &NewResource,
    ) -> Result<ResourceGroup> {
        let below = [subscription, "resourceGroups", name];
        let url = self.managed("subscriptions", &below, RESOURCES);
        let answered: Answered = self.azure(Method::PUT, &url, None, Some(new))?.json()?;
        Ok(answered.group())
    }

    /// Deletes a resource group in which nothing is.
    ///
    /// # Errors
    /// There is none of that name, or something is in it.
    pub fn delete_resource_group(&self, subscription: &str, name: &str) -> Result<()> {
        let below = [subscription, "resourceGroups", name];
        let url = self.managed("subscriptions", &below, RESOURCES);
        self.azure(Method::DELETE, &url, None, NOTHING).map(drop)
    }

    /// The vaults or storage accounts of a subscription.
    ///
    /// # Errors
    /// There is no such subscription.
    pub fn resources(&self, kind: ResourceKind, subscription: &str) -> Result<Vec<Resource>> {
        let below = [&[subscription], &kind.path()[..]].concat();
        let list: List<Answered> = self.read(&self.managed("subscriptions", &below, RESOURCES))?;
        Ok(list.value.into_iter().map(Answered::resource).collect())
    }

    /// Creates a vault or storage account in a resource group, or changes what is said of it.
    ///
    /// # Errors
    /// There is no such group, or the name is taken in another one.
    pub fn put_resource(
        &self,
        kind: ResourceKind,
        (subscription, group): (&str, &str),
        name: &str,
        new: &NewResource,
    ) -> Result<Resource> {
        let below = [&[subscription, "resourceGroups", group], &kind.path()[..], &[name]].concat();
        let url = self.managed("subscriptions", &below, RESOURCES);
        let answered: Answered = self.azure(Method::PUT, &url, None, Some(new))?.json()?;
        Ok(answered.resource())
    }

    /// Deletes a vault or storage account that holds nothing; false if it was gone already.
    ///
    /// # Errors
    /// It holds something.
    pub fn delete_resource(&self, resource: &Resource) -> Result<bool> {
        let url = self.managed(&resource.id, &[], RESOURCES);
        Ok(self.azure(Method::DELETE, &url, None, NOTHING)?.status != 204)
    }

    /// Makes exactly these vaults of other subscriptions the readers of a storage account.
    ///
    /// # Errors
    /// One of them is not there.
    pub fn set_readers(&self, account: &Resource, readers: &[String]) -> Result<Resource> {
        let url = self.managed(&account.id, &[], RESOURCES);
        let body = json!({"properties": {"packmuleReaders": readers}});
        let answered: Answered = self.azure(Method::PATCH, &url, None, Some(&body))?.json()?;
        Ok(answered.resource())
    }

    /// As [`patch_job`](Self::patch_job), for administrators. `job` is the job as it was read.
    ///
    /// # Errors
    /// Of kind conflict where the job has changed since, or its state does not allow it.
    pub fn manage_job(&self, job: &Job, patch: &JobPatch) -> Result<Job> {
        let url = self.managed(&job.id, &[], IMPORT_EXPORT);
        let properties = Changed {
            return_address: patch.return_address.as_ref(),
            delivery_package: patch.delivery_package.as_ref(),
            state: patch.state,
            cancel_requested: patch.cancel_requested,
        };
        self.azure(Method::PATCH, &url, patch.version, Some(&Change { properties }))?;
        self.job(&job.name)
    }

    /// Deletes the record of a job that has not left or is over. Administrators only.
    ///
    /// # Errors
    /// Of kind conflict where it is under way, or its seed is not confirmed.
    pub fn delete_job(&self, job: &Job) -> Result<()> {
        let url = self.managed(&job.id, &[], IMPORT_EXPORT);
        self.azure(Method::DELETE, &url, Some(job.version), NOTHING).map(drop)
    }

    /// The passwords of a job's drives, for administrators. The server notes it.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn manage_drive_keys(&self, job: &Job) -> Result<Vec<DriveKey>> {
        let url = self.managed(&job.id, &["listBitLockerKeys"], IMPORT_EXPORT);
        let list: List<DriveKey> = self.azure(Method::POST, &url, None, NOTHING)?.json()?;
        Ok(list.value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resource_says_where_it_lies_whatever_the_case_of_its_id() {
        let text = r#"{"id": "/subscriptions/S1/resourcegroups/Rg/providers/x/vaults/v", "name": "v",
            "tags": {"a": "b", "n": 1}, "properties": {"packmuleReaders": ["w"], "packmuleBackend": "b1", "more": 1}}"#;
        let resource = serde_json::from_str::<Answered>(text).unwrap().resource();
        assert_eq!((&*resource.subscription, &*resource.resource_group), ("S1", "Rg"));
        assert_eq!(resource.tags["n"], "1");
        assert_eq!((resource.readers, resource.backend), (vec!["w".into()], Some("b1".into())));
    }

    #[test]
    fn a_password_is_not_shown_by_debug() {
        let key = r#"{"driveId": "S1", "bitLockerKey": "s3cret"}"#;
        let key: DriveKey = serde_json::from_str(key).unwrap();
        assert!(!format!("{key:?}").contains("s3cret"));
    }
}
