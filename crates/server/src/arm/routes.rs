//! The resource manager's routes, with the right that each needs. Paths are in the form that [`plain`] makes.
//!
//! [`plain`]: super::plain

use super::{
    accounts, authorization as auth, groups, import_export as jobs, subscriptions as subs, vaults,
};
use crate::auth::Access;
use crate::entra::Right;
use crate::routes::Table;
use axum::http::Method;

const READ: Access = Access::Arm(Right::Read);
const WRITE: Access = Access::Arm(Right::Write);
const OWN: Access = Access::Arm(Right::Own);
/// Whoever has any grant: what is answered depends on which.
const ANY: Access = Access::ArmAny;

pub(crate) fn add(table: &mut Table) {
    subscriptions(table);
    groups(table);
    accounts(table);
    vaults(table);
    import_export(table);
    authorization(table);
}

fn authorization(table: &mut Table) {
    for (all, one, roles, role) in [
        (
            "/providers/microsoft.authorization/roleassignments",
            "/providers/microsoft.authorization/roleassignments/{id}",
            "/providers/microsoft.authorization/roledefinitions",
            "/providers/microsoft.authorization/roledefinitions/{id}",
        ),
        (
            "/subscriptions/{subscription}/providers/microsoft.authorization/roleassignments",
            "/subscriptions/{subscription}/providers/microsoft.authorization/roleassignments/{id}",
            "/subscriptions/{subscription}/providers/microsoft.authorization/roledefinitions",
            "/subscriptions/{subscription}/providers/microsoft.authorization/roledefinitions/{id}",
        ),
        (
            "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.authorization/roleassignments",
            "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.authorization/roleassignments/{id}",
            "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.authorization/roledefinitions",
            "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.authorization/roledefinitions/{id}",
        ),
        (
            "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults/{vault}/providers/microsoft.authorization/roleassignments",
            "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults/{vault}/providers/microsoft.authorization/roleassignments/{id}",
            "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults/{vault}/providers/microsoft.authorization/roledefinitions",
            "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults/{vault}/providers/microsoft.authorization/roledefinitions/{id}",
        ),
    ] {
        table.add(Method::GET, all, READ, auth::list);
        table.add(Method::GET, one, READ, auth::get);
        table.add(Method::PUT, one, OWN, auth::put);
        table.add(Method::DELETE, one, OWN, auth::delete);
        table.add(Method::GET, roles, READ, auth::definitions);
        table.add(Method::GET, role, READ, auth::one_definition);
    }
}

fn subscriptions(table: &mut Table) {
    table.add(Method::GET, "/metadata/endpoints", Access::Anyone, subs::endpoints);
    table.add(Method::GET, "/tenants", ANY, subs::tenants);
    table.add(Method::GET, "/subscriptions", ANY, subs::list);
    table.add(Method::GET, "/subscriptions/{subscription}", READ, subs::get);
    table.add(Method::GET, "/subscriptions/{subscription}/locations", READ, subs::locations);
    table.add(Method::GET, "/subscriptions/{subscription}/providers", READ, subs::providers);
    let provider = "/subscriptions/{subscription}/providers/{provider}";
    table.add(Method::GET, provider, READ, subs::one_provider);
    let register = "/subscriptions/{subscription}/providers/{provider}/register";
    table.add(Method::POST, register, WRITE, subs::one_provider);
}

fn groups(table: &mut Table) {
    let all = "/subscriptions/{subscription}/resourcegroups";
    let one = "/subscriptions/{subscription}/resourcegroups/{group}";
    table.add(Method::GET, all, READ, groups::list);
    table.add(Method::GET, one, READ, groups::get);
    table.add(Method::HEAD, one, READ, groups::head);
    table.add(Method::PUT, one, WRITE, groups::put);
    table.add(Method::PATCH, one, WRITE, groups::patch);
    table.add(Method::DELETE, one, WRITE, groups::delete);
    let resources = "/subscriptions/{subscription}/resourcegroups/{group}/resources";
    table.add(Method::GET, resources, READ, groups::resources);
    table.add(Method::GET, "/subscriptions/{subscription}/resources", READ, groups::all_resources);
}

fn accounts(table: &mut Table) {
    let all = "/subscriptions/{subscription}/providers/microsoft.storage/storageaccounts";
    let check = "/subscriptions/{subscription}/providers/microsoft.storage/checknameavailability";
    let some = "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.storage/storageaccounts";
    let one = "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.storage/storageaccounts/{account}";
    table.add(Method::GET, all, READ, accounts::list);
    table.add(Method::POST, check, READ, accounts::check_name);
    table.add(Method::GET, some, READ, accounts::list_in_group);
    table.add(Method::GET, one, READ, accounts::get);
    table.add(Method::PUT, one, WRITE, accounts::put);
    table.add(Method::PATCH, one, WRITE, accounts::patch);
    table.add(Method::DELETE, one, WRITE, accounts::delete);
}

fn vaults(table: &mut Table) {
    let all = "/subscriptions/{subscription}/providers/microsoft.recoveryservices/vaults";
    let some = "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults";
    let one = "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults/{vault}";
    let usages = "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.recoveryservices/vaults/{vault}/usages";
    table.add(Method::GET, all, READ, vaults::list);
    table.add(Method::GET, some, READ, vaults::list_in_group);
    table.add(Method::GET, one, READ, vaults::get);
    table.add(Method::PUT, one, WRITE, vaults::put);
    table.add(Method::PATCH, one, WRITE, vaults::patch);
    table.add(Method::DELETE, one, WRITE, vaults::delete);
    table.add(Method::GET, usages, READ, vaults::usages);
}

fn import_export(table: &mut Table) {
    let locations = "/providers/microsoft.importexport/locations";
    let location = "/providers/microsoft.importexport/locations/{location}";
    table.add(Method::GET, locations, ANY, jobs::locations);
    table.add(Method::GET, location, ANY, jobs::location);
    table.add(Method::GET, "/providers/microsoft.importexport/operations", ANY, jobs::operations);
    let all = "/subscriptions/{subscription}/providers/microsoft.importexport/jobs";
    let some = "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.importexport/jobs";
    let one = "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.importexport/jobs/{job}";
    let keys = "/subscriptions/{subscription}/resourcegroups/{group}/providers/microsoft.importexport/jobs/{job}/listbitlockerkeys";
    table.add(Method::GET, all, READ, jobs::list);
    table.add(Method::GET, some, READ, jobs::list_in_group);
    table.add(Method::GET, one, READ, jobs::get);
    table.add(Method::PUT, one, WRITE, jobs::put);
    table.add(Method::PATCH, one, WRITE, jobs::patch);
    table.add(Method::DELETE, one, WRITE, jobs::delete);
    table.add(Method::POST, keys, WRITE, jobs::keys);
}
