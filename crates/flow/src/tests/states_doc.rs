//! Holds `docs/states.md` against the machines.

use crate::diagram::explore::{Machine, explore};
use crate::{Drive, ImportJob, Seed, Shipment, diagrams};
use std::collections::BTreeSet;

const BEGIN: &str = "<!-- generated: states -->\n";
const END: &str = "<!-- /generated -->";

#[test]
fn the_document_shows_the_machines_as_they_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/states.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (shown, tail) = rest.split_once(END).unwrap();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, format!("{head}{BEGIN}{}{END}{tail}", diagrams())).unwrap();
    } else {
        assert_eq!(shown, diagrams(), "run UPDATE=1 cargo test -p packmule-flow");
    }
}

fn tabled_states_are_reached<M: Machine>() {
    let reached: BTreeSet<_> = explore::<M>().values.iter().map(M::name).collect();
    let tabled: BTreeSet<_> = M::STATES.iter().map(|(name, _, _)| *name).collect();
    assert_eq!(tabled, reached, "{}", M::TITLE);
}

#[test]
fn every_state_of_the_tables_is_reached_and_no_other() {
    tabled_states_are_reached::<ImportJob>();
    tabled_states_are_reached::<Drive>();
    tabled_states_are_reached::<Shipment>();
    tabled_states_are_reached::<Seed>();
}

#[test]
fn the_exploration_is_exhaustive_and_small() {
    assert!((500..20_000).contains(&explore::<ImportJob>().values.len()));
    assert!((100..20_000).contains(&explore::<Seed>().values.len()));
}
