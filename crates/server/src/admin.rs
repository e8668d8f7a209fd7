//! `admin.json`: the administrator's credentials, a private file in the data folder. The database
//! follows the file: whoever can write there is administrator anyway.

use crate::data::DataFolder;
use crate::db::Db;
use crate::identity::Identity;
use crate::principals::{self, Subject};
use crate::{Error, token};
use jiff::Timestamp;
use wire::{Credentials, PublicKey, Role};

/// The file's name in the data folder.
pub(crate) const FILE: &str = "admin.json";

/// Makes the file say where the server is now, with the token it has or a new one, and makes that
/// the administrator's token.
pub(crate) async fn open(
    data: &DataFolder,
    db: &Db,
    endpoint: &str,
    receipt_key: PublicKey,
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
        endpoint: endpoint.to_owned(),
        ca_pem: None,
        ca_file: Some(Identity::CA_FILE.to_owned()),
        role: Role::Admin,
        vault: None,
        server: None,
        user: Subject::Admin.user(),
        token,
        receipt_key,
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
