//! Subscriptions: made with a group in them, listed, renamed; each name is there once.

use crate::site::Site;
use client::{Client, ResourceKind};
use model::ErrorKind;
use wire::{Code, Subscription, SubscriptionRequest};

fn create(admin: &Client, name: &str) -> client::Result<Subscription> {
    admin.create_subscription(&SubscriptionRequest { name: name.to_owned() })
}

fn rename(admin: &Client, id: &str, name: &str) -> client::Result<Subscription> {
    admin.rename_subscription(id, &SubscriptionRequest { name: name.to_owned() })
}

#[test]
fn a_subscription_is_made_with_its_default_group_and_kept() {
    let mut site = Site::new();
    let admin = site.admin();
    let first = admin.subscriptions().unwrap().remove(0);
    assert_eq!(Some(&first.id), admin.credentials().subscription_id.as_ref());
    let made = create(&admin, " Archive ").unwrap();
    assert_eq!((made.name.as_str(), made.id.len()), ("Archive", 36));
    let groups = admin.resource_groups(&made.id).unwrap();
    assert_eq!(groups.iter().map(|group| group.name.as_str()).collect::<Vec<_>>(), ["packmule"]);
    let new = client::NewResource::default();
    let place = (made.id.as_str(), "packmule");
    let vault = admin.put_resource(ResourceKind::Vault, place, "vault2", &new).unwrap();
    assert_eq!((&vault.subscription, vault.resource_group.as_str()), (&made.id, "packmule"));
    site.stop();
    site.start(|_| {});
    assert_eq!(site.admin().subscriptions().unwrap(), [first, made]);
}

#[test]
fn a_name_is_there_once_and_can_be_changed() {
    let site = Site::new();
    let admin = site.admin();
    let made = create(&admin, "\u{c4}rchiv").unwrap();
    let taken = create(&admin, "\u{e4}RCHIV").unwrap_err();
    assert_eq!(taken.code(), Some(&Code::AlreadyExists));
    let first = admin.subscriptions().unwrap().remove(0);
    assert_eq!(rename(&admin, &made.id, &first.name).unwrap_err().kind(), ErrorKind::Conflict);
    // Its own name in another case is free.
    let renamed = rename(&admin, &made.id.to_uppercase(), "\u{e4}rchiv").unwrap();
    assert_eq!(renamed, Subscription { name: "\u{e4}rchiv".to_owned(), ..made });
    for bad in ["", "  ", "a\nb", &"x".repeat(65)] {
        assert_eq!(create(&admin, bad).unwrap_err().code(), Some(&Code::InvalidRequest), "{bad:?}");
    }
    let unknown = rename(&admin, "00000000-0000-0000-0000-000000000000", "x").unwrap_err();
    assert_eq!(unknown.code(), Some(&Code::ResourceNotFound));
    assert_eq!(admin.subscriptions().unwrap().len(), 2);
}
