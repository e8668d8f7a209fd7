//! What has not arrived: asked for by name, sent once more, and nothing else sent.

use crate::journey::waiting;
use crate::site::{PASSWORD, Site, tree};
use agent::{Answer, BackupReport, Error, Event, Next, Sending, Way};
use flow::SeedState;
use model::{ObjectKey, ObjectKind};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

/// At the dock without its packs and one index.
fn without_packs() -> Site {
    let site = Site::prepared();
    site.ship("TRACK0001").unwrap();
    site.dock_without("TRACK0001", |key| key.kind() == ObjectKind::Pack);
    site
}

fn in_staging(site: &Site, kind: ObjectKind) -> Vec<ObjectKey> {
    let store = store::Folder::new(site.path("staging"));
    let mut keys: Vec<ObjectKey> =
        store::Store::list(&store, kind).unwrap().into_iter().map(|listed| listed.key).collect();
    keys.sort();
    keys
}

fn confirmed(report: &BackupReport) -> bool {
    matches!(report, BackupReport::Stored { confirmed: Some(_), .. })
}

fn by(site: &Site, way: Way) -> agent::Result<agent::Sent> {
    agent::send_wanted(&site.ctx(), &Sending { way, ..Sending::default() })
}

#[test]
fn a_backup_sends_what_is_wanted_and_goes_on() {
    let site = without_packs();
    let sent = Mutex::new(Vec::new());
    let hear = |event: Event<'_>| {
        if let Event::Sent { object, .. } = event {
            sent.lock().unwrap().push(object.key());
        }
    };
    let ctx = site.hearing(&hear);
    let report = agent::backup_now(&ctx, &"files".parse().unwrap(), PASSWORD).unwrap();
    assert!(confirmed(&report), "{report:?}");
    let mut sent = sent.into_inner().unwrap();
    sent.sort();
    // Just the packs, each once.
    assert_eq!(sent, in_staging(&site, ObjectKind::Pack));
    assert!(matches!(by(&site, Way::Network), Err(Error::NothingWanted)));
}

#[test]
fn a_lost_parcel_comes_by_network_when_that_is_chosen() {
    let site = Site::prepared();
    assert!(matches!(by(&site, Way::Network), Err(Error::NothingWanted)));
    site.ship("TRACK0001").unwrap();
    // It travels: nothing is wanted.
    assert!(matches!(by(&site, Way::Network), Err(Error::NothingWanted)));
    assert!(agent::wanted(&site.ctx(), None).unwrap()[0].1.is_empty());
    site.lose("seed-2026");
    let sent = by(&site, Way::Drive).unwrap();
    assert!(sent.left == sent.wanted && sent.objects == 0 && sent.wanted > 4, "{sent:?}");
    let rows = agent::wanted(&site.ctx(), None).unwrap().remove(0).1;
    assert_eq!(rows.len() as u64, sent.wanted);
    assert!(rows.iter().all(|row| row.answer == Answer::None && row.carried.is_some()));
    let sent = by(&site, Way::Network).unwrap();
    assert_eq!((sent.objects, sent.left, sent.gone.len()), (sent.wanted, 0, 0));
    let rows = agent::wanted(&site.ctx(), None).unwrap().remove(0).1;
    assert!(rows.iter().all(|row| row.answer == Answer::Sent));
    assert!(confirmed(&site.backup().unwrap()));
}

/// Its job is still open, as the parcel may turn up: but its drives would be sent back unread.
#[test]
fn a_lost_parcel_is_made_up_for_by_another() {
    let site = Site::prepared();
    site.ship("TRACK0001").unwrap();
    site.lose("seed-2026");
    let mut ctx = site.ctx();
    ctx.wanted = Way::Drive;
    let files = "files".parse().unwrap();
    let said = waiting(agent::backup_now(&ctx, &files, PASSWORD).unwrap());
    assert!(matches!(said.next, Next::AnotherJob { .. }), "{said:?}");
    let spare = [site.drive("E0", 520_000), site.drive("E1", 520_000)];
    let job = site.prepare_missing(&spare).unwrap().job.unwrap();
    let target = agent::ShipTarget::Job(job.name);
    agent::ship(&site.ctx(), &target, &crate::site::address(), &crate::site::package("TRACK0002"))
        .unwrap();
    site.dock("TRACK0002");
    assert!(confirmed(&agent::backup_now(&ctx, &files, PASSWORD).unwrap()));
}

#[test]
fn what_was_sent_stays_sent_when_the_rest_is_interrupted() {
    let site = without_packs();
    let mut ctx = site.ctx();
    ctx.wanted = Way::Drive;
    waiting(agent::backup_now(&ctx, &"files".parse().unwrap(), PASSWORD).unwrap());
    let packs = in_staging(&site, ObjectKind::Pack).len() as u64;
    let mut before = 0;
    loop {
        let hear = |event: Event<'_>| {
            if matches!(event, Event::Sent { .. }) {
                site.stop.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        };
        let what = Sending { way: Way::Network, ..Sending::default() };
        let ended = agent::send_wanted(&site.hearing(&hear), &what);
        site.stop.store(false, std::sync::atomic::Ordering::Relaxed);
        match ended {
            Err(Error::Interrupted) => {
                let there =
                    tree(&site.path("data/objects/vaults/vault1/fs01/pending")).len() as u64;
                assert!(there > before, "nothing was sent");
                before = there;
            }
            Ok(sent) => {
                assert_eq!(sent.objects + sent.before, packs);
                break;
            }
            // The last call has sent the last of it.
            Err(Error::NothingWanted) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(confirmed(&site.backup().unwrap()));
}

#[test]
fn a_link_that_is_too_slow_leaves_it_to_a_next_drive_which_holds_nothing_else() {
    let site = without_packs();
    // The drives took some seconds, on the clock of this site; a kilobyte a second would take minutes.
    let mut ctx = site.ctx();
    ctx.wanted = Way::Drive;
    waiting(agent::backup_now(&ctx, &"files".parse().unwrap(), PASSWORD).unwrap());
    let slow = Sending { limit_rate: 1000, ..Sending::default() };
    assert_eq!(slow.way, Way::Sooner);
    let sent = agent::send_wanted(&site.ctx(), &slow).unwrap();
    assert_eq!((sent.left, sent.objects), (sent.wanted, 0));
    assert!(sent.estimate.is_some_and(|it| it > sent.by_drive), "{sent:?}");
    let files = "files".parse().unwrap();
    let said = waiting(agent::backup_now(&ctx, &files, PASSWORD).unwrap());
    assert!(matches!(said.next, Next::Missing { .. }), "{said:?}");

    let spare = [site.drive("E0", 900_000)];
    let report = site.prepare_missing(&spare).unwrap();
    assert!(report.needed.is_none(), "{report:?}");
    let on_drive: Vec<PathBuf> = tree(&site.path("E0")).keys().map(PathBuf::from).collect();
    let packs: Vec<_> =
        on_drive.iter().filter(|path| path.to_string_lossy().contains("/data/")).collect();
    assert_eq!(packs.len(), in_staging(&site, ObjectKind::Pack).len());
    for other in ["/index/", "/snapshots/", "/keys/"] {
        assert!(!on_drive.iter().any(|path| path.to_string_lossy().contains(other)), "{other}");
    }
    let job = report.job.unwrap();
    assert_eq!(job.name.as_str(), "seed-2026-2");
    // It travels now, and is not wanted any more; nor is there more to prepare.
    let again = site.prepare_missing(&[site.drive("E1", 520_000)]);
    assert!(matches!(again, Err(Error::NothingWanted)), "{again:?}");
    assert!(tree(&site.path("E1")).is_empty());
    let target = agent::ShipTarget::Job(job.name);
    agent::ship(&site.ctx(), &target, &crate::site::address(), &crate::site::package("TRACK0002"))
        .unwrap();
    site.dock("TRACK0002");
    let report = agent::backup_now(&ctx, &files, PASSWORD).unwrap();
    assert!(confirmed(&report), "{report:?}");
}

#[test]
fn drives_of_missing_objects_go_on_with_the_list_they_were_begun_with() {
    let site = without_packs();
    let mut ctx = site.ctx();
    ctx.wanted = Way::Drive;
    let files = "files".parse().unwrap();
    waiting(agent::backup_now(&ctx, &files, PASSWORD).unwrap());
    let small = seed::reserve(4000) + 145_000;
    let first = site.prepare_missing(&[site.drive("E0", small)]).unwrap();
    assert!(first.needed.is_some_and(|needed| needed.objects > 0) && first.job.is_none());
    assert!(matches!(site.seed().record.state(), SeedState::Incomplete { .. }));
    let report = site.prepare_missing(&[site.drive("E1", 520_000)]).unwrap();
    assert_eq!(report.job.as_ref().map(|job| job.drive_list.len()), Some(2));
    let target = agent::ShipTarget::Job(report.job.unwrap().name);
    agent::ship(&site.ctx(), &target, &crate::site::address(), &crate::site::package("TRACK0002"))
        .unwrap();
    site.dock("TRACK0002");
    assert!(confirmed(&agent::backup_now(&ctx, &files, PASSWORD).unwrap()));
}

#[test]
fn a_set_of_missing_objects_is_announced_when_the_server_is_back() {
    let mut site = without_packs();
    let files = "files".parse().unwrap();
    {
        let mut ctx = site.ctx();
        ctx.wanted = Way::Drive;
        waiting(agent::backup_now(&ctx, &files, PASSWORD).unwrap());
    }
    let small = seed::reserve(4000) + 145_000;
    site.prepare_missing(&[site.drive("E0", small)]).unwrap();
    let port = site.server.as_ref().unwrap().address().port();
    site.server.take().unwrap().shutdown().unwrap();
    let error = site.prepare_missing(&[site.drive("E1", 520_000)]).unwrap_err();
    assert_eq!(error.kind(), model::ErrorKind::Unavailable, "{error}");
    let before = tree(&site.path("E1"));
    site.start(|config| config.listen.set_port(port));
    let report = site.prepare_missing(&[]).unwrap();
    assert_eq!(report.job.map(|job| job.drive_list.len()), Some(2));
    assert_eq!(tree(&site.path("E1")), before);
}

#[test]
fn what_staging_has_damaged_is_not_sent_and_is_said() {
    let site = without_packs();
    // What is needed to make the others anew is kept elsewhere, too.
    let kept = site.path(&format!("state/seeds/{}.refill/repository", site.seed().record.id));
    let mut packs = in_staging(&site, ObjectKind::Pack);
    packs.retain(|pack| !kept.join(pack.path()).exists());
    let at = |key: &ObjectKey| site.path("staging").join(key.path());
    let good = fs::read(at(&packs[0])).unwrap();
    let mut bad = good.clone();
    bad[7] ^= 1;
    fs::remove_file(at(&packs[0])).unwrap();
    fs::write(at(&packs[0]), &bad).unwrap();
    fs::rename(at(&packs[1]), site.path("aside")).unwrap();
    let mut ctx = site.ctx();
    ctx.wanted = Way::Drive;
    let said = waiting(agent::backup_now(&ctx, &"files".parse().unwrap(), PASSWORD).unwrap());
    assert!(matches!(said.next, Next::Missing { .. }), "{said:?}");
    let sent = by(&site, Way::Network).unwrap();
    let gone: Vec<ObjectKey> = sent.gone.iter().map(seed::Object::key).collect();
    assert_eq!(gone, packs[..2]);
    let rows = agent::wanted(&site.ctx(), None).unwrap().remove(0).1;
    assert_eq!(rows.iter().find(|row| row.key == packs[1]).unwrap().answer, Answer::Gone);
    assert!(tree(&site.vault_folder()).is_empty());
    fs::remove_file(at(&packs[0])).unwrap();
    fs::write(at(&packs[0]), &good).unwrap();
    fs::rename(site.path("aside"), at(&packs[1])).unwrap();
    assert!(confirmed(&site.backup().unwrap()));
}

/// Whoever answers in the server's place cannot have more than what the seed holds sent, or a list believed
/// that the vault has not signed.
#[test]
fn a_list_that_is_not_the_vaults_or_asks_for_more_sends_nothing() {
    let site = without_packs();
    let mut ctx = site.ctx();
    ctx.wanted = Way::Drive;
    waiting(agent::backup_now(&ctx, &"files".parse().unwrap(), PASSWORD).unwrap());
    let seed = site.seed().record.id;
    let at = site.path(&format!("data/objects/vaults/vault1/fs01/wanted/{seed}.want-list"));
    let good = fs::read(&at).unwrap();
    let secret: [u8; 32] = fs::read(site.path("data/receipt.key")).unwrap().try_into().unwrap();
    let key = seed::SigningKey::from_bytes(&secret);
    let list = seed::WantList::decode(&good, &seed::Trust::Key(key.public())).unwrap().body;
    let refused = |what: &str, bytes: &[u8]| {
        fs::write(&at, bytes).unwrap();
        let error = agent::wanted(&site.ctx(), None).unwrap_err();
        assert!(matches!(error, Error::WantList { .. }), "{what}: {error}");
    };
    for at in (0..good.len()).step_by(7) {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        refused(&format!("byte {at}"), &bytes);
    }
    let other = seed::SigningKey::from_bytes(&[9; 32]);
    refused("another key", &list.encode(&other).unwrap());
    let mut more = list.clone();
    more.objects[0].length += 1;
    refused("another length", &more.encode(&key).unwrap());
    let mut more = list.clone();
    more.objects[0].name.0[0] ^= 1;
    more.objects.sort();
    refused("an object that is not the seed's", &more.encode(&key).unwrap());
    let mut header = list.clone();
    header.header.server = "fs02".parse().unwrap();
    refused("another server", &header.encode(&key).unwrap());
    let mut header = list;
    header.header.root = model::Digest([1; 32]);
    refused("another inventory", &header.encode(&key).unwrap());
    fs::write(&at, &good).unwrap();
    assert!(!agent::wanted(&site.ctx(), None).unwrap()[0].1.is_empty());
}
