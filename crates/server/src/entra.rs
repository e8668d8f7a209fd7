//! Applications that call with certificates or secrets, as Azure's clients do: the token endpoint,
//! the guard's half for access tokens, and the part of Graph that registers applications.
//!
//! ```text
//!  form ─▶ sts ─▶ assertion ─▶ jwt         one token for one proof
//!           └──▶ access_token ─▶ key
//!  Bearer ─▶ bearer ─▶ access_token, records   who, and what they may now
//!  graph ─▶ records                        who may prove what
//! ```
//!
//! What always holds:
//!
//! - **A token says who it was given to, and no more**: grants are read at each request.
//! - **What is registered decides**: neither keys nor algorithms come from what a caller sends.
//! - **No private key and no secret is stored**, but the server's own two keys, in private files.

mod access_token;
mod assertion;
mod audience;
mod bearer;
mod bootstrap;
pub(crate) mod certificate;
mod discovery;
mod form;
pub(crate) mod grants;
mod graph;
mod guid;
mod jwt;
mod key;
mod oauth;
pub(crate) mod records;
mod sts;
mod tenant;

pub(crate) use assertion::{Stated, verify_statement};
pub(crate) use audience::Audience;
pub(crate) use bearer::authenticate;
pub(crate) use bootstrap::{FILE as CERTIFICATE_FILE, self_signed};
pub(crate) use certificate::Certificate;
pub use grants::Right;
pub(crate) use grants::{Grant, covers};
pub(crate) use graph::GraphError;
pub(crate) use guid::Guid;
pub(crate) use records::{Application, By};

use crate::Error;
use crate::data::DataFolder;
use crate::db::Db;
use jiff::Timestamp;

/// What this server is to Azure's clients.
#[derive(Debug)]
pub(crate) struct Entra {
    /// The one tenant.
    pub(crate) tenant: Guid,
    /// The subscription that was made at the first start.
    pub(crate) subscription: Guid,
    /// Object id of the server's own application, which cannot be deleted.
    pub(crate) admin_application: String,
    /// Client id of the server's own application.
    pub(crate) admin_client: String,
    key: key::TokenKey,
}

impl Entra {
    /// What is in the data folder and the database, made where it is not there.
    pub(crate) async fn open(data: &DataFolder, db: &Db, now: Timestamp) -> Result<Self, Error> {
        let key = key::TokenKey::open(data)?;
        let instance = bootstrap::open(data, db, now).await?;
        Ok(Self {
            tenant: instance.tenant,
            subscription: instance.subscription,
            admin_application: instance.admin_application,
            admin_client: instance.admin_client,
            key,
        })
    }
}

/// The handlers, for the table of routes.
pub(crate) mod handlers {
    pub(crate) use super::discovery::{configuration_v1, configuration_v2, keys};
    pub(crate) use super::graph::handlers as graph;
    pub(crate) use super::sts::{v1 as token_v1, v2 as token_v2};
}
