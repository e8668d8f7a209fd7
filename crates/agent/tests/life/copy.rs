//! Drives written on a computer that is not the source server.

use crate::identity::enrolled;
use crate::refill;
use crate::site::{PASSWORD, Site, address, noise, package, tree};
use agent::{
    Abandoning, BackupReport, Context, Error, NewGroup, NewInitial, OwnError, Preparation,
    PrepareReport, ShipTarget,
};
use client::{Certified, Client};
use credfile::{PublishSettings, Subscription};
use model::ErrorKind;
use seed::{DriveSpec, PlainReads};
use std::fs;
use std::path::PathBuf;
use wire::{CopyComputer, SeedId, ServerRequest};

/// A copy computer of that name, with the publish settings of one subscription.
struct Copier<'s> {
    site: &'s Site,
    state: PathBuf,
    seed: SeedId,
}

fn settings(site: &Site) -> Subscription {
    let admin = site.admin();
    let subscription = admin.credentials().subscription_id.clone().unwrap();
    let file = admin.publish_settings(&subscription).unwrap();
    PublishSettings::read(&file).unwrap().subscriptions.pop().unwrap()
}

fn given(subscription: &Subscription, seed: SeedId) -> client::Result<CopyComputer> {
    let service = subscription.service.as_ref().unwrap();
    Certified {
        endpoint: subscription.service_management_url.as_str(),
        ca_pem: &service.authority.as_ref().unwrap().to_pem(),
        tenant: &service.tenant.to_string(),
        client: &service.client.to_string(),
        certificate: subscription.identity.certificate().as_der(),
        key: subscription.identity.private_key(),
        proxies: store::Proxies::default(),
    }
    .copy_computer(seed)
}

impl<'s> Copier<'s> {
    fn new(site: &'s Site, name: &str) -> Self {
        let seed = agent::staged_seed(&site.staging()).unwrap().id;
        let copier = Self { site, state: agent::copy_state(&site.path(name), seed), seed };
        copier.take().unwrap();
        copier
    }

    fn take(&self) -> agent::Result<()> {
        let given = given(&settings(self.site), self.seed)?;
        agent::take_copy(&self.ctx(), &self.site.staging(), &given)
    }

    fn ctx(&self) -> Context<'_> {
        Context { state: &self.state, ..self.site.ctx() }
    }

    fn prepare(&self, drives: &[DriveSpec]) -> agent::Result<PrepareReport> {
        let what = Preparation {
            staging: &self.site.staging(),
            drives,
            encrypted: &[],
            read_back: &PlainReads,
            filling: seed::Filling::Even,
            limit_rate: 0,
            parity: None,
            most: None,
            job: None,
            missing: false,
        };
        agent::prepare(&self.ctx(), &what, None)
    }

    fn client(&self) -> Client {
        Client::new(agent::credentials(&self.state).unwrap()).unwrap()
    }
}

/// A group's first backup in staging, announced.
fn staged() -> Site {
    let site = Site::with_group();
    let BackupReport::Staged { unannounced, .. } = site.backup().unwrap() else { panic!() };
    assert!(unannounced.is_none(), "{unannounced:?}");
    site
}

#[test]
fn a_seed_travels_on_drives_that_another_computer_has_written() {
    let site = staged();
    let copier = Copier::new(&site, "elsewhere");
    let report = copier.prepare(&site.drives(2)).unwrap();
    let job = report.job.unwrap();
    assert!(report.needed.is_none());
    assert_eq!(job.name.as_str(), "seed-2026");
    // The source server sees it as its own from now on.
    let seed = site.seed();
    assert_eq!(seed.record.state().name(), "Prepared");
    assert_eq!(seed.jobs[0].server.as_ref().unwrap().name, job.name);
    let elsewhere = site.prepare(&site.drives(2)).unwrap();
    assert_eq!(elsewhere.job.unwrap().name, job.name);
    assert_eq!(elsewhere.fingerprint, report.fingerprint);
    let target = ShipTarget::Staging(site.staging());
    agent::ship(&copier.ctx(), &target, &address(), &package("TRACK0001")).unwrap();
    assert_eq!(site.seed().record.state().name(), "InTransit");
    site.dock("TRACK0001");
    let BackupReport::Stored { confirmed, .. } = site.backup().unwrap() else { panic!() };
    assert!(confirmed.is_some());
    // And staging is cleaned, the note with it.
    let cleaning = agent::Cleaning::Remove { password: PASSWORD };
    let cleaned = agent::clean_staging(&site.ctx(), copier.seed, cleaning).unwrap();
    assert!(cleaned.kept.is_empty());
    let left: Vec<_> = fs::read_dir(site.staging()).unwrap().collect();
    assert!(left.iter().all(|entry| entry.as_ref().unwrap().path().is_dir()), "{left:?}");
}

#[test]
fn once_another_computer_has_written_the_drives_nothing_more_goes_into_staging() {
    let site = staged();
    let copier = Copier::new(&site, "elsewhere");
    copier.prepare(&site.drives(2)).unwrap();
    let packs = |site: &Site| tree(&site.path("staging")).len();
    let before = packs(&site);
    fs::write(site.source().join("since"), noise(40, 90_000)).unwrap();
    // Nobody has looked at the seed since: the backup does it by itself.
    let BackupReport::Waiting(waiting) = site.backup().unwrap() else { panic!() };
    assert!(waiting.increment.is_some(), "{waiting:?}");
    assert_eq!(waiting.state.unwrap().name(), "Prepared");
    assert_eq!(packs(&site), before, "what travels is what was written");
    let target = ShipTarget::Staging(site.staging());
    agent::ship(&copier.ctx(), &target, &address(), &package("TRACK0001")).unwrap();
    site.dock("TRACK0001");
    let BackupReport::Stored { confirmed, .. } = site.backup().unwrap() else { panic!() };
    assert!(confirmed.is_some());
}

#[test]
fn while_another_computer_may_be_at_the_drives_nothing_goes_into_staging() {
    let mut site = staged();
    let copier = Copier::new(&site, "elsewhere");
    let before = tree(&site.path("staging"));
    // Its job is there, and its documents are still on their way.
    let request = wire::JobRequest {
        vault: "vault1".parse().unwrap(),
        server: "fs01".parse().unwrap(),
        seed: wire::SeedRef {
            id: copier.seed,
            set: 0,
            sets: None,
            signer: wire::PublicKey([9; 32]),
        },
        storage_account: "seedacct".parse().unwrap(),
        container: "seeds".parse().unwrap(),
        diagnostics: None,
        return_address: None,
        delivery_package: None,
        drive_list: vec![wire::DriveRequest {
            role: model::DriveRole::Data,
            drive_id: "F0".parse().unwrap(),
            manifest_hash: model::Digest([1; 32]),
            bit_locker_key: None,
            drive_header_hash: None,
        }],
    };
    copier.client().create_job(&"seed-2026".parse().unwrap(), &request).unwrap();
    fs::write(site.source().join("since"), noise(40, 90_000)).unwrap();
    let BackupReport::Waiting(waiting) = site.backup().unwrap() else { panic!() };
    assert!(waiting.increment.is_none() && waiting.paused.unwrap().contains("another computer"));
    // Nor where the server cannot say.
    site.server.take().unwrap().shutdown().unwrap();
    assert_eq!(site.backup().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(tree(&site.path("staging")), before);
}

/// The machine was rebuilt, and knows nothing of the seed that another computer has begun to write.
fn rebuilt(site: &Site) -> Copier<'_> {
    let copier = Copier::new(site, "elsewhere");
    fs::remove_dir_all(site.state()).unwrap();
    agent::register(&site.ctx(), &site.credentials("vault1", "fs01"), false).unwrap();
    let group = NewGroup { initial: NewInitial::Network, ..site.group("files") };
    agent::create_group(&site.ctx(), &group).unwrap();
    copier
}

#[test]
fn while_another_computer_writes_the_drives_a_rebuilt_machine_begins_nothing_in_their_stead() {
    let site = staged();
    let copier = rebuilt(&site);
    let copied = |error: &Error| matches!(error, Error::Own(OwnError::CopiedSeed { .. }));
    let error = site.backup().unwrap_err();
    assert!(copied(&error), "{error}");
    let error = agent::recover_seeds(&site.ctx(), None).unwrap_err();
    assert!(copied(&error), "{error}");
    assert!(tree(&site.path("data/objects/vaults")).is_empty(), "no other repository is begun");
    // Once there is a job, it is found again.
    copier.prepare(&site.drives(2)).unwrap();
    let target = ShipTarget::Staging(site.staging());
    agent::ship(&copier.ctx(), &target, &address(), &package("TRACK0001")).unwrap();
    let found = agent::recover_seeds(&site.ctx(), None).unwrap();
    assert_eq!(found.len(), 1);
    site.dock("TRACK0001");
    let BackupReport::Stored { confirmed, outcome, .. } = site.backup().unwrap() else { panic!() };
    assert!(confirmed.is_some() && outcome.parent.is_some());
}

#[test]
fn what_another_computer_writes_can_be_given_up_and_that_computer_hears_of_it() {
    let site = staged();
    let copier = rebuilt(&site);
    let give_up = |dry_run| {
        let what = Abandoning { seed: copier.seed, again: None, dry_run };
        agent::abandon_seed(&site.ctx(), what).unwrap()
    };
    assert!(give_up(true).copied_since.is_some());
    give_up(false);
    assert!(matches!(site.backup().unwrap(), BackupReport::Stored { .. }));
    let refused = given(&settings(&site), copier.seed).unwrap_err();
    assert_eq!(refused.code(), Some(&wire::Code::SeedAbandoned), "{refused}");
    assert!(copier.prepare(&site.drives(2)).is_err());
}

#[test]
fn the_source_leaves_drives_to_the_computer_that_has_begun_them() {
    let site = staged();
    let copier = Copier::new(&site, "elsewhere");
    copier.prepare(&site.drives(2)).unwrap();
    // Another one finds the job of the first.
    let second = Copier::new(&site, "second");
    let refused = second.prepare(&[site.drive("E0", 2_000_000)]).unwrap_err();
    assert!(matches!(refused, Error::PreparedElsewhere { .. }), "{refused}");
    assert!(!site.path("E0").join("packmule").exists());
    // Its package is given up: the set is to be written again, by whoever holds the list.
    let job = site.agent().jobs().unwrap().remove(0).name;
    let cancel = serde_json::from_str(r#"{"cancelRequested": true}"#).unwrap();
    copier.client().patch_job(&job, &cancel).unwrap();
    assert_eq!(site.seed().jobs.len(), 0, "a job that was cancelled before is not taken over");
    let again = copier.prepare(&[]).unwrap();
    assert_eq!(again.job.unwrap().name.as_str(), "seed-2026-2");
    let seed = site.seed();
    assert_eq!(seed.record.state().name(), "Prepared");
    let cancel = serde_json::from_str(r#"{"cancelRequested": true}"#).unwrap();
    copier.client().patch_job(&seed.jobs[0].own.name, &cancel).unwrap();
    let refused = site.prepare(&[site.drive("E0", 2_000_000)]).unwrap_err();
    assert!(matches!(refused, Error::PreparedElsewhere { .. }), "{refused}");
}

#[test]
fn a_copy_computer_reaches_its_seed_and_nothing_else() {
    let site = staged();
    let copier = Copier::new(&site, "elsewhere");
    let client = copier.client();
    client.locations().unwrap();
    assert!(client.jobs().unwrap().is_empty());
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    assert!(client.publication(&vault, &server).is_err());
    assert!(client.storage_accounts().is_err());
    let credentials = client.credentials().clone();
    let error = agent::register(&site.ctx(), &credentials, true).unwrap_err();
    assert!(matches!(error, Error::NotForAgents), "{error}");
    // A job for another seed, server or account than was announced.
    copier.prepare(&site.drives(2)).unwrap();
    let job = client.jobs().unwrap().remove(0);
    let carries = job.carries.clone().unwrap();
    let request = wire::JobRequest {
        vault: vault.clone(),
        server: server.clone(),
        seed: wire::SeedRef { set: 1, ..carries.seed.clone() },
        storage_account: "seedacct".parse().unwrap(),
        container: "seeds".parse().unwrap(),
        diagnostics: None,
        return_address: None,
        delivery_package: None,
        drive_list: vec![wire::DriveRequest {
            role: model::DriveRole::Data,
            drive_id: "F0".parse().unwrap(),
            manifest_hash: model::Digest([1; 32]),
            bit_locker_key: None,
            drive_header_hash: None,
        }],
    };
    let other_seed = wire::SeedRef { id: SeedId([7; 16]), ..request.seed.clone() };
    site.credentials("vault1", "fs02");
    for wrong in [
        wire::JobRequest { seed: other_seed, ..request.clone() },
        wire::JobRequest { server: "fs02".parse().unwrap(), ..request.clone() },
        wire::JobRequest { container: "others".parse().unwrap(), ..request.clone() },
    ] {
        let refused = client.create_job(&"other".parse().unwrap(), &wrong).unwrap_err();
        assert_eq!(refused.code(), Some(&wire::Code::AuthorizationFailed), "{refused}");
    }
    client.create_job(&"other".parse().unwrap(), &request).unwrap();
    let signer = wire::PublicKey([9; 32]);
    let seed = wire::SeedRef { signer, ..request.seed.clone() };
    let stolen = wire::JobRequest { seed, ..request };
    let refused = client.create_job(&"other".parse().unwrap(), &stolen).unwrap_err();
    assert_eq!(refused.code(), Some(&wire::Code::AlreadyExists), "{refused}");
}

#[test]
fn publish_settings_of_another_subscription_open_no_seed() {
    let site = staged();
    let admin = site.admin();
    let new =
        admin.create_subscription(&wire::SubscriptionRequest { name: "Other".into() }).unwrap();
    let file = admin.publish_settings(&new.id).unwrap();
    let other = PublishSettings::read(&file).unwrap().subscriptions.pop().unwrap();
    let seed = agent::staged_seed(&site.staging()).unwrap().id;
    let refused = given(&other, seed).unwrap_err();
    assert_eq!(refused.code(), Some(&wire::Code::ResourceNotFound), "{refused}");
    assert!(given(&settings(&site), SeedId([3; 16])).is_err());
}

#[test]
fn a_token_ends_with_the_right_that_it_was_given_by() {
    let site = staged();
    let copier = Copier::new(&site, "elsewhere");
    let client = copier.client();
    client.locations().unwrap();
    let admin = site.admin();
    let application = admin
        .applications()
        .unwrap()
        .into_iter()
        .find(|one| one.name.starts_with("publish-settings"))
        .unwrap();
    admin.delete_application(&application).unwrap();
    let refused = client.locations().unwrap_err();
    assert_eq!(refused.code(), Some(&wire::Code::AuthenticationFailed), "{refused}");
    copier.take().unwrap();
    copier.client().locations().unwrap();
}

#[test]
fn what_is_not_in_staging_is_not_taken_over() {
    let site = staged();
    let copier = Copier::new(&site, "elsewhere");
    copier.prepare(&site.drives(2)).unwrap();
    let packs = fs::read_dir(PathBuf::from(site.staging()).join("data")).unwrap();
    let mut packs = packs.flat_map(|shard| fs::read_dir(shard.unwrap().path()).unwrap());
    let pack = packs.next().unwrap().unwrap().path();
    fs::rename(&pack, site.path("kept")).unwrap();
    let status = agent::status(&site.ctx()).unwrap();
    let refused = status.away.unwrap();
    assert!(matches!(refused, Error::NotThisSeed { .. }), "{refused}");
    assert_eq!(status.seeds[0].record.state().name(), "Staged");
    fs::rename(site.path("kept"), &pack).unwrap();
    assert_eq!(site.seed().record.state().name(), "Prepared");
}

#[test]
fn staging_without_a_note_says_what_to_do_and_another_repository_is_refused() {
    let site = Site::with_group();
    fs::create_dir_all(site.staging()).unwrap();
    let error = agent::staged_seed(&site.staging()).unwrap_err();
    assert!(matches!(error, Error::NoNote { .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    site.backup().unwrap();
    let seed = agent::staged_seed(&site.staging()).unwrap().id;
    let given = given(&settings(&site), seed).unwrap();
    let elsewhere = site.path("elsewhere");
    let ctx = Context { state: &elsewhere, ..site.ctx() };
    fs::create_dir(site.path("wrong")).unwrap();
    fs::write(site.path("wrong/config"), b"x").unwrap();
    let wrong = site.path("wrong").display().to_string();
    let error = agent::take_copy(&ctx, &wrong, &given).unwrap_err();
    assert!(matches!(error, Error::OtherRepository { .. }), "{error}");
    fs::write(PathBuf::from(site.staging()).join("packmule-seed.json"), b"{").unwrap();
    assert!(matches!(agent::staged_seed(&site.staging()).unwrap_err(), Error::Damaged { .. }));
}

#[test]
fn a_first_backup_without_its_server_is_announced_by_the_next() {
    let mut site = Site::with_group();
    site.server.take().unwrap().shutdown().unwrap();
    let BackupReport::Staged { unannounced, .. } = site.backup().unwrap() else { panic!() };
    assert_eq!(unannounced.unwrap().kind(), ErrorKind::Unavailable);
    assert!(agent::staged_seed(&site.staging()).is_err());
    site.start(|_| {});
    // Its port is another one.
    let request = ServerRequest { replace: true };
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let credentials = site.admin().register_server(&vault, &server, &request).unwrap();
    agent::register(&site.ctx(), &credentials, true).unwrap();
    let BackupReport::Staged { unannounced, .. } = site.backup().unwrap() else { panic!() };
    assert!(unannounced.is_none());
    agent::staged_seed(&site.staging()).unwrap();
}

#[test]
fn what_another_computer_has_signed_is_not_revised_and_that_is_said() {
    let site = staged();
    let copier = Copier::new(&site, "elsewhere");
    copier.prepare(&site.drives(2)).unwrap();
    // The source server takes the job over.
    site.prepare(&[]).unwrap();
    let target = ShipTarget::Staging(site.staging());
    agent::ship(&copier.ctx(), &target, &address(), &package("TRACK0001")).unwrap();
    site.dock_without("TRACK0001", |key| key.kind() == model::ObjectKind::Pack);
    let mut ctx = site.ctx();
    ctx.wanted = agent::Way::Drive;
    let files = "files".parse().unwrap();
    let report = agent::backup_now(&ctx, &files, PASSWORD).unwrap();
    assert!(matches!(report, BackupReport::Waiting(_)), "{report:?}");
    fs::remove_dir_all(site.path("staging")).unwrap();
    let what = agent::Refilling::default();
    let error = agent::refill(&site.ctx(), &what, PASSWORD).unwrap_err();
    assert!(matches!(error, Error::NotSigner { .. }), "{error}");
    let error = agent::refill(&copier.ctx(), &what, PASSWORD).unwrap_err();
    assert!(matches!(error, Error::OnTheSource), "{error}");
    // What is here is sent all the same: the trees, which were kept.
    let sent = agent::Sending { way: agent::Way::Network, ..agent::Sending::default() };
    let sent = agent::send_wanted(&site.ctx(), &sent).unwrap();
    assert!(sent.objects > 0 && !sent.gone.is_empty() && sent.left == 0, "{sent:?}");
}

/// What is still wanted of drives that were written elsewhere, the source writes: it has all of it in staging.
#[test]
fn what_is_wanted_of_drives_that_another_computer_has_written_the_source_writes_itself() {
    let site = staged();
    let copier = Copier::new(&site, "elsewhere");
    copier.prepare(&site.drives(2)).unwrap();
    site.prepare(&[]).unwrap();
    let target = ShipTarget::Staging(site.staging());
    agent::ship(&copier.ctx(), &target, &address(), &package("TRACK0001")).unwrap();
    site.dock_without("TRACK0001", |key| key.kind() == model::ObjectKind::Pack);
    bring_missing(&site);
}

/// The same machine, rebuilt without the key that has signed its drives.
#[test]
fn what_is_wanted_of_drives_whose_key_was_lost_is_written_with_another() {
    let site = Site::prepared();
    site.ship("TRACK0001").unwrap();
    site.dock_without("TRACK0001", |key| key.kind() == model::ObjectKind::Pack);
    fs::remove_file(site.state().join("signing.key")).unwrap();
    bring_missing(&site);
}

/// By a next drive, as the seed says itself that it goes on.
fn bring_missing(site: &Site) {
    let mut ctx = site.ctx();
    ctx.wanted = agent::Way::Drive;
    let files = "files".parse().unwrap();
    let report = agent::backup_now(&ctx, &files, PASSWORD).unwrap();
    let BackupReport::Waiting(said) = report else { panic!("{report:?}") };
    assert!(said.next.to_string().contains("--missing"), "{}", said.next);
    let before = site.seed().record.contents.unwrap();
    agent::check_preparation(&ctx, &site.staging(), true, Some(PASSWORD)).unwrap();
    let spare = [site.drive("E0", 520_000), site.drive("E1", 520_000)];
    // In two calls, as there may be one drive at a time.
    site.prepare_missing(&spare[..1]).unwrap();
    let report = site.prepare_missing(&spare).unwrap();
    assert!(report.needed.is_none(), "{report:?}");
    let own = seed::SigningKey::load(&site.state().join("signing.key")).unwrap().public();
    let job = report.job.unwrap();
    assert_eq!(job.carries.as_ref().unwrap().seed.signer, own);
    assert_eq!(site.seed().record.contents.as_ref(), Some(&before), "nothing else is signed anew");
    agent::ship(&ctx, &ShipTarget::Job(job.name), &address(), &package("TRACK0002")).unwrap();
    site.dock("TRACK0002");
    let report = agent::backup_now(&ctx, &files, PASSWORD).unwrap();
    assert!(refill::confirmed(&report), "{report:?}");
    let source = crate::site::tree(&site.source());
    let target = tempfile::tempdir().unwrap();
    let vault = agent::open_vault(&site.ctx(), PASSWORD).unwrap();
    crate::journey::restore(site, &vault, target.path());
    assert_eq!(crate::site::tree(target.path()), source);
}

/// What another computer has signed is revised by the source, which says by its certificate that it signs from now on.
#[test]
fn what_is_lost_of_drives_that_were_written_elsewhere_is_made_anew_at_the_source() {
    let (site, _) = enrolled();
    agent::create_group(&site.ctx(), &site.group("files")).unwrap();
    site.backup().unwrap();
    let copier = Copier::new(&site, "elsewhere");
    let job = copier.prepare(&site.drives(2)).unwrap().job.unwrap();
    // The source hears of it, and keeps what tells what is in the packs.
    assert_eq!(site.seed().record.state().name(), "Prepared");
    let mut ctx = site.ctx();
    ctx.wanted = agent::Way::Drive;
    agent::backup_now(&ctx, &"files".parse().unwrap(), PASSWORD).unwrap();
    let before = refill::snapshots(&site);
    let target = ShipTarget::Staging(site.staging());
    agent::ship(&copier.ctx(), &target, &address(), &package("TRACK0001")).unwrap();
    let patch = wire::JobPatch { cancel_requested: Some(true), ..wire::JobPatch::default() };
    copier.client().patch_job(&job.name, &patch).unwrap();
    refill::lose_packs_of_staging(&site);
    let lost = refill::refill(&site, &agent::Refilling::default()).unwrap();
    assert_eq!((lost.revision, lost.lost.len()), (Some(1), 0));
    let own = seed::SigningKey::load(&site.state().join("signing.key")).unwrap().public();
    assert_eq!(refill::successor(&site), Some(own));
    // A next drive is the source's own, beside those of the copy computer.
    let spare = [site.drive("E0", 520_000), site.drive("E1", 520_000)];
    let report = site.prepare_missing(&spare).unwrap();
    let job = report.job.unwrap();
    assert_eq!(job.carries.as_ref().unwrap().seed.signer, own);
    let target = ShipTarget::Job(job.name);
    agent::ship(&site.ctx(), &target, &address(), &package("TRACK0002")).unwrap();
    site.dock("TRACK0002");
    let report = agent::backup_now(&ctx, &"files".parse().unwrap(), PASSWORD).unwrap();
    assert!(refill::confirmed(&report), "{report:?}");
    assert_eq!(refill::snapshots(&site), before);
    assert_eq!(refill::differences(&site, before[0]), refill::none());
}
