//! Who may see and change which application. Pure.
//!
//! Invariant: nobody changes an application that may do more than the caller, unless the caller has
//! made it. Otherwise a Contributor could give a certificate of its own to an Owner.

use super::GraphError;
use crate::auth::Principal;
use crate::entra::grants::{Grant, GrantRole, Right};
use crate::entra::records::Application;

/// Whether that caller may make applications.
pub(super) fn create(caller: &Principal) -> Result<(), GraphError> {
    if caller.may(Right::Write, "/") { Ok(()) } else { Err(denied()) }
}

/// Whether that caller may see the application.
pub(super) fn sees(caller: &Principal, application: &Application) -> bool {
    !caller.grants.is_empty() || is_owner(caller, application) || is_itself(caller, application)
}

/// Whether that caller may change the application, which has these grants.
pub(super) fn change(
    caller: &Principal,
    application: &Application,
    grants: &[Grant],
) -> Result<(), GraphError> {
    let owns_all = caller.may(Right::Own, "/");
    let harmless = grants.iter().all(|grant| grant.role != GrantRole::Owner);
    let contributes = caller.may(Right::Write, "/") && harmless;
    if owns_all || contributes || is_owner(caller, application) { Ok(()) } else { Err(denied()) }
}

/// Whether that caller is the application.
pub(super) fn is_itself(caller: &Principal, application: &Application) -> bool {
    caller.application.as_ref().is_some_and(|own| own.object_id == application.object_id)
}

fn is_owner(caller: &Principal, application: &Application) -> bool {
    caller.application.as_ref().is_some_and(|own| own.service_principal == application.owner)
}

fn denied() -> GraphError {
    GraphError::denied("Insufficient privileges to complete the operation.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Caller;

    fn caller(role: Option<GrantRole>) -> Principal {
        Principal {
            subject: "application/a".to_owned(),
            role: None,
            own: None,
            seed: None,
            grants: role.map(|role| Grant { role, scope: "/".to_owned() }).into_iter().collect(),
            application: Some(Caller {
                object_id: "object".to_owned(),
                app_id: "a".to_owned(),
                service_principal: "principal".to_owned(),
                credential: "key".to_owned(),
            }),
        }
    }

    fn application(owner: &str, object_id: &str) -> Application {
        Application {
            object_id: object_id.to_owned(),
            app_id: "b".to_owned(),
            display_name: "b".to_owned(),
            service_principal: None,
            owner: owner.to_owned(),
            created_at: "2026-01-01T00:00:00Z".to_owned(),
        }
    }

    #[test]
    fn a_contributor_does_not_become_an_owner_through_an_owners_application() {
        let (other, own) = (application("x", "y"), application("principal", "y"));
        let owner = [Grant::owner()];
        let contributor = caller(Some(GrantRole::Contributor));
        assert!(change(&contributor, &other, &[]).is_ok());
        assert!(change(&contributor, &other, &owner).is_err());
        assert!(change(&contributor, &own, &owner).is_ok());
        assert!(change(&caller(Some(GrantRole::Owner)), &other, &owner).is_ok());
        assert!(change(&caller(Some(GrantRole::Reader)), &other, &[]).is_err());
        assert!(change(&caller(None), &application("x", "object"), &[]).is_err());
    }

    #[test]
    fn without_grants_a_caller_sees_itself_and_its_own() {
        let nobody = caller(None);
        assert!(sees(&nobody, &application("x", "object")));
        assert!(sees(&nobody, &application("principal", "y")));
        assert!(!sees(&nobody, &application("x", "y")));
        assert!(sees(&caller(Some(GrantRole::Reader)), &application("x", "y")));
        assert!(create(&nobody).is_err() && create(&caller(Some(GrantRole::Reader))).is_err());
    }
}
