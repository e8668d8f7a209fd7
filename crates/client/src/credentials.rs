//! Reads a credentials document from a file. Never writes one.

use crate::{Error, Result};
use std::fs;
use std::path::Path;
use wire::Credentials;

/// A credentials document of a few kilobytes; anything longer is something else.
const LIMIT: u64 = 1 << 20;

/// The credentials in the file `path`, with the certificate authority read from `caFile` where the
/// document names a file.
///
/// # Errors
/// [`Error::File`] when a file cannot be read, [`Error::Credentials`] when it holds something else.
pub fn load_credentials(path: &Path) -> Result<Credentials> {
    let bad = |what: String| Error::Credentials { from: path.display().to_string(), what };
    let mut credentials: Credentials =
        serde_json::from_str(&read(path)?).map_err(|cause| bad(cause.to_string()))?;
    if credentials.version != Credentials::VERSION {
        return Err(bad(format!("version {} is newer than this program", credentials.version)));
    }
    if credentials.ca_pem.is_none()
        && let Some(file) = &credentials.ca_file
    {
        let folder = path.parent().unwrap_or(Path::new("."));
        credentials.ca_pem = Some(read(&folder.join(file))?);
    }
    Ok(credentials)
}

fn read(path: &Path) -> Result<String> {
    let wrap = |cause| Error::File { path: path.to_owned(), cause };
    if fs::metadata(path).map_err(wrap)?.len() > LIMIT {
        return Err(wrap(std::io::Error::other("longer than 1 MiB")));
    }
    fs::read_to_string(path).map_err(wrap)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ErrorKind;

    fn document(extra: &str) -> String {
        format!(
            r#"{{"version":1,"endpoint":"https://localhost:1","role":"admin","user":"admin",
                "token":"t","receiptKey":"{}"{extra}}}"#,
            "00".repeat(32)
        )
    }

    #[test]
    fn the_authority_is_read_beside_the_document() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.json");
        fs::create_dir(folder.path().join("tls")).unwrap();
        fs::write(folder.path().join("tls/ca.pem"), "PEM").unwrap();
        fs::write(&path, document(r#","caFile":"tls/ca.pem""#)).unwrap();
        assert_eq!(load_credentials(&path).unwrap().ca_pem.as_deref(), Some("PEM"));
    }

    #[test]
    fn what_is_no_credentials_document_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        assert_eq!(load_credentials(&path).unwrap_err().kind(), ErrorKind::NotFound);
        fs::write(&path, "{}").unwrap();
        assert_eq!(load_credentials(&path).unwrap_err().kind(), ErrorKind::Invalid);
        fs::write(&path, document("").replace(":1,", ":2,")).unwrap();
        assert!(load_credentials(&path).unwrap_err().to_string().contains("version 2"));
    }
}
