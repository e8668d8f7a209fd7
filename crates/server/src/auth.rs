//! Who calls, and whether the route is for them. Every route goes through here with the callers it
//! is for; whether a job or repository is theirs is decided where it is looked up.

use crate::app::App;
use crate::{Error, db, token};
use axum::extract::{RawPathParams, Request, State};
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use model::{ServerName, VaultName};
use std::sync::Arc;
use wire::{Code, Role};

/// Whom a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone, without credentials.
    Anyone,
    /// Callers in one of these roles. An agent only below its own vault and name, where the path
    /// names them.
    Roles(&'static [Role]),
}

impl Access {
    /// Whether a caller in that role may come in.
    #[must_use]
    pub fn allows(self, role: Role) -> bool {
        match self {
            Self::Anyone => true,
            Self::Roles(roles) => roles.contains(&role),
        }
    }
}

/// A caller whose token was found right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    /// Whose token it was: for records of what they did.
    pub(crate) subject: String,
    pub(crate) role: Role,
    /// Of an agent.
    pub(crate) own: Option<(VaultName, ServerName)>,
}

impl Principal {
    /// Whether the caller may see what belongs to that source server.
    pub(crate) fn may_see(&self, vault: &VaultName, server: &ServerName) -> bool {
        match &self.own {
            Some((own_vault, own_server)) => own_vault == vault && own_server == server,
            None => self.role != Role::Agent,
        }
    }
}

/// Lets a request in if the route is for its caller.
pub(crate) async fn guard(
    State((app, access)): State<(Arc<App>, Access)>,
    params: RawPathParams,
    mut request: Request,
    next: Next,
) -> Result<Response, Error> {
    if access != Access::Anyone {
        let principal = authenticate(&app, request.headers()).await?;
        if !access.allows(principal.role) || !owns(&principal, &params) {
            let message = "these credentials do not allow this; ask the server's administrator";
            return Err(Error::refused(Code::AuthorizationFailed, message));
        }
        request.extensions_mut().insert(principal);
    }
    Ok(next.run(request).await)
}

/// An agent's path names its own vault and server, where it names any.
fn owns(principal: &Principal, params: &RawPathParams) -> bool {
    let Some((vault, server)) = &principal.own else { return true };
    params.iter().all(|(name, value)| match name {
        "vault" => value == vault.as_str(),
        "server" => value == server.as_str(),
        _ => true,
    })
}

#[derive(sqlx::FromRow)]
struct Columns {
    subject: String,
    role: String,
    vault: Option<String>,
    server: Option<String>,
    token_sha256: Vec<u8>,
}

async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Principal, Error> {
    let refused = || {
        let message = "no valid credentials came with the request; use those that were handed out";
        Error::refused(Code::AuthenticationFailed, message)
    };
    let (user, secret) = basic(headers).ok_or_else(refused)?;
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT subject, role, vault, server, token_sha256 FROM principal WHERE user_name = ?",
    )
    .bind(&user)
    .fetch_all(app.db.pool())
    .await?;
    let hash = token::hash(&secret);
    let mut found = None;
    for row in rows {
        if token::same(&hash, &row.token_sha256) {
            found = Some(row);
        }
    }
    let Columns { subject, role, vault, server, .. } = found.ok_or_else(refused)?;
    let own = match (vault, server) {
        (Some(vault), Some(server)) => {
            Some((db::parsed("principal.vault", &vault)?, db::parsed("principal.server", &server)?))
        }
        _ => None,
    };
    let role = match role.as_str() {
        "admin" => Role::Admin,
        "agent" => Role::Agent,
        "dock" => Role::Dock,
        other => return Err(db::damaged("principal.role", other)),
    };
    Ok(Principal { subject, role, own })
}

fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let text = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = text.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(encoded.trim()).ok()?;
    let pair = String::from_utf8(decoded).ok()?;
    let (user, secret) = pair.split_once(':')?;
    Some((user.to_owned(), secret.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        headers
    }

    #[test]
    fn only_well_formed_basic_credentials_are_read() {
        let pair = |user: &str, secret: &str| Some((user.to_owned(), secret.to_owned()));
        assert_eq!(basic(&header("Basic YTpi")), pair("a", "b"));
        assert_eq!(basic(&header("basic YTpiOmM=")), pair("a", "b:c"));
        for bad in ["Bearer YTpi", "Basic", "Basic !!!", "Basic YWI=", "Basic /w=="] {
            assert_eq!(basic(&header(bad)), None, "{bad}");
        }
        assert_eq!(basic(&HeaderMap::new()), None);
    }
}
