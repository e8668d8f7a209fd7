//! Callers with an access token of our own token endpoint. What they may do is read from the database
//! at each request: a token says only who it was given to.

use super::access_token;
use super::audience::Audience;
use super::records;
use crate::app::App;
use crate::auth::{Caller, Principal};
use crate::{Error, db};
use wire::Role;

#[derive(sqlx::FromRow)]
struct Row {
    object_id: String,
    service_principal: String,
}

/// The application behind the token, with its grants; none when the token is not good for this
/// audience, or the application or the credential that it was given for is gone.
pub(crate) async fn authenticate(
    app: &App,
    token: &str,
    audience: Audience,
) -> Result<Option<Principal>, Error> {
    let claims = access_token::read(&app.entra, &app.endpoint, token, app.now());
    let Some(claims) = claims.filter(|claims| audience.takes(&claims.aud, &app.endpoint)) else {
        return Ok(None);
    };
    let row: Option<Row> = sqlx::query_as(
        "SELECT object_id, service_principal FROM application
         WHERE app_id = ?1 AND service_principal = ?2
           AND (EXISTS (SELECT 1 FROM app_certificate
                        WHERE application = object_id AND key_id = ?3)
             OR EXISTS (SELECT 1 FROM app_secret
                        WHERE application = object_id AND key_id = ?3))",
    )
    .bind(&claims.appid)
    .bind(&claims.oid)
    .bind(&claims.pm_key)
    .fetch_optional(app.db.pool())
    .await?;
    let Some(Row { object_id, service_principal }) = row else { return Ok(None) };
    let grants = records::grants(app.db.pool(), &service_principal).await?;
    let machine: Option<(String, String)> =
        sqlx::query_as("SELECT vault, server FROM machine WHERE application = ?")
            .bind(&object_id)
            .fetch_optional(app.db.pool())
            .await?;
    let own = match &machine {
        Some((vault, server)) => {
            Some((db::parsed("machine.vault", vault)?, db::parsed("machine.server", server)?))
        }
        None => None,
    };
    let owns_all = grants.iter().any(|grant| grant.holds(super::Right::Own, "/"));
    Ok(Some(Principal {
        subject: format!("application/{}", claims.appid),
        role: if own.is_some() { Some(Role::Agent) } else { owns_all.then_some(Role::Admin) },
        own,
        seed: None,
        grants,
        application: Some(Caller {
            object_id,
            app_id: claims.appid,
            service_principal,
            credential: claims.pm_key,
        }),
    }))
}
