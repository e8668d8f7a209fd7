//! Role assignments: which application may do what, and where. Decides nothing.

use crate::{Client, Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use ureq::http::Method;
use wire::List;

/// The newest version of `Microsoft.Authorization`.
const VERSION: &str = "2022-04-01";
const ASSIGNMENTS: [&str; 3] = ["providers", "Microsoft.Authorization", "roleAssignments"];
const DEFINITIONS: [&str; 3] = ["providers", "Microsoft.Authorization", "roleDefinitions"];

/// A role that an application has somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleAssignment {
    /// The resource manager's id of it.
    pub id: String,
    /// The object id of the application's service principal.
    pub principal: String,
    /// `Owner`, `Contributor` or `Reader`.
    pub role: String,
    /// Where, and everywhere below: `/`, a subscription's id or a resource group's.
    pub scope: String,
}

#[derive(Deserialize)]
struct Answered {
    id: String,
    properties: Properties,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Properties {
    role_definition_id: String,
    principal_id: String,
    scope: String,
}

#[derive(Deserialize)]
struct Definition {
    name: String,
    properties: Defined,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Defined {
    role_name: String,
}

impl Answered {
    fn named(self, names: &BTreeMap<String, String>) -> RoleAssignment {
        let id = self.properties.role_definition_id.rsplit('/').next().unwrap_or_default();
        RoleAssignment {
            role: names.get(id).map_or(id, String::as_str).to_owned(),
            id: self.id,
            principal: self.properties.principal_id,
            scope: self.properties.scope,
        }
    }
}

const NOTHING: Option<&()> = None;

impl Client {
    /// What roles are called, by their ids.
    fn roles(&self) -> Result<BTreeMap<String, String>> {
        let url = self.managed("/", &DEFINITIONS, VERSION);
        let list: List<Definition> = self.azure(Method::GET, &url, None, NOTHING)?.json()?;
        Ok(list.value.into_iter().map(|it| (it.name, it.properties.role_name)).collect())
    }

    /// Every role that any application has anywhere.
    ///
    /// # Errors
    /// What the server refuses.
    pub fn role_assignments(&self) -> Result<Vec<RoleAssignment>> {
        let names = self.roles()?;
        let url = self.managed("/", &ASSIGNMENTS, VERSION);
        let list: List<Answered> = self.azure(Method::GET, &url, None, NOTHING)?.json()?;
        Ok(list.value.into_iter().map(|it| it.named(&names)).collect())
    }

    /// Gives a service principal a role at a scope, and below.
    ///
    /// # Errors
    /// It has it already; there is no such role, scope or principal.
    pub fn grant_role(&self, principal: &str, role: &str, scope: &str) -> Result<RoleAssignment> {
        let names = self.roles()?;
        let id = self.guid()?;
        let below = [&ASSIGNMENTS[..], &[id.as_str()]].concat();
        let url = self.managed(scope, &below, VERSION);
        let body = json!({"properties": {"roleDefinitionId": role, "principalId": principal}});
        let made: Answered = self.azure(Method::PUT, &url, None, Some(&body))?.json()?;
        Ok(made.named(&names))
    }

    /// Takes a role away.
    ///
    /// # Errors
    /// Of kind conflict for the last owner of everything.
    pub fn revoke_role(&self, assignment: &RoleAssignment) -> Result<()> {
        let url = self.managed(&assignment.id, &[], VERSION);
        self.azure(Method::DELETE, &url, None, NOTHING).map(drop)
    }

    /// A random GUID (RFC 9562, version 4): who makes an assignment names it.
    fn guid(&self) -> Result<String> {
        let mut bytes = [0; 16];
        let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
        random.fill(&mut bytes).map_err(|_| Error::Answer {
            endpoint: self.credentials().endpoint.clone(),
            status: 0,
            what: "there are no random numbers".to_owned(),
        })?;
        Ok(guid(bytes))
    }
}

fn guid(bytes: [u8; 16]) -> String {
    let version = 0xffff_ffff_ffff_0fff_3fff_ffff_ffff_ffff_u128;
    let marks = 0x0000_0000_0000_4000_8000_0000_0000_0000_u128;
    let digits = format!("{:032x}", (u128::from_be_bytes(bytes) & version) | marks);
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| digits.get(part));
    parts.into_iter().flatten().collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_has_its_marks_and_hyphens() {
        assert_eq!(guid([0xff; 16]), "ffffffff-ffff-4fff-bfff-ffffffffffff");
        assert_eq!(guid([0; 16]), "00000000-0000-4000-8000-000000000000");
    }
}
