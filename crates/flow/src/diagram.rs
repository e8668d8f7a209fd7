//! The generated part of `docs/states.md`: diagrams and tables, made by exploring the machines.
//! Knows no transition of its own: what it draws is what `transition` answered.

use crate::{Drive, ImportJob, Seed, Shipment};
use explore::{Found, Machine, explore};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

pub(crate) mod explore;
mod tables;

/// Markdown with one diagram, one table of states and one table of events for each machine.
///
/// Exhaustive over representative events: two drives and one that belongs to nobody, two drive sets
/// with a spare job, every timer run out. Takes well under a second.
#[must_use]
pub fn diagrams() -> String {
    [section::<ImportJob>(), section::<Drive>(), section::<Shipment>(), section::<Seed>()]
        .join("\n")
}

fn section<M: Machine>() -> String {
    let found = explore::<M>();
    let mut text = format!("## {}\n\n```mermaid\nstateDiagram-v2\n", M::TITLE);
    diagram::<M>(&found, &mut text);
    text.push_str("```\n\n| state | meaning | what ends it |\n|---|---|---|\n");
    for (name, meaning, exit) in M::STATES {
        line(&mut text, format_args!("| {name} | {meaning} | {exit} |"));
    }
    text.push_str("\n| event | accepted in | given twice |\n|---|---|---|\n");
    for (event, (states, twice)) in events(&found) {
        let states: Vec<_> = order::<M>().filter(|name| states.contains(name)).collect();
        line(&mut text, format_args!("| {event} | {} | {} |", states.join(", "), said(&twice)));
    }
    text
}

fn diagram<M: Machine>(found: &Found<M>, text: &mut String) {
    let mut edges: BTreeMap<(&str, &str), BTreeSet<&str>> = BTreeMap::new();
    for step in &found.steps {
        if let Some(to) = step.to
            && to != step.from
        {
            edges.entry((step.from, to)).or_default().insert(&step.event);
        }
    }
    let starts: BTreeSet<_> = M::starts().iter().map(M::name).collect();
    for start in starts {
        line(text, format_args!("    [*] --> {start}"));
    }
    for from in order::<M>() {
        for to in order::<M>() {
            if let Some(events) = edges.get(&(from, to)) {
                let events: Vec<_> = events.iter().copied().collect();
                line(text, format_args!("    {from} --> {to} : {}", events.join(", ")));
            }
        }
    }
    for end in M::ENDS {
        line(text, format_args!("    {end} --> [*]"));
    }
}

fn order<M: Machine>() -> impl Iterator<Item = &'static str> {
    M::STATES.iter().map(|(name, _, _)| *name)
}

type Event<'a> = (BTreeSet<&'static str>, BTreeSet<bool>);

/// By event: the states that accept it, and what the same event given again was: accepted or not.
fn events<M>(found: &Found<M>) -> BTreeMap<&str, Event<'_>> {
    let mut events: BTreeMap<&str, Event<'_>> = BTreeMap::new();
    for step in found.steps.iter().filter(|step| step.to.is_some()) {
        let (states, twice) = events.entry(&step.event).or_default();
        states.insert(step.from);
        twice.extend(step.again);
    }
    events
}

fn said(twice: &BTreeSet<bool>) -> &'static str {
    match (twice.contains(&true), twice.contains(&false)) {
        (true, true) => "changes nothing, or is refused",
        (false, true) => "is refused",
        _ => "changes nothing",
    }
}

fn line(text: &mut String, args: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(args);
    text.push('\n');
}
