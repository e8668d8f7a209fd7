//! `admin.json`: the administrator's credentials, a private file in the data folder. The database
//! follows the file: whoever can write there is administrator anyway.

use crate::data::DataFolder;
use crate::db::Db;
use crate::entra::{self, Entra};
use crate::principals::{self, Subject};
use crate::{Error, token};
use jiff::Timestamp;
use wire::{Credentials, PublicKey, Role};

/// The file's name in the data folder.
pub(crate) const FILE: &str = "admin.json";

/// What the file says beside the token.
#[derive(Debug)]
pub(crate) struct Known<'a> {
    pub(crate) endpoint: &'a str,
    pub(crate) receipt_key: PublicKey,
    pub(crate) entra: &'a Entra,
    /// The authority's file, relative to the data folder.
    pub(crate) ca_file: &'a str,
}

/// Makes the file say where the server is now, with the token it has or a new one, and makes that
/// the administrator's token.
pub(crate) async fn open(
    data: &DataFolder,
    db: &Db,
    known: Known<'_>,
    now: Timestamp,
) -> Result<(), Error> {
    let before = data.read(FILE)?;
    let token = match before.as_deref().map(serde_json::from_slice::<Credentials>) {
        Some(Ok(credentials)) => credentials.token,
        Some(Err(why)) => {
            let why = format!("{why}; remove it and start again for a new token");
            return Err(Error::Damaged { what: FILE.to_owned(), why });
        }
        None => token::new()?,
    };
    let credentials = Credentials {
        version: Credentials::VERSION,
        endpoint: known.endpoint.to_owned(),
        ca_pem: None,
        ca_file: Some(absolute(data, known.ca_file)?),
        role: Role::Admin,
        vault: None,
        server: None,
        user: Subject::Admin.user(),
        token,
        receipt_key: known.receipt_key,
        tenant_id: Some(known.entra.tenant.to_string()),
        subscription_id: Some(known.entra.subscription.to_string()),
        client_id: Some(known.entra.admin_client.clone()),
        certificate_file: Some(absolute(data, entra::CERTIFICATE_FILE)?),
    };
    let text = serde_json::to_vec_pretty(&credentials)
        .map_err(|why| Error::Damaged { what: FILE.to_owned(), why: why.to_string() })?;
    if before.as_ref() != Some(&text) {
        data.replace(FILE, &text)?;
    }
    let mut transaction = db.write().await?;
    principals::set(&mut transaction, &Subject::Admin, &credentials.token, now).await?;
    transaction.commit().await?;
    Ok(())
}

/// Where a file of the data folder is, for programs that run elsewhere.
fn absolute(data: &DataFolder, name: &str) -> Result<String, Error> {
    let path = data.join(name);
    let whole = std::path::absolute(&path).map_err(Error::io("finding", &path))?;
    let text = whole.into_os_string().into_string();
    // Such a path cannot be written in JSON; relative to the file, it is found nevertheless.
    Ok(text.unwrap_or_else(|_| name.to_owned()))
}
