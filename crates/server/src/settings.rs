//! What a vault allows: hold, minimum retention, immutability, quotas. Holds the rule that an immutable vault is never loosened.

use crate::app::App;
use crate::deletions::Owner;
use crate::http::{self, Asked, Segments};
use crate::{Error, db, deletions, quota, vaults};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use model::VaultName;
use sqlx::SqliteConnection;
use std::sync::Arc;
use wire::{Code, Immutability, ServerPatch, ServerSettings, VaultPatch, VaultSettings};

/// No deletion is carried out sooner, unless a PIN says so: long enough for a break-in on a Friday evening to be noticed.
const SHORTEST_HOLD: u32 = 7;
/// A hundred years.
const LONGEST: u32 = 36_500;

/// What a vault's administrator has decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) hold_days: u32,
    pub(crate) minimum_retention_days: u32,
    pub(crate) immutability: Immutability,
    pub(crate) quota: Option<u64>,
}

#[derive(sqlx::FromRow)]
struct Columns {
    hold_days: i64,
    minimum_retention_days: i64,
    immutability: String,
    quota: Option<i64>,
}

fn word(immutability: Immutability) -> &'static str {
    match immutability {
        Immutability::Disabled => "disabled",
        Immutability::Enabled => "enabled",
        Immutability::Locked => "locked",
    }
}

/// A vault's immutability from the database.
pub(crate) fn immutability(text: &str) -> Result<Immutability, Error> {
    use Immutability::{Disabled, Enabled, Locked};
    let found = [Disabled, Enabled, Locked].into_iter().find(|known| word(*known) == text);
    found.ok_or_else(|| db::damaged("vault.immutability", text))
}

fn some_days(column: &str, days: i64) -> Result<u32, Error> {
    days.try_into().map_err(|_| db::damaged(column, days))
}

/// Those of a vault as they are now.
pub(crate) async fn rules(on: &mut SqliteConnection, vault: &VaultName) -> Result<Rules, Error> {
    let row: Option<Columns> = sqlx::query_as(
        "SELECT hold_days, minimum_retention_days, immutability, quota FROM vault WHERE name = ?",
    )
    .bind(vault.as_str())
    .fetch_optional(on)
    .await?;
    let row = row.ok_or_else(|| Error::not_found(format_args!("vault {vault}")))?;
    Ok(Rules {
        hold_days: some_days("vault.hold_days", row.hold_days)?,
        minimum_retention_days: some_days(
            "vault.minimum_retention_days",
            row.minimum_retention_days,
        )?,
        immutability: immutability(&row.immutability)?,
        quota: row.quota.map(|quota| db::count("vault.quota", quota)).transpose()?,
    })
}

impl Rules {
    /// As they are after that change.
    fn changed(&self, patch: &VaultPatch, vault: &VaultName) -> Result<Self, Error> {
        let limited = |what: &str, days: u32, least: u32| match (least..=LONGEST).contains(&days) {
            true => Ok(days),
            false => {
                Err(Error::invalid(format!("{what} is {least} to {LONGEST} days, not {days}")))
            }
        };
        let after = Self {
            hold_days: limited("a hold", patch.hold_days.unwrap_or(self.hold_days), SHORTEST_HOLD)?,
            minimum_retention_days: limited(
                "a minimum retention",
                patch.minimum_retention_days.unwrap_or(self.minimum_retention_days),
                0,
            )?,
            immutability: patch.immutability.unwrap_or(self.immutability),
            quota: patch.quota.map_or(self.quota, |quota| (quota > 0).then_some(quota)),
        };
        let is_immutable = self.immutability != Immutability::Disabled;
        let loosened = after.hold_days < self.hold_days
            || after.minimum_retention_days < self.minimum_retention_days;
        let refused = |what: &str| {
            Err(Error::refused(Code::RetentionRefused, format!("vault {vault} {what}")))
        };
        if is_immutable && loosened {
            return refused(
                "is immutable: its hold and its minimum retention can be made longer only",
            );
        }
        if self.immutability == Immutability::Locked && after.immutability != self.immutability {
            return refused("is locked: it stays immutable for ever");
        }
        Ok(after)
    }
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
pub(crate) struct Wanted {
    /// Count what lies there, too; the first time that takes a walk over all of it.
    #[serde(default)]
    usage: bool,
}

fn shown(rules: &Rules, used: Option<u64>) -> Json<VaultSettings> {
    Json(VaultSettings {
        hold_days: rules.hold_days,
        minimum_retention_days: rules.minimum_retention_days,
        immutability: rules.immutability,
        quota: rules.quota,
        used,
    })
}

async fn shown_server(
    app: &App,
    owner: &Owner,
    usage: bool,
) -> Result<Json<ServerSettings>, Error> {
    let mut connection = app.db.pool().acquire().await?;
    let quota = vaults::server_quota(&mut connection, owner).await?;
    let undone = deletions::undone(&mut connection, owner).await?;
    drop(connection);
    let used = if usage { Some(quota::used_by_server(app, owner).await?) } else { None };
    Ok(Json(ServerSettings { quota, used, undone }))
}

pub(crate) async fn get(
    State(app): State<Arc<App>>,
    Segments(vault): Segments<VaultName>,
    Asked(wanted): Asked<Wanted>,
) -> Result<Json<VaultSettings>, Error> {
    let mut connection = app.db.pool().acquire().await?;
    let rules = rules(&mut connection, &vault).await?;
    drop(connection);
    let used = if wanted.usage { Some(quota::used_by_vault(&app, &vault).await?) } else { None };
    Ok(shown(&rules, used))
}

pub(crate) async fn patch(
    State(app): State<Arc<App>>,
    Segments(vault): Segments<VaultName>,
    body: Body,
) -> Result<Json<VaultSettings>, Error> {
    let patch: VaultPatch = http::json_or_default(body).await?;
    let mut transaction = app.db.write().await?;
    let rules = rules(&mut transaction, &vault).await?.changed(&patch, &vault)?;
    sqlx::query(
        "UPDATE vault SET hold_days = ?, minimum_retention_days = ?, immutability = ?, quota = ? WHERE name = ?",
    )
    .bind(i64::from(rules.hold_days))
    .bind(i64::from(rules.minimum_retention_days))
    .bind(word(rules.immutability))
    .bind(rules.quota.map(db::number))
    .bind(vault.as_str())
    .execute(&mut *transaction)
    .await?;
    if rules.immutability != Immutability::Disabled {
        sqlx::query("DELETE FROM pin WHERE vault = ?")
            .bind(vault.as_str())
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(shown(&rules, None))
}

pub(crate) async fn get_server(
    State(app): State<Arc<App>>,
    Segments(owner): Segments<Owner>,
    Asked(wanted): Asked<Wanted>,
) -> Result<Json<ServerSettings>, Error> {
    shown_server(&app, &owner, wanted.usage).await
}

pub(crate) async fn patch_server(
    State(app): State<Arc<App>>,
    Segments(owner): Segments<Owner>,
    body: Body,
) -> Result<Json<ServerSettings>, Error> {
    let patch: ServerPatch = http::json_or_default(body).await?;
    let mut transaction = app.db.write().await?;
    let before = vaults::server_quota(&mut transaction, &owner).await?;
    let quota = patch.quota.map_or(before, |quota| (quota > 0).then_some(quota));
    sqlx::query("UPDATE server SET quota = ? WHERE vault = ? AND name = ?")
        .bind(quota.map(db::number))
        .bind(owner.0.as_str())
        .bind(owner.1.as_str())
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    shown_server(&app, &owner, false).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(immutability: Immutability) -> Rules {
        Rules { hold_days: 14, minimum_retention_days: 30, immutability, quota: None }
    }

    fn change(rules: &Rules, patch: &VaultPatch) -> Option<Rules> {
        rules.changed(patch, &"v1".parse().unwrap()).ok()
    }

    #[test]
    fn an_immutable_vault_is_tightened_only_and_a_locked_one_stays_so() {
        use Immutability::{Disabled, Enabled, Locked};
        let longer = VaultPatch { minimum_retention_days: Some(31), ..VaultPatch::default() };
        let shorter = VaultPatch { minimum_retention_days: Some(29), ..VaultPatch::default() };
        let sooner = VaultPatch { hold_days: Some(7), ..VaultPatch::default() };
        let to =
            |immutability| VaultPatch { immutability: Some(immutability), ..VaultPatch::default() };
        for (state, loosened) in [(Disabled, true), (Enabled, false), (Locked, false)] {
            let rules = rules(state);
            assert!(change(&rules, &longer).is_some());
            assert_eq!(change(&rules, &shorter).is_some(), loosened, "{state:?}");
            assert_eq!(change(&rules, &sooner).is_some(), loosened, "{state:?}");
            assert_eq!(change(&rules, &to(Disabled)).is_some(), state != Locked, "{state:?}");
            assert_eq!(change(&rules, &to(Enabled)).is_some(), state != Locked, "{state:?}");
            assert!(change(&rules, &to(Locked)).is_some());
            // Not both at once either.
            let both = VaultPatch { immutability: Some(Disabled), ..shorter.clone() };
            assert_eq!(change(&rules, &both).is_some(), loosened, "{state:?}");
        }
    }

    #[test]
    fn a_hold_has_a_floor_and_a_quota_of_nothing_is_none() {
        let rules = rules(Immutability::Disabled);
        let hold = |days| VaultPatch { hold_days: Some(days), ..VaultPatch::default() };
        assert!(change(&rules, &hold(6)).is_none());
        assert!(change(&rules, &hold(40_000)).is_none());
        let quota = |bytes| VaultPatch { quota: Some(bytes), ..VaultPatch::default() };
        let some = change(&rules, &quota(5)).unwrap();
        assert_eq!(some.quota, Some(5));
        assert_eq!(change(&some, &quota(0)).unwrap().quota, None);
        assert_eq!(change(&some, &hold(7)).unwrap().quota, Some(5));
    }
}
