//! The certificate utility's arguments, in the spelling that people know from Azure's. Does nothing
//! with them.
//!
//! ```text
//! CreateNewApplication SubscriptionId:<id>
//! AddRegistryEntries SubscriptionId:<id> xmlfilepath:<file> storageaccountname:<name>
//! ```
//!
//! Commands and keys are taken in any case, keys in any order.

use credfile::Guid;
use model::AccountName;
use std::path::PathBuf;

const CREATE: &str = "CreateNewApplication";
const ADD: &str = "AddRegistryEntries";
const SUBSCRIPTION: &str = "SubscriptionId";
const FILE: &str = "xmlfilepath";
const ACCOUNT: &str = "storageaccountname";

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// Create the application and its certificate, and write `OfflineApplicationParams.xml`.
    CreateNewApplication {
        /// The subscription to seed into.
        subscription: Guid,
    },
    /// Put that file where the agent looks for it, for one storage account.
    AddRegistryEntries {
        /// The subscription to seed into.
        subscription: Guid,
        /// Where the file is.
        file: PathBuf,
        /// The account.
        account: AccountName,
    },
}

/// What was wanted, in words that can be shown as they are.
pub(crate) type Refusal = String;

impl Request {
    /// Understands the words behind the command's name.
    pub(crate) fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self, Refusal> {
        let mut words = words.iter().map(AsRef::as_ref);
        let command = words.next().ok_or_else(|| format!("write {CREATE} or {ADD} first"))?;
        if command.eq_ignore_ascii_case(CREATE) {
            let given = Given::collect(CREATE, &[SUBSCRIPTION], words)?;
            return Ok(Self::CreateNewApplication { subscription: given.subscription()? });
        }
        if command.eq_ignore_ascii_case(ADD) {
            let given = Given::collect(ADD, &[SUBSCRIPTION, FILE, ACCOUNT], words)?;
            return Ok(Self::AddRegistryEntries {
                subscription: given.subscription()?,
                file: given.take(FILE)?.into(),
                account: given.account()?,
            });
        }
        Err(format!("'{command}' is not known: write {CREATE} or {ADD}"))
    }
}

/// Values by key, in the order of the command's keys; every one is there.
struct Given<'a>(Vec<(&'static str, &'a str)>);

impl<'a> Given<'a> {
    fn collect(
        command: &str,
        keys: &[&'static str],
        words: impl Iterator<Item = &'a str>,
    ) -> Result<Self, Refusal> {
        let mut given: Vec<(&'static str, &str)> = Vec::new();
        for word in words {
            let (key, value) = word.split_once(':').unwrap_or((word, ""));
            let known = keys.iter().find(|known| known.eq_ignore_ascii_case(key));
            let key = *known.ok_or_else(|| {
                format!("{command} does not know '{word}': it takes {}", spelt(keys))
            })?;
            if value.is_empty() {
                return Err(format!("{key}: wants its value right behind the colon"));
            }
            if given.iter().any(|(other, _)| *other == key) {
                return Err(format!("{key}: is given twice"));
            }
            given.push((key, value));
        }
        let is_missing = |key: &&str| !given.iter().any(|(other, _)| other == key);
        let missing: Vec<&str> = keys.iter().copied().filter(is_missing).collect();
        if missing.is_empty() {
            return Ok(Self(given));
        }
        Err(format!("{command} needs {} as well", spelt(&missing)))
    }

    fn take(&self, key: &str) -> Result<&'a str, Refusal> {
        let found = self.0.iter().find(|(other, _)| *other == key);
        found.map(|(_, value)| *value).ok_or_else(|| format!("{key}: is missing"))
    }

    fn subscription(&self) -> Result<Guid, Refusal> {
        let text = self.take(SUBSCRIPTION)?;
        let wrong = "is no subscription id, like 00000000-0000-0000-0000-000000000000";
        text.parse().map_err(|_| format!("{SUBSCRIPTION}: '{text}' {wrong}"))
    }

    fn account(&self) -> Result<AccountName, Refusal> {
        let parsed = self.take(ACCOUNT)?.parse();
        parsed.map_err(|cause: model::NameError| format!("{ACCOUNT}: {cause}"))
    }
}

fn spelt(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("{key}:…")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

    fn parse(line: &str) -> Result<Request, Refusal> {
        Request::parse(&line.split_whitespace().collect::<Vec<_>>())
    }

    fn refused(line: &str) -> String {
        parse(line).unwrap_err()
    }

    #[test]
    fn the_spelling_that_people_know_is_understood_in_any_case_and_order() {
        let subscription = ID.parse().unwrap();
        for line in ["CreateNewApplication SubscriptionId:", "createnewapplication SUBSCRIPTIONID:"]
        {
            let created = parse(&format!("{line}{ID}"));
            assert_eq!(created, Ok(Request::CreateNewApplication { subscription }));
        }
        let (file, account) = ("C:\\a:b.xml".into(), "seedacct01".parse().unwrap());
        let added = Request::AddRegistryEntries { subscription, file, account };
        let [id, path, name] = [
            format!("SubscriptionId:{ID}"),
            "xmlfilepath:C:\\a:b.xml".to_owned(),
            "storageaccountname:seedacct01".to_owned(),
        ];
        for keys in [[&id, &path, &name], [&name, &path, &id], [&path, &id, &name]] {
            let line = keys.map(String::as_str).join(" ");
            assert_eq!(parse(&format!("AddRegistryEntries {line}")), Ok(added.clone()));
            let upper = line.replace("xmlfilepath", "XmlFilePath");
            assert_eq!(parse(&format!("ADDREGISTRYENTRIES {upper}")), Ok(added.clone()));
        }
    }

    #[test]
    fn what_is_missing_is_named_all_of_it() {
        assert_eq!(refused(""), "write CreateNewApplication or AddRegistryEntries first");
        let nothing = refused("CreateNewApplication");
        assert_eq!(nothing, "CreateNewApplication needs SubscriptionId:… as well");
        let two = refused("AddRegistryEntries xmlfilepath:a");
        assert_eq!(two, "AddRegistryEntries needs SubscriptionId:…, storageaccountname:… as well");
        assert!(refused("CreateNewApplication SubscriptionId:").contains("right behind the colon"));
        assert!(refused("CreateNewApplication SubscriptionId").contains("right behind the colon"));
    }

    #[test]
    fn what_is_wrong_is_shown() {
        assert!(refused("Delete").starts_with("'Delete' is not known"));
        let unknown = refused("CreateNewApplication xmlfilepath:a");
        assert!(unknown.contains("'xmlfilepath:a'"), "{unknown}");
        let twice = format!("CreateNewApplication SubscriptionId:{ID} subscriptionid:{ID}");
        assert_eq!(refused(&twice), "SubscriptionId: is given twice");
        let no_id = refused("CreateNewApplication SubscriptionId:7");
        assert!(no_id.contains("'7' is no subscription id"), "{no_id}");
        let line = format!("AddRegistryEntries SubscriptionId:{ID} xmlfilepath:a");
        let account = refused(&format!("{line} storageaccountname:Seed"));
        assert!(account.contains("'Seed' is not a storage account name"), "{account}");
    }
}
