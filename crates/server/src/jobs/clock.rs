//! What the passing of time does to import jobs. Has no clock of its own.

use super::{events, plain, record::Record};
use crate::app::App;
use crate::{Error, db, notices, place};
use flow::JobEvent;

/// Tells every import job what time it is. One that cannot be told does not stop the others.
pub(crate) async fn tick_all(app: &App) -> Result<(), Error> {
    let names: Vec<(String,)> =
        sqlx::query_as("SELECT name FROM import_job").fetch_all(app.db.pool()).await?;
    for (name,) in names {
        if let Err(error) = tick(app, &name).await {
            tracing::error!(job = name, %error, "a job's timers cannot be looked at");
        }
    }
    Ok(())
}

async fn tick(app: &App, name: &str) -> Result<(), Error> {
    let name = db::parsed("import_job.name", name)?;
    let mut transaction = app.db.write().await?;
    let Some(mut record) = Record::load(&mut transaction, &name).await? else { return Ok(()) };
    let now = app.now();
    let (flow, effects) = record.flow.transition(&JobEvent::Tick, now).map_err(super::refused)?;
    let is_changed = flow != record.flow;
    record.flow = flow;
    notices::keep(&mut transaction, &record, &effects, now).await?;
    // A seed that its vault has not confirmed yet keeps its job: publication may still ask for it.
    if record.flow.record_has_expired() && plain::may_go(&mut transaction, &record).await? {
        plain::remove_record(&mut transaction, &name).await?;
        events::commit(app, transaction, &name).await?;
        app.objects.remove_below(&place::job(&name)).await?;
        tracing::info!(job = %name, "the record of an import job went, long after its end; the keys of its drives stay");
        return Ok(());
    }
    if is_changed {
        record.changed = now.max(record.changed);
        record.save(&mut transaction).await?;
        events::commit(app, transaction, &name).await?;
    }
    Ok(())
}
