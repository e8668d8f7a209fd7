//! Resource groups: where resources lie. Holds no resource.

use crate::Error;
use crate::app::App;
use crate::db::{self, Db};
use jiff::Timestamp;
use serde_json::{Map, Value};
use sqlx::SqliteConnection;

/// The group of what is made without one.
pub(crate) const DEFAULT: &str = "packmule";
/// Its location.
pub(crate) const LOCATION: &str = "local";

/// A resource group by its names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Group {
    pub(crate) subscription: String,
    pub(crate) name: String,
}

/// A resource group as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GroupRecord {
    pub(crate) group: Group,
    pub(crate) location: String,
    pub(crate) tags: Map<String, Value>,
}

impl Group {
    /// The resource manager's id of it.
    pub(crate) fn id(&self) -> String {
        format!("/subscriptions/{}/resourceGroups/{}", self.subscription, self.name)
    }

    /// Of a resource in it.
    pub(crate) fn resource(&self, kind: &str, name: &str) -> String {
        format!("{}/providers/{kind}/{name}", self.id())
    }

    /// Whether both are the same to whoever does not look at case.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.subscription.eq_ignore_ascii_case(&other.subscription)
            && self.name.eq_ignore_ascii_case(&other.name)
    }
}

/// Makes the default group of a subscription where it is not there, and puts into it what lies nowhere: rows
/// that are older than groups.
pub(crate) async fn adopt(db: &Db, subscription: &str, now: Timestamp) -> Result<Group, Error> {
    let mut transaction = db.write().await?;
    let group = make_default(&mut transaction, subscription, now).await?;
    for statement in [
        "UPDATE vault SET subscription = ?, resource_group = ? WHERE subscription = ''",
        "UPDATE storage_account SET subscription = ?, resource_group = ? WHERE subscription = ''",
        "UPDATE import_job SET subscription = ?, resource_group = ? WHERE subscription = ''",
    ] {
        sqlx::query(statement)
            .bind(&group.subscription)
            .bind(&group.name)
            .execute(&mut *transaction)
            .await?;
    }
    transaction.commit().await?;
    Ok(group)
}

/// The default group of a subscription, made where it is not there.
pub(crate) async fn make_default(
    on: &mut SqliteConnection,
    subscription: &str,
    now: Timestamp,
) -> Result<Group, Error> {
    let group = Group { subscription: subscription.to_owned(), name: DEFAULT.to_owned() };
    sqlx::query(
        "INSERT INTO resource_group (subscription, name, location, created_at) VALUES (?, ?, ?, ?)
         ON CONFLICT DO NOTHING",
    )
    .bind(&group.subscription)
    .bind(&group.name)
    .bind(LOCATION)
    .bind(db::time(now))
    .execute(on)
    .await?;
    Ok(group)
}

#[derive(sqlx::FromRow)]
struct Columns {
    subscription: String,
    name: String,
    location: String,
    tags: String,
}

impl Columns {
    fn read(self) -> Result<GroupRecord, Error> {
        let tags = db::json("resource_group.tags", &self.tags)?;
        let group = Group { subscription: self.subscription, name: self.name };
        Ok(GroupRecord { group, location: self.location, tags })
    }
}

const COLUMNS: &str = "SELECT subscription, name, location, tags FROM resource_group";

/// The group of that name, whatever its case.
pub(crate) async fn find(
    on: &mut SqliteConnection,
    subscription: &str,
    name: &str,
) -> Result<Option<GroupRecord>, Error> {
    let query = format!("{COLUMNS} WHERE subscription = ? AND name = ? COLLATE NOCASE");
    let row: Option<Columns> = sqlx::query_as(sqlx::AssertSqlSafe(query))
        .bind(subscription)
        .bind(name)
        .fetch_optional(on)
        .await?;
    row.map(Columns::read).transpose()
}

/// Every group of a subscription.
pub(crate) async fn list(
    on: &mut SqliteConnection,
    subscription: &str,
) -> Result<Vec<GroupRecord>, Error> {
    let query = format!("{COLUMNS} WHERE subscription = ? ORDER BY name COLLATE NOCASE");
    let rows: Vec<Columns> =
        sqlx::query_as(sqlx::AssertSqlSafe(query)).bind(subscription).fetch_all(on).await?;
    rows.into_iter().map(Columns::read).collect()
}

/// Stores a group, new or changed.
pub(crate) async fn store(
    on: &mut SqliteConnection,
    record: &GroupRecord,
    now: Timestamp,
) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO resource_group (subscription, name, location, tags, created_at) VALUES (?, ?, ?, ?, ?)
         ON CONFLICT (subscription, name) DO UPDATE SET tags = excluded.tags",
    )
    .bind(&record.group.subscription)
    .bind(&record.group.name)
    .bind(&record.location)
    .bind(db::to_json("resource_group.tags", &record.tags)?)
    .bind(db::time(now))
    .execute(on)
    .await?;
    Ok(())
}

/// Removes a group. What lies in it must have been removed before.
pub(crate) async fn remove(on: &mut SqliteConnection, group: &Group) -> Result<(), Error> {
    sqlx::query("DELETE FROM resource_group WHERE subscription = ? AND name = ?")
        .bind(&group.subscription)
        .bind(&group.name)
        .execute(on)
        .await?;
    Ok(())
}

/// A resource by its place, kind and name.
pub(crate) struct Resource {
    pub(crate) group: Group,
    pub(crate) kind: &'static str,
    pub(crate) name: String,
    pub(crate) location: String,
    pub(crate) tags: Map<String, Value>,
}

/// What all kinds of resources have said.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Said {
    location: String,
    tags: Map<String, Value>,
}

impl Resource {
    pub(crate) fn id(&self) -> String {
        self.group.resource(self.kind, &self.name)
    }
}

/// Everything that lies in a subscription, or in one group of it.
pub(crate) async fn resources(
    on: &mut SqliteConnection,
    subscription: &str,
    group: Option<&str>,
) -> Result<Vec<Resource>, Error> {
    let rows: Vec<(i64, String, String, String)> = sqlx::query_as(
        "SELECT 0, resource_group, name, said FROM storage_account WHERE subscription = ?1
         UNION ALL SELECT 1, resource_group, name, said FROM vault WHERE subscription = ?1
         UNION ALL SELECT 2, resource_group, name, said FROM import_job WHERE subscription = ?1
         ORDER BY 2, 1, 3",
    )
    .bind(subscription)
    .fetch_all(on)
    .await?;
    let is_in = |name: &str| group.is_none_or(|group| group.eq_ignore_ascii_case(name));
    let rows = rows.into_iter().filter(|(_, group, ..)| is_in(group));
    let resource = |(kind, group, name, said): (i64, String, String, String)| {
        let said: Said = db::json("what was said of a resource", &said)?;
        Ok(Resource {
            group: Group { subscription: subscription.to_owned(), name: group },
            kind: match kind {
                0 => ACCOUNTS,
                1 => VAULTS,
                _ => JOBS,
            },
            name,
            location: if said.location.is_empty() { LOCATION.to_owned() } else { said.location },
            tags: said.tags,
        })
    };
    rows.map(resource).collect()
}

/// What resources are called by the resource manager.
pub(crate) const ACCOUNTS: &str = "Microsoft.Storage/storageAccounts";
pub(crate) const VAULTS: &str = "Microsoft.RecoveryServices/vaults";
pub(crate) const JOBS: &str = "Microsoft.ImportExport/jobs";

impl App {
    /// Where what is made without a group lies.
    pub(crate) fn default_group(&self) -> Group {
        self.group.clone()
    }
}
