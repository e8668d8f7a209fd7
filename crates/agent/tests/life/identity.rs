//! Who the machine is, and what opens its repository: its certificate, its recovery kit, its passphrase. Whoever dies, there is
//! one of each that works.

use crate::journey::files;
use crate::site::{PASSWORD, Site, noise};
use agent::{BackupReport, Context, Enrolment, Error, Event, OwnError, Place};
use credfile::VaultCredentials;
use jiff::{SignedDuration, Timestamp};
use model::{Digest, ErrorKind, ObjectKind};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use store::{Folder, Store};

const NEW: &[u8] = b"eine ganz neue Passphrase";

pub(crate) fn vault_file(site: &Site) -> VaultCredentials {
    let file = site.admin().vault_credentials(&"vault1".parse().unwrap()).unwrap();
    VaultCredentials::read(&file).unwrap()
}

/// Registers by a vault's credentials, as if it were so many days ago.
pub(crate) fn enrol(
    ctx: &mut Context<'_>,
    file: &VaultCredentials,
    take_over: bool,
) -> agent::Result<()> {
    ctx.now = &Timestamp::now;
    let name = "fs01".parse().unwrap();
    agent::enrol(ctx, &Enrolment { file, name: &name, replace: false, take_over }).map(drop)
}

fn long_ago() -> Timestamp {
    Timestamp::now() - SignedDuration::from_hours(900 * 24)
}

/// Registered with a certificate of its own.
pub(crate) fn enrolled() -> (Site, VaultCredentials) {
    let site = Site::unregistered();
    let file = vault_file(&site);
    enrol(&mut site.ctx(), &file, false).unwrap();
    (site, file)
}

pub(crate) fn client(site: &Site) -> agent::Result<client::Client> {
    agent::client(site.state(), &store::Proxies::default())
}

fn works(site: &Site) -> bool {
    client(site).is_ok_and(|client| client.locations().is_ok())
}

/// Calls `act` again and again; the nth call dies at its nth step, and `holds` is asked after each death.
fn dying<T>(site: &Site, act: impl Fn(&mut Context<'_>) -> T, holds: impl Fn(usize)) -> (T, usize) {
    for n in 0.. {
        let left = AtomicUsize::new(n);
        let events = |event: Event<'_>| {
            if let Event::Step(step) = event
                && left.fetch_sub(1, Ordering::Relaxed) == 0
            {
                panic!("dies when {step}");
            }
        };
        let mut ctx = site.hearing(&events);
        if let Ok(done) = catch_unwind(AssertUnwindSafe(|| act(&mut ctx))) {
            return (done, n);
        }
        holds(n);
    }
    unreachable!("there are not that many steps");
}

fn opens(folder: &Path, password: &[u8]) -> bool {
    let store: Arc<dyn Store> = Arc::new(Folder::new(folder));
    repo::Repository::open(store, password, repo::Author::default()).is_ok()
}

fn keys(folder: &Path) -> usize {
    Folder::new(folder).list(ObjectKind::Key).unwrap().len()
}

#[test]
fn a_machine_backs_up_by_its_certificate_and_has_no_token() {
    let (site, _) = enrolled();
    let machine = site.state().join("machine.pem");
    assert_eq!(fs::metadata(&machine).unwrap().permissions().mode() & 0o777, 0o600);
    let kept = fs::read_to_string(site.state().join("agent.json")).unwrap();
    assert!(kept.contains("\"token\": \"\""), "{kept}");
    let key = fs::read_to_string(&machine).unwrap();
    let data = crate::site::tree(&site.path("data"));
    let middle = key.lines().nth(5).unwrap().as_bytes();
    assert!(!data.values().any(|file| file.windows(middle.len()).any(|it| it == middle)));
    let mut group = site.group("files");
    group.initial = agent::NewInitial::Network;
    agent::create_group(&site.ctx(), &group).unwrap();
    assert!(matches!(site.backup().unwrap(), BackupReport::Stored { .. }));
    let points = agent::recovery_points(&site.ctx(), Some(&files()), PASSWORD).unwrap();
    assert_eq!((points.place, points.points.len()), (Place::Vault, 1));
    let status = agent::status(&site.ctx()).unwrap();
    assert!(status.away.is_none() && status.machine.unwrap().until > Timestamp::now());
}

#[test]
fn dying_at_any_step_of_registering_leaves_it_as_it_was_or_done_and_the_same_file_goes_on() {
    let site = Site::unregistered();
    let file = vault_file(&site);
    let (done, deaths) = dying(&site, |ctx| enrol(ctx, &file, false), |_| {});
    done.unwrap();
    assert!(works(&site) && deaths >= 4, "{deaths}");
    // The same for one that is registered: it works at any moment.
    let before = fs::read(site.state().join("machine.pem")).unwrap();
    let (done, deaths) =
        dying(&site, |ctx| enrol(ctx, &file, false), |n| assert!(works(&site), "death {n}"));
    done.unwrap();
    assert!(works(&site) && deaths >= 4, "{deaths}");
    assert_ne!(before, fs::read(site.state().join("machine.pem")).unwrap());
    assert!(!site.state().join("machine.new.pem").exists());
}

#[test]
fn a_certificate_is_renewed_before_it_ends_and_works_whenever_it_dies() {
    let site = Site::unregistered();
    let file = vault_file(&site);
    let name = "fs01".parse().unwrap();
    let mut ctx = site.ctx();
    ctx.now = &long_ago;
    let what = Enrolment { file: &file, name: &name, replace: false, take_over: false };
    agent::enrol(&ctx, &what).unwrap();
    let old = fs::read(site.state().join("machine.pem")).unwrap();
    assert_eq!(agent::renew(&ctx).unwrap().map(|machine| machine.is_new), Some(false));
    let renew = |ctx: &mut Context<'_>| {
        ctx.now = &Timestamp::now;
        agent::renew(ctx).unwrap().unwrap()
    };
    let (machine, deaths) = dying(&site, renew, |n| assert!(works(&site), "death {n}"));
    assert!(deaths >= 4, "{deaths}");
    assert!(machine.until > Timestamp::now() + SignedDuration::from_hours(1000 * 24));
    assert!(works(&site) && !site.state().join("machine.new.pem").exists());
    // The last call that was whole has ended the old one.
    let new = fs::read(site.state().join("machine.pem")).unwrap();
    assert_ne!(old, new);
    fs::write(site.state().join("machine.pem"), &old).unwrap();
    let gone = client(&site).unwrap().locations().unwrap_err();
    assert!(matches!(gone, client::Error::NotKnown { .. }), "{gone}");
    fs::write(site.state().join("machine.pem"), &new).unwrap();
    let mut ctx = site.ctx();
    ctx.now = &Timestamp::now;
    assert!(!agent::renew(&ctx).unwrap().unwrap().is_new, "once");
}

#[test]
fn a_backup_renews_the_certificate_by_the_way_and_goes_on_when_it_cannot() {
    let mut site = Site::unregistered();
    let file = vault_file(&site);
    let name = "fs01".parse().unwrap();
    let mut ctx = site.ctx();
    ctx.now = &long_ago;
    let what = Enrolment { file: &file, name: &name, replace: false, take_over: false };
    agent::enrol(&ctx, &what).unwrap();
    drop(ctx);
    agent::create_group(&site.ctx(), &site.group("files")).unwrap();
    let backup = |site: &Site| {
        let mut ctx = site.ctx();
        ctx.now = &Timestamp::now;
        agent::backup_now(&ctx, &files(), PASSWORD)
    };
    let old = fs::read(site.state().join("machine.pem")).unwrap();
    site.server.take().unwrap().shutdown().unwrap();
    assert!(matches!(backup(&site).unwrap(), BackupReport::Staged { .. }), "staging needs nobody");
    assert_eq!(old, fs::read(site.state().join("machine.pem")).unwrap());
    site.start(|_| {});
    // The port is another one now.
    let text = fs::read_to_string(site.state().join("agent.json")).unwrap();
    let mut kept: wire::Credentials = serde_json::from_str(&text).unwrap();
    kept.endpoint = site.admin().credentials().endpoint.clone();
    fs::write(site.state().join("agent.json"), serde_json::to_string(&kept).unwrap()).unwrap();
    backup(&site).unwrap();
    assert_ne!(old, fs::read(site.state().join("machine.pem")).unwrap());
    assert!(works(&site));
}

#[test]
fn another_machine_of_that_name_is_displaced_only_when_that_is_meant() {
    let (site, file) = enrolled();
    let theirs = site.remember();
    fs::remove_dir_all(site.state()).unwrap();
    let refused = enrol(&mut site.ctx(), &file, false).unwrap_err();
    let Error::Client(cause) = &refused else { panic!("{refused}") };
    assert_eq!(cause.code(), Some(&wire::Code::AlreadyExists), "{refused}");
    assert!(refused.to_string().contains("last heard of"), "{refused}");
    assert!(!site.state().join("machine.new.pem").exists());
    enrol(&mut site.ctx(), &file, true).unwrap();
    assert!(works(&site));
    let ours = site.remember();
    site.forget(&theirs);
    let gone = client(&site).unwrap().locations().unwrap_err();
    assert!(matches!(gone, client::Error::NotKnown { .. }), "{gone}");
    assert!(gone.to_string().contains("--take-over"), "{gone}");
    site.forget(&ours);
    assert!(works(&site));
}

#[test]
fn what_was_taken_over_has_its_recovery_points_and_sends_nothing_that_is_there() {
    let (site, file) = enrolled();
    let mut group = site.group("files");
    group.initial = agent::NewInitial::Network;
    agent::create_group(&site.ctx(), &group).unwrap();
    let BackupReport::Stored { outcome: first, .. } = site.backup().unwrap() else { panic!() };
    fs::remove_dir_all(site.state()).unwrap();
    enrol(&mut site.ctx(), &file, true).unwrap();
    let points = agent::recovery_points(&site.ctx(), None, PASSWORD).unwrap();
    assert_eq!(points.points[0].group.as_ref(), Some(&files()));
    agent::create_group(&site.ctx(), &group).unwrap();
    // It has another name now, too.
    let mut ctx = site.ctx();
    ctx.author.hostname = "fs01-new".into();
    let report = agent::backup_now(&ctx, &files(), PASSWORD).unwrap();
    let BackupReport::Stored { outcome, .. } = report else { panic!() };
    assert_eq!(outcome.parent, Some(first.snapshot));
    assert_eq!((outcome.summary.files_unmodified, outcome.summary.data_blobs), (6, 0));
}

#[test]
fn a_new_repository_wants_a_long_passphrase_and_an_old_one_goes_on() {
    let site = Site::with_group();
    let short = agent::backup_now(&site.ctx(), &files(), b"fifteen letters").unwrap_err();
    let wanted = OwnError::ShortPassphrase { characters: 15 };
    assert!(matches!(&short, Error::Own(error) if *error == wanted), "{short}");
    assert_eq!(Folder::new(site.staging()).list(ObjectKind::Key).map_or(0, |it| it.len()), 0);
    let store: Arc<dyn Store> = Arc::new(Folder::new(site.staging()));
    let author = site.ctx().author;
    repo::Repository::init(store, b"geheim", repo::KdfParams::WEAK, author, Timestamp::now())
        .unwrap();
    let report = agent::backup_now(&site.ctx(), &files(), b"geheim").unwrap();
    assert!(matches!(report, BackupReport::Staged { .. }) && agent::is_short(b"geheim"));
    assert!(!agent::is_short("sechzehn zeichäß".as_bytes()), "characters, not bytes");
}

/// Stock restic, with that as its password.
fn restic_opens(folder: &Path, password: &str) -> bool {
    let mut restic = Command::new("restic");
    restic.args(["--no-cache", "--no-lock", "-r"]).arg(folder).arg("snapshots");
    restic.env("RESTIC_PASSWORD", password);
    restic.output().is_ok_and(|output| output.status.success())
}

#[test]
fn a_recovery_kit_opens_what_is_staged_and_later_the_vault_and_nothing_here_knows_it() {
    let site = Site::with_group();
    let none = agent::recovery_kit(&site.ctx(), PASSWORD).unwrap_err();
    assert_eq!(none.kind(), ErrorKind::NoRepository, "{none}");
    site.backup().unwrap();
    assert_eq!(agent::status(&site.ctx()).unwrap().keys.kit, None);
    let lost = agent::recovery_kit(&site.ctx(), PASSWORD).unwrap();
    let kit = agent::recovery_kit(&site.ctx(), PASSWORD).unwrap();
    assert_eq!(agent::status(&site.ctx()).unwrap().keys.kit, None, "nobody has it yet");
    agent::handed_over(&site.ctx(), &kit).unwrap();
    assert!(agent::status(&site.ctx()).unwrap().keys.kit.is_some());
    let (secret, staging) = (kit.secret(), site.path("staging"));
    assert!(opens(&staging, secret.as_bytes()));
    assert!(!opens(&staging, lost.secret().as_bytes()), "one that nobody got is gone");
    if Command::new("restic").arg("version").output().is_ok() {
        assert!(restic_opens(&staging, &secret) && !restic_opens(&staging, &lost.secret()));
    }
    let text = kit.text();
    for word in
        [secret.as_str(), "vault1", "fs01", &kit.repository.to_hex(), "restic -r rest:https"]
    {
        assert!(text.contains(word), "{word} in {}", text.as_str());
    }
    for (name, bytes) in crate::site::tree(site.state()) {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains(secret.as_str()), "{name}");
    }
    // The drives carry it, and a kit that is made while they travel gets to the vault with them.
    assert!(site.prepare(&site.drives(2)).unwrap().needed.is_none());
    let late = agent::recovery_kit(&site.ctx(), PASSWORD).unwrap();
    agent::handed_over(&site.ctx(), &late).unwrap();
    assert!(agent::status(&site.ctx()).unwrap().keys.waits);
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    site.backup().unwrap();
    let vault = site.vault_folder();
    assert!(opens(&vault, secret.as_bytes()) && opens(&vault, late.secret().as_bytes()));
    assert!(!agent::status(&site.ctx()).unwrap().keys.waits);
    // Its own key is nothing of what staging held beyond the seed.
    let seed = site.seed().record.id;
    let remove = agent::Cleaning::Remove { password: PASSWORD };
    assert!(agent::clean_staging(&site.ctx(), seed, remove).unwrap().kept.is_empty());
    let (count, _) = agent::revoke_kits(&site.ctx(), PASSWORD, None).unwrap();
    assert_eq!(count, 2);
    let shown = agent::repository_keys(&site.ctx(), PASSWORD).unwrap();
    let going: Vec<bool> = shown.iter().map(|key| key.goes.is_some()).collect();
    assert_eq!((shown.len(), going.iter().filter(|goes| **goes).count()), (3, 2));
    assert!(shown.iter().all(|key| key.by_us == key.goes.is_some()));
    assert_eq!(agent::status(&site.ctx()).unwrap().keys.kit, None);
    let own = agent::revoke_kits(&site.ctx(), secret.as_bytes(), None).unwrap_err();
    assert!(matches!(own, Error::Own(OwnError::OwnKit { .. })), "{own}");
}

#[test]
fn a_kit_is_made_while_the_server_is_away() {
    let mut site = Site::with_group();
    site.backup().unwrap();
    site.server.take().unwrap().shutdown().unwrap();
    let kit = agent::recovery_kit(&site.ctx(), PASSWORD).unwrap();
    assert!(kit.away.is_some());
    assert!(opens(&site.path("staging"), kit.secret().as_bytes()));
}

#[test]
fn the_passphrase_of_a_vault_is_changed_and_the_old_one_goes_after_the_hold() {
    let (site, _) = enrolled();
    let mut group = site.group("files");
    group.initial = agent::NewInitial::Network;
    agent::create_group(&site.ctx(), &group).unwrap();
    site.backup().unwrap();
    let kit = agent::recovery_kit(&site.ctx(), PASSWORD).unwrap();
    agent::handed_over(&site.ctx(), &kit).unwrap();
    let vault = site.vault_folder();
    let refuse = |old: &[u8], new: &[u8]| {
        agent::change_passphrase(&site.ctx(), old, new).unwrap_err().kind()
    };
    assert_eq!(refuse(PASSWORD, b"short"), ErrorKind::Invalid);
    assert_eq!(refuse(PASSWORD, PASSWORD), ErrorKind::Invalid);
    assert_eq!(refuse(b"not the passphrase", NEW), ErrorKind::WrongPassword);
    let changed = agent::change_passphrase(&site.ctx(), PASSWORD, NEW).unwrap();
    let hold = changed.old_until.unwrap().duration_since(Timestamp::now()).as_hours();
    assert!((335..=336).contains(&hold), "{hold}");
    assert!(
        opens(&vault, NEW) && opens(&vault, PASSWORD) && opens(&vault, kit.secret().as_bytes())
    );
    let report = agent::backup_now(&site.ctx(), &files(), NEW).unwrap();
    let BackupReport::Stored { outcome, .. } = report else { panic!() };
    assert_eq!(outcome.summary.data_blobs, 0, "it is the same repository");
    let mut site = site;
    site.later(15, |config| config.tick = Duration::from_millis(20));
    let began = std::time::Instant::now();
    while opens(&vault, PASSWORD) {
        assert!(began.elapsed() < Duration::from_secs(60));
        std::thread::yield_now();
    }
    assert!(opens(&vault, NEW) && opens(&vault, kit.secret().as_bytes()));
}

#[test]
fn a_removal_that_this_machine_has_not_asked_for_is_seen_and_can_be_taken_back() {
    let (site, _) = enrolled();
    let mut group = site.group("files");
    group.initial = agent::NewInitial::Network;
    agent::create_group(&site.ctx(), &group).unwrap();
    site.backup().unwrap();
    let kit = agent::recovery_kit(&site.ctx(), PASSWORD).unwrap();
    agent::handed_over(&site.ctx(), &kit).unwrap();
    // Whoever has got at the machine's certificate.
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    client(&site).unwrap().remove_key(&vault, &server, kit.key).unwrap();
    let foreign = agent::status(&site.ctx()).unwrap().keys.foreign;
    assert_eq!(foreign.iter().map(|removal| removal.key).collect::<Vec<Digest>>(), [kit.key]);
    agent::keep_key(&site.ctx(), kit.key).unwrap();
    assert!(agent::status(&site.ctx()).unwrap().keys.foreign.is_empty());
}

#[test]
fn dying_at_any_step_of_a_change_leaves_a_passphrase_that_opens_everything() {
    let site = Site::with_group();
    site.backup().unwrap();
    let staging = site.path("staging");
    let change = |ctx: &mut Context<'_>| agent::change_passphrase(ctx, PASSWORD, NEW).unwrap();
    let holds = |n| {
        let (old, new) = (opens(&staging, PASSWORD), opens(&staging, NEW));
        assert!(old || new, "death {n}");
        let status = agent::status(&site.ctx()).unwrap().keys;
        assert!(status.change.is_some(), "death {n} is said");
    };
    let (_, deaths) = dying(&site, change, holds);
    assert!(deaths >= 4, "{deaths}");
    assert!(opens(&staging, NEW) && !opens(&staging, PASSWORD));
    assert_eq!(keys(&staging), 1, "what was begun was gone on with");
    assert_eq!(agent::status(&site.ctx()).unwrap().keys.change, None);
}

#[test]
fn a_change_while_a_seed_travels_reaches_the_vault_with_it() {
    let site = Site::prepared();
    let changed = agent::change_passphrase(&site.ctx(), PASSWORD, NEW).unwrap();
    let staging = site.path("staging");
    assert_eq!(changed.old_until, None);
    assert_eq!(changed.old_stays.len(), 2, "staging, and what is kept of the seed: {changed:?}");
    assert_eq!(changed.old_stays[0], staging);
    assert!(opens(&staging, NEW) && opens(&staging, PASSWORD));
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    fs::write(site.source().join("late"), noise(9, 5000)).unwrap();
    let report = agent::backup_now(&site.ctx(), &files(), NEW).unwrap();
    assert!(matches!(report, BackupReport::Stored { confirmed: Some(_), .. }), "{report:?}");
    let vault = site.vault_folder();
    assert!(opens(&vault, NEW) && opens(&vault, PASSWORD));
    let keys = agent::status(&site.ctx()).unwrap().keys;
    assert!(keys.goes.is_some() && !keys.waits && keys.foreign.is_empty(), "{keys:?}");
    let seed = site.seed().record.id;
    let remove = agent::Cleaning::Remove { password: NEW };
    assert!(agent::clean_staging(&site.ctx(), seed, remove).unwrap().kept.is_empty());
}

#[test]
fn a_change_of_mind_leaves_no_key_of_the_passphrase_that_was_not_to_be() {
    let site = Site::with_group();
    site.backup().unwrap();
    let left = AtomicUsize::new(2);
    let events = |event: Event<'_>| {
        if matches!(event, Event::Step(_)) && left.fetch_sub(1, Ordering::Relaxed) == 0 {
            panic!("dies");
        }
    };
    let other = b"eine andere Passphrase";
    let ctx = site.hearing(&events);
    let died = AssertUnwindSafe(|| agent::change_passphrase(&ctx, PASSWORD, other).unwrap());
    assert!(catch_unwind(died).is_err());
    let staging = site.path("staging");
    agent::change_passphrase(&site.ctx(), PASSWORD, NEW).unwrap();
    assert!(opens(&staging, NEW) && !opens(&staging, other) && !opens(&staging, PASSWORD));
    assert_eq!(keys(&staging), 1);
}

#[test]
fn agent_and_server_each_refuse_one_that_is_too_old_and_say_which_and_what_to_install() {
    let (mut site, _) = enrolled();
    let mut group = site.group("files");
    group.initial = agent::NewInitial::Network;
    agent::create_group(&site.ctx(), &group).unwrap();
    let token = site.credentials("vault1", "fs02");
    let backup = |site: &Site| site.backup().unwrap_err().to_string();
    site.start(|config| config.version = "0.0.9".to_owned());
    let said = backup(&site);
    for word in ["server at https://", "version 0.0.9", "newer packmule on the server"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    let away = agent::status(&site.ctx()).unwrap().away.unwrap();
    assert!(away.to_string().contains("0.0.9"), "{away}");
    // With a token it is no other.
    let other = site.path("other");
    let mut ctx = site.ctx();
    ctx.state = &other;
    let refused = agent::register(&ctx, &token, false).unwrap_err();
    assert!(refused.to_string().contains("0.0.9"), "{refused}");
    site.start(|config| config.oldest_agent = (9, 1, 0));
    let said = backup(&site);
    for word in ["this agent is of version", "9.1.0 and newer", "packmule on the source server"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    site.start(|_| {});
    assert!(matches!(site.backup().unwrap(), BackupReport::Stored { .. }));
}
