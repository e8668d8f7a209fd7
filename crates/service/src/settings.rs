//! agent.toml: what holds for the whole agent, and groups as they are wanted. Reads text; changes nothing.

use crate::{Error, Retention};
use jiff::SignedDuration;
use jiff::tz::TimeZone;
use model::{AccountName, ContainerName, GroupName, JobName};
use policy::{Bandwidth, Policy};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// A settings file is text that people write.
const LIMIT: u64 = 4 << 20;

/// What agent.toml says.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct File {
    /// The name of the time zone that schedules are in; the machine's when there is none.
    pub time_zone: Option<String>,
    /// The proxy on the way to the server, where the environment names none: `http://user:password@host:port`.
    pub proxy: Option<Hidden>,
    /// Hosts that are reached without it, with commas between.
    pub no_proxy: Option<String>,
    /// How fast data may leave.
    pub bandwidth: Bandwidth,
    /// Whom to tell when something is wrong.
    pub alerts: Alerts,
    /// Where metrics are told.
    pub metrics: Metrics,
    /// How often the groups' rules are applied to their recovery points.
    pub retention: Retention,
    /// The groups.
    pub group: Vec<GroupEntry>,
}

/// A text that may have a password in it, and is shown to nobody.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Hidden(pub String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

/// Settings of the whole agent, ready to be used.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The zone that schedules are in.
    pub zone: TimeZone,
    /// How fast data may leave.
    pub bandwidth: Bandwidth,
    /// Whom to tell when something is wrong.
    pub alerts: Alerts,
    /// Where metrics are told.
    pub metrics: Metrics,
    /// How often the groups' rules are applied to their recovery points.
    pub retention: Retention,
    /// Which proxies are used: as the file names them, unless whoever reads it knows better.
    pub proxies: store::Proxies,
}

/// Whom to tell when something is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Alerts {
    /// What has been told once is told again so long after at the earliest, if it went on.
    pub digest: SignedDuration,
    /// By mail.
    pub mail: Option<Mail>,
    /// By a POST of JSON to this URL.
    pub webhook: Option<String>,
    /// By a program that gets the JSON as its input.
    pub command: Option<Vec<String>>,
}

impl Default for Alerts {
    fn default() -> Self {
        let digest = SignedDuration::from_hours(1);
        Self { digest, mail: None, webhook: None, command: None }
    }
}

/// How mail is sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mail {
    /// To whom.
    pub to: Vec<String>,
    /// From whom.
    pub from: String,
    /// The mail server's name.
    pub server: String,
    /// Its port; the usual one of the way in which it is encrypted when there is none.
    #[serde(default)]
    pub port: Option<u16>,
    /// How the connection is encrypted.
    #[serde(default)]
    pub tls: MailTls,
    /// The user there.
    #[serde(default)]
    pub user: Option<String>,
    /// The file with the user's password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
}

/// How the connection to a mail server is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MailTls {
    /// After a greeting in the clear.
    #[default]
    Starttls,
    /// From the first byte on.
    Tls,
    /// Not: for a mail server on this machine.
    None,
}

/// Where metrics are told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Metrics {
    /// Address and port; nowhere when there is none.
    pub listen: Option<SocketAddr>,
}

/// A group as it is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "toml::Table")]
pub struct GroupEntry {
    /// Its name.
    pub name: GroupName,
    /// What it protects.
    pub paths: Vec<PathBuf>,
    /// How its first backup travels on drives; over the network when there is none.
    pub offline: Option<Offline>,
    /// What is to be done for it, and when.
    pub policy: Policy,
}

/// How a first backup travels on drives.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Offline {
    /// The staging location.
    pub staging: PathBuf,
    /// The name of the import job.
    pub import_job: JobName,
    /// The storage account in which the drives land.
    pub storage_account: AccountName,
    /// The container there.
    pub container: ContainerName,
}

#[derive(Deserialize)]
struct Own {
    name: GroupName,
    paths: Vec<PathBuf>,
    #[serde(default)]
    offline: Option<Offline>,
}

impl TryFrom<toml::Table> for GroupEntry {
    type Error = toml::de::Error;

    /// Both halves refuse what they do not know, which a flattened structure would not.
    fn try_from(mut all: toml::Table) -> Result<Self, toml::de::Error> {
        let mut own = toml::Table::new();
        for name in ["name", "paths", "offline"] {
            own.extend(all.remove_entry(name));
        }
        let Own { name, paths, offline } = own.try_into()?;
        let within = |error: toml::de::Error| {
            serde::de::Error::custom(format!("group {name}: {}", error.message()))
        };
        let policy = all.try_into().map_err(within)?;
        Ok(Self { name, paths, offline, policy })
    }
}

impl File {
    /// Reads the file.
    ///
    /// # Errors
    /// [`Error::Settings`] with the place of what is wrong.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let length = std::fs::metadata(path).map_err(Error::io("reading", path))?.len();
        let wrong = |what: String| Error::Settings { path: path.to_owned(), what };
        if length > LIMIT {
            return Err(wrong(format!("it is longer than {LIMIT} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(Error::io("reading", path))?;
        Self::parse(&text).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let file: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut names = BTreeSet::new();
        for group in &file.group {
            if !names.insert(&group.name) {
                return Err(format!("group {} is there twice", group.name));
            }
        }
        if let Some(url) = &file.alerts.webhook
            && !(url.starts_with("https://") || url.starts_with("http://"))
        {
            return Err("alerts.webhook is not a http or https URL".to_owned());
        }
        if file.alerts.command.as_ref().is_some_and(Vec::is_empty) {
            return Err("alerts.command needs a program".to_owned());
        }
        file.proxies().map_err(|wrong| wrong.to_string())?;
        file.zone()?;
        Ok(file)
    }

    /// The proxies that it names.
    ///
    /// # Errors
    /// One that cannot be used; what it says is not repeated.
    pub fn proxies(&self) -> Result<store::Proxies, store::ProxyError> {
        let (all, no) = (self.proxy.as_ref().map(|text| text.0.as_str()), self.no_proxy.as_deref());
        store::Proxies::new(store::ProxySettings { all, no, ..store::ProxySettings::default() })
    }

    fn zone(&self) -> Result<TimeZone, String> {
        match &self.time_zone {
            None => Ok(TimeZone::system()),
            Some(name) => TimeZone::get(name)
                .map_err(|_| format!("there is no time zone '{name}'; write it as Europe/Berlin")),
        }
    }

    /// What holds for the whole agent.
    #[must_use]
    pub fn settings(&self) -> Settings {
        Settings {
            zone: self.zone().unwrap_or(TimeZone::UTC),
            bandwidth: self.bandwidth,
            alerts: self.alerts.clone(),
            metrics: self.metrics.clone(),
            retention: self.retention,
            proxies: self.proxies().unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
time-zone = "Europe/Berlin"

[bandwidth]
limit = "20M"
work-limit = "2M"
work-hours = "07:00-19:00"

[alerts]
webhook = "https://chat.example.com/hook"
command = ["/usr/local/bin/page"]

[alerts.mail]
to = ["backup@example.com"]
from = "fs01@example.com"
server = "mail.example.com"

[metrics]
listen = "127.0.0.1:9469"

[retention]
prune-days = 30

[[group]]
name = "files"
paths = ["/srv/files"]
schedule = ["mon-fri 12:00, 22:00"]
keep = { daily = 14 }

[group.offline]
staging = "/mnt/staging"
import-job = "seed-2026"
storage-account = "seedacct"
container = "seeds"

[[group]]
name = "etc"
paths = ["/etc"]
schedule = ["daily 3:00"]
"#;

    #[test]
    fn the_whole_file_is_understood() {
        let file = File::parse(WHOLE).unwrap();
        assert_eq!(file.group.len(), 2);
        assert_eq!(file.group[0].offline.as_ref().unwrap().import_job.as_str(), "seed-2026");
        assert_eq!(file.group[0].policy.keep.daily, 14);
        assert_eq!(file.group[1].policy.schedule.to_string(), "daily 3:00");
        let settings = file.settings();
        assert_eq!(settings.zone, TimeZone::get("Europe/Berlin").unwrap());
        assert_eq!(settings.alerts.mail.unwrap().tls, MailTls::Starttls);
        assert_eq!(settings.retention, Retention { forget_days: 1, prune_days: 30 });
        assert_eq!(settings.metrics.listen.unwrap().port(), 9469);
    }

    #[test]
    fn the_example_in_the_documents_is_a_settings_file() {
        let document = include_str!("../../../docs/agent.md");
        let (_, text) = document.split_once("```toml\n").unwrap();
        let (text, _) = text.split_once("```").unwrap();
        let file = File::parse(text).unwrap();
        assert_eq!(file.group.len(), 1);
        assert!(crate::Channels::new(&file.alerts, &store::Proxies::default()).is_ok());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, says) in [
            ("[[group]]\nname = 'a'\npaths = []\nshedule = []", "shedule"),
            (
                "[[group]]\nname = 'a'\npaths = ['/a']\n[[group]]\nname = 'a'\npaths = ['/b']",
                "twice",
            ),
            ("[[group]]\nname = 'a'\npaths = ['/a']\nschedule = ['fryday 3:00']", "group a"),
            ("time-zone = 'Mars/Olympus'", "Mars/Olympus"),
            ("[alerts]\nwebhook = 'chat.example.com'", "webhook"),
            ("[alerts]\ncommand = []", "program"),
            ("[alerts]\nmial = {}", "mial"),
            ("[metrics]\nlisten = 'here'", "listen"),
            ("proxy = 'socks5://me:s3cret@p'", "no proxy that can be used"),
        ] {
            let why = File::parse(text).unwrap_err();
            assert!(why.contains(says), "{text}: {why}");
            assert!(!why.contains("s3cret"), "{why}");
        }
    }
}
