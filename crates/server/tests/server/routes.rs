//! Who may call what: every route, every role, and the document that says so.

use crate::site::{Site, own, raw};
use client::Client;
use server::{Access, Right, routes};
use std::collections::BTreeMap;
use ureq::http::Method;
use wire::Role;

/// What docs/api.md must say, written down a second time by hand.
const EXPECTED: &[(&str, &str, &str)] = &[
    ("GET", "/healthz", "anyone"),
    ("GET", "/readyz", "anyone"),
    ("GET", "/api/v1/health", "anyone"),
    ("GET", "/api/v1/openapi.json", "anyone"),
    ("GET", "/api/v1/audit", "admin"),
    ("GET", "/api/v1/notices", "admin, agent"),
    ("GET", "/api/v1/locations", "admin, agent, copy, dock"),
    ("GET", "/api/v1/subscriptions", "admin"),
    ("POST", "/api/v1/subscriptions", "admin"),
    ("PATCH", "/api/v1/subscriptions/{id}", "admin"),
    ("PUT", "/api/v1/storage-accounts/{account}", "admin"),
    ("GET", "/api/v1/storage-accounts", "admin"),
    ("PUT", "/api/v1/vaults/{vault}", "admin"),
    ("GET", "/api/v1/vaults", "admin"),
    ("POST", "/api/v1/vaults/{vault}/servers/{server}", "admin"),
    ("POST", "/api/v1/vaults/{vault}/servers/{server}/maintenance", "admin"),
    ("DELETE", "/api/v1/vaults/{vault}/servers/{server}/maintenance", "admin"),
    ("POST", "/api/v1/docks", "admin"),
    ("POST", "/api/v1/subscriptions/{subscription}/publish-settings", "admin"),
    ("POST", "/api/v1/vaults/{vault}/vault-credentials", "admin"),
    ("POST", "/api/v1/vaults/{vault}/machines", "vault"),
    ("PUT", "/api/v1/vaults/{vault}/servers/{server}/certificate", "agent"),
    ("GET", "/api/v1/vaults/{vault}/servers/{server}/key-removals", "admin, agent"),
    ("POST", "/api/v1/vaults/{vault}/servers/{server}/key-removals", "agent"),
    ("DELETE", "/api/v1/vaults/{vault}/servers/{server}/key-removals/{key}", "admin, agent"),
    ("GET", "/api/v1/vaults/{vault}/settings", "admin, agent, maintenance, owner"),
    ("PATCH", "/api/v1/vaults/{vault}/settings", "admin, owner"),
    ("GET", "/api/v1/vaults/{vault}/servers/{server}/settings", "admin, agent, maintenance, owner"),
    ("PATCH", "/api/v1/vaults/{vault}/servers/{server}/settings", "admin, owner"),
    ("POST", "/api/v1/vaults/{vault}/pin", "admin, owner"),
    ("GET", "/api/v1/vaults/{vault}/deletions", "admin, owner"),
    (
        "GET",
        "/api/v1/vaults/{vault}/servers/{server}/deletions",
        "admin, agent, maintenance, owner",
    ),
    ("POST", "/api/v1/vaults/{vault}/servers/{server}/deletions", "agent, maintenance"),
    (
        "POST",
        "/api/v1/vaults/{vault}/servers/{server}/deletions/{id}/undelete",
        "admin, agent, maintenance, owner",
    ),
    (
        "POST",
        "/api/v1/vaults/{vault}/servers/{server}/deletions/{id}/shorten",
        "admin, agent, maintenance, owner",
    ),
    ("POST", "/api/v1/vaults/{vault}/servers/{server}/publications", "admin, agent"),
    ("GET", "/api/v1/vaults/{vault}/servers/{server}/publications", "admin, agent"),
    ("GET", "/api/v1/vaults/{vault}/servers/{server}/receipts/latest", "admin, agent"),
    ("GET", "/api/v1/vaults/{vault}/servers/{server}/receipts/{seed}", "admin, agent, dock"),
    ("GET", "/api/v1/vaults/{vault}/servers/{server}/want-lists/{seed}", "admin, agent"),
    ("PUT", "/api/v1/vaults/{vault}/servers/{server}/revisions/{seed}", "agent"),
    ("GET", "/api/v1/vaults/{vault}/servers/{server}/revisions/{seed}", "admin, agent"),
    ("GET", "/api/v1/vaults/{vault}/servers/{server}/seeds", "admin, agent"),
    ("PUT", "/api/v1/vaults/{vault}/servers/{server}/abandoned-seeds/{seed}", "admin, agent"),
    ("PUT", "/api/v1/vaults/{vault}/servers/{server}/successors/{seed}", "agent"),
    ("GET", "/api/v1/vaults/{vault}/servers/{server}/successors/{seed}", "admin, agent"),
    ("PUT", "/api/v1/seeds/{seed}", "agent"),
    ("GET", "/api/v1/seeds/{seed}", "admin, agent, copy"),
    ("POST", "/api/v1/seeds/{seed}/copy-computer", "application"),
    ("POST", "/api/v1/seeds/{seed}/custody", "agent, copy, dock"),
    ("GET", "/api/v1/seeds/{seed}/custody", "admin, agent, copy, dock"),
    ("GET", "/api/v1/import-jobs", "admin, agent, copy, dock"),
    ("POST", "/api/v1/parcels/receive", "dock"),
    ("PUT", "/api/v1/import-jobs/{job}", "agent, copy"),
    ("GET", "/api/v1/import-jobs/{job}", "admin, agent, copy, dock"),
    ("PATCH", "/api/v1/import-jobs/{job}", "agent, copy"),
    ("GET", "/api/v1/import-jobs/{job}/events", "admin, agent, copy, dock"),
    ("POST", "/api/v1/import-jobs/{job}/listBitLockerKeys", "agent, copy"),
    ("PUT", "/api/v1/import-jobs/{job}/inventory", "agent, copy"),
    ("GET", "/api/v1/import-jobs/{job}/inventory", "admin, agent, dock"),
    ("PUT", "/api/v1/import-jobs/{job}/drives/{drive}/manifest", "agent, copy, dock"),
    ("GET", "/api/v1/import-jobs/{job}/drives/{drive}/manifest", "admin, agent, dock"),
    ("POST", "/api/v1/import-jobs/{job}/drives/{drive}/events", "dock"),
    ("POST", "/api/v1/import-jobs/{job}/drives/{drive}/key", "dock"),
    ("PUT", "/api/v1/import-jobs/{job}/drives/{drive}/copy-log", "dock"),
    ("PUT", "/api/v1/export-jobs/{job}", "agent"),
    ("PUT", "/api/v1/import-jobs/{job}/drives/{drive}", "dock"),
    ("POST", "/vaults/{vault}/{server}/", "agent"),
    ("HEAD", "/pending/{vault}/{server}/config", "agent"),
    ("GET", "/pending/{vault}/{server}/config", "agent"),
    ("POST", "/pending/{vault}/{server}/config", "agent"),
    ("GET", "/pending/{vault}/{server}/{kind}/", "agent"),
    ("HEAD", "/pending/{vault}/{server}/{kind}/{name}", "agent"),
    ("GET", "/pending/{vault}/{server}/{kind}/{name}", "agent"),
    ("POST", "/pending/{vault}/{server}/{kind}/{name}", "agent"),
    ("GET", "/increments/{vault}/{server}/{seed}/{kind}/", "agent"),
    ("HEAD", "/increments/{vault}/{server}/{seed}/{kind}/{name}", "agent"),
    ("GET", "/increments/{vault}/{server}/{seed}/{kind}/{name}", "agent"),
    ("POST", "/increments/{vault}/{server}/{seed}/{kind}/{name}", "agent"),
    ("HEAD", "/vaults/{vault}/{server}/config", "agent, maintenance"),
    ("GET", "/vaults/{vault}/{server}/config", "agent, maintenance"),
    ("POST", "/vaults/{vault}/{server}/config", "agent"),
    ("GET", "/vaults/{vault}/{server}/{kind}/", "agent, maintenance"),
    ("HEAD", "/vaults/{vault}/{server}/{kind}/{name}", "agent, maintenance"),
    ("GET", "/vaults/{vault}/{server}/{kind}/{name}", "agent, maintenance"),
    ("POST", "/vaults/{vault}/{server}/{kind}/{name}", "agent, maintenance"),
    ("DELETE", "/vaults/{vault}/{server}/{kind}/{name}", "agent, maintenance"),
    ("POST", "/storage/{account}/{container}/{repository}/", "dock"),
    ("HEAD", "/storage/{account}/{container}/{repository}/config", "admin, dock"),
    ("GET", "/storage/{account}/{container}/{repository}/config", "admin, dock"),
    ("POST", "/storage/{account}/{container}/{repository}/config", "dock"),
    ("GET", "/storage/{account}/{container}/{repository}/{kind}/", "admin, dock"),
    ("HEAD", "/storage/{account}/{container}/{repository}/{kind}/{name}", "admin, dock"),
    ("GET", "/storage/{account}/{container}/{repository}/{kind}/{name}", "admin, dock"),
    ("POST", "/storage/{account}/{container}/{repository}/{kind}/{name}", "dock"),
    ("DELETE", "/storage/{account}/{container}/{repository}/{kind}/{name}", "dock"),
    ("HEAD", "/exports/{job}/config", "agent, dock"),
    ("GET", "/exports/{job}/config", "agent, dock"),
    ("GET", "/exports/{job}/{kind}/", "agent, dock"),
    ("HEAD", "/exports/{job}/{kind}/{name}", "agent, dock"),
    ("GET", "/exports/{job}/{kind}/{name}", "agent, dock"),
    ("POST", "/exports/{job}/{kind}/{name}", "agent"),
    ("GET", "/{tenant}/.well-known/openid-configuration", "anyone"),
    ("GET", "/{tenant}/v2.0/.well-known/openid-configuration", "anyone"),
    ("GET", "/{tenant}/discovery/keys", "anyone"),
    ("GET", "/{tenant}/discovery/v2.0/keys", "anyone"),
    ("POST", "/{tenant}/oauth2/token", "anyone"),
    ("POST", "/{tenant}/oauth2/v2.0/token", "anyone"),
    ("POST", "/v1.0/applications", "graph"),
    ("GET", "/v1.0/applications", "graph"),
    ("GET", "/v1.0/applications/{id}", "graph"),
    ("PATCH", "/v1.0/applications/{id}", "graph"),
    ("DELETE", "/v1.0/applications/{id}", "graph"),
    ("POST", "/v1.0/applications/{id}/addkey", "graph"),
    ("POST", "/v1.0/applications/{id}/removekey", "graph"),
    ("POST", "/v1.0/applications/{id}/addpassword", "graph"),
    ("POST", "/v1.0/applications/{id}/removepassword", "graph"),
    ("GET", "/v1.0/applications/{id}/owners", "graph"),
    ("POST", "/v1.0/serviceprincipals", "graph"),
    ("GET", "/v1.0/serviceprincipals", "graph"),
    ("GET", "/v1.0/serviceprincipals/{id}", "graph"),
    ("DELETE", "/v1.0/serviceprincipals/{id}", "graph"),
    ("GET", "/v1.0/serviceprincipals/{id}/ownedobjects", "graph"),
    ("GET", "/v1.0/{keyed}", "graph"),
    ("PATCH", "/v1.0/{keyed}", "graph"),
    ("DELETE", "/v1.0/{keyed}", "graph"),
    ("POST", "/v1.0/{keyed}/addkey", "graph"),
    ("POST", "/v1.0/{keyed}/removekey", "graph"),
    ("POST", "/v1.0/{keyed}/addpassword", "graph"),
    ("POST", "/v1.0/{keyed}/removepassword", "graph"),
    ("GET", "/v1.0/me", "graph"),
    ("GET", "/v1.0/me/ownedobjects", "graph"),
    ("POST", "/v1.0/directoryobjects/getbyids", "graph"),
    ("GET", "/v1.0/organization", "graph"),
    ("GET", "/metadata/endpoints", "anyone"),
    ("GET", "/providers/microsoft.authorization/roleassignments", "read"),
    ("GET", "/providers/microsoft.authorization/roleassignments/{id}", "read"),
    ("PUT", "/providers/microsoft.authorization/roleassignments/{id}", "own"),
    ("DELETE", "/providers/microsoft.authorization/roleassignments/{id}", "own"),
    ("GET", "/providers/microsoft.authorization/roledefinitions", "read"),
    ("GET", "/providers/microsoft.authorization/roledefinitions/{id}", "read"),
    ("GET", "/providers/microsoft.importexport/locations", "granted"),
    ("GET", "/providers/microsoft.importexport/locations/{location}", "granted"),
    ("GET", "/providers/microsoft.importexport/operations", "granted"),
    ("GET", "/subscriptions", "granted"),
    ("GET", "/subscriptions/{subscription}", "read"),
    ("GET", "/subscriptions/{subscription}/locations", "read"),
    ("GET", "/subscriptions/{subscription}/providers", "read"),
    (
        "GET",
        "/subscriptions/{subscription}/providers/microsoft.authorization/roleassignments",
        "read",
    ),
    (
        "GET",
        "/subscriptions/{subscription}/providers/microsoft.authorization/roleassignments/{id}",
        "read",
    ),
    (
        "PUT",
        "/subscriptions/{subscription}/providers/microsoft.authorization/roleassignments/{id}",
        "own",
    ),
    (
        "DELETE",
        "/subscriptions/{subscription}/providers/microsoft.authorization/roleassignments/{id}",
        "own",
    ),
    (
        "GET",
        "/subscriptions/{subscription}/providers/microsoft.authorization/roledefinitions",
        "read",
    ),
    (
        "GET",
        "/subscriptions/{subscription}/providers/microsoft.authorization/roledefinitions/{id}",
        "read",
    ),
    ("GET", "/subscriptions/{subscription}/providers/microsoft.importexport/jobs", "read"),
    ("GET", "/subscriptions/{subscription}/providers/microsoft.recoveryservices/vaults", "read"),
    (
        "POST",
        "/subscriptions/{subscription}/providers/microsoft.storage/checknameavailability",
        "read",
    ),
    ("GET", "/subscriptions/{subscription}/providers/microsoft.storage/storageaccounts", "read"),
    ("GET", "/subscriptions/{subscription}/providers/{provider}", "read"),
    ("POST", "/subscriptions/{subscription}/providers/{provider}/register", "write"),
    ("GET", "/subscriptions/{subscription}/resourcegroups", "read"),
    ("GET", "/subscriptions/{subscription}/resourcegroups/{group}", "read"),
    ("HEAD", "/subscriptions/{subscription}/resourcegroups/{group}", "read"),
    ("PUT", "/subscriptions/{subscription}/resourcegroups/{group}", "write"),
    ("PATCH", "/subscriptions/{subscription}/resourcegroups/{group}", "write"),
    ("DELETE", "/subscriptions/{subscription}/resourcegroups/{group}", "write"),
    (
        "GET",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.authorization/roleassignments",
        "read",
    ),
    (
        "GET",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.authorization/roleassignments/{id}",
        "read",
    ),
    (
        "PUT",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.authorization/roleassignments/{id}",
        "own",
    ),
    (
        "DELETE",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.authorization/roleassignments/{id}",
        "own",
    ),
    (
        "GET",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.authorization/roledefinitions",
        "read",
    ),
    (
        "GET",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.authorization/roledefinitions/{id}",
        "read",
    ),
    (
        "GET",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults/{vault}/providers/microsoft.authorization/roleassignments",
        "read",
    ),
    (
        "GET",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults/{vault}/providers/microsoft.authorization/roleassignments/{id}",
        "read",
    ),
    (
        "PUT",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults/{vault}/providers/microsoft.authorization/roleassignments/{id}",
        "own",
    ),
    (
        "DELETE",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults/{vault}/providers/microsoft.authorization/roleassignments/{id}",
        "own",
    ),
    (
        "GET",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults/{vault}/providers/microsoft.authorization/roledefinitions",
        "read",
    ),
    (
        "GET",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults/{vault}/providers/microsoft.authorization/roledefinitions/{id}",
        "read",
    ),
    (
        "GET",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.importexport/jobs",
        "read",
    ),
    (
        "GET",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.importexport/jobs/{job}",
        "read",
    ),
    (
        "PUT",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.importexport/jobs/{job}",
        "write",
    ),
    (
        "PATCH",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.importexport/jobs/{job}",
        "write",
    ),
    (
        "DELETE",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.importexport/jobs/{job}",
        "write",
    ),
    (
        "POST",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.importexport/jobs/{job}/listbitlockerkeys",
        "write",
    ),
    (
        "GET",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults",
        "read",
    ),
    (
        "GET",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults/{vault}",
        "read",
    ),
    (
        "PUT",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults/{vault}",
        "write",
    ),
    (
        "PATCH",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults/{vault}",
        "write",
    ),
    (
        "DELETE",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults/{vault}",
        "write",
    ),
    (
        "GET",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults/{vault}/usages",
        "read",
    ),
    (
        "GET",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.storage/storageaccounts",
        "read",
    ),
    (
        "GET",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.storage/storageaccounts/{account}",
        "read",
    ),
    (
        "PUT",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.storage/storageaccounts/{account}",
        "write",
    ),
    (
        "PATCH",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.storage/storageaccounts/{account}",
        "write",
    ),
    (
        "DELETE",
        "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.storage/storageaccounts/{account}",
        "write",
    ),
    ("GET", "/subscriptions/{subscription}/resourcegroups/{group}/resources", "read"),
    ("GET", "/subscriptions/{subscription}/resources", "read"),
    ("GET", "/tenants", "granted"),
];

type Table = BTreeMap<(String, String), String>;

fn words(access: Access) -> String {
    let roles = [
        (Role::Admin, "admin"),
        (Role::Agent, "agent"),
        (Role::Copy, "copy"),
        (Role::Dock, "dock"),
        (Role::Maintenance, "maintenance"),
    ];
    match access {
        Access::Anyone => "anyone".to_owned(),
        Access::Graph => "graph".to_owned(),
        Access::Registration => "vault".to_owned(),
        Access::Application => "application".to_owned(),
        Access::ArmAny => "granted".to_owned(),
        Access::Arm(Right::Read) => "read".to_owned(),
        Access::Arm(Right::Write) => "write".to_owned(),
        Access::Arm(Right::Own) => "own".to_owned(),
        access @ (Access::Roles(_) | Access::Vault(_)) => {
            let allowed = roles.into_iter().filter(|(role, _)| access.allows(*role));
            let owner = matches!(access, Access::Vault(_)).then_some("owner");
            allowed.map(|(_, word)| word).chain(owner).collect::<Vec<_>>().join(", ")
        }
    }
}

/// The table as it is written down.
fn written() -> Table {
    let row = |(method, path, who): &(&str, &str, &str)| {
        (((*method).to_owned(), (*path).to_owned()), (*who).to_owned())
    };
    EXPECTED.iter().map(row).collect()
}

/// The table with both versions of Graph, of which one is written down.
fn expected() -> Table {
    let mut table = written();
    for ((method, path), who) in written() {
        if let Some(rest) = path.strip_prefix("/v1.0/") {
            table.insert((method, format!("/beta/{rest}")), who);
        }
    }
    table
}

#[test]
fn no_route_is_missing_from_the_table_nor_has_other_callers() {
    let built: Table = routes()
        .into_iter()
        .map(|route| ((route.method.to_string(), route.path.to_owned()), words(route.access)))
        .collect();
    assert_eq!(built, expected());
}

#[test]
fn the_document_lists_exactly_these_routes() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api.md"));
    let text = text.unwrap();
    let listed: Table = text
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let [_, call, who, ..] = cells.as_slice() else { return None };
            let (method, path) = call.strip_prefix('`')?.strip_suffix('`')?.split_once(' ')?;
            Some(((method.to_owned(), path.to_owned()), (*who).to_owned()))
        })
        .collect();
    assert_eq!(listed, written());
}

fn filled(path: &str, vault: &str, server: &str) -> String {
    path.replace("{vault}", vault)
        .replace("{server}", server)
        .replace("{account}", "acct01")
        .replace("{container}", "seeds")
        .replace("{repository}", &"a".repeat(64))
        .replace("{kind}", "data")
        .replace("{name}", &"b".repeat(64))
        .replace("{key}", &"c".repeat(64))
        .replace("{job}", "job1")
        .replace("{drive}", "S1")
        .replace("{seed}", &"0".repeat(32))
        .replace("{tenant}", "common")
        .replace("{keyed}", "applications(appId='00000000-0000-0000-0000-000000000000')")
        .replace("{id}", "00000000-0000-0000-0000-000000000000")
}

#[test]
fn every_route_lets_in_its_callers_and_nobody_else() {
    let site = Site::new();
    // Its source server is registered anew afterwards.
    let copy = site.copy("vault1", "fs01");
    let callers = [
        (Role::Admin, site.admin()),
        (Role::Agent, site.agent("vault1", "fs01")),
        (Role::Copy, copy),
        (Role::Dock, site.dock()),
        (Role::Maintenance, site.maintenance("vault1", "fs01")),
    ];
    let known = callers[0].1.credentials().clone();
    for route in routes() {
        // Who is let in there ends the token of whoever is asked for next.
        let server = if route.path.ends_with("/maintenance") { "fs09" } else { "fs01" };
        let path = filled(route.path, "vault1", server);
        let what = format!("{} {path}", route.method);
        let ask = |auth| raw(&known, auth, &route.method, &path, &[], b"null");
        if route.access == Access::Anyone {
            // A token is given for a form only.
            let form = route.path.ends_with("/token");
            assert_eq!(ask(None).status, if form { 400 } else { 200 }, "{what}");
            continue;
        }
        let answer = ask(None);
        assert_eq!(answer.status, 401, "{what} without credentials");
        let is_ours = matches!(route.access, Access::Roles(_) | Access::Vault(_));
        let scheme = if is_ours { "Basic " } else { "Bearer " };
        assert!(answer.header("www-authenticate").starts_with(scheme), "{what}");
        assert_eq!(ask(Some(("admin", "wrong"))).status, 401, "{what} with a wrong token");
        let agent_token = own(&callers[1].1).unwrap().1;
        assert_eq!(ask(Some(("admin", agent_token))).status, 401, "{what} under another name");
        for (role, client) in &callers {
            let answer = ask(own(client));
            let refused = match route.method {
                Method::HEAD => answer.status == 403,
                _ => ["AuthorizationFailed", "Authorization_RequestDenied"]
                    .contains(&answer.code().as_str()),
            };
            // A HEAD that is let in finds nothing: 404.
            let allowed = route.access.allows(*role);
            // An agent may ask, but creates jobs for itself only, which needs a body.
            assert_eq!(!refused, allowed, "{what} as {role:?}: {}", answer.status);
            assert_ne!(answer.status, 401, "{what} as {role:?}");
            assert_ne!(answer.status, 500, "{what} as {role:?}");
        }
    }
}

#[test]
fn an_agent_and_its_maintenance_host_reach_nothing_of_another() {
    let site = Site::new();
    let mine = site.agent("vault1", "fs01");
    site.agent("vault1", "fs02");
    site.agent("vault2", "fs01");
    let host = site.maintenance("vault1", "fs01");
    let known = mine.credentials().clone();
    for route in routes().iter().filter(|route| route.path.contains("{server}")) {
        for (vault, server) in [("vault1", "fs02"), ("vault2", "fs01")] {
            let path = filled(route.path, vault, server);
            for caller in [&mine, &host] {
                let answer = raw(&known, own(caller), &route.method, &path, &[], b"null");
                assert_eq!(answer.status, 403, "{} {path}", route.method);
            }
        }
    }
}

#[test]
fn an_agent_that_is_too_old_is_told_so_and_others_are_not_asked() {
    let site = Site::with(|config| config.oldest_agent = (2, 1, 0));
    let agent = site.agent("vault1", "fs01");
    let known = agent.credentials().clone();
    let ask = |version: &str| {
        let path = "/api/v1/import-jobs";
        raw(&known, own(&agent), &Method::GET, path, &[("user-agent", version)], b"")
    };
    let old = ask("packmule/2.0.9");
    assert_eq!(old.status, 400);
    assert!(String::from_utf8_lossy(&old.body).contains("2.1.0 and newer"));
    for good in ["packmule/2.1.0", "packmule/10.0.0-rc1", "restic/0.18", "packmule/x"] {
        assert_eq!(ask(good).status, 200, "{good}");
    }
}

#[test]
fn a_new_token_ends_the_old_one() {
    let site = Site::new();
    let old = site.agent("vault1", "fs01");
    assert!(old.locations().is_ok());
    let new = site.agent("vault1", "fs01");
    assert!(new.locations().is_ok());
    assert_eq!(old.locations().unwrap_err().code(), Some(&wire::Code::AuthenticationFailed));
    let request = wire::ServerRequest { replace: false };
    let again = site.admin().register_server(
        &"vault1".parse().unwrap(),
        &"fs01".parse().unwrap(),
        &request,
    );
    assert_eq!(again.unwrap_err().code(), Some(&wire::Code::AlreadyExists));
}

#[test]
fn names_that_differ_in_case_only_are_one_too_many() {
    let site = Site::new();
    site.agent("vault1", "fs01");
    let admin: Client = site.admin();
    let error = admin.create_vault(&"Vault1".parse().unwrap()).unwrap_err();
    assert_eq!(error.code(), Some(&wire::Code::AlreadyExists));
    let request = wire::ServerRequest { replace: false };
    let (vault, server) = ("vault1".parse().unwrap(), "FS01".parse().unwrap());
    let error = admin.register_server(&vault, &server, &request).unwrap_err();
    assert_eq!(error.code(), Some(&wire::Code::AlreadyExists));
}

#[test]
fn unknown_paths_and_methods_are_answered_in_the_one_shape_with_an_id() {
    let site = Site::new();
    let known = site.admin().credentials().clone();
    let answer = raw(&known, None, &Method::GET, "/nowhere", &[], b"");
    assert_eq!((answer.status, answer.code().as_str()), (404, "ResourceNotFound"));
    assert_eq!(answer.header("x-request-id").len(), 16);
    let answer = raw(&known, None, &Method::DELETE, "/api/v1/health", &[], b"");
    assert_eq!((answer.status, answer.code().as_str()), (405, "MethodNotAllowed"));
}

#[test]
fn a_query_that_cannot_be_read_is_refused_in_the_one_shape() {
    let site = Site::new();
    let admin = site.admin();
    for path in ["/api/v1/audit?after=x", "/api/v1/audit?limit=", "/api/v1/notices?job=0.5"] {
        let answer = raw(admin.credentials(), own(&admin), &Method::GET, path, &[], b"");
        assert_eq!((answer.status, answer.code().as_str()), (400, "InvalidRequest"), "{path}");
    }
    let agent = site.agent("vault1", "fs01");
    let path = "/vaults/vault1/fs01/?create=yes";
    let answer = raw(agent.credentials(), own(&agent), &Method::POST, path, &[], b"");
    assert_eq!((answer.status, answer.code().as_str()), (400, "InvalidRequest"), "{path}");
}

#[test]
fn the_document_of_the_api_is_served_to_anyone() {
    let site = Site::new();
    let known = site.admin().credentials().clone();
    let answer = raw(&known, None, &Method::GET, "/api/v1/openapi.json", &[], b"");
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    assert_eq!(answer.body, std::fs::read(path).unwrap());
}
