//! The control plane as methods, one for each route. Blocking; decides nothing, retries nothing,
//! and never follows a redirect: a token goes to the endpoint of its credentials only.

mod credentials;
mod custody;
mod deletions;
mod error;
mod events;
mod graph;
mod jobs;
mod machine;
mod manager;
mod receipt;
mod records;
mod roles;
mod tokens;
mod transport;
mod vaults;

pub use credentials::load_credentials;
pub use error::Error;
pub use events::{Told, Watch};
pub use graph::{AppCertificate, Application, certificates};
pub use machine::Certified;
pub use manager::{DriveKey, NewProperties, NewResource, Resource, ResourceGroup, ResourceKind};
pub use receipt::verify_receipt;
pub use roles::RoleAssignment;
pub use tokens::{Proof, Proofs, Tokens};
pub use transport::Client;

/// What the client's operations return.
pub type Result<T> = std::result::Result<T, Error>;
