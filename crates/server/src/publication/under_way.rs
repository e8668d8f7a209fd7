//! Seeds of a source server that are not over, for one that has lost all it knew of them. Decides nothing.

use super::{Owner, increments};
use crate::app::App;
use crate::http::Segments;
use crate::{Error, db, seeds};
use axum::Json;
use axum::extract::State;
use std::sync::Arc;
use wire::{List, SeedUnderWay};

/// Those that have an import job and no receipt, and those that have one and something that is not visible yet; the oldest first. Then those
/// without a job whose drives a copy computer may be writing.
pub(crate) async fn under_way(
    State(app): State<Arc<App>>,
    Segments(owner): Segments<Owner>,
) -> Result<Json<List<SeedUnderWay>>, Error> {
    let rows: Vec<(String, bool)> = sqlx::query_as(
        "SELECT seed, EXISTS (SELECT 1 FROM receipt WHERE receipt.vault = import_job.vault
             AND receipt.server = import_job.server AND receipt.seed = import_job.seed)
         FROM import_job WHERE vault = ? AND server = ? AND seed IS NOT NULL AND export IS NULL
           AND NOT EXISTS (SELECT 1 FROM abandoned_seed AS given_up WHERE given_up.vault = import_job.vault
               AND given_up.server = import_job.server AND given_up.seed = import_job.seed)
         GROUP BY seed ORDER BY MIN(created_at), seed",
    )
    .bind(owner.0.as_str())
    .bind(owner.1.as_str())
    .fetch_all(app.db.pool())
    .await?;
    let mut value = Vec::new();
    for (seed, published) in rows {
        let id = db::parsed("import_job.seed", &seed)?;
        if !published || increments::wait(&app, &owner, id).await? {
            value.push(SeedUnderWay { id, published, copied_since: None });
        }
    }
    let mut connection = app.db.pool().acquire().await?;
    let of = seeds::Of::Owner(&owner.0, &owner.1);
    for seed in seeds::awaited(&mut connection, of, app.moment()).await? {
        let is_new = value.iter().all(|one| one.id != seed.id);
        if seed.copied.is_some() && is_new {
            value.push(SeedUnderWay { id: seed.id, published: false, copied_since: seed.copied });
        }
    }
    Ok(Json(List { value }))
}
