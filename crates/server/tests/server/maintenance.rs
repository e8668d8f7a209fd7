//! A host that plans in a source server's stead what goes from its repository: what it may, and nothing beside.

use crate::keeping::{ask, code, everything, filled, fs01, listed, vault};
use crate::sample::hash;
use crate::site::{Site, own, raw, vault_of};
use model::{ObjectKey, ObjectKind};
use ureq::http::Method;
use wire::{Code, DeletionState, ServerRequest};

#[test]
fn a_maintenance_host_plans_what_goes_and_stores_no_recovery_point_and_no_key() {
    let site = Site::new();
    let (agent, seen, sample) = filled(&site, "host", 3);
    let host = site.maintenance("vault1", "fs01");
    let store = vault_of(&host);
    for (object, bytes) in &sample.objects {
        assert_eq!(store.get(&object.key(), 1 << 20).unwrap(), *bytes);
    }
    let key = |kind, bytes: &[u8]| ObjectKey::new(kind, hash(bytes));
    for (kind, bytes) in [(ObjectKind::Pack, b"packed anew"), (ObjectKind::Index, b"which names")] {
        store.put(&key(kind, bytes), bytes).unwrap();
    }
    let lock = key(ObjectKind::Lock, b"lock");
    store.put(&lock, b"lock").unwrap();
    store.remove(&lock).unwrap();
    let refused = |kind: ObjectKind| {
        let path = format!("/vaults/vault1/fs01/{}/{}", kind.folder(), hash(b"poison"));
        let answer = raw(host.credentials(), own(&host), &Method::POST, &path, &[], b"poison");
        (answer.status, answer.code())
    };
    assert_eq!(refused(ObjectKind::Snapshot), (403, "AppendOnly".to_owned()));
    assert_eq!(refused(ObjectKind::Key), (403, "AppendOnly".to_owned()));
    let pack = sample.objects.iter().find(|(object, _)| object.kind == ObjectKind::Pack).unwrap();
    let path = format!("/vaults/vault1/fs01/data/{}", pack.0.name);
    let gone = raw(host.credentials(), own(&host), &Method::DELETE, &path, &[], b"");
    assert_eq!((gone.status, gone.code().as_str()), (403, "AppendOnly"));

    let deletion = ask(&host, &everything(&sample)).unwrap();
    assert_eq!(deletion.subject, "maintenance/vault1/fs01");
    assert_eq!(listed(&seen).len(), 2, "what it has packed anew");
    let seen_by_it = host.deletions(&vault(), Some(&fs01())).unwrap();
    assert_eq!((seen_by_it.len(), seen_by_it.first()), (1, Some(&deletion)));
    let back = host.undelete(&vault(), &fs01(), deletion.id).unwrap();
    assert_eq!(back[0].state, DeletionState::Undone);
    assert_eq!(code(host.make_pin(&vault())), Code::AuthorizationFailed);
    assert_eq!(code(host.key_removals(&vault(), &fs01())), Code::AuthorizationFailed);
    assert!(agent.deletions(&vault(), Some(&fs01())).is_ok(), "the agent goes on");
}

#[test]
fn a_maintenance_host_has_one_token_that_ends_when_it_is_said() {
    let site = Site::new();
    let admin = site.admin();
    let request = ServerRequest { replace: false };
    let nobody: model::ServerName = "fs09".parse().unwrap();
    let make = |server: &model::ServerName| admin.make_maintenance_host(&vault(), server, &request);
    site.agent("vault1", "fs01");
    assert_eq!(code(make(&nobody)), Code::ResourceNotFound);
    assert_eq!(code(admin.end_maintenance_host(&vault(), &fs01())), Code::ResourceNotFound);
    make(&fs01()).unwrap();
    assert_eq!(code(make(&fs01())), Code::AlreadyExists);
    let first = site.maintenance("vault1", "fs01");
    let second = site.maintenance("vault1", "fs01");
    let reads = |host: &client::Client| host.vault_settings(&vault(), false);
    assert_eq!(code(reads(&first)), Code::AuthenticationFailed);
    reads(&second).unwrap();
    admin.end_maintenance_host(&vault(), &fs01()).unwrap();
    assert_eq!(code(reads(&second)), Code::AuthenticationFailed);
}
