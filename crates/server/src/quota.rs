//! How many bytes lie in vaults, and whether more may. Counted by a walk when first asked for, kept up while this process lives.
//!
//! Everything below a source server's folder counts: what is visible, pending, beside a seed, and held.

use crate::app::App;
use crate::deletions::Owner;
use crate::{Error, db, place, vaults};
use futures::TryStreamExt as _;
use model::{ByteSize, ServerName, VaultName};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wire::Code;

type Known = Arc<Mutex<HashMap<Owner, u64>>>;

/// What is known of it.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    known: Known,
    /// Held while it is counted, and while room is taken: of two that want the last room, one gets it.
    counting: tokio::sync::Mutex<()>,
}

fn of(known: &Known) -> MutexGuard<'_, HashMap<Owner, u64>> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Usage {
    /// What was moved is counted anew when it is asked for.
    pub(crate) fn forget(&self, owner: &Owner) {
        of(&self.known).remove(owner);
    }

    /// So many bytes were removed.
    pub(crate) fn less(&self, owner: &Owner, bytes: u64) {
        if let Some(used) = of(&self.known).get_mut(owner) {
            *used = used.saturating_sub(bytes);
        }
    }
}

/// Room that was taken before the bytes came; given back unless they did.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Reserved(Option<(Known, Owner, u64)>);

impl Reserved {
    /// They did.
    pub(crate) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let Some((known, owner, bytes)) = self.0.take() else { return };
        if let Some(used) = of(&known).get_mut(&owner) {
            *used = used.saturating_sub(bytes);
        }
    }
}

/// The caller counts alone.
async fn count(app: &App, owner: &Owner) -> Result<u64, Error> {
    if let Some(used) = of(&app.usage.known).get(owner) {
        return Ok(*used);
    }
    let all = app.objects.list(&place::server(&owner.0, &owner.1));
    let add = |sum: u64, meta: object_store::ObjectMeta| {
        // Locks come and go, and have a limit of their own.
        let is_lock = meta.location.as_ref().contains("/locks/");
        std::future::ready(Ok(if is_lock { sum } else { sum.saturating_add(meta.size) }))
    };
    let used = all.try_fold(0, add).await?;
    of(&app.usage.known).insert(owner.clone(), used);
    Ok(used)
}

async fn count_vault(app: &App, vault: &VaultName) -> Result<u64, Error> {
    let rows: Vec<(String,)> = sqlx::query_as("SELECT name FROM server WHERE vault = ?")
        .bind(vault.as_str())
        .fetch_all(app.db.pool())
        .await?;
    let mut used = 0_u64;
    for (server,) in rows {
        let server: ServerName = db::parsed("server.name", &server)?;
        used = used.saturating_add(count(app, &(vault.clone(), server)).await?);
    }
    Ok(used)
}

/// Bytes of a source server.
pub(crate) async fn used_by_server(app: &App, owner: &Owner) -> Result<u64, Error> {
    let _alone = app.usage.counting.lock().await;
    count(app, owner).await
}

/// Bytes of a vault.
pub(crate) async fn used_by_vault(app: &App, vault: &VaultName) -> Result<u64, Error> {
    let _alone = app.usage.counting.lock().await;
    count_vault(app, vault).await
}

/// Takes room for so many bytes.
///
/// Errors: `QuotaExceeded`, with quota, use and what was wanted.
pub(crate) async fn reserve(app: &App, owner: &Owner, bytes: u64) -> Result<Reserved, Error> {
    let mut connection = app.db.pool().acquire().await?;
    let (whole, own) = vaults::quotas(&mut connection, owner).await?;
    drop(connection);
    // Without a quota nothing is counted that was not counted before.
    if whole.is_some() || own.is_some() {
        let _alone = app.usage.counting.lock().await;
        if let Some(quota) = whole {
            let used = count_vault(app, &owner.0).await?;
            fits(&format!("vault {}", owner.0), (quota, used, bytes))?;
        }
        let used = count(app, owner).await?;
        if let Some(quota) = own {
            fits(&format!("source server {}", owner.1), (quota, used, bytes))?;
        }
        return Ok(take(app, owner, bytes));
    }
    Ok(take(app, owner, bytes))
}

fn take(app: &App, owner: &Owner, bytes: u64) -> Reserved {
    match of(&app.usage.known).get_mut(owner) {
        Some(used) => {
            *used = used.saturating_add(bytes);
            Reserved(Some((Arc::clone(&app.usage.known), owner.clone(), bytes)))
        }
        None => Reserved::default(),
    }
}

fn fits(whose: &str, (quota, used, wanted): (u64, u64, u64)) -> Result<(), Error> {
    if used.saturating_add(wanted) <= quota {
        return Ok(());
    }
    let message = format!(
        "{whose} may have {quota} bytes ({}) in its vault, has {used} ({}), and this would be {wanted} more; what is stored is whole. Ask the vault's administrator for more, or keep less; what is deleted counts until it is carried out",
        ByteSize(quota),
        ByteSize(used)
    );
    Err(Error::refused(Code::QuotaExceeded, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_byte_fits_and_the_next_one_is_refused_with_the_numbers() {
        assert!(fits("x", (10, 4, 6)).is_ok());
        let refusal = fits("source server fs01", (10, 4, 7)).unwrap_err().to_string();
        for part in ["fs01", "10 bytes", "has 4", "7 more"] {
            assert!(refusal.contains(part), "{refusal}");
        }
        assert!(fits("x", (10, u64::MAX, u64::MAX)).is_err());
    }
}
