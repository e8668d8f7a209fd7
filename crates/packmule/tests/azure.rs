//! Azure's own clients, unmodified, against `packmule serve`: what they find wrong is wrong.

mod support;

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use support::skip;

/// The server, with its data folder.
struct Server {
    child: Child,
    folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_packmule"))
            .args(["serve", "--listen", "127.0.0.1:0", "--locations"])
            .arg(script("locations.json"))
            .arg("--data")
            .arg(folder.path().join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let server = Self { child, folder };
        let began = Instant::now();
        while !server.log().contains("listening") {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "it does not start: {}",
                server.log()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    fn admin(&self) -> PathBuf {
        self.folder.path().join("data/admin.json")
    }
}

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
        let path = server.folder.path().join("data").join(name);
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
