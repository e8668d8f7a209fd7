//! The part of Microsoft Graph that registers applications and their credentials. Knows no people, no
//! groups and no devices: a server has none.
//!
//! Whoever may change an application may call as it. So a caller changes an application only if it is
//! its owner, or may do everything that the application may; see [`rights`].

mod applications;
mod body;
mod directory;
mod error;
mod filter;
mod keys;
mod passwords;
mod principals;
mod query;
mod request;
mod rights;
mod view;

pub(crate) use error::GraphError;

/// The handlers, for the table of routes.
pub(crate) mod handlers {
    pub(crate) use super::applications::{create, list, owners, patch, remove};
    pub(crate) use super::directory::{by_ids, me, my_objects, organization};
    pub(crate) use super::keys::{add as add_key, remove as remove_key};
    pub(crate) use super::passwords::{add as add_password, remove as remove_password};
    pub(crate) use super::principals::{
        create as create_principal, list as list_principals, owned, remove as remove_principal,
    };
    pub(crate) use super::view::get;
}
