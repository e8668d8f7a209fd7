//! The control plane as methods, one for each route. Blocking; decides nothing, retries nothing,
//! and never follows a redirect: a token goes to the endpoint of its credentials only.

mod credentials;
mod error;
mod jobs;
mod machine;
mod receipt;
mod transport;
mod vaults;

pub use credentials::load_credentials;
pub use error::Error;
pub use machine::Certified;
pub use receipt::verify_receipt;
pub use transport::Client;
/// Of a [`Client::call`].
pub use ureq::http::Method;

/// What the client's operations return.
pub type Result<T> = std::result::Result<T, Error>;
