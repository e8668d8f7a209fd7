//! Schemathesis against `packmule serve`: requests made from the OpenAPI document, right and wrong ones. The
//! server never fails, and never answers what the document does not say.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::string_slice,
    reason = "a test may stop on a surprise"
)]

mod support;

use client::Client;
use jiff::Timestamp;
use model::{Digest, ObjectKind};
use seed::{Manifest, ManifestHeader, Object, SigningKey};
use sha2::{Digest as _, Sha256};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::served::Server;
use support::skip;
use wire::{Credentials, JobRequest, SeedId};

/// For each operation and phase: more finds little more and takes longer.
const EXAMPLES: &str = "8";

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance";

/// One call as administrator, and the credentials that it has written.
fn call(server: &Server, words: &str) -> PathBuf {
    let output = server.folder().join(words.replace(' ', "-"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_packmule"));
    command.args(words.split(' ')).arg("--server").arg(server.admin());
    if words.contains("credentials") {
        command.arg("--output").arg(&output);
    }
    let said = command.output().unwrap();
    assert!(said.status.success(), "{words}: {}", String::from_utf8_lossy(&said.stderr));
    output
}

/// What `hooks.py` knows of a caller's surroundings: a job, its drive, its parcel.
struct Known {
    job: &'static str,
    drive: &'static str,
    parcel: &'static str,
}

/// In Creating: the agent's.
const CREATED: Known = Known { job: "job1", drive: "S1", parcel: "1Z999AA1" };
/// In Shipping: the dock's.
const SHIPPED: Known = Known { job: "job2", drive: "S2", parcel: "1Z999AA2" };

/// An import job with a drive, and the manifest of that.
fn announced(known: &Known) -> (JobRequest, Vec<u8>) {
    let signer = SigningKey::from_bytes(&[7; 32]);
    let id = SeedId([known.drive.as_bytes()[1]; 16]);
    let hash = |bytes: &[u8]| Digest(Sha256::digest(bytes).into());
    let header = ManifestHeader {
        seed: id,
        set: 0,
        drive: 0,
        serial: known.drive.parse().unwrap(),
        sealed: Timestamp::UNIX_EPOCH,
        label: hash(b"label"),
        extents: hash(b"extents"),
        inventory: None,
        parity: None,
        repositories: vec![hash(b"config")],
    };
    let config =
        Object { repository: 0, kind: ObjectKind::Config, name: hash(b"config"), length: 6 };
    let manifest = Manifest { header, objects: vec![config] }.encode(&signer).unwrap();
    let password = ["000011"; 8].join("-");
    let request = serde_json::json!({
        "vault": "vault1", "server": "fs01", "storageAccount": "seedacct", "container": "seeds",
        "seed": {"id": id, "signer": signer.public()},
        "driveList": [{
            "driveId": known.drive,
            "manifestHash": hash(&manifest),
            "driveHeaderHash": "0a".repeat(32),
            "bitLockerKey": password,
        }],
    });
    (serde_json::from_value(request).unwrap(), manifest)
}

/// Both jobs, each as far as its caller finds it.
fn jobs(agent: &Credentials) {
    let agent = Client::new(agent.clone()).unwrap();
    for known in [CREATED, SHIPPED] {
        let (request, manifest) = announced(&known);
        let (job, drive) = (known.job.parse().unwrap(), known.drive.parse().unwrap());
        agent.create_job(&job, &request).unwrap();
        let length = manifest.len() as u64;
        agent.put_manifest(&job, &drive, length, &mut manifest.as_slice()).unwrap();
    }
    let ship = serde_json::json!({
        "state": "Shipping",
        "deliveryPackage": {"carrierName": "Posten", "trackingNumber": SHIPPED.parcel},
        "returnAddress": {
            "recipientName": "Ops", "streetAddress1": "1 Main St", "city": "Oslo", "postalCode": "0150",
            "countryOrRegion": "NO", "phone": "4722000000", "email": "ops@example.org",
        },
    });
    let ship = serde_json::from_value(ship).unwrap();
    agent.patch_job(&SHIPPED.job.parse().unwrap(), &ship).unwrap();
}

/// Runs schemathesis as that caller; its words and the server's are shown when it finds something.
fn judge(program: &Path, server: &Server, caller: &Credentials, known: &Known) {
    let work = tempfile::tempdir_in(server.folder()).unwrap();
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi/hooks.py");
    let authority = server.data().join("tls/ca.pem");
    let output = Command::new(program)
        .arg("run")
        .arg(format!("{}/api/v1/openapi.json", caller.endpoint))
        .args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing"])
        .args(["--max-examples", EXAMPLES, "--seed", "1", "--generation-deterministic"])
        // Its answer does not end.
        .args(["--exclude-path", "/api/v1/import-jobs/{job}/events"])
        .args(["--continue-on-failure", "--warnings", "off", "--no-color"])
        .args(["--suppress-health-check", "all"])
        .args(["--request-timeout", "30", "--auth", &format!("{}:{}", caller.user, caller.token)])
        .arg("--tls-verify")
        .arg(&authority)
        .env("REQUESTS_CA_BUNDLE", &authority)
        .env("SCHEMATHESIS_HOOKS", hooks)
        .env("JUDGE_ROLE", format!("{:?}", caller.role).to_lowercase())
        .env("JUDGE_JOB", known.job)
        .env("JUDGE_DRIVE", known.drive)
        .env("JUDGE_PARCEL", known.parcel)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(&work)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    let log = server.log();
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR")).collect();
    assert!(output.status.success(), "as {:?}:\n{said}\n{complained}\n{errors:#?}", caller.role);
}

#[test]
fn schemathesis_finds_no_failure_and_no_undocumented_answer() {
    let name = "packmule::openapi::schemathesis_finds_no_failure_and_no_undocumented_answer";
    let Some(program) = std::env::var_os("PACKMULE_SCHEMATHESIS").map(PathBuf::from) else {
        return skip(name, "schemathesis is not here; `cargo xtask test` gets it");
    };
    let server = Server::start();
    call(&server, "storage-account create seedacct");
    call(&server, "vault create vault1");
    let agent = call(&server, "vault credentials vault1 --for fs01");
    let dock = call(&server, "dock credentials dock");
    let load = |path: &Path| client::load_credentials(path).unwrap();
    let agent = load(&agent);
    jobs(&agent);
    judge(&program, &server, &agent, &CREATED);
    judge(&program, &server, &load(&dock), &SHIPPED);
    // Last: an administrator may give the others new tokens.
    judge(&program, &server, &load(&server.data().join("admin.json")), &SHIPPED);
}
