//! `packmule serve`, for judges and for the commands that call it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server, with its data folder. Killed when dropped.
pub struct Server {
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
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let locations = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/azure/locations.json");
        let child = Command::new(env!("CARGO_BIN_EXE_packmule"))
            .args(["serve", "--listen", "127.0.0.1:0", "--locations"])
            .arg(locations)
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
            let took = began.elapsed();
            assert!(took < Duration::from_secs(60), "it does not start: {}", server.log());
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Where test files of its own may lie.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub fn admin(&self) -> PathBuf {
        self.data().join("admin.json")
    }
}
