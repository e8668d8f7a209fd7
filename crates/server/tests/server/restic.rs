//! Stock restic against the data plane: an oracle that knows nothing of us.

use crate::sample::{Journey, Sample};
use crate::site::{Site, files, skip};
use client::Client;
use model::ObjectKind;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use wire::PublicationState;

pub(crate) struct Restic<'a> {
    pub(crate) url: String,
    pub(crate) ca: &'a Path,
    pub(crate) cache: &'a Path,
}

impl Restic<'_> {
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("restic");
        command
            .args(["--repo", &self.url, "--cacert"])
            .arg(self.ca)
            .args(arguments)
            .env("RESTIC_PASSWORD", "correct horse")
            .env("RESTIC_CACHE_DIR", self.cache)
            .env("HOME", self.cache);
        command
    }

    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }
}

pub(crate) fn there_is_restic(test: &str) -> bool {
    let found = Command::new("restic").arg("version").output().is_ok();
    if !found {
        skip(test, "there is no restic on this machine");
    }
    found
}

pub(crate) fn source(folder: &Path, files: usize) {
    std::fs::create_dir_all(folder.join("deep")).unwrap();
    for n in 0..files {
        let bytes: Vec<u8> = (0..40_000 + n * 1000).map(|i| (i * (n + 3) % 251) as u8).collect();
        std::fs::write(folder.join(format!("deep/file {n}")), bytes).unwrap();
    }
}

pub(crate) fn assert_same(one: &Path, other: &Path) {
    assert_eq!(files(one), files(other));
    for name in files(one) {
        let read = |root: &Path| std::fs::read(root.join(&name)).unwrap();
        assert!(read(one) == read(other), "{name} differs");
    }
}

pub(crate) fn ca_file(agent: &Client, folder: &Path) -> std::path::PathBuf {
    let path = folder.join("ca.pem");
    std::fs::write(&path, agent.credentials().ca_pem.as_ref().unwrap()).unwrap();
    path
}

pub(crate) fn vault_url(agent: &Client) -> String {
    let credentials = agent.credentials();
    let (vault, server) = (credentials.vault.as_ref(), credentials.server.as_ref());
    let mut url = agent.repository_url(vault.unwrap(), server.unwrap());
    url.set_username(&credentials.user).unwrap();
    url.set_password(Some(&credentials.token)).unwrap();
    format!("rest:{url}")
}

#[test]
fn stock_restic_works_and_cannot_forget() {
    if !there_is_restic("stock_restic_works_and_cannot_forget") {
        return;
    }
    let site = Site::new();
    let agent = site.agent("vault1", "fs01");
    let work = tempfile::tempdir().unwrap();
    let (data, target) = (work.path().join("data"), work.path().join("restored"));
    source(&data, 6);
    let (ca, cache) = (ca_file(&agent, work.path()), work.path().join("cache"));
    let restic = Restic { url: vault_url(&agent), ca: &ca, cache: &cache };
    restic.ok(&["init"]);
    assert!(!restic.run(&["init"]).status.success(), "a second init");
    let data_text = data.to_str().unwrap();
    restic.ok(&["backup", data_text]);
    std::fs::write(data.join("another"), b"more").unwrap();
    restic.ok(&["backup", data_text]);
    restic.ok(&["check", "--read-data"]);
    restic.ok(&["restore", "latest", "--target", target.to_str().unwrap()]);
    assert_same(&data, &target.join(data.strip_prefix("/").unwrap()));
    let locks = site.objects().join("vaults/vault1/fs01/repository/locks");
    assert!(files(&locks).is_empty(), "locks are written and removed");
    assert_forbidden(&mut restic.command(&["forget", "--keep-last", "1"]));
    let listed = restic.ok(&["snapshots", "--json", "--no-lock"]);
    let snapshots: serde_json::Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(snapshots.as_array().unwrap().len(), 2);
    restic.ok(&["unlock", "--remove-all"]);
    assert!(files(&locks).is_empty(), "the lock of the one that was killed is removed");
}

/// restic tries again for a minute what is forbidden: it is killed once it has said so.
fn assert_forbidden(command: &mut Command) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let said: Vec<String> = {
        let mut said = Vec::new();
        for line in stderr.lines().map(Result::unwrap) {
            said.push(line);
            if said.last().unwrap().contains("403") {
                break;
            }
        }
        said
    };
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(said.last().is_some_and(|line| line.contains("403")), "{said:?}");
}

#[test]
fn a_repository_of_restic_s_travels_and_is_restored_from_the_vault() {
    if !there_is_restic("a_repository_of_restic_s_travels_and_is_restored_from_the_vault") {
        return;
    }
    let site = Site::new();
    let work = tempfile::tempdir().unwrap();
    let (data, staging) = (work.path().join("data"), work.path().join("staging"));
    source(&data, 8);
    let (ca, cache) = (work.path().join("ca.pem"), work.path().join("cache"));
    std::fs::write(&ca, site.admin().credentials().ca_pem.as_ref().unwrap()).unwrap();
    let local = Restic { url: staging.display().to_string(), ca: &ca, cache: &cache };
    local.ok(&["init"]);
    local.ok(&["backup", data.to_str().unwrap()]);
    let sample = frozen(&staging);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(2));
    journey.travel();
    let status = journey.publish();
    assert_eq!(status.state, PublicationState::Published, "{status:?}");
    let vault = Restic { url: vault_url(&journey.agent), ca: &ca, cache: &cache };
    vault.ok(&["check", "--read-data"]);
    let target = work.path().join("restored");
    vault.ok(&["restore", "latest", "--target", target.to_str().unwrap()]);
    assert_same(&data, &target.join(data.strip_prefix("/").unwrap()));
    std::fs::write(data.join("later"), b"an increment").unwrap();
    vault.ok(&["backup", data.to_str().unwrap()]);
    vault.ok(&["check"]);
}

/// A folder of restic's as a seed.
fn frozen(folder: &Path) -> Sample {
    let store = store::Folder::new(folder.to_path_buf());
    let frozen = seed::freeze(&[&store]).unwrap();
    let mut sample = Sample::new("restic", 0);
    sample.repository = frozen.repositories[0];
    sample.objects = frozen
        .objects
        .into_iter()
        .filter(|object| object.kind != ObjectKind::Lock)
        .map(|object| (object, std::fs::read(folder.join(object.key().path())).unwrap()))
        .collect();
    sample
}
