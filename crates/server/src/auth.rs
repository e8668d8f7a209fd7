//! Who calls, and whether the route is for them. Every route goes through here with the callers it
//! is for; whether a job or repository is theirs is decided where it is looked up.

use crate::app::App;
use crate::arm::Fault;
use crate::audit::{self, Call};
use crate::entra::{self, Audience, Grant, GraphError, Right};
use crate::groups::{self, Group};
use crate::http::RequestId;
use crate::{Error, db, machines, seeds, token};
use axum::extract::{RawPathParams, Request, State};
use axum::http::HeaderMap;
use axum::http::header::{AUTHORIZATION, HeaderValue, USER_AGENT, WWW_AUTHENTICATE};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use model::{ServerName, VaultName};
use std::sync::Arc;
use wire::{Code, Role, SeedId};

/// Whom a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone, without credentials.
    Anyone,
    /// Callers in one of these roles. An agent only below its own vault and name, where the path
    /// names them.
    Roles(&'static [Role]),
    /// The same, and Owners of the vault that the path names.
    Vault(&'static [Role]),
    /// Callers with a grant that gives this right for the request's path, and administrators.
    Arm(Right),
    /// Callers with any grant at all, and administrators: for lists, which show each what is theirs.
    ArmAny,
    /// An application, with a token for a vault. Which vault it may register machines with is decided where
    /// it does.
    Registration,
    /// Applications, and administrators. What they may do there is decided by what they ask for.
    Graph,
    /// Applications with a token for the resource manager. What they may do is decided where it is looked up.
    Application,
}

impl Access {
    /// Whether a caller in that role may come in.
    #[must_use]
    pub fn allows(self, role: Role) -> bool {
        match self {
            Self::Anyone => true,
            Self::Roles(roles) | Self::Vault(roles) => roles.contains(&role),
            Self::Arm(_) | Self::ArmAny | Self::Graph => role == Role::Admin,
            Self::Registration | Self::Application => false,
        }
    }

    /// What an access token must be for.
    fn audience(self) -> Audience {
        match self {
            Self::Graph => Audience::Graph,
            Self::Registration => Audience::Vault,
            _ => Audience::Manager,
        }
    }

    /// Whether the route is for that caller.
    fn lets_in(self, caller: &Principal, path: &str) -> bool {
        match self {
            Self::Anyone => true,
            Self::Roles(_) | Self::Vault(_) => caller.role.is_some_and(|role| self.allows(role)),
            Self::Arm(right) => caller.may(right, path),
            Self::ArmAny => !caller.grants.is_empty(),
            Self::Registration | Self::Application => caller.application.is_some(),
            Self::Graph => caller.application.is_some() || caller.role == Some(Role::Admin),
        }
    }

    /// The refusal in the shape that the route's callers know.
    fn refuse(self, app: &App, error: Error) -> Response {
        let unknown = matches!(&error, Error::Refused { code: Code::AuthenticationFailed, .. });
        let mut response = match self {
            Self::Graph => GraphError::from(error).into_response(),
            Self::Arm(_) | Self::ArmAny => Fault::from(error).into_response(),
            _ => error.into_response(),
        };
        if unknown && !matches!(self, Self::Anyone | Self::Roles(_) | Self::Vault(_)) {
            let (endpoint, tenant) = (&app.endpoint, &app.entra.tenant);
            let scheme = format!(
                "Bearer authorization_uri=\"{endpoint}/{tenant}\", error=\"invalid_token\""
            );
            if let Ok(scheme) = HeaderValue::from_str(&scheme) {
                response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            }
        }
        response
    }
}

/// The application behind an access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    pub(crate) object_id: String,
    /// The client id.
    pub(crate) app_id: String,
    /// Object id of its service principal.
    pub(crate) service_principal: String,
    /// The certificate or secret that its token was given for.
    pub(crate) credential: String,
}

/// A caller whose token was found right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Principal {
    /// Whose token it was: for records of what they did.
    pub(crate) subject: String,
    /// Of the callers of our own API. An application has one only if it is Owner of everything.
    pub(crate) role: Option<Role>,
    /// Of an agent, of a copy computer, and of a maintenance host.
    pub(crate) own: Option<(VaultName, ServerName)>,
    /// Of a copy computer, which has to do with one seed only.
    pub(crate) seed: Option<SeedId>,
    /// What the caller may do in the resource manager and in Graph.
    pub(crate) grants: Vec<Grant>,
    /// Of a caller with an access token.
    pub(crate) application: Option<Caller>,
}

impl Principal {
    /// Whether the caller may see what belongs to that source server.
    pub(crate) fn may_see(&self, vault: &VaultName, server: &ServerName) -> bool {
        match &self.own {
            Some((own_vault, own_server)) => own_vault == vault && own_server == server,
            None => matches!(self.role, Some(Role::Admin | Role::Dock)),
        }
    }

    /// Whether the caller may see what belongs to that seed of that source server.
    pub(crate) fn may_see_seed(&self, vault: &VaultName, server: &ServerName, id: SeedId) -> bool {
        self.may_see(vault, server) && self.seed.is_none_or(|own| own == id)
    }

    /// Whether there is anything for the caller at that path or below it.
    pub(crate) fn sees_below(&self, path: &str) -> bool {
        let is_below = |scope: &str| entra::covers(path, scope);
        self.may(Right::Read, path) || self.grants.iter().any(|grant| is_below(&grant.scope))
    }

    /// Whether the caller has that right for what is at that path of the resource manager.
    pub(crate) fn may(&self, right: Right, path: &str) -> bool {
        self.grants.iter().any(|grant| grant.holds(right, path))
    }
}

/// Lets a request in if the route is for its caller.
pub(crate) async fn guard(
    State((app, access)): State<(Arc<App>, Access)>,
    params: RawPathParams,
    mut request: Request,
    next: Next,
) -> Response {
    if access == Access::Anyone {
        return next.run(request).await;
    }
    let (headers, path) = (request.headers().clone(), request.uri().path().to_owned());
    let call = Call::of(request.method(), &path, request.extensions());
    let id = request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let caller = match identify(&app, access.audience(), &headers).await {
        Ok(caller) => caller,
        Err(error) => return access.refuse(&app, error),
    };
    if matches!(caller.role, Some(Role::Agent | Role::Copy | Role::Maintenance))
        && let Some(error) = too_old(&app, &headers)
    {
        return access.refuse(&app, error);
    }
    if let (Some(Role::Agent), Some(own)) = (caller.role, &caller.own) {
        machines::heard(&app, own, &headers).await;
    }
    let subject = caller.subject.clone();
    let is_in = match access {
        Access::Vault(_) if !access.lets_in(&caller, &path) => {
            match owns_vault(&app, &caller, &params).await {
                Ok(is_in) => is_in,
                Err(error) => return access.refuse(&app, error),
            }
        }
        _ => access.lets_in(&caller, &path),
    };
    let response = if is_in && owns(&caller, &params) {
        request.extensions_mut().insert(caller);
        next.run(request).await
    } else {
        let message = "these credentials do not allow this; ask the server's administrator";
        access.refuse(&app, Error::refused(Code::AuthorizationFailed, message))
    };
    let is_quiet = response.extensions().get::<audit::Quiet>().is_some();
    if let Some(call) = call.filter(|_| !is_quiet) {
        call.write(&app, &subject, response.status().as_u16(), &id).await;
    }
    response
}

/// Why our own agent is not answered: what it says may mean something else by now. Others, as restic, say
/// nothing that we know.
fn too_old(app: &App, headers: &HeaderMap) -> Option<Error> {
    let version = agent_version(headers)?;
    let mut parts = version.split(['.', '-', '+', ' ']).map(|part| part.parse().ok());
    let found: (u64, u64, u64) = (parts.next()??, parts.next()??, parts.next()??);
    let (major, minor, patch) = app.config.oldest_agent;
    (found < app.config.oldest_agent).then(|| {
        let message = format!(
            "this agent is of version {}.{}.{}, and the server answers {major}.{minor}.{patch} and newer: install a newer packmule on the source server; nothing that it has stored is lost",
            found.0, found.1, found.2
        );
        Error::invalid(message)
    })
}

/// The version of our own agent, where it is one that calls.
pub(crate) fn agent_version(headers: &HeaderMap) -> Option<&str> {
    headers.get(USER_AGENT)?.to_str().ok()?.strip_prefix("packmule/")
}

/// Whether the credentials of a request to our own API are still those of the same caller, with the same
/// rights: for an answer that goes on for long.
pub(crate) async fn is_still(
    app: &App,
    headers: &HeaderMap,
    caller: &Principal,
) -> Result<bool, Error> {
    match identify(app, Audience::Manager, headers).await {
        Ok(now) => Ok(now == *caller),
        Err(Error::Refused { code: Code::AuthenticationFailed, .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

async fn identify(app: &App, audience: Audience, headers: &HeaderMap) -> Result<Principal, Error> {
    match bearer(headers) {
        Some(token) => entra::authenticate(app, token, audience).await?.ok_or_else(unknown),
        None => authenticate(app, headers).await,
    }
}

fn unknown() -> Error {
    let message = "no valid credentials came with the request; use those that were handed out";
    Error::refused(Code::AuthenticationFailed, message)
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

/// Whether an application is Owner of the vault that the path names: there, or above it.
async fn owns_vault(app: &App, caller: &Principal, params: &RawPathParams) -> Result<bool, Error> {
    let vault = params.iter().find(|(name, _)| *name == "vault");
    let Some((_, vault)) = vault.filter(|_| !caller.grants.is_empty() && caller.own.is_none())
    else {
        return Ok(false);
    };
    let row: Option<(String, String)> =
        sqlx::query_as("SELECT subscription, resource_group FROM vault WHERE name = ?")
            .bind(vault)
            .fetch_optional(app.db.pool())
            .await?;
    Ok(row.is_some_and(|(subscription, name)| {
        let place = Group { subscription, name }.resource(groups::VAULTS, vault);
        caller.may(Right::Own, &place)
    }))
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
    let (user, secret) = basic(headers).ok_or_else(unknown)?;
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
    if found.is_none() && user == seeds::USER {
        return seeds::authenticate(app, &secret).await?.ok_or_else(unknown);
    }
    if found.is_none()
        && let Some(machine) = machine(app, &user, &secret).await?
    {
        return Ok(machine);
    }
    let Columns { subject, role, vault, server, .. } = found.ok_or_else(unknown)?;
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
        "maintenance" => Role::Maintenance,
        other => return Err(db::damaged("principal.role", other)),
    };
    let grants = if role == Role::Admin { vec![Grant::owner()] } else { Vec::new() };
    Ok(Principal { subject, role: Some(role), own, seed: None, grants, application: None })
}

/// A machine that shows its access token as a password, because its program knows nothing else: restic.
async fn machine(app: &App, user: &str, secret: &str) -> Result<Option<Principal>, Error> {
    let found = entra::authenticate(app, secret, Audience::Manager).await?;
    let is_own = |own: &(VaultName, ServerName)| own.1.as_str() == user;
    Ok(found.filter(|principal| principal.own.as_ref().is_some_and(is_own)))
}

/// The access token, where one was sent.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// User name and password of Basic authentication, where they were sent.
pub(crate) fn basic(headers: &HeaderMap) -> Option<(String, String)> {
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

    #[test]
    fn an_access_token_is_read_in_any_case_of_its_scheme() {
        assert_eq!(bearer(&header("Bearer a.b.c")), Some("a.b.c"));
        assert_eq!(bearer(&header("bearer  a.b.c ")), Some("a.b.c"));
        assert_eq!(bearer(&header("Basic YTpi")), None);
        assert_eq!(bearer(&header("Bearer")), None);
    }

    #[test]
    fn a_grant_opens_routes_at_its_scope_and_below_only() {
        let caller = |role: Option<Role>, grants: Vec<Grant>| Principal {
            subject: "x".to_owned(),
            role,
            own: None,
            seed: None,
            grants,
            application: None,
        };
        let scope = "/subscriptions/S/resourceGroups/g".to_owned();
        let contributor =
            caller(None, vec![Grant { role: entra::grants::GrantRole::Contributor, scope }]);
        let (inside, outside) = ("/subscriptions/s/resourcegroups/G/x", "/subscriptions/s");
        let write = Access::Arm(Right::Write);
        assert!(write.lets_in(&contributor, inside));
        assert!(!write.lets_in(&contributor, outside));
        assert!(!Access::Arm(Right::Own).lets_in(&contributor, inside));
        assert!(Access::ArmAny.lets_in(&contributor, "/subscriptions"));
        assert!(!Access::Roles(&[Role::Admin]).lets_in(&contributor, inside));
        let dock = caller(Some(Role::Dock), Vec::new());
        for access in [write, Access::ArmAny, Access::Graph] {
            assert!(!access.lets_in(&dock, inside), "{access:?}");
            let admin = caller(Some(Role::Admin), vec![Grant::owner()]);
            assert!(access.lets_in(&admin, outside), "{access:?}");
        }
    }
}
