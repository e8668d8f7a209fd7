//! Azure's own clients, unmodified, against `packmule serve`: what they find wrong is wrong.
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

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::served::Server;
use support::{Place, s, skip};

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/azure").join(name)
}

/// Runs a judge to its end; its words and the server's are shown when it is not content.
fn judge(server: &Server, command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}\n{}\n{}",
        String::from_utf8_lossy(&output.stderr),
        server.log()
    );
    let said: Vec<&str> = said.lines().collect();
    assert!(said.last().is_some_and(|last| last.ends_with("content")), "{said:?}");
}

/// What the administrator must have made before: a group and an account in it.
fn account(server: &Server, python: &Path) {
    judge(server, Command::new(python).arg(script("sdk.py")).arg(server.admin()));
}

fn has_private_files(server: &Server) {
    for name in ["admin.json", "admin-certificate.pem", "tls/token.key"] {
        let path = server.data().join(name);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{name}");
    }
}

#[test]
fn the_sdks_for_python_and_javascript_are_content() {
    let name = "azure::the_sdks_for_python_and_javascript_are_content";
    let Some(python) = std::env::var_os("PACKMULE_AZURE_PYTHON").map(PathBuf::from) else {
        return skip(name, "Azure's Python clients are not here; `cargo xtask test` gets them");
    };
    let server = Server::start();
    has_private_files(&server);
    account(&server, &python);
    let Some(modules) = std::env::var_os("PACKMULE_AZURE_NODE") else {
        return skip(name, "Azure's JavaScript clients are not here; `cargo xtask test` gets them");
    };
    let admin = std::fs::read_to_string(server.admin()).unwrap();
    let admin: serde_json::Value = serde_json::from_str(&admin).unwrap();
    let account = format!(
        "/subscriptions/{}/resourceGroups/Rg1/providers/Microsoft.Storage/storageAccounts/seedacct",
        admin["subscriptionId"].as_str().unwrap()
    );
    let mut node = Command::new("node");
    node.arg(script("sdk.mjs")).arg(server.admin()).arg(modules).arg(account);
    judge(&server, node.env("NODE_EXTRA_CA_CERTS", admin["caFile"].as_str().unwrap()));
}

#[test]
fn the_azure_cli_is_content() {
    let Some(folder) = std::env::var_os("PACKMULE_AZURE_CLI") else {
        // 700 MB: for a run of its own, which asks for it.
        eprintln!("not asked for: cargo xtask test --azure-cli azure");
        return;
    };
    let server = Server::start();
    let work = tempfile::tempdir().unwrap();
    let path = format!("{}:{}", Path::new(&folder).display(), std::env::var("PATH").unwrap());
    let mut bash = Command::new("bash");
    judge(
        &server,
        bash.arg(script("cli.sh")).arg(server.admin()).arg(work.path()).env("PATH", path),
    );
}

/// A command line of the place, which must succeed.
fn done(place: &Place, words: &[&str]) -> support::Said {
    place.run(words).exits(0)
}

/// Account and vault by Azure's clients; application, drives and shipping by the two utilities under the names
/// that people know; the restore by stock restic.
#[test]
fn a_seed_travels_by_real_clients_and_the_two_utilities() {
    let name = "azure::a_seed_travels_by_real_clients_and_the_two_utilities";
    let Some(python) = std::env::var_os("PACKMULE_AZURE_PYTHON").map(PathBuf::from) else {
        return skip(name, "Azure's Python clients are not here; `cargo xtask test` gets them");
    };
    let (server, place) = (Server::start(), Place::new());
    let admin = server.admin();
    let (admin, state) = (s(&admin), place.path("state"));
    let state = s(&state);
    let step = |words: &[&str]| {
        judge(&server, Command::new(&python).arg(script("journey.py")).arg(admin).args(words));
    };
    let known: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(server.admin()).unwrap()).unwrap();
    let subscription = format!("SubscriptionId:{}", known["subscriptionId"].as_str().unwrap());
    step(&["make"]);

    let file = "offices.VaultCredentials";
    done(&place, &["vault", "credentials", "offices", "-o", file, "--server", admin]);
    done(&place, &["dock", "credentials", "dock", "-o", "dock.json", "--server", admin]);
    let register = ["agent", "register", "--credentials", file, "--name", "fs01", "--state", state];
    done(&place, &register);
    // The same machine may; another one has to say so.
    done(&place, &register);
    let other = [&register[..7], &["other"]].concat();
    place.run(&other).exits(1).tells(&["--take-over"]);
    done(&place, &["subscription", "publish-settings", "packmule", "-o", "p", "--server", admin]);

    // The utilities by their old names, through links.
    let old = |name: &str, words: &[&str]| {
        let link = place.path(name);
        if !link.exists() {
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_packmule"), &link).unwrap();
        }
        let mut command = Command::new(link);
        command.args(words).current_dir(place.path("")).env("PACKMULE_PASSWORD", support::PASSWORD);
        command.env("PACKMULE_STATE", state).env("PACKMULE_SERVER", admin).stdin(Stdio::null());
        support::Said::of(command.output().unwrap())
    };
    let certgen = |words: &[&str]| old("AzureOfflineBackupCertGen.exe", words);
    certgen(&["CreateNewApplication", &subscription])
        .exits(0)
        .shows(&["AzureOfflineBackup_", "CB_AzureADCertforOfflineSeeding_"]);
    // A call before may have ended in the middle: what it had not done is done then.
    let apps = done(&place, &["--json", "app", "list", "--server", admin]).stdout;
    let apps = support::objects(&apps);
    let name_of = |app: &serde_json::Value| app["name"].as_str().unwrap_or_default().to_owned();
    let app = apps.iter().map(name_of).find(|it| it.starts_with("AzureOfflineBackup_")).unwrap();
    done(&place, &["app", "revoke", &app, "Contributor", "--server", admin]);
    certgen(&["CreateNewApplication", &subscription]).exits(0).shows(&["is there"]);
    done(&place, &["app", "show", &app, "--server", admin]).shows(&["Contributor"]);
    let file = "xmlfilepath:OfflineApplicationParams.xml";
    certgen(&["AddRegistryEntries", &subscription, file, "storageaccountname:nothere"])
        .exits(1)
        .tells(&["nothere"]);
    certgen(&["AddRegistryEntries", &subscription, file, "storageaccountname:seedacct"]).exits(0);
    certgen(&["AddRegistryEntries", &subscription]).exits(1).tells(&["xmlfilepath"]);
    another_server_shares_the_application(&place, &server, &subscription);

    let (source, staging) = (place.source("source", 30 << 20), place.path("staging"));
    let staging = s(&staging);
    let group =
        ["group", "create", "files", "--path", s(&source), "--staging", staging, "--state", state];
    let offline =
        ["--import-job", "seed-1", "--storage-account", "seedacct", "--container", "seeds"];
    done(&place, &[&group[..], &offline[..]].concat());
    done(&place, &["backup", "now", "files", "--state", state]);
    place.folder("d1");
    place.folder("d2");
    let diskprep = |words: &[&str]| old("AzureOfflineBackupDiskPrep.exe", words);
    diskprep(&[&format!("s:{staging}"), "--drive", "d1", "d2", "--capacity", "25M"])
        .exits(0)
        .shows(&["Import Dock"]);
    step(&["look", "seed-1", "Creating", "Specified"]);
    let params = place.path("state/offline/OfflineApplicationParams_seedacct.xml");
    let key = place.path("state/offline/seeding.pem");
    step(&["seeding", s(&params), s(&key), "seed-1"]);
    let shipping = [
        "u:",
        "--yes",
        "--carrier",
        "FedEx",
        "--tracking",
        "REAL-12345",
        "--recipient",
        "R",
        "--street",
        "S",
    ];
    let address = [
        "--city",
        "C",
        "--postal-code",
        "1",
        "--country",
        "NO",
        "--phone",
        "1",
        "--email",
        "r@example.org",
    ];
    diskprep(&[&shipping[..], &address[..]].concat()).exits(0);
    diskprep(&["u:"]).exits(0).shows(&["Shipping"]);
    step(&["look", "seed-1", "Shipping", "Specified"]);

    done(
        &place,
        &[
            "dock",
            "receive",
            "--tracking",
            "real12345",
            "--credentials",
            "dock.json",
            "--state",
            "dock-state",
        ],
    );
    step(&["look", "seed-1", "Received", "Received"]);
    done(
        &place,
        &[
            "dock",
            "import",
            "--job",
            "seed-1",
            "--credentials",
            "dock.json",
            "--state",
            "dock-state",
            "--drive",
            "d1",
            "d2",
        ],
    );
    step(&["look", "seed-1", "Packaging", "Completed"]);
    done(&place, &["backup", "now", "files", "--state", state]);

    for (n, restic) in support::restics(name).into_iter().enumerate() {
        let said = place.run(&["agent", "token", "--json", "--state", state]).exits(0);
        let token = said.object("token");
        let endpoint = known["endpoint"].as_str().unwrap().replace("https://", "");
        let url = format!(
            "rest:https://fs01:{}@{endpoint}/vaults/offices/fs01/",
            token["token"].as_str().unwrap()
        );
        let target = place.path(&format!("restored{n}"));
        let mut command = support::restic_command(
            &restic,
            Path::new(&url),
            &["restore", "latest", "--target", s(&target)],
        );
        command.args(["--cacert", known["caFile"].as_str().unwrap()]);
        support::Said::of(command.output().unwrap()).exits(0);
        support::same(&source, &target.join(source.strip_prefix("/").unwrap()));
    }
}

/// Somebody else's server adds its certificate by hand, and is an application like the first.
fn another_server_shares_the_application(place: &Place, server: &Server, subscription: &str) {
    let admin = server.admin();
    let admin = s(&admin);
    done(
        place,
        &["vault", "credentials", "offices", "--for", "fs02", "-o", "fs02.json", "--server", admin],
    );
    done(place, &["agent", "register", "--credentials", "fs02.json", "--state", "state2"]);
    let words = [
        "certgen",
        "CreateNewApplication",
        subscription,
        "--server",
        admin,
        "--state",
        "state2",
        "--output",
        "state2",
    ];
    let said = place.run(&words).exits(3).shows(&[
        "certificate export",
        "add-certificate",
        "certificate record",
    ]);
    let user = said.stdout.split("AzureOfflineBackup_").nth(1).unwrap()[..36].to_owned();
    done(place, &["certificate", "export", "--output", "two.cer", "--state", "state2"]);
    let wrong = ["certificate", "record", &"0".repeat(40), "--user", &user, "--state", "state2"];
    place.run(&wrong).exits(1).tells(&["thumbprint"]);
    let shown = done(place, &["--json", "certificate", "show", "--state", "state2"]);
    let thumbprint = shown.object("certificate")["thumbprint"].as_str().unwrap().to_owned();
    done(place, &["certificate", "record", &thumbprint, "--user", &user, "--state", "state2"]);
    let recorded = place.path(&format!("state2/offline/AzureADAppCertThumbprint_{user}"));
    assert_eq!(std::fs::read_to_string(recorded).unwrap().trim(), thumbprint);
}
