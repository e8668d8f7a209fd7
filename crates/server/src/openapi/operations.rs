//! What the signatures of `/api/v1`'s handlers do not say: what an operation is for, what body it takes,
//! with which statuses it answers. Names no path and no caller: the routes do.

use super::signature::{Content, Described, Signature};
use crate::{
    accounts, audit, custody, deletions, docks, files, jobs, key_removals, machines, notices,
    openapi, publication, seeds, settings, subscriptions, vaults,
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use wire::{
    CustodyEntries, DeletionRequest, DockRequest, DriveEvent, DriveStatus, ExportJobRequest,
    ExportedDrive, JobPatch, JobRequest, KeyRemovalRequest, KeyRequest, MachineCertificate,
    MachineRequest, PinUse, PublicationRequest, ReceiveRequest, SeedAnnouncement, ServerPatch,
    ServerRequest, StorageAccountRequest, SubscriptionRequest, SuccessorRequest, VaultPatch,
};

pub(super) type Generate = fn(&mut SchemaGenerator) -> Schema;

/// What a request's body is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Sent {
    Nothing,
    Octets,
    /// A value of that type.
    Json(Generate),
    /// The same, or nothing at all.
    MaybeJson(Generate),
}

/// One operation, as far as it does not follow from its route.
pub(super) struct Operation {
    /// The handler's name, by which its routes are found.
    pub(super) handler: &'static str,
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    pub(super) body: Sent,
    /// Statuses of answers that are no refusals; empty: 200, or 204 where nothing is answered.
    pub(super) statuses: &'static [u16],
    /// Statuses of refusals beyond those that all of its kind have.
    pub(super) refusals: &'static [u16],
    signature: fn(&mut SchemaGenerator) -> Signature,
    answer: Option<Generate>,
    media: Option<&'static str>,
}

fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

fn describe<H: Described<T>, T>(_: H, id: &'static str, summary: &'static str) -> Operation {
    Operation {
        handler: std::any::type_name::<H>(),
        id,
        summary,
        body: Sent::Nothing,
        statuses: &[],
        refusals: &[],
        signature: H::signature,
        answer: None,
        media: None,
    }
}

impl Operation {
    pub(super) fn signature(&self, generator: &mut SchemaGenerator) -> Signature {
        let mut signature = (self.signature)(generator);
        if let Some(answer) = self.answer {
            signature.content = Content::Json(answer(generator));
        }
        if let Some(media) = self.media {
            signature.content = Content::Other(media);
        }
        signature
    }

    fn takes<T: JsonSchema>(self) -> Self {
        Self { body: Sent::Json(schema_of::<T>), ..self }
    }

    fn may_take<T: JsonSchema>(self) -> Self {
        Self { body: Sent::MaybeJson(schema_of::<T>), ..self }
    }

    fn takes_octets(self) -> Self {
        Self { body: Sent::Octets, ..self }
    }

    fn answers<T: JsonSchema>(self) -> Self {
        Self { answer: Some(schema_of::<T>), ..self }
    }

    fn answers_as(self, media: &'static str) -> Self {
        Self { media: Some(media), ..self }
    }

    fn with(self, statuses: &'static [u16]) -> Self {
        Self { statuses, ..self }
    }

    fn refuses(self, refusals: &'static [u16]) -> Self {
        Self { refusals, ..self }
    }
}

/// Every operation below `/api/v1`, and the two for supervisors.
pub(super) fn all() -> Vec<Operation> {
    let mut all = resources();
    all.extend(credentials());
    all.extend(keeping());
    all.extend(import_jobs());
    all.extend(dock_work());
    all
}

fn resources() -> Vec<Operation> {
    vec![
        describe(docks::health, "health", "Whether the server is up"),
        describe(docks::ready, "ready", "Whether database and object folders answer"),
        describe(openapi::get, "openApi", "This document").answers::<serde_json::Value>(),
        describe(audit::list, "listAudit", "Requests that were not only looks, in their order"),
        describe(notices::list, "listNotices", "What people should hear of import jobs"),
        describe(docks::locations, "listLocations", "Where drives can be sent"),
        describe(accounts::create, "putStorageAccount", "Creates a storage account, or answers it")
            .may_take::<StorageAccountRequest>()
            .refuses(&[409]),
        describe(accounts::list, "listStorageAccounts", "Storage accounts"),
        describe(subscriptions::list, "listSubscriptions", "Subscriptions"),
        describe(subscriptions::create, "createSubscription", "Creates a subscription")
            .takes::<SubscriptionRequest>()
            .with(&[201])
            .refuses(&[409]),
        describe(subscriptions::rename, "renameSubscription", "Renames a subscription")
            .takes::<SubscriptionRequest>()
            .refuses(&[404, 409]),
        describe(vaults::create, "putVault", "Creates a vault, or answers it").refuses(&[409]),
        describe(vaults::list, "listVaults", "Vaults and their source servers"),
        describe(publication::start, "publish", "Starts a publication, or continues it")
            .may_take::<PublicationRequest>()
            .refuses(&[404, 409]),
        describe(publication::status, "getPublication", "How far a publication is"),
        describe(publication::latest_receipt, "getLatestReceipt", "The newest receipt")
            .refuses(&[404]),
        describe(publication::receipt, "getReceipt", "The receipt of a seed").refuses(&[404]),
        describe(publication::get_want_list, "getWantList", "What a vault asks for of a seed")
            .refuses(&[404]),
        describe(publication::put_revision, "putRevision", "Says what a seed consists of now")
            .takes_octets()
            .refuses(&[404, 409]),
        describe(publication::get_revision, "getRevision", "The newest revision of a seed")
            .refuses(&[404]),
        describe(publication::under_way, "listSeedsUnderWay", "Seeds that are not over"),
        describe(publication::abandon, "abandonSeed", "Says that nobody goes on with a seed")
            .refuses(&[404, 409]),
        describe(
            publication::put_successor,
            "putSuccessor",
            "Names the key that signs for a seed in the place of its drives' signer",
        )
        .takes::<SuccessorRequest>()
        .refuses(&[404, 409]),
        describe(
            publication::get_successor,
            "getSuccessor",
            "Who signs for a seed in the place of its drives' signer",
        )
        .refuses(&[404]),
    ]
}

fn credentials() -> Vec<Operation> {
    vec![
        describe(vaults::register, "registerServer", "Registers a source server")
            .may_take::<ServerRequest>()
            .with(&[201])
            .refuses(&[404, 409]),
        describe(vaults::maintain, "makeMaintenanceHost", "Lets a host prune a repository")
            .may_take::<ServerRequest>()
            .with(&[201])
            .refuses(&[404, 409]),
        describe(vaults::end_maintenance, "endMaintenanceHost", "Ends that").refuses(&[404]),
        describe(docks::register, "registerDock", "Registers a dock")
            .takes::<DockRequest>()
            .with(&[201])
            .refuses(&[409]),
        describe(files::publish_settings, "makePublishSettings", "A subscription's certificate")
            .answers_as("application/xml")
            .with(&[201])
            .refuses(&[404]),
        describe(files::vault_credentials, "makeVaultCredentials", "What registers machines")
            .answers_as("application/xml")
            .with(&[201])
            .refuses(&[404]),
        describe(machines::register, "registerMachine", "Registers a machine by vault credentials")
            .takes::<MachineRequest>()
            .with(&[201])
            .refuses(&[404, 409]),
        describe(machines::certify, "putCertificate", "A machine's next certificate")
            .takes::<MachineCertificate>()
            .refuses(&[404]),
        describe(key_removals::list, "listKeyRemovals", "Key files that will be removed"),
        describe(key_removals::ask, "removeKey", "Removes a key file, after a hold")
            .takes::<KeyRemovalRequest>()
            .refuses(&[404]),
        describe(key_removals::take_back, "keepKey", "Lets a key file stay").refuses(&[404]),
        describe(seeds::announce, "announceSeed", "Says that a seed is complete in staging")
            .takes::<SeedAnnouncement>()
            .refuses(&[404, 409]),
        describe(seeds::get, "getSeed", "An announced seed").refuses(&[404]),
        describe(seeds::copy_computer, "makeCopyComputer", "Credentials for writing its drives")
            .with(&[201])
            .refuses(&[404]),
        describe(custody::append, "appendCustody", "Puts signed entries into a custody log")
            .takes::<CustodyEntries>()
            .refuses(&[404, 409]),
        describe(custody::log, "getCustody", "The custody log of a seed")
            .answers_as(custody::MEDIA)
            .refuses(&[404]),
    ]
}

fn keeping() -> Vec<Operation> {
    vec![
        describe(settings::get, "getVaultSettings", "What a vault allows").refuses(&[404]),
        describe(settings::patch, "setVaultSettings", "Changes what a vault allows")
            .may_take::<VaultPatch>()
            .refuses(&[404]),
        describe(settings::get_server, "getServerSettings", "A source server's quota and use")
            .refuses(&[404]),
        describe(settings::patch_server, "setServerSettings", "Changes a source server's quota")
            .may_take::<ServerPatch>()
            .refuses(&[404]),
        describe(deletions::create_pin, "makePin", "A PIN that shortens a hold")
            .with(&[201])
            .refuses(&[404]),
        describe(deletions::list, "listDeletions", "Deletions of a vault, the newest first"),
        describe(
            deletions::list_of_server,
            "listServerDeletions",
            "Deletions of a source server, the newest first",
        ),
        describe(deletions::request, "requestDeletion", "Has objects removed, after a hold")
            .takes::<DeletionRequest>()
            .with(&[201])
            .refuses(&[404, 409]),
        describe(deletions::undelete, "undelete", "Brings back what is held since then")
            .refuses(&[404, 409]),
        describe(deletions::shorten, "shortenHold", "Has what is held until then removed now")
            .takes::<PinUse>()
            .refuses(&[404, 409]),
    ]
}

fn import_jobs() -> Vec<Operation> {
    vec![
        describe(jobs::list, "listImportJobs", "Import jobs that the caller may see"),
        describe(jobs::create, "putImportJob", "Creates an import job, or changes one in Creating")
            .takes::<JobRequest>()
            .with(&[200, 201])
            .refuses(&[404, 409]),
        describe(jobs::create_export, "putExportJob", "Creates an export job, or answers it")
            .takes::<ExportJobRequest>()
            .with(&[200, 201])
            .refuses(&[404, 409]),
        describe(jobs::get, "getImportJob", "An import job").refuses(&[404]),
        describe(
            jobs::watch,
            "watchImportJob",
            "An import job as it changes, as server-sent events",
        )
        .answers_as("text/event-stream")
        .refuses(&[404]),
        describe(jobs::patch, "patchImportJob", "Shipping details, shipping, cancelling")
            .takes::<JobPatch>()
            .refuses(&[404, 409]),
        describe(jobs::list_keys, "listBitLockerKeys", "The passwords of the job's drives")
            .refuses(&[404]),
        describe(jobs::put_inventory, "putInventory", "Hands over a seed's inventory")
            .takes_octets()
            .refuses(&[404, 409]),
        describe(jobs::get_inventory, "getInventory", "A seed's inventory").refuses(&[404]),
        describe(jobs::put_manifest, "putManifest", "Hands over a drive's manifest")
            .takes_octets()
            .refuses(&[404, 409]),
        describe(jobs::get_manifest, "getManifest", "A drive's manifest").refuses(&[404]),
    ]
}

fn dock_work() -> Vec<Operation> {
    vec![
        describe(jobs::receive, "receivePackage", "A package is open at the dock")
            .takes::<ReceiveRequest>()
            .refuses(&[404, 409]),
        describe(jobs::drive_event, "reportDriveEvent", "What happens to a drive")
            .takes::<DriveEvent>()
            .answers::<DriveStatus>()
            .refuses(&[404, 409]),
        describe(jobs::release, "releaseKey", "The password of a drive that may be read now")
            .takes::<KeyRequest>()
            .refuses(&[404, 409]),
        describe(jobs::put_copy_log, "putCopyLog", "Keeps a drive's copy log")
            .takes_octets()
            .refuses(&[404, 409]),
        describe(jobs::exported_drive, "putExportedDrive", "A drive of an export was written")
            .takes::<ExportedDrive>()
            .refuses(&[404, 409]),
    ]
}
