//! The one tenant: by which names it is called, and what its endpoints are.

use super::access_token::{Version, issuer};
use super::oauth::Reason;
use crate::app::App;

/// Refuses a tenant that is not here. Clients that know no id write a word for it.
pub(crate) fn check(app: &App, tenant: &str) -> Result<(), Reason> {
    let own = app.entra.tenant.as_str();
    let known = [own, "organizations", "common"];
    if known.iter().any(|name| name.eq_ignore_ascii_case(tenant)) {
        Ok(())
    } else {
        Err(Reason::Tenant)
    }
}

/// Where tokens of that version are given.
pub(crate) fn token_endpoint(app: &App, version: Version) -> String {
    let (endpoint, tenant) = (&app.endpoint, &app.entra.tenant);
    match version {
        Version::V1 => format!("{endpoint}/{tenant}/oauth2/token"),
        Version::V2 => format!("{endpoint}/{tenant}/oauth2/v2.0/token"),
    }
}

/// Audiences that an assertion may have: the token endpoints and the issuers.
pub(crate) fn audiences(app: &App) -> Vec<String> {
    let own = |version| issuer(version, &app.endpoint, &app.entra.tenant);
    vec![
        token_endpoint(app, Version::V1),
        token_endpoint(app, Version::V2),
        own(Version::V1),
        own(Version::V2),
    ]
}
