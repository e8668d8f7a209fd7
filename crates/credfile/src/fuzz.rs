//! What the fuzz targets call of this crate: the readers of all files. Not part of what users get: only
//! with the feature `fuzzing`, and in tests.
//!
//! A fuzzer finds no seal that fits, so what is within a PKCS#12 is read without it, too.

use crate::pkcs12::{self, Budget};
use crate::{Error, Identity, OfflineApplicationParams, PublishSettings, VaultCredentials};

/// Rounds of hashing for one input: a fuzzer has better to do.
const ROUNDS: u64 = 20_000;

/// A PKCS#12. Answers whether it is one of a key and its certificate.
pub fn pkcs12(data: &[u8]) -> bool {
    for empty in pkcs12::SPELLINGS {
        let _ = pkcs12::open(data, empty, &mut Budget::of(ROUNDS));
    }
    let Ok(identity) = Identity::from_pkcs12_within(data, &mut Budget::of(ROUNDS)) else {
        return false;
    };
    let again = identity.to_pkcs12().and_then(|again| Identity::from_pkcs12(&again));
    assert_eq!(again, Ok(identity), "a PKCS#12 does not come back as it was");
    true
}

/// Publish settings. Answers whether they are.
pub fn publish_settings(data: &[u8]) -> bool {
    let Ok(mut read) = PublishSettings::read_within(data, Budget::of(ROUNDS)) else { return false };
    read.refused.clear();
    come_back(&read, |read| PublishSettings::read(read.write()?.as_bytes()));
    true
}

/// Vault credentials. Answers whether they are.
pub fn vault_credentials(data: &[u8]) -> bool {
    let Ok(read) = VaultCredentials::read_within(data, &mut Budget::of(ROUNDS)) else {
        return false;
    };
    come_back(&read, |read| VaultCredentials::read(read.write()?.as_bytes()));
    true
}

/// The parameters of an application. Answers whether they are.
pub fn offline_params(data: &[u8]) -> bool {
    let Ok(read) = OfflineApplicationParams::read(data) else { return false };
    come_back(&read, |read| OfflineApplicationParams::read(read.write()?.as_bytes()));
    true
}

/// What is read can be written, and read again.
fn come_back<T: PartialEq + std::fmt::Debug>(read: &T, again: impl Fn(&T) -> Result<T, Error>) {
    assert_eq!(again(read).as_ref(), Ok(read), "a file does not come back as it was");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Guid, ManagementCert, Subscription, fixture};
    use proptest::prelude::*;
    use std::path::Path;

    type Target = fn(&[u8]) -> bool;
    const TARGETS: [(&str, Target); 4] = [
        ("pkcs12", pkcs12),
        ("publish_settings", publish_settings),
        ("vault_credentials", vault_credentials),
        ("offline_params", offline_params),
    ];

    fn seeds(name: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(name);
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        paths.map(|path| std::fs::read(path).unwrap()).chain(with_a_key(name)).collect()
    }

    /// What holds a private key is made here, and lies in no folder.
    fn with_a_key(name: &str) -> Option<Vec<u8>> {
        let identity = fixture::identity(0).clone();
        let url = || "https://127.0.0.1:8443".parse().unwrap();
        let text = match name {
            "pkcs12" => return Some(identity.to_pkcs12().unwrap().to_vec()),
            "publish_settings" => {
                let subscription = Subscription {
                    id: Guid(7),
                    name: "seeds".to_owned(),
                    service_management_url: url(),
                    identity,
                    service: None,
                };
                let subscriptions = vec![subscription];
                PublishSettings { subscriptions, refused: Vec::new() }.write().unwrap()
            }
            "vault_credentials" => {
                let file = VaultCredentials {
                    subscription: Guid(7),
                    vault: "offices".parse().unwrap(),
                    management_cert: ManagementCert::Identity(identity),
                    resource_id: 1,
                    resource_group: "rg1".to_owned(),
                    location: "westus".to_owned(),
                    aad_authority: url(),
                    aad_tenant: Guid(8),
                    aad_audience: "https://RecoveryServiceVault/westus/offices/1".to_owned(),
                    service_principal: None,
                    id_mgmt_endpoint: None,
                    endpoint: None,
                    agent_links: Vec::new(),
                    private_endpoint_state: None,
                    authority: None,
                };
                file.write().unwrap()
            }
            _ => return None,
        };
        Some(text.as_bytes().to_vec())
    }

    #[test]
    fn some_seeds_are_right_and_some_are_not() {
        for (name, right) in [
            ("pkcs12", 1),
            ("publish_settings", 1),
            ("vault_credentials", 2),
            ("offline_params", 2),
        ] {
            let target = TARGETS.iter().find(|target| target.0 == name).unwrap().1;
            let seeds = seeds(name);
            let found = seeds.iter().filter(|seed| target(seed)).count();
            assert_eq!(found, right, "{name}");
            assert!(found < seeds.len(), "{name}");
        }
    }

    /// Opening a PKCS#12 takes a millisecond, so that not every bit of it is tried.
    #[test]
    fn what_lies_near_a_seed_breaks_no_rule() {
        for (name, target) in TARGETS {
            for seed in seeds(name) {
                for at in (0..seed.len()).step_by(13) {
                    target(&seed[..at]);
                    for bit in [0x01, 0x10, 0x80] {
                        let mut near = seed.clone();
                        near[at] ^= bit;
                        target(&near);
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn noise_breaks_no_rule(noise in prop::collection::vec(any::<u8>(), 0..300)) {
            for (_, target) in TARGETS {
                target(&noise);
            }
        }
    }
}
