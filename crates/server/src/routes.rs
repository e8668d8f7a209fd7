//! Every route with the callers it is for. There is no other way to add one, so none can be without
//! its callers.

use crate::app::App;
use crate::auth::{Access, guard};
use crate::entra::handlers as identity;
use crate::{
    Error, accounts, arm, audit, custody, dataplane, deletions, docks, exports, files, http, jobs,
    key_removals, machines, notices, openapi, publication, seeds, settings, subscriptions, vaults,
};
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::handler::Handler;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, on};
use std::sync::Arc;
use tower::Layer as _;
use tower::util::MapRequestLayer;
use wire::{Code, Role};

const ADMIN: Access = Access::Roles(&[Role::Admin]);
const AGENT: Access = Access::Roles(&[Role::Agent]);
/// Whoever plans what goes from a repository.
const KEEPER: Access = Access::Roles(&[Role::Agent, Role::Maintenance]);
const KEEPER_OR_OWNER: Access = Access::Vault(&[Role::Agent, Role::Maintenance, Role::Admin]);
const DOCK: Access = Access::Roles(&[Role::Dock]);
const AGENT_OR_ADMIN: Access = Access::Roles(&[Role::Agent, Role::Admin]);
const AGENT_OR_DOCK: Access = Access::Roles(&[Role::Agent, Role::Dock]);
const DOCK_OR_ADMIN: Access = Access::Roles(&[Role::Dock, Role::Admin]);
const ANY_ROLE: Access = Access::Roles(&[Role::Admin, Role::Agent, Role::Dock]);
/// Whoever decides about one vault: its Owners, and administrators.
const OWNER: Access = Access::Vault(&[Role::Admin]);
/// Whoever writes drives: the source server, or a copy computer for it.
const WRITER: Access = Access::Roles(&[Role::Agent, Role::Copy]);
const WRITER_OR_ADMIN: Access = Access::Roles(&[Role::Agent, Role::Copy, Role::Admin]);
/// Whoever has drives in hand.
const HANDLER: Access = Access::Roles(&[Role::Agent, Role::Copy, Role::Dock]);
const EVERYBODY: Access = Access::Roles(&[Role::Admin, Role::Agent, Role::Copy, Role::Dock]);

/// One route, as documented in docs/api.md.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The HTTP method.
    pub method: Method,
    /// The path, with its variable segments in braces.
    pub path: &'static str,
    /// Whom it is for.
    pub access: Access,
    /// The name of the function that answers.
    pub(crate) handler: &'static str,
}

/// Every route of a server.
#[must_use]
pub fn routes() -> Vec<Route> {
    let mut table = Table { router: None, routes: Vec::new() };
    all(&mut table);
    table.routes
}

/// The routes, ready to serve.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let mut table = Table { router: Some((Router::new(), Arc::clone(app))), routes: Vec::new() };
    all(&mut table);
    let router = table.router.map(|(router, _)| router).unwrap_or_default();
    let router = router
        .fallback(async || Error::not_found("such path; docs/api.md lists them"))
        .method_not_allowed_fallback(async || {
            Error::refused(Code::MethodNotAllowed, "this path takes other methods")
        })
        .layer(DefaultBodyLimit::disable())
        .layer(from_fn_with_state(Arc::clone(app), http::drain))
        .layer(from_fn_with_state(Arc::clone(app), http::observe))
        .with_state(Arc::clone(app));
    // Before routing: a router knows one spelling of a path.
    Router::new().fallback_service(MapRequestLayer::new(http::plain_path).layer(router))
}

/// Routes as they are added: to a list, and to a router where there is one.
pub(crate) struct Table {
    router: Option<(Router<Arc<App>>, Arc<App>)>,
    routes: Vec<Route>,
}

impl Table {
    pub(crate) fn add<H, T>(
        &mut self,
        method: Method,
        path: &'static str,
        access: Access,
        handler: H,
    ) where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        if let (Some((router, app)), Ok(filter)) =
            (self.router.take(), MethodFilter::try_from(method.clone()))
        {
            let guarded = from_fn_with_state((Arc::clone(&app), access), guard);
            self.router = Some((router.route(path, on(filter, handler).layer(guarded)), app));
        }
        self.routes.push(Route { method, path, access, handler: std::any::type_name::<H>() });
    }
}

fn all(table: &mut Table) {
    control(table);
    arm::add(table);
    import_jobs(table);
    let own = "/vaults/{vault}/{server}/";
    table.add(Method::POST, own, AGENT, dataplane::create);
    table.add(Method::HEAD, "/vaults/{vault}/{server}/config", KEEPER, dataplane::head);
    table.add(Method::GET, "/vaults/{vault}/{server}/config", KEEPER, dataplane::get);
    table.add(Method::POST, "/vaults/{vault}/{server}/config", AGENT, dataplane::put);
    table.add(Method::GET, "/vaults/{vault}/{server}/{kind}/", KEEPER, dataplane::list);
    table.add(Method::HEAD, "/vaults/{vault}/{server}/{kind}/{name}", KEEPER, dataplane::head);
    table.add(Method::GET, "/vaults/{vault}/{server}/{kind}/{name}", KEEPER, dataplane::get);
    table.add(Method::POST, "/vaults/{vault}/{server}/{kind}/{name}", KEEPER, dataplane::put);
    table.add(Method::DELETE, "/vaults/{vault}/{server}/{kind}/{name}", KEEPER, dataplane::remove);
    let pending = "/pending/{vault}/{server}/{kind}/{name}";
    table.add(Method::POST, "/pending/{vault}/{server}/config", AGENT, dataplane::put);
    table.add(Method::HEAD, "/pending/{vault}/{server}/config", AGENT, dataplane::head);
    table.add(Method::GET, "/pending/{vault}/{server}/config", AGENT, dataplane::get);
    table.add(Method::GET, "/pending/{vault}/{server}/{kind}/", AGENT, dataplane::list);
    table.add(Method::HEAD, pending, AGENT, dataplane::head);
    table.add(Method::GET, pending, AGENT, dataplane::get);
    table.add(Method::POST, pending, AGENT, dataplane::put);
    let all = "/increments/{vault}/{server}/{seed}/{kind}/";
    let one = "/increments/{vault}/{server}/{seed}/{kind}/{name}";
    table.add(Method::GET, all, AGENT, dataplane::list);
    table.add(Method::HEAD, one, AGENT, dataplane::head);
    table.add(Method::GET, one, AGENT, dataplane::get);
    table.add(Method::POST, one, AGENT, dataplane::put);
    landing(table);
    exported(table);
    entra(table);
}

/// What export jobs ask for, as repositories.
fn exported(table: &mut Table) {
    let object = "/exports/{job}/{kind}/{name}";
    table.add(Method::HEAD, "/exports/{job}/config", AGENT_OR_DOCK, exports::config);
    table.add(Method::GET, "/exports/{job}/config", AGENT_OR_DOCK, exports::config);
    table.add(Method::GET, "/exports/{job}/{kind}/", AGENT_OR_DOCK, exports::list);
    table.add(Method::HEAD, object, AGENT_OR_DOCK, exports::get);
    table.add(Method::GET, object, AGENT_OR_DOCK, exports::get);
    table.add(Method::POST, object, AGENT, exports::put);
}

fn landing(table: &mut Table) {
    let root = "/storage/{account}/{container}/{repository}/";
    let config = "/storage/{account}/{container}/{repository}/config";
    let folder = "/storage/{account}/{container}/{repository}/{kind}/";
    let object = "/storage/{account}/{container}/{repository}/{kind}/{name}";
    table.add(Method::POST, root, DOCK, dataplane::create);
    table.add(Method::HEAD, config, DOCK_OR_ADMIN, dataplane::head);
    table.add(Method::GET, config, DOCK_OR_ADMIN, dataplane::get);
    table.add(Method::POST, config, DOCK, dataplane::put);
    table.add(Method::GET, folder, DOCK_OR_ADMIN, dataplane::list);
    table.add(Method::HEAD, object, DOCK_OR_ADMIN, dataplane::head);
    table.add(Method::GET, object, DOCK_OR_ADMIN, dataplane::get);
    table.add(Method::POST, object, DOCK, dataplane::put);
    table.add(Method::DELETE, object, DOCK, dataplane::remove);
}

fn control(table: &mut Table) {
    let publications = "/api/v1/vaults/{vault}/servers/{server}/publications";
    let latest = "/api/v1/vaults/{vault}/servers/{server}/receipts/latest";
    let wanted = "/api/v1/vaults/{vault}/servers/{server}/want-lists/{seed}";
    let receipt = "/api/v1/vaults/{vault}/servers/{server}/receipts/{seed}";
    let revision = "/api/v1/vaults/{vault}/servers/{server}/revisions/{seed}";
    let given_up = "/api/v1/vaults/{vault}/servers/{server}/abandoned-seeds/{seed}";
    let successor = "/api/v1/vaults/{vault}/servers/{server}/successors/{seed}";
    table.add(Method::GET, "/healthz", Access::Anyone, docks::health);
    table.add(Method::GET, "/readyz", Access::Anyone, docks::ready);
    table.add(Method::GET, "/api/v1/health", Access::Anyone, docks::health);
    table.add(Method::GET, "/api/v1/openapi.json", Access::Anyone, openapi::get);
    table.add(Method::GET, "/api/v1/audit", ADMIN, audit::list);
    table.add(Method::GET, "/api/v1/notices", AGENT_OR_ADMIN, notices::list);
    table.add(Method::GET, "/api/v1/locations", EVERYBODY, docks::locations);
    table.add(Method::GET, "/api/v1/subscriptions", ADMIN, subscriptions::list);
    table.add(Method::POST, "/api/v1/subscriptions", ADMIN, subscriptions::create);
    table.add(Method::PATCH, "/api/v1/subscriptions/{id}", ADMIN, subscriptions::rename);
    table.add(Method::PUT, "/api/v1/storage-accounts/{account}", ADMIN, accounts::create);
    table.add(Method::GET, "/api/v1/storage-accounts", ADMIN, accounts::list);
    table.add(Method::PUT, "/api/v1/vaults/{vault}", ADMIN, vaults::create);
    table.add(Method::GET, "/api/v1/vaults", ADMIN, vaults::list);
    table.add(Method::POST, "/api/v1/vaults/{vault}/servers/{server}", ADMIN, vaults::register);
    let host = "/api/v1/vaults/{vault}/servers/{server}/maintenance";
    table.add(Method::POST, host, ADMIN, vaults::maintain);
    table.add(Method::DELETE, host, ADMIN, vaults::end_maintenance);
    table.add(Method::POST, "/api/v1/docks", ADMIN, docks::register);
    let settings = "/api/v1/subscriptions/{subscription}/publish-settings";
    table.add(Method::POST, settings, ADMIN, files::publish_settings);
    let credentials = "/api/v1/vaults/{vault}/vault-credentials";
    table.add(Method::POST, credentials, ADMIN, files::vault_credentials);
    let machines = "/api/v1/vaults/{vault}/machines";
    table.add(Method::POST, machines, Access::Registration, machines::register);
    let certificate = "/api/v1/vaults/{vault}/servers/{server}/certificate";
    table.add(Method::PUT, certificate, AGENT, machines::certify);
    let removals = "/api/v1/vaults/{vault}/servers/{server}/key-removals";
    table.add(Method::GET, removals, AGENT_OR_ADMIN, key_removals::list);
    table.add(Method::POST, removals, AGENT, key_removals::ask);
    let removal = "/api/v1/vaults/{vault}/servers/{server}/key-removals/{key}";
    table.add(Method::DELETE, removal, AGENT_OR_ADMIN, key_removals::take_back);
    keeping(table);
    table.add(Method::POST, publications, AGENT_OR_ADMIN, publication::start);
    table.add(Method::GET, publications, AGENT_OR_ADMIN, publication::status);
    table.add(Method::GET, latest, AGENT_OR_ADMIN, publication::latest_receipt);
    table.add(Method::GET, receipt, ANY_ROLE, publication::receipt);
    table.add(Method::GET, wanted, AGENT_OR_ADMIN, publication::get_want_list);
    table.add(Method::PUT, revision, AGENT, publication::put_revision);
    table.add(Method::GET, revision, AGENT_OR_ADMIN, publication::get_revision);
    let seeds = "/api/v1/vaults/{vault}/servers/{server}/seeds";
    table.add(Method::GET, seeds, AGENT_OR_ADMIN, publication::under_way);
    table.add(Method::PUT, given_up, AGENT_OR_ADMIN, publication::abandon);
    table.add(Method::PUT, successor, AGENT, publication::put_successor);
    table.add(Method::GET, successor, AGENT_OR_ADMIN, publication::get_successor);
    let seed = "/api/v1/seeds/{seed}";
    table.add(Method::PUT, seed, AGENT, seeds::announce);
    table.add(Method::GET, seed, WRITER_OR_ADMIN, seeds::get);
    let copy = "/api/v1/seeds/{seed}/copy-computer";
    table.add(Method::POST, copy, Access::Application, seeds::copy_computer);
    let log = "/api/v1/seeds/{seed}/custody";
    table.add(Method::POST, log, HANDLER, custody::append);
    table.add(Method::GET, log, EVERYBODY, custody::log);
}

/// What a vault keeps, and what is removed from it.
fn keeping(table: &mut Table) {
    let vault = "/api/v1/vaults/{vault}/settings";
    let server = "/api/v1/vaults/{vault}/servers/{server}/settings";
    let own = "/api/v1/vaults/{vault}/servers/{server}/deletions";
    let undelete = "/api/v1/vaults/{vault}/servers/{server}/deletions/{id}/undelete";
    let shorten = "/api/v1/vaults/{vault}/servers/{server}/deletions/{id}/shorten";
    table.add(Method::GET, vault, KEEPER_OR_OWNER, settings::get);
    table.add(Method::PATCH, vault, OWNER, settings::patch);
    table.add(Method::GET, server, KEEPER_OR_OWNER, settings::get_server);
    table.add(Method::PATCH, server, OWNER, settings::patch_server);
    table.add(Method::POST, "/api/v1/vaults/{vault}/pin", OWNER, deletions::create_pin);
    table.add(Method::GET, "/api/v1/vaults/{vault}/deletions", OWNER, deletions::list);
    table.add(Method::GET, own, KEEPER_OR_OWNER, deletions::list_of_server);
    table.add(Method::POST, own, KEEPER, deletions::request);
    table.add(Method::POST, undelete, KEEPER_OR_OWNER, deletions::undelete);
    table.add(Method::POST, shorten, KEEPER_OR_OWNER, deletions::shorten);
}

fn import_jobs(table: &mut Table) {
    let job = "/api/v1/import-jobs/{job}";
    let inventory = "/api/v1/import-jobs/{job}/inventory";
    let manifest = "/api/v1/import-jobs/{job}/drives/{drive}/manifest";
    let changes = "/api/v1/import-jobs/{job}/events";
    let events = "/api/v1/import-jobs/{job}/drives/{drive}/events";
    let keys = "/api/v1/import-jobs/{job}/listBitLockerKeys";
    let key = "/api/v1/import-jobs/{job}/drives/{drive}/key";
    let copy_log = "/api/v1/import-jobs/{job}/drives/{drive}/copy-log";
    table.add(Method::GET, "/api/v1/import-jobs", EVERYBODY, jobs::list);
    table.add(Method::POST, "/api/v1/parcels/receive", DOCK, jobs::receive);
    table.add(Method::PUT, job, WRITER, jobs::create);
    table.add(Method::GET, job, EVERYBODY, jobs::get);
    table.add(Method::PATCH, job, WRITER, jobs::patch);
    table.add(Method::GET, changes, EVERYBODY, jobs::watch);
    table.add(Method::POST, keys, WRITER, jobs::list_keys);
    table.add(Method::PUT, inventory, WRITER, jobs::put_inventory);
    table.add(Method::GET, inventory, ANY_ROLE, jobs::get_inventory);
    table.add(Method::PUT, manifest, HANDLER, jobs::put_manifest);
    table.add(Method::GET, manifest, ANY_ROLE, jobs::get_manifest);
    table.add(Method::POST, events, DOCK, jobs::drive_event);
    table.add(Method::POST, key, DOCK, jobs::release);
    table.add(Method::PUT, copy_log, DOCK, jobs::put_copy_log);
    table.add(Method::PUT, "/api/v1/export-jobs/{job}", AGENT, jobs::create_export);
    let drive = "/api/v1/import-jobs/{job}/drives/{drive}";
    table.add(Method::PUT, drive, DOCK, jobs::exported_drive);
}

/// The token endpoint and Graph.
fn entra(table: &mut Table) {
    let configuration = "/{tenant}/.well-known/openid-configuration";
    let configuration_v2 = "/{tenant}/v2.0/.well-known/openid-configuration";
    let anyone = Access::Anyone;
    table.add(Method::GET, configuration, anyone, identity::configuration_v1);
    table.add(Method::GET, configuration_v2, anyone, identity::configuration_v2);
    table.add(Method::GET, "/{tenant}/discovery/keys", anyone, identity::keys);
    table.add(Method::GET, "/{tenant}/discovery/v2.0/keys", anyone, identity::keys);
    table.add(Method::POST, "/{tenant}/oauth2/token", anyone, identity::token_v1);
    table.add(Method::POST, "/{tenant}/oauth2/v2.0/token", anyone, identity::token_v2);
    graph(table);
}

/// Adds a route of Graph in both of its versions, which are the same here.
macro_rules! both {
    ($table:ident, $method:ident, $path:literal, $handler:expr) => {
        let method = Method::$method;
        $table.add(method.clone(), concat!("/v1.0", $path), Access::Graph, $handler);
        $table.add(method, concat!("/beta", $path), Access::Graph, $handler);
    };
}

fn graph(table: &mut Table) {
    use identity::graph;
    both!(table, POST, "/applications", graph::create);
    both!(table, GET, "/applications", graph::list);
    both!(table, GET, "/applications/{id}", graph::get);
    both!(table, PATCH, "/applications/{id}", graph::patch);
    both!(table, DELETE, "/applications/{id}", graph::remove);
    both!(table, POST, "/applications/{id}/addkey", graph::add_key);
    both!(table, POST, "/applications/{id}/removekey", graph::remove_key);
    both!(table, POST, "/applications/{id}/addpassword", graph::add_password);
    both!(table, POST, "/applications/{id}/removepassword", graph::remove_password);
    both!(table, GET, "/applications/{id}/owners", graph::owners);
    both!(table, POST, "/serviceprincipals", graph::create_principal);
    both!(table, GET, "/serviceprincipals", graph::list_principals);
    both!(table, GET, "/serviceprincipals/{id}", graph::get);
    both!(table, DELETE, "/serviceprincipals/{id}", graph::remove_principal);
    both!(table, GET, "/serviceprincipals/{id}/ownedobjects", graph::owned);
    // `applications(appId='…')`, and of service principals what is read.
    both!(table, GET, "/{keyed}", graph::get);
    both!(table, PATCH, "/{keyed}", graph::patch);
    both!(table, DELETE, "/{keyed}", graph::remove);
    both!(table, POST, "/{keyed}/addkey", graph::add_key);
    both!(table, POST, "/{keyed}/removekey", graph::remove_key);
    both!(table, POST, "/{keyed}/addpassword", graph::add_password);
    both!(table, POST, "/{keyed}/removepassword", graph::remove_password);
    both!(table, GET, "/me", graph::me);
    both!(table, GET, "/me/ownedobjects", graph::my_objects);
    both!(table, POST, "/directoryobjects/getbyids", graph::by_ids);
    both!(table, GET, "/organization", graph::organization);
}
