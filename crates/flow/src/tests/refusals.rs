//! Every refusal can happen, says what to do next, and has a fitting kind.

use super::*;
use crate::diagram::explore::{Machine, explore};
use crate::{Drive, Seed, Shipment};
use model::ErrorKind;
use std::collections::BTreeMap;

/// Every refusal met on the walks, and those that need arguments the walks do not have.
fn met() -> BTreeMap<String, Refused> {
    fn walked<M: Machine>() -> Vec<Refused> {
        explore::<M>().refused
    }
    let eleven: Vec<String> = (0..11).map(|n| format!("D{n}")).collect();
    let eleven: Vec<&str> = eleven.iter().map(String::as_str).collect();
    let counted = JobEvent::ShippingGiven {
        return_address: Some(Box::new(Address::default())),
        package: None,
        number_taken: false,
    };
    let three = JobEvent::ShippingGiven {
        return_address: None,
        package: Some(Package { drive_count: Some(3), ..package("TRACK1") }),
        number_taken: false,
    };
    let by_hand = [
        ImportJob::new(JobType::Import, serials(&eleven), day(0)).unwrap_err(),
        ImportJob::new(JobType::Export, serials(&["A"]), day(0)).unwrap_err(),
        Story::new().refuses(&counted),
        Story::shipped().refuses(&three),
        Story::shipped().job.record_may_be_removed().unwrap_err(),
    ];
    [walked::<ImportJob>(), walked::<Drive>(), walked::<Shipment>(), walked::<Seed>()]
        .into_iter()
        .flatten()
        .chain(by_hand)
        .map(|refused| (name(&refused), refused))
        .collect()
}

fn name(refused: &Refused) -> String {
    format!("{refused:?}").split(|c: char| !c.is_alphanumeric()).next().unwrap().to_owned()
}

/// The names of the variants, as the source has them.
fn declared() -> Vec<String> {
    let source = include_str!("../refused.rs");
    let body = source.split_once("pub enum Refused {\n").unwrap().1.split_once("\n}\n").unwrap().0;
    let variant = |line: &str| {
        let name = line.strip_prefix("    ")?.trim_end_matches([',', '{', ' ']);
        let plain = name.starts_with(|c: char| c.is_ascii_uppercase())
            && name.chars().all(|c| c.is_ascii_alphanumeric());
        plain.then(|| name.to_owned())
    };
    let mut names: Vec<_> = body.lines().filter_map(variant).collect();
    names.sort();
    names
}

#[test]
fn every_refusal_can_happen() {
    let met: Vec<_> = met().into_keys().collect();
    assert_eq!(met, declared());
    assert!(met.len() > 40);
}

#[test]
fn every_refusal_has_a_sentence_that_ends_in_what_to_do() {
    for (name, refused) in met() {
        let text = refused.to_string();
        assert!(text.len() > 25 && !text.ends_with('.'), "{name}: {text}");
        // The two that need no action say what is the case already.
        let done = ["PackageIsHere", "PreparationOver", "SetLanded", "ShippingFixed", "NotOverdue"];
        let next = text.contains("; ") || text.contains(": ");
        assert!(next || done.contains(&name.as_str()), "{name}: {text}");
    }
}

#[test]
fn no_refusal_is_our_own_fault() {
    for (name, refused) in met() {
        let kinds =
            [ErrorKind::Invalid, ErrorKind::Conflict, ErrorKind::WrongDrive, ErrorKind::NotFound];
        assert!(kinds.contains(&refused.kind()), "{name}");
    }
    assert_eq!(Refused::NoDrives.kind(), ErrorKind::Invalid);
    assert_eq!(Refused::PackageLost.kind(), ErrorKind::Conflict);
    let unknown = Refused::UnknownDrive { serial: serial("X") };
    assert_eq!(unknown.kind(), ErrorKind::WrongDrive);
    let unknown = Refused::UnknownJob { job: "job-9".parse().unwrap() };
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}
