//! What the agent must not believe: receipts, vaults and passwords that are wrong. Whatever is
//! wrong, the seed is not confirmed and nothing at the source can be deleted.

use crate::journey::waiting;
use crate::site::{PASSWORD, Site, tree};
use agent::{BackupReport, Cleaning, Error, Next};
use ed25519_dalek::{Signer, SigningKey};
use flow::SeedState;
use model::{Digest, ErrorKind};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use wire::{JobPatch, PublicationRequest, PublicationState, Receipt};

/// Published by an administrator, so that the agent has not looked yet.
fn published() -> Site {
    let site = Site::landed();
    let admin = site.admin();
    let request = PublicationRequest::default();
    let (vault, server) = ("vault1".parse().unwrap(), "fs01".parse().unwrap());
    let mut status = admin.publish(&vault, &server, &request).unwrap();
    while status.state != PublicationState::Published {
        status = admin.publication(&vault, &server).unwrap();
    }
    site
}

/// The error of a backup that must confirm nothing, and of a cleaning that must remove nothing.
fn refused(site: &Site) -> Error {
    let before = tree(Path::new(&site.staging()));
    // What was backed up meanwhile is no reason to believe anything.
    let error = match site.backup() {
        Ok(BackupReport::Waiting(mut waiting)) => {
            assert!(waiting.increment.is_some());
            Arc::into_inner(waiting.stuck.take().unwrap()).unwrap()
        }
        other => other.unwrap_err(),
    };
    let record = site.seed().record;
    assert_ne!(record.state(), SeedState::Confirmed, "{error}");
    assert!(record.receipt.is_none());
    let remove = Cleaning::Remove { password: PASSWORD };
    let uncleaned = agent::clean_staging(&site.ctx(), record.id, remove).unwrap_err();
    assert!(matches!(uncleaned, Error::Refused(flow::Refused::StagingNeeded { .. })));
    let mut after = tree(Path::new(&site.staging()));
    after.retain(|name, _| !name.starts_with("locks/"));
    assert_eq!(after, before);
    error
}

fn confirmed(site: &Site) {
    let report = site.backup().unwrap();
    assert!(matches!(report, BackupReport::Stored { confirmed: Some(_), .. }), "{report:?}");
}

/// A receipt as it lies in the server's database.
#[derive(Clone)]
struct Stored {
    document: String,
    key: Vec<u8>,
    signature: Vec<u8>,
}

impl Stored {
    /// Signed anew by the vault's own key, after a change of what it says.
    fn saying(&self, site: &Site, change: impl FnOnce(&mut Value)) -> Self {
        let mut value: Value = serde_json::from_str(&self.document).unwrap();
        change(&mut value);
        let secret = fs::read(site.path("data/receipt.key")).unwrap();
        Self::signed(&value.to_string(), secret.as_slice().try_into().unwrap())
    }

    fn signed(document: &str, secret: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(secret);
        let message = [Receipt::DOMAIN, document.as_bytes()].concat();
        Self {
            document: document.to_owned(),
            key: key.verifying_key().to_bytes().to_vec(),
            signature: key.sign(&message).to_bytes().to_vec(),
        }
    }
}

async fn database(site: &Site) -> sqlx::SqlitePool {
    let url = format!("sqlite://{}", site.path("data/packmule.db").display());
    sqlx::SqlitePool::connect(&url).await.unwrap()
}

fn read(site: &Site) -> Stored {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let pool = database(site).await;
        let query = sqlx::query_as("SELECT document, public_key, signature FROM receipt");
        let (document, key, signature) = query.fetch_one(&pool).await.unwrap();
        pool.close().await;
        Stored { document, key, signature }
    })
}

fn write(site: &Site, receipt: &Stored) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let pool = database(site).await;
        sqlx::query("UPDATE receipt SET document = ?, public_key = ?, signature = ?")
            .bind(&receipt.document)
            .bind(&receipt.key)
            .bind(&receipt.signature)
            .execute(&pool)
            .await
            .unwrap();
        pool.close().await;
    });
}

/// What a receipt says of the source's chain in the custody log.
fn own_head(receipt: &mut Value) -> &mut Value {
    let heads = receipt["custody"].as_array_mut().unwrap();
    heads.iter_mut().find(|head| head["kind"] == "source").unwrap()
}

#[test]
fn a_receipt_that_is_forged_or_for_something_else_confirms_nothing() {
    let site = published();
    let good = read(&site);
    let other = json!("7".repeat(64));
    let lies: [(&str, Stored); 11] = [
        ("another key", Stored::signed(&good.document, &[9; 32])),
        ("signature", Stored { signature: vec![7; 64], ..good.clone() }),
        ("signature", Stored { document: good.document.replace("fs01", "fs02"), ..good.clone() }),
        ("another vault", good.saying(&site, |it| it["server"] = json!("fs02"))),
        ("root", good.saying(&site, |it| it["root"] = other.clone())),
        ("repository", good.saying(&site, |it| it["repository"] = other.clone())),
        ("snapshots", good.saying(&site, |it| it["snapshots"] = json!([other]))),
        ("objects", good.saying(&site, |it| it["objects"] = json!(3))),
        ("cut off", good.saying(&site, |it| it["custody"] = json!([]))),
        ("another entry", good.saying(&site, |it| own_head(it)["last"] = other.clone())),
        // Without the keys it is another root.
        ("root", good.saying(&site, |it| it["keys"] = json!("vault"))),
    ];
    for (word, lie) in lies {
        write(&site, &lie);
        let error = refused(&site);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(word), "{word}: {error}");
    }
    write(&site, &good);
    confirmed(&site);
}

/// The first file below a folder of the vault's repository.
fn some(site: &Site, folder: &str) -> std::path::PathBuf {
    let folder = site.vault_folder().join(folder);
    let files = tree(&folder);
    folder.join(files.keys().next().unwrap())
}

#[test]
fn whatever_the_vault_lacks_is_named_and_confirms_nothing() {
    let site = published();
    for folder in ["data", "index", "snapshots", "keys"] {
        let path = some(&site, folder);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let error = refused(&site);
        let name = path.file_name().unwrap().to_str().unwrap();
        match folder {
            // Without a key the vault cannot even be opened.
            "keys" => assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}"),
            _ => {
                assert!(matches!(error, Error::NotLanded { .. }), "{error}");
                assert!(error.to_string().contains(name), "{name}: {error}");
            }
        }
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        let error = refused(&site);
        assert!(folder == "keys" || error.to_string().contains(name), "{name}: {error}");
        fs::write(&path, bytes).unwrap();
    }
    confirmed(&site);
}

#[test]
fn another_repository_in_the_vault_is_not_the_seeds() {
    let site = published();
    let (config, keys) = (site.vault_folder().join("config"), site.vault_folder().join("keys"));
    let (key, sealed) = (some(&site, "keys"), fs::read(&config).unwrap());
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    fs::remove_file(&config).unwrap();
    let store = std::sync::Arc::new(store::Folder::new(site.path("other")));
    let weak = repo::KdfParams::WEAK;
    let author = repo::Author::default();
    repo::Repository::init(store, PASSWORD, weak, author, jiff::Timestamp::UNIX_EPOCH).unwrap();
    for (name, bytes) in tree(&site.path("other")) {
        fs::write(site.vault_folder().join(name), bytes).unwrap();
    }
    let error = refused(&site);
    assert!(matches!(error, Error::OtherRepository { .. }), "{error}");
    fs::remove_dir_all(&keys).unwrap();
    fs::create_dir(&keys).unwrap();
    fs::write(&key, kept).unwrap();
    fs::remove_file(&config).unwrap();
    fs::write(&config, sealed).unwrap();
    confirmed(&site);
}

#[test]
fn a_wrong_password_changes_nothing() {
    let site = Site::with_group();
    site.backup().unwrap();
    let name = "files".parse().unwrap();
    let wrong = || agent::backup_now(&site.ctx(), &name, b"falsch").unwrap_err();
    let before = site.seed().record;
    assert_eq!(wrong().kind(), ErrorKind::WrongPassword);
    let staging = site.staging();
    let drives = site.drives(2);
    let what = agent::Preparation {
        staging: &staging,
        drives: &drives,
        encrypted: &[],
        read_back: &seed::PlainReads,
        filling: seed::Filling::Even,
        limit_rate: 0,
        parity: None,
        most: None,
        job: None,
        missing: false,
    };
    let error = agent::prepare(&site.ctx(), &what, Some(b"falsch")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WrongPassword);
    assert!(tree(&site.path("D0")).is_empty());
    assert_eq!(site.seed().record.backups, before.backups);
    site.prepare(&drives).unwrap();
    site.ship("TRACK0001").unwrap();
    site.dock("TRACK0001");
    assert_eq!(wrong().kind(), ErrorKind::WrongPassword);
    assert_eq!(site.seed().record.state(), SeedState::Landed);
    confirmed(&site);
}

#[test]
fn nothing_is_cleaned_before_it_is_confirmed_or_when_the_receipt_no_longer_stands() {
    let site = Site::with_group();
    site.backup().unwrap();
    let seed = site.seed().record.id;
    let remove = Cleaning::Remove { password: PASSWORD };
    let refuses = |when: &str| {
        let before = tree(Path::new(&site.staging()));
        for cleaning in [Cleaning::DryRun, remove] {
            agent::clean_staging(&site.ctx(), seed, cleaning).expect_err(when);
        }
        assert_eq!(tree(Path::new(&site.staging())), before, "{when}");
    };
    refuses("staged");
    site.prepare(&site.drives(1)).unwrap();
    refuses("preparing");
    site.prepare(&site.drives(2)).unwrap();
    refuses("prepared");
    site.ship("TRACK0001").unwrap();
    refuses("shipped");
    site.dock("TRACK0001");
    refuses("landed");
    site.backup().unwrap();
    let file = site.state().join(format!("seeds/{seed}.json"));
    let good = fs::read_to_string(&file).unwrap();
    let mut record: Value = serde_json::from_str(&good).unwrap();
    let signature = &mut record["receipt"]["signed"]["signature"];
    *signature = json!("00".repeat(64));
    fs::write(&file, record.to_string()).unwrap();
    refuses("the kept receipt was changed");
    fs::write(&file, good).unwrap();
    let inventory = site.seed().record.contents.unwrap().inventory_file;
    let listed = fs::read(&inventory).unwrap();
    fs::write(&inventory, "").unwrap();
    let pack = tree(Path::new(&site.staging())).into_keys().find(|it| it.starts_with("data/"));
    let pack = Path::new(&site.staging()).join(pack.unwrap());
    let bytes = fs::read(&pack).unwrap();
    fs::remove_file(&pack).unwrap();
    refuses("the inventory is lost");
    fs::write(&pack, bytes).unwrap();
    fs::write(&inventory, listed).unwrap();
    agent::clean_staging(&site.ctx(), seed, remove).unwrap();
}

#[test]
fn a_server_that_is_away_costs_nothing_but_time() {
    let mut site = Site::prepared();
    site.ship("TRACK0001").unwrap();
    let before = site.seed().record;
    let port = site.server.as_ref().unwrap().address().port();
    site.server.take().unwrap().shutdown().unwrap();
    assert_eq!(site.backup().unwrap_err().kind(), ErrorKind::Unavailable);
    let status = agent::status(&site.ctx()).unwrap();
    assert_eq!(status.away.unwrap().kind(), ErrorKind::Unavailable);
    assert_eq!(status.seeds[0].record, before);
    assert!(status.seeds[0].jobs[0].server.is_none());
    site.start(|config| config.listen.set_port(port));
    assert_eq!(waiting(site.backup().unwrap()).next, Next::Wait);
}

#[test]
fn drives_are_written_while_the_server_is_away_and_announced_when_it_is_back() {
    let mut site = Site::with_group();
    site.backup().unwrap();
    let port = site.server.as_ref().unwrap().address().port();
    site.server.take().unwrap().shutdown().unwrap();
    assert!(site.prepare(&site.drives(1)).unwrap().needed.is_some());
    let error = site.prepare(&site.drives(2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    let (first, second) = (tree(&site.path("D0")), tree(&site.path("D1")));
    site.start(|config| config.listen.set_port(port));
    let report = site.prepare(&[]).unwrap();
    assert_eq!(report.job.unwrap().drive_list.len(), 2);
    assert_eq!((tree(&site.path("D0")), tree(&site.path("D1"))), (first, second));
}

#[test]
fn objects_that_do_not_arrive_keep_the_seed_unpublished() {
    let site = Site::prepared();
    site.ship("TRACK0001").unwrap();
    site.dock_without("TRACK0001", |key| key.kind() == model::ObjectKind::Index);
    let mut ctx = site.ctx();
    ctx.wanted = agent::Way::Drive;
    let said = agent::backup_now(&ctx, &"files".parse().unwrap(), PASSWORD).unwrap();
    let said = waiting(said);
    assert!(matches!(said.next, Next::Missing { objects: 1.., .. }), "{said:?}");
    assert!(matches!(site.seed().record.state(), SeedState::Incomplete { missing: 1.. }));
    assert!(tree(&site.vault_folder()).is_empty());
}

#[test]
fn a_cancelled_job_gives_its_drives_to_another() {
    let site = Site::prepared();
    let agent = site.agent();
    let cancel = JobPatch { cancel_requested: Some(true), ..JobPatch::default() };
    agent.patch_job(&"seed-2026".parse().unwrap(), &cancel).unwrap();
    let said = waiting(site.backup().unwrap());
    assert!(matches!(said.next, Next::AnotherJob { .. }), "{said:?}");
    let (before, drives) = (tree(&site.path("D0")), site.seed().record.jobs[0].drives.clone());
    let report = site.prepare(&[]).unwrap();
    assert_eq!(report.job.unwrap().name.as_str(), "seed-2026-2");
    assert_eq!(site.seed().record.jobs[1].drives, drives);
    assert_eq!(tree(&site.path("D0")), before);
    site.ship("TRACK0002").unwrap();
    site.dock("TRACK0002");
    confirmed(&site);
}

#[test]
fn a_job_of_something_else_is_left_alone() {
    let site = Site::with_group();
    site.backup().unwrap();
    let other = wire::JobRequest {
        vault: "vault1".parse().unwrap(),
        server: "fs01".parse().unwrap(),
        seed: wire::SeedRef {
            id: wire::SeedId([3; 16]),
            set: 0,
            sets: None,
            signer: wire::PublicKey([4; 32]),
        },
        storage_account: "seedacct".parse().unwrap(),
        container: "seeds".parse().unwrap(),
        diagnostics: None,
        return_address: None,
        delivery_package: None,
        drive_list: vec![wire::DriveRequest {
            role: model::DriveRole::Data,
            drive_id: "OTHER".parse().unwrap(),
            manifest_hash: Digest([5; 32]),
            bit_locker_key: None,
            drive_header_hash: None,
        }],
    };
    let job = site.agent().create_job(&"seed-2026".parse().unwrap(), &other).unwrap();
    let error = site.prepare(&site.drives(2)).unwrap_err();
    assert!(matches!(error, Error::JobTaken(_)), "{error}");
    let after = site.agent().job(&job.name).unwrap();
    assert_eq!((after.version, after.carries, after.drive_list), (1, job.carries, job.drive_list));
    let (staging, name) = (site.staging(), "mine".parse().unwrap());
    let what = agent::Preparation {
        staging: &staging,
        drives: &[],
        encrypted: &[],
        read_back: &seed::PlainReads,
        filling: seed::Filling::Even,
        limit_rate: 0,
        parity: None,
        most: None,
        job: Some(&name),
        missing: false,
    };
    let report = agent::prepare(&site.ctx(), &what, Some(PASSWORD)).unwrap();
    assert_eq!(report.job.unwrap().name, name);
}

#[test]
fn staging_that_is_gone_is_never_begun_anew() {
    let site = Site::with_group();
    site.backup().unwrap();
    fs::rename(site.staging(), site.path("elsewhere")).unwrap();
    fs::create_dir(site.staging()).unwrap();
    let error = site.backup().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoRepository, "{error}");
    assert!(tree(Path::new(&site.staging())).is_empty());
    let store = std::sync::Arc::new(store::Folder::new(site.staging()));
    let (weak, author) = (repo::KdfParams::WEAK, repo::Author::default());
    repo::Repository::init(store, PASSWORD, weak, author, jiff::Timestamp::UNIX_EPOCH).unwrap();
    let error = site.backup().unwrap_err();
    assert!(matches!(error, Error::OtherRepository { .. }), "{error}");
}
