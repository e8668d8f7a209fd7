//! Starting, stopping, starting again.

use crate::site::{Site, files};
use server::{Clock, Error, Server};
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let mut site = Site::new();
    let refusal = Server::start(site.config()).unwrap_err();
    assert!(matches!(refusal, Error::InUse { .. }), "{refusal}");
    site.stop();
    site.start(|_| {});
}

#[test]
fn a_restart_keeps_authority_tokens_and_receipt_key() {
    let mut site = Site::new();
    let agent = site.agent("vault1", "fs01");
    let before = site.admin().credentials().clone();
    site.stop();
    site.start(|_| {});
    let after = site.admin().credentials().clone();
    assert_eq!(before.token, after.token);
    assert_eq!(before.ca_pem, after.ca_pem);
    assert_eq!(before.receipt_key, after.receipt_key);
    site.again(&agent).locations().unwrap();
}

#[test]
fn a_lost_admin_file_is_made_anew_and_its_old_token_ends() {
    let mut site = Site::new();
    let before = site.admin();
    site.stop();
    std::fs::remove_file(site.data().join("admin.json")).unwrap();
    site.start(|_| {});
    assert!(site.admin().vaults().is_ok());
    assert!(site.again(&before).vaults().is_err());
}

#[test]
fn secrets_are_private_files_and_tokens_are_in_no_other() {
    let mut site = Site::new();
    let agent = site.agent("vault1", "fs01");
    let tokens = [site.admin().credentials().token.clone(), agent.credentials().token.clone()];
    site.stop();
    for name in ["admin.json", "receipt.key", "drives.key", "tls/ca.key", "tls/server.key"] {
        let mode = std::fs::metadata(site.data().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let folder = std::fs::metadata(site.data()).unwrap().permissions().mode();
    assert_eq!(folder & 0o777, 0o700);
    for name in files(&site.data()).iter().filter(|name| *name != "admin.json") {
        let bytes = std::fs::read(site.data().join(name)).unwrap();
        for token in &tokens {
            let found = bytes.windows(token.len()).any(|window| window == token.as_bytes());
            assert!(!found, "{name} holds a token");
        }
    }
}

#[test]
fn a_job_that_is_never_shipped_expires_and_frees_its_drives() {
    use crate::sample::{Journey, Sample};
    let in_days = |days: i64| {
        Clock::from_fn(move || jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days))
    };
    let mut site = Site::with(|config| config.clock = in_days(0));
    let sample = Sample::new("expires", 2);
    let journey = Journey::new(&site, &sample, "job-1", &sample.dealt(1));
    journey.create();
    site.stop();
    site.start(|config| config.clock = in_days(19));
    let journey = journey.again(&site);
    // Jobs are told the time as the server starts, beside the first requests.
    let job = loop {
        let job = journey.agent.job(&journey.job).unwrap();
        if job.state != wire::JobState::Creating {
            break job;
        }
        std::thread::yield_now();
    };
    assert_eq!(job.state, wire::JobState::Canceled);
    let again = Journey { job: "job-2".parse().unwrap(), ..journey };
    again.create();
}
