//! The commands for what the control plane offers, each in text and in JSON, against a real `packmule serve`:
//! what they show, and what they refuse.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests may stop on a surprise, too"
)]

mod support;

use client::Client;
use model::{Digest, ObjectKind};
use rustix::process::Signal;
use seed::{Manifest, ManifestHeader, Object, SigningKey};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Rest, RestOptions, Store as _};
use support::{Place, Said, objects, s, signal};
use wire::{DriveEvent, DriveRequest, JobRequest, ReceiveRequest, SeedId, SeedRef};

#[test]
fn a_log_for_collectors_is_objects_and_has_no_secret() {
    let site = Site::with(&["--log-format", "json"]);
    site.run("vault create v1").exits(0);
    let agent = site.agent("v1", "fs01");
    agent.jobs().unwrap();
    let log = std::fs::read_to_string(site.place.path("log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_request = |line: &&Value| line["span"]["path"] == "/api/v1/import-jobs";
    assert!(lines.iter().any(|line| is_request(&line)), "{log}");
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["level"].is_string()));
    assert!(!log.contains(&agent.credentials().token), "{log}");
}

/// What users of seeds look for.
const WAITING: &str = "Waiting for Azure Import Job to complete. Please check on Azure Management portal for more information on job status";

/// A server, and what it says once it is ready.
fn serve(place: &Place, address: &str, more: &[&str]) -> (Child, Value) {
    let locations = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/azure/locations.json");
    let arguments = ["serve", "--data", "data", "--listen", address, "--json"];
    let mut command = place.packmule(&arguments);
    let log = std::fs::File::options().create(true).append(true).open(place.path("log")).unwrap();
    let command =
        command.args(["--locations", locations]).args(more).stdout(Stdio::piped()).stderr(log);
    let mut server = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (server, objects(&line).remove(0))
}

/// A server that runs, and an administrator's shell.
struct Site {
    place: Place,
    server: Child,
    address: String,
    admin: String,
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Site {
    fn new() -> Self {
        Self::with(&[])
    }

    /// Served with these arguments, too.
    fn with(more: &[&str]) -> Self {
        let place = Place::new();
        let (server, ready) = serve(&place, "127.0.0.1:0", more);
        let admin = s(&place.path(ready["admin"].as_str().unwrap())).to_owned();
        Self { admin, place, server, address: ready["address"].as_str().unwrap().to_owned() }
    }

    /// Ends the server as an operator does, and starts it again at the same address after `meanwhile`.
    fn restart(&mut self, meanwhile: impl FnOnce()) {
        signal(&self.server, Signal::TERM);
        assert!(self.server.wait().unwrap().success());
        meanwhile();
        self.server = serve(&self.place, &self.address, &[]).0;
    }

    /// Another server on the same data, which is to be refused.
    fn serve_again(&self, more: &[&str]) -> Said {
        let serve = ["serve", "--data", "data", "--listen", "127.0.0.1:0"];
        self.place.run(&[&serve[..], more].concat())
    }

    /// As the administrator.
    fn run(&self, words: &str) -> Said {
        self.run_with(words, &self.admin)
    }

    /// Single quotes keep words together.
    fn run_with(&self, words: &str, server: &str) -> Said {
        let mut arguments: Vec<&str> = Vec::new();
        for (n, part) in words.split('\'').enumerate() {
            match n % 2 {
                1 => arguments.push(part),
                _ => arguments.extend(part.split_whitespace()),
            }
        }
        self.place.run(&[&arguments[..], &["--server", server]].concat())
    }

    /// The one object that a command answers in JSON.
    #[track_caller]
    fn json(&self, words: &str, message_type: &str) -> Value {
        self.run(&format!("{words} --json")).exits(0).object(message_type)
    }

    /// All of them.
    #[track_caller]
    fn all(&self, words: &str) -> Vec<Value> {
        self.run(&format!("{words} --json")).exits(0).objects()
    }

    /// A refusal says the same in both forms, and nothing on the standard output.
    #[track_caller]
    fn refuses(&self, words: &str, says: &[&str]) {
        let text = self.run(words).exits(1).tells(&["error: "]).tells(says);
        assert_eq!(text.stdout, "", "{words}");
        let json = self.run(&format!("{words} --json")).exits(1).tells(says);
        assert_eq!((objects(&json.stderr).len(), json.stdout.as_str()), (1, ""), "{words}");
    }

    fn client(&self, file: &str) -> Client {
        Client::new(client::load_credentials(&self.place.path(file)).unwrap()).unwrap()
    }

    /// A registered source server's credentials, in a file of its name.
    fn agent(&self, vault: &str, server: &str) -> Client {
        let file = format!("{server}.json");
        self.run(&format!("vault credentials {vault} --for {server} -o {file}")).exits(0);
        self.client(&file)
    }

    fn dock(&self) -> Client {
        self.run("dock credentials north -o dock.json").exits(0);
        self.client("dock.json")
    }
}

/// A seed with one drive and a few objects, and its import job.
struct Seed {
    name: &'static str,
    signer: SigningKey,
    repository: Digest,
    objects: Vec<(Object, Vec<u8>)>,
}

fn hash(bytes: &[u8]) -> Digest {
    store::conformance::key_of(ObjectKind::Pack, bytes).id().unwrap()
}

impl Seed {
    fn new(name: &'static str) -> Self {
        let object = |kind, text: String| {
            let bytes = text.repeat(40).into_bytes();
            let length = u64::try_from(bytes.len()).unwrap();
            (Object { repository: 0, kind, name: hash(&bytes), length }, bytes)
        };
        let mut objects = vec![
            object(ObjectKind::Config, format!("config of {name}")),
            object(ObjectKind::Key, format!("key of {name}")),
            object(ObjectKind::Pack, format!("pack of {name}")),
            object(ObjectKind::Index, format!("index of {name}")),
            object(ObjectKind::Snapshot, format!("snapshot of {name}")),
        ];
        objects.sort();
        let config = objects.iter().find(|(object, _)| object.kind == ObjectKind::Config);
        let repository = config.unwrap().0.name;
        Self { name, signer: SigningKey::from_bytes(&[7; 32]), repository, objects }
    }

    fn id(&self) -> SeedId {
        SeedId(self.repository.0[..16].try_into().unwrap())
    }

    fn serial(&self) -> model::DriveSerial {
        self.name.to_uppercase().parse().unwrap()
    }

    fn manifest(&self) -> Vec<u8> {
        let header = ManifestHeader {
            seed: self.id(),
            set: 0,
            drive: 0,
            serial: self.serial(),
            sealed: jiff::Timestamp::UNIX_EPOCH,
            label: hash(b"label"),
            extents: hash(b"extents"),
            inventory: None,
            parity: None,
            repositories: vec![self.repository],
        };
        let objects = self.objects.iter().map(|(object, _)| *object).collect();
        Manifest { header, objects }.encode(&self.signer).unwrap()
    }

    fn request(&self, agent: &Client, account: &str) -> JobRequest {
        let own = agent.credentials();
        JobRequest {
            vault: own.vault.clone().unwrap(),
            server: own.server.clone().unwrap(),
            seed: SeedRef { id: self.id(), set: 0, sets: None, signer: self.signer.public() },
            storage_account: account.parse().unwrap(),
            container: "seeds".parse().unwrap(),
            diagnostics: None,
            return_address: None,
            delivery_package: None,
            drive_list: vec![DriveRequest {
                role: model::DriveRole::Data,
                drive_id: self.serial(),
                manifest_hash: hash(&self.manifest()),
                bit_locker_key: Some(model::DrivePassword::from_bytes(&[5; 16])),
                drive_header_hash: Some(hash(b"header")),
            }],
        }
    }

    fn create(&self, agent: &Client, account: &str) -> client::Result<()> {
        let name = self.name.parse().unwrap();
        agent.create_job(&name, &self.request(agent, account))?;
        let manifest = self.manifest();
        let length = u64::try_from(manifest.len()).unwrap();
        agent.put_manifest(&name, &self.serial(), length, &mut manifest.as_slice())
    }

    fn event(&self, dock: &Client, event: &DriveEvent) {
        dock.drive_event(&self.name.parse().unwrap(), &self.serial(), event).unwrap();
    }

    /// What the dock does when the parcel is there. Without landing anything, the drive has problems.
    fn arrive(&self, dock: &Client, number: &str, lands: bool) {
        let drives = None;
        dock.receive(&ReceiveRequest { tracking_number: number.parse().unwrap(), drives }).unwrap();
        self.event(dock, &DriveEvent::Started);
        let own = dock.credentials();
        let (account, container) = ("seedacct".parse().unwrap(), "seeds".parse().unwrap());
        let url = dock.landing_url(&account, &container, &self.repository);
        let options = RestOptions {
            credentials: Some(store::Credentials {
                user: own.user.clone(),
                password: own.token.clone().into(),
            }),
            ca_pem: own.ca_pem.clone().map(String::into_bytes),
            ..RestOptions::default()
        };
        let landing = Arc::new(Rest::new(&url, &options).unwrap());
        for (object, bytes) in self.objects.iter().filter(|_| lands) {
            landing.put(&object.key(), bytes).unwrap();
        }
        self.event(dock, &DriveEvent::Progress { bytes: 100, total: 1000 });
    }

    fn finish(&self, dock: &Client) {
        self.event(dock, &DriveEvent::Finished { bytes: 0, failures: Vec::new(), rebuilt: None });
        self.event(dock, &DriveEvent::Returned);
    }
}

/// Return address and package.
fn shipping(number: &str) -> String {
    format!(
        "--carrier Posten --tracking {number} --recipient Ops --street '1 Main St' --city Oslo \
         --postal-code 0150 --country NO --phone 4722000000 --email ops@example.org --yes"
    )
}

#[test]
fn subscriptions_and_resource_groups_are_made_listed_and_deleted_when_empty() {
    let site = Site::new();
    let first = site.json("subscription list", "subscription");
    let made = site.run("subscription create Archive").exits(0).shows(&["Archive"]);
    let id = made.stdout.split_whitespace().next().unwrap().to_owned();
    site.refuses("subscription create ARCHIVE", &["Archive"]);
    let renamed = site.json("subscription rename archive Vaults", "subscription");
    assert_eq!((renamed["id"].as_str(), renamed["name"].as_str()), (Some(&*id), Some("Vaults")));
    site.refuses("subscription rename archive Other", &["archive", "subscription list"]);
    let text = site.run("subscription list").exits(0);
    assert_eq!(text.stdout.lines().count(), 2);
    text.shows(&[first["id"].as_str().unwrap(), "Vaults"]);

    let create =
        "resource-group create Offices --subscription Vaults --location 'West US' --tag owner=ops";
    site.run(create).exits(0).shows(&["resource group Offices"]);
    let again = "resource-group create offices --subscription Vaults --tag a=b";
    let again = site.json(again, "resource_group");
    assert_eq!((&again["name"], &again["location"]), (&"Offices".into(), &"westus".into()));
    assert_eq!(again["tags"], serde_json::json!({"a": "b"}));
    let kept = site.json("resource-group create Offices --subscription Vaults", "resource_group");
    assert_eq!(kept["tags"], again["tags"], "what nothing is said of stays");
    let listed = site.all("resource-group list");
    let names: Vec<&str> = listed.iter().map(|group| group["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["packmule", "Offices", "packmule"]);
    let text = site.run("resource-group list --subscription vaults").exits(0);
    text.shows(&["Offices: westus, subscription Vaults"]);

    let vault = "vault create vault2 --resource-group offices --subscription Vaults";
    site.run(vault).exits(0).shows(&["vault vault2"]);
    let delete = "resource-group delete Offices --subscription Vaults";
    site.refuses(delete, &["holds 1 resources", "vault2"]);
    site.refuses("resource-group delete nowhere", &["nowhere"]);
    site.refuses("resource-group delete packmule", &["without a resource group"]);
    site.refuses("resource-group list --subscription Nope", &["Nope"]);
    site.run("resource-group delete ..").exits(2);
    site.run("vault delete vault2").exits(0).shows(&["deleted /subscriptions/"]);
    site.run(delete).exits(0).shows(&["deleted resource group Offices"]);
    site.refuses(delete, &["Offices"]);
}

#[test]
fn vaults_and_storage_accounts_lie_where_they_were_put_and_go_when_nothing_is_in_them() {
    let site = Site::new();
    let create = "vault create branch-offices --tag team=backup --location westus";
    let vault = site.json(create, "vault");
    assert_eq!(vault["resourceGroup"], "packmule");
    assert_eq!((&vault["tags"]["team"], &vault["location"]), (&"backup".into(), &"westus".into()));
    site.run("vault create branch-offices").exits(0).shows(&["vault branch-offices"]);
    let vault = site.json("vault list", "vault");
    assert_eq!(vault["tags"]["team"], "backup", "one that exists is left as it is");
    assert!(vault["createdAt"].is_string() && vault["servers"].as_array().unwrap().is_empty());
    site.run("vault show BRANCH-OFFICES").exits(0).shows(&["tag: team=backup", "packmule"]);

    site.run("resource-group create elsewhere").exits(0);
    let taken = "vault create branch-offices --resource-group elsewhere";
    site.refuses(taken, &["branch-offices", "taken"]);
    site.refuses("vault create other --resource-group nowhere", &["nowhere"]);
    let other = site.run("vault list --resource-group elsewhere").exits(0);
    assert_eq!(other.stdout, "");

    site.agent("branch-offices", "fs01");
    let text = site.run("vault show branch-offices").exits(0);
    text.shows(&["server fs01", "publication of its seed: none"]);
    let shown = site.json("vault show branch-offices", "vault");
    assert_eq!(shown["publications"][0]["server"], "fs01");
    site.refuses("vault delete branch-offices", &["1 source servers"]);
    for verb in ["show", "delete"] {
        site.refuses(&format!("vault {verb} nobodys"), &["there is no vault nobodys"]);
        let words = format!("storage-account {verb} nobodys");
        site.refuses(&words, &["there is no storage account nobodys"]);
    }
    site.run("vault create gone").exits(0);
    assert_eq!(site.json("vault delete gone", "deleted")["name"], "gone");

    let account = "account create seedacct --resource-group elsewhere --tag a=b";
    let account = site.json(account, "storage_account");
    assert_eq!(
        (&account["resourceGroup"], &account["tags"]["a"]),
        (&"elsewhere".into(), &"b".into())
    );
    assert_eq!(site.run("storage-account list").exits(0).stdout, "seedacct\n");
    let text = site.run("storage-account show seedacct").exits(0);
    text.shows(&["storage account seedacct", "resource group: elsewhere", "tag: a=b"]);
    site.run("storage-account create nothing1").exits(0);
    site.run("storage-account delete nothing1").exits(0).shows(&["deleted"]);
    let location = site.json("location list", "location");
    assert_eq!(location["supportedCarriers"][0], "FedEx");
    site.run_with("location list", "fs01.json").exits(0).shows(&["West US: Import Dock", "FedEx"]);
}

#[test]
fn an_account_is_made_on_a_backend_of_the_server_and_stays_there() {
    let mut site = Site::with(&["--backend", "archive=far", "--backend", "cold=deep/down"]);
    assert!(site.place.path("far/objects").is_dir() && site.place.path("deep/down").is_dir());
    let create = "storage-account create seedacct --backend archive";
    assert_eq!(site.json(create, "storage_account")["backend"], "archive");
    site.run(create).exits(0).shows(&["storage account seedacct"]);
    let plain = site.json("storage-account create seedacct", "storage_account");
    assert_eq!(plain["backend"], "archive", "one that exists is left as it is");
    let tagged = "storage-account create tagged1 --tag a=b --backend";
    let made = site.json(&format!("{tagged} cold"), "storage_account");
    assert_eq!((&made["backend"], &made["tags"]["a"]), (&"cold".into(), &"b".into()));
    let other = site.json("storage-account create plain1", "storage_account");
    assert_eq!(other["backend"], "default");
    site.run("storage-account show tagged1").exits(0).shows(&["  backend: cold"]);
    let listed = site.all("storage-account list");
    let backends: Vec<&str> = listed.iter().map(|one| one["backend"].as_str().unwrap()).collect();
    assert_eq!(backends, ["default", "archive", "cold"]);

    site.refuses("storage-account create seedacct --backend cold", &["is on backend archive"]);
    site.refuses(&format!("{tagged} archive"), &["is on backend cold"]);
    let names = ["nowhere", "default, archive, cold"];
    site.refuses("storage-account create more1 --backend nowhere", &names);
    site.refuses("storage-account create more1 --tag a=b --backend nowhere", &names);
    site.run("storage-account create more1 --backend https://x").exits(2);

    let serve = |more: &[&str]| site.serve_again(more);
    serve(&["--backend", "archive"]).exits(2).tells(&["NAME=DIR"]);
    serve(&["--backend", "a=b"]).exits(2).tells(&["3 to 24"]);
    let twice = ["--backend", "archive=far", "--backend", "archive=near"];
    serve(&twice).exits(1).tells(&["archive is given twice"]);
    site.server.kill().unwrap();
    site.server.wait().unwrap();
    let serve = |more: &[&str]| site.serve_again(more);
    serve(&["--backend", "cold=deep/down"]).exits(1).tells(&["archive", "seedacct", "--backend"]);
    let swapped = ["--backend", "cold=far", "--backend", "archive=deep/down"];
    serve(&swapped).exits(1).tells(&["is backend cold of this server"]);
    let within = ["--backend", "cold=data/objects", "--backend", "archive=far"];
    serve(&within).exits(1).tells(&["cold needs a folder of its own", "lies in the data folder"]);
}

#[test]
fn an_account_of_another_subscription_is_used_only_where_it_was_shared() {
    let site = Site::new();
    site.run("subscription create Archive").exits(0);
    site.run("storage-account create seedacct --subscription Archive").exits(0);
    site.run("vault create vault1").exits(0);
    let agent = site.agent("vault1", "fs01");
    let seed = Seed::new("job1");
    let refused = seed.create(&agent, "seedacct").unwrap_err();
    assert!(refused.to_string().contains("storage-account share seedacct --vault vault1"));
    site.refuses("storage-account share nobodys --vault vault1", &["nobodys"]);
    site.refuses("storage-account share seedacct --vault nobodys", &["nobodys"]);
    let share = "storage-account share seedacct --vault vault1";
    site.refuses(&format!("{share} --revoke"), &["is not shared with vault vault1"]);
    site.run(share).exits(0).shows(&["seedacct is read by: vault1"]);
    assert_eq!(site.json(share, "storage_account")["readers"], serde_json::json!(["vault1"]));
    site.run("storage-account show seedacct").exits(0).shows(&["read by vault vault1"]);
    seed.create(&agent, "seedacct").unwrap();
    let revoked = site.json(&format!("{share} --revoke"), "storage_account");
    assert_eq!(revoked["readers"], serde_json::json!([]));
    assert!(Seed::new("job2").create(&agent, "seedacct").is_err());
    site.run("storage-account show seedacct").exits(0).shows(&["import job: job1"]);
    site.refuses("storage-account delete seedacct", &["import job 'job1'"]);
}

/// A certificate with its key, in one file.
fn certificate(site: &Site) -> PathBuf {
    let admin = std::fs::read(&site.admin).unwrap();
    let admin: Value = serde_json::from_slice(&admin).unwrap();
    PathBuf::from(admin["certificateFile"].as_str().unwrap())
}

#[test]
fn the_owner_of_one_vault_sets_it_and_makes_its_pins_without_rights_on_anything_else() {
    let site = Site::new();
    for vault in ["own", "other"] {
        site.run(&format!("vault create {vault}")).exits(0);
    }
    let keeper = site.json("app create keeper", "application");
    let identity =
        credfile::machine_identity(&"keeper".parse().unwrap(), jiff::Timestamp::now()).unwrap();
    std::fs::write(site.place.path("keeper.pem"), identity.to_pem()).unwrap();
    site.run("app add-certificate keeper keeper.pem").exits(0);
    let shown = site.json("vault show own", "vault");
    let scope = shown["id"].as_str().unwrap_or_else(|| panic!("{shown}"));
    site.run(&format!("app grant keeper Owner --scope {scope}")).exits(0);
    // What is written by hand: the administrator's document, as that application.
    let text = std::fs::read_to_string(&site.admin).unwrap();
    let mut document: Value = serde_json::from_str(&text).unwrap();
    document["clientId"] = keeper["clientId"].clone();
    document["certificateFile"] = "keeper.pem".into();
    document["token"] = "".into();
    std::fs::write(site.place.path("keeper.json"), document.to_string()).unwrap();
    let file = s(&site.place.path("keeper.json")).to_owned();
    let run = |words: &str| site.run_with(words, &file);
    run("vault set own --hold 21").exits(0).shows(&["21 days"]);
    run("vault pin own").exits(0);
    run("vault deletions own").exits(0);
    for words in ["vault set other --hold 21", "vault pin other", "vault list", "vault create more"]
    {
        run(words).exits(1).tells(&["do not allow"]);
    }
    site.run("app revoke keeper Owner").exits(0);
    run("vault pin own").exits(1).tells(&["do not allow"]);
    // One of that name that is made anew has no Owner of its own.
    site.run(&format!("app grant keeper Owner --scope {scope}")).exits(0);
    site.run("vault delete own").exits(0);
    site.run("vault create own").exits(0);
    run("vault pin own").exits(1).tells(&["do not allow"]);
}

#[test]
fn applications_get_certificates_and_roles_and_the_last_owner_stays() {
    let site = Site::new();
    let app = site.json("app create portal", "application");
    assert_eq!((&app["name"], &app["roles"]), (&"portal".into(), &serde_json::json!([])));
    let client_id = app["clientId"].as_str().unwrap().to_owned();
    let listed = site.run("app list").exits(0).shows(&["packmule-admin", "portal", &client_id]);
    assert_eq!(listed.stdout.lines().count(), 2);

    let file = certificate(&site);
    let add = format!("app add-certificate portal '{}'", s(&file));
    let with = site.json(&add, "application");
    let key = with["certificates"][0]["keyId"].as_str().unwrap().to_owned();
    std::fs::write(site.place.path("none.pem"), "nothing").unwrap();
    site.refuses("app add-certificate portal none.pem", &["no certificate"]);
    site.refuses("app add-certificate portal missing.pem", &["missing.pem"]);
    site.run("app show portal").exits(0).shows(&[&key, "until", "thumbprint"]);
    site.refuses("app remove-certificate portal 00000000-0000-0000-0000-000000000000", &["portal"]);
    let without = site.json(&format!("app remove-certificate portal {key}"), "application");
    assert_eq!(without["certificates"], serde_json::json!([]));

    let first = site.json("subscription list", "subscription");
    let scope = format!("/subscriptions/{}", first["id"].as_str().unwrap());
    let role = site.json("app grant portal reader", "role");
    assert_eq!((&role["role"], &role["scope"]), (&"Reader".into(), &scope.as_str().into()));
    site.refuses("app grant portal Reader", &["already exists"]);
    site.refuses("app grant portal King", &["Owner, Contributor and Reader"]);
    site.refuses("app grant portal Reader --scope Nope", &["Nope"]);
    site.refuses("app grant nobody Reader", &["there is no application 'nobody'"]);
    site.run("app grant portal Reader --scope /").exits(0).shows(&["portal is Reader of /"]);
    site.refuses("app revoke portal Reader", &["--scope", &scope]);
    site.run("app revoke portal Reader --scope /").exits(0).shows(&["no longer Reader of /"]);
    let revoked = site.json("app revoke portal reader", "revoked");
    assert_eq!(revoked["scope"], scope.as_str());
    site.refuses("app revoke portal Reader", &["no such role"]);
    site.refuses("app revoke packmule-admin Owner", &["last owner"]);

    let other = site.json("app create portal --role Owner --scope /", "application");
    assert_eq!(other["roles"][0]["role"], "Owner");
    site.refuses("app show portal", &["several", &client_id]);
    site.refuses("app create x --scope /", &["--role"]);
    site.refuses("app create x --role King", &["Owner, Contributor and Reader"]);
    site.refuses("app show x", &["there is no application 'x'"]);
    site.refuses("app delete packmule-admin", &["own application"]);
    let deleted = site.json(&format!("app delete {client_id}"), "deleted");
    assert_eq!(deleted["name"], "portal");
    let id = other["objectId"].as_str().unwrap();
    site.run(&format!("app delete {id}")).exits(0).shows(&["deleted application portal"]);
    site.refuses("app show portal", &["portal"]);
}

/// A job whose parcel is on its way, its agent, and a dock.
fn shipped(site: &Site, seed: &Seed) -> Client {
    site.run("vault create vault1").exits(0);
    site.run("storage-account create seedacct").exits(0);
    let agent = site.agent("vault1", "fs01");
    seed.create(&agent, "seedacct").unwrap();
    site.run(&format!("job ship {} {}", seed.name, shipping("TRACK1"))).exits(0);
    site.dock()
}

#[test]
fn a_job_is_shown_shipped_and_cancelled_by_its_agent_and_by_an_administrator() {
    let site = Site::new();
    site.run("vault create vault1").exits(0);
    site.run("storage-account create seedacct").exits(0);
    let agent = site.agent("vault1", "fs01");
    site.dock();
    for name in ["job1", "job2"] {
        Seed::new(name).create(&agent, "seedacct").unwrap();
    }
    site.run("job list")
        .exits(0)
        .shows(&["import job job1: Creating, 0 %; drives: JOB1 Specified"]);
    assert_eq!(site.all("job list --state creating").len(), 2);
    assert_eq!(site.all("job list --state Shipping").len(), 0);
    site.run("job list --state Lost").exits(2).tells(&["Packaging"]);
    let text = site.run("job show job1").exits(0);
    text.shows(&[WAITING, "packmule job watch job1", "vault vault1, server fs01", "Import Dock"])
        .shows(&["deadline: the job expires", "drive JOB1: Specified"]);

    site.refuses("job ship job1 --carrier Posten", &["--tracking"]);
    site.refuses("job ship nobodys --carrier Posten", &["nobodys"]);
    let shown = site.json(&format!("job ship job1 {}", shipping("TRACK1")), "import_job");
    assert_eq!(
        (&shown["state"], &shown["deliveryPackage"]["driveCount"]),
        (&"Shipping".into(), &1.into())
    );
    site.refuses(&format!("job ship job2 {}", shipping("track-1")), &["TRACK1"]);
    // The agent ships its own, and corrects it without saying the address again.
    let own = |words: &str| site.run_with(words, "fs01.json");
    own(&format!("job ship job2 {}", shipping("TRACK2"))).exits(0).shows(&["job2: Shipping"]);
    own("job ship job2 --carrier UPS --tracking TRACK3 --yes").exits(0);
    own("job show job2").exits(0).shows(&["package: UPS TRACK3", "back to: Ops", "overdue"]);
    let dock = site.run_with("job cancel job2", "dock.json").exits(1);
    dock.tells(&["source server", "administrator"]);
    site.run_with("job list", "dock.json").exits(0).shows(&["job1", "job2"]);

    let key = site.json("job keys job1", "drive_key");
    assert_eq!(key["driveId"], "JOB1");
    let groups = key["bitLockerKey"].as_str().unwrap().split('-');
    assert!(groups.clone().count() == 8 && groups.clone().all(|group| group.len() == 6));
    let text = own("job keys job1").exits(0).tells(&["written down"]);
    assert!(text.stdout.contains(key["bitLockerKey"].as_str().unwrap()), "the same to both");
    site.refuses("job keys nobodys", &["nobodys"]);

    site.refuses("job delete job1", &["Shipping"]);
    let denied = own("job delete job1").exits(1);
    denied.tells(&["administrator's credentials"]);
    site.run("job cancel job1").exits(0).tells(&["it is noted"]);
    site.run("job show job1").exits(0).shows(&["cancelling was asked for"]);
    let mine = own("job notices job1 --json").exits(0).objects();
    assert!(mine.iter().all(|notice| notice["audience"] == "customer"), "{mine:?}");
    let all = site.all("job notices");
    assert!(all.len() > mine.len() && !mine.is_empty(), "{all:?}");
    site.run("job notices job1").exits(0).shows(&["job1  ", "(data centre)"]);
    site.refuses("job notices nobodys", &["nobodys"]);

    Seed::new("job3").create(&agent, "seedacct").unwrap();
    own("job cancel job3").exits(0).shows(&["job3: Canceled"]);
    let text = site.run("job show job3").exits(0);
    assert!(!text.stdout.contains(WAITING), "it waits for nothing");
    site.run("job delete job3").exits(0).shows(&["deleted import job job3"]);
    site.refuses("job show job3", &["job3"]);
}

/// A watch that has seen the job once.
struct Watching {
    child: Child,
    rest: BufReader<std::process::ChildStdout>,
    first: String,
}

impl Watching {
    fn start(site: &Site, more: &[&str]) -> Self {
        let arguments = [&["job", "watch", "job1", "--server", &site.admin], more].concat();
        let mut child = site.place.start(&arguments);
        let mut rest = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        rest.read_line(&mut first).unwrap();
        Self { child, rest, first }
    }

    /// Its lines; it has ended well.
    fn end(mut self) -> Vec<String> {
        let rest = self.rest.lines().map(Result::unwrap);
        let lines = std::iter::once(self.first.trim_end().to_owned()).chain(rest).collect();
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
        lines
    }
}

#[test]
fn watching_a_job_ends_with_its_outcome() {
    let site = Site::new();
    let seed = Seed::new("job1");
    let dock = shipped(&site, &seed);
    site.run("job watch job1 --until shipping").exits(0).shows(&["job1: Shipping"]);
    let (text, json) = (Watching::start(&site, &[]), Watching::start(&site, &["--json"]));
    seed.arrive(&dock, "TRACK1", true);
    let said = site.run("job watch job1 --until Received").exits(0);
    said.shows(&["job1: Transferring", "100 B of"]);
    seed.finish(&dock);
    let (text, json) = (text.end(), json.end());
    assert!(text.first().unwrap().contains("job1: Shipping"), "{text:?}");
    assert!(text.last().unwrap().contains("job1: Completed"), "{text:?}");
    let json = objects(&json.join("\n"));
    let kinds: Vec<_> = json.iter().map(|it| it["message_type"].as_str().unwrap()).collect();
    assert!(kinds.starts_with(&["change"]) && kinds.ends_with(&["change", "summary"]), "{kinds:?}");
    assert_eq!(
        (&json[0]["state"], &json[kinds.len() - 1]["state"]),
        (&"Shipping".into(), &"Completed".into())
    );
    site.refuses("job delete job1", &["not confirmed"]);
    site.refuses("job cancel job1", &["Completed"]);
    let ship = format!("job ship job1 {}", shipping("TRACK9"));
    site.refuses(&ship, &["Completed", "fixed"]);
    site.refuses("job watch nobodys", &["nobodys"]);
}

#[test]
fn a_change_of_a_watched_job_shows_at_once_also_after_the_server_was_away() {
    let mut site = Site::new();
    let seed = Seed::new("job1");
    let dock = shipped(&site, &seed);
    let mut watching = Watching::start(&site, &["--until", "Transferring"]);
    let mut line = || {
        let mut line = String::new();
        watching.rest.read_line(&mut line).unwrap();
        line
    };
    // Sooner than anybody asks who is not told, and mostly so however much else this machine does.
    let mut soon = ["TRACK4", "TRACK3", "TRACK2"].map(|tracking| {
        let corrected = format!("job ship job1 --carrier UPS --tracking {tracking} --yes");
        let began = Instant::now();
        site.run(&corrected).exits(0);
        assert!(line().contains("job1: Shipping"));
        began.elapsed()
    });
    soon.sort_unstable();
    assert!(soon[1] < Duration::from_secs(1), "{soon:?}");
    // Read to its end, or not closed at least: what cannot be said stops a program.
    let mut told =
        BufReader::new(watching.child.stderr.take().unwrap()).lines().map(Result::unwrap);
    site.restart(|| assert!(told.any(|line| line.contains("it is asked again"))));
    seed.arrive(&dock, "TRACK2", false);
    let rest = watching.end();
    assert!(rest.last().unwrap().contains("job1: Transferring"), "{rest:?}");
}

/// A server of an older version: it has the job, and knows nothing of events.
fn old_server(site: &Site, client: Client) -> String {
    use std::io::{Read as _, Write as _};
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key);
    let config = Arc::new(config.unwrap());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut credentials = client.credentials().clone();
    credentials.endpoint = format!("https://{}", listener.local_addr().unwrap());
    credentials.ca_pem = Some(certificate.pem());
    let file = site.place.path("old.json");
    std::fs::write(&file, serde_json::to_vec(&credentials).unwrap()).unwrap();
    std::thread::spawn(move || {
        for tcp in listener.incoming() {
            let tls = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = rustls::StreamOwned::new(tls, tcp.unwrap());
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
                head.extend_from_slice(&byte);
            }
            let body = serde_json::to_string(&client.job(&"job1".parse().unwrap()).unwrap());
            let (status, body) = match head.starts_with(b"GET /api/v1/import-jobs/job1 ") {
                true => ("200 OK", body.unwrap()),
                false => (
                    "404 Not Found",
                    r#"{"error":{"code":"ResourceNotFound","message":"there is no such path"}}"#
                        .to_owned(),
                ),
            };
            let length = body.len();
            let head =
                format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}");
            let _ = stream.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
            stream.conn.send_close_notify();
            let _ = stream.flush();
        }
    });
    s(&file).to_owned()
}

#[test]
fn a_server_that_does_not_tell_changes_is_asked_and_that_is_said() {
    let site = Site::new();
    let seed = Seed::new("job1");
    let dock = shipped(&site, &seed);
    let old = old_server(&site, site.client(&site.admin));
    let arguments = ["job", "watch", "job1", "--until", "Transferring", "--server", &old];
    let mut child = site.place.start(&arguments);
    let mut first = String::new();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    output.read_line(&mut first).unwrap();
    assert!(first.contains("job1: Shipping"), "{first}");
    seed.arrive(&dock, "TRACK1", false);
    let said = Said::of(child.wait_with_output().unwrap()).exits(0);
    said.tells(&["does not tell changes by itself"]);
    let last = output.lines().map(Result::unwrap).last().unwrap();
    assert!(last.contains("job1: Transferring"), "{last}");
}

#[test]
fn a_job_that_is_deleted_while_it_is_watched_is_said_to_be() {
    let site = Site::new();
    site.run("vault create vault1").exits(0);
    site.run("storage-account create seedacct").exits(0);
    let agent = site.agent("vault1", "fs01");
    Seed::new("job1").create(&agent, "seedacct").unwrap();
    let watching = Watching::start(&site, &["--until", "Completed"]);
    site.run("job delete job1").exits(0);
    let said = Said::of(watching.child.wait_with_output().unwrap()).exits(1);
    said.tells(&["job1 was deleted while it was watched"]);
}

#[test]
fn a_job_that_is_closed_or_cancelled_ends_a_watch_with_3_and_names_what_is_missing() {
    let site = Site::new();
    let seed = Seed::new("job1");
    let dock = shipped(&site, &seed);
    seed.arrive(&dock, "TRACK1", false);
    let text = site.run("job show job1").exits(0);
    text.shows(&[WAITING, "drive JOB1: Transferring, ", "100 B of"]);
    seed.finish(&dock);
    let said = site.run("job watch job1").exits(3).shows(&["job1: Closed"]);
    said.tells(&["5 objects are damaged or missing"]);
    let json = site.run("job watch job1 --until Completed --json").exits(3);
    assert_eq!(json.object("summary")["failures"], 5);
    site.run("job show job1").exits(0).shows(&["    config", "    snapshots/"]);
}

#[test]
fn ctrl_c_ends_a_watch_at_once() {
    let site = Site::new();
    shipped(&site, &Seed::new("job1"));
    let watching = Watching::start(&site, &[]);
    assert!(watching.first.contains("job1: Shipping"), "{}", watching.first);
    let child = watching.child;
    let since = Instant::now();
    signal(&child, Signal::INT);
    Said::of(child.wait_with_output().unwrap()).exits(130).tells(&["the job goes on"]);
    // Sooner than the server says anything.
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

#[test]
fn the_audit_says_who_has_changed_what_and_goes_on_when_followed() {
    let site = Site::new();
    site.run("vault create vault1").exits(0);
    let text = site.run("audit").exits(0);
    text.shows(&["127.0.0.1", "PUT /api/v1/vaults/vault1: 200"]);
    let all = site.all("audit");
    let last = all.last().unwrap()["id"].as_u64().unwrap();
    assert_eq!(site.all(&format!("audit --since {last}")).len(), 0);
    let arguments = ["audit", "--follow", "--json", "--server", &site.admin, "--since"];
    let mut child = site.place.start(&[&arguments[..], &[&last.to_string()]].concat());
    site.run("vault create vault2").exits(0);
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(objects(&line)[0]["path"], "/api/v1/vaults/vault2");
    signal(&child, Signal::INT);
    assert_eq!(Said::of(child.wait_with_output().unwrap()).code, 0);
    let since = site.all(&format!("audit --since {last}"));
    assert_eq!((since.len(), &since[0]["message_type"]), (1, &"audit".into()));
    site.agent("vault1", "fs01");
    let denied = site.run_with("audit", "fs01.json").exits(1);
    denied.tells(&["error: "]);
}

#[test]
fn without_credentials_a_command_says_which_it_wants() {
    let place = Place::new();
    let said = place.run(&["job", "list", "--agent-state", "nothing"]).exits(1);
    said.tells(&["--server", "registered with a vault"]);
    place.run(&["audit"]).exits(2).tells(&["--server"]);
    assert!(!place.path("nothing").exists(), "nothing was made on the way");
}

#[test]
fn a_registered_server_needs_no_credentials_file_for_its_own_jobs() {
    let site = Site::new();
    site.run("vault create vault1").exits(0);
    site.run("storage-account create seedacct").exits(0);
    let agent = site.agent("vault1", "fs01");
    Seed::new("job1").create(&agent, "seedacct").unwrap();
    let register = ["agent", "register", "--credentials", "fs01.json", "--state", "state"];
    site.place.run(&register).exits(0);
    let list = ["job", "list", "--agent-state", "state", "--json"];
    assert_eq!(site.place.run(&list).exits(0).object("import_job")["name"], "job1");
}
