//! Which crate may use which: the layers of ARCHITECTURE.md as a table. Looks at no code.

use super::Problem;
use crate::workspace::{Member, Workspace};

/// A crate's place: its layer, and every member it may depend on.
pub(crate) struct Place {
    /// The layer's name in ARCHITECTURE.md.
    pub(crate) layer: &'static str,
    /// The crate, without `packmule-`.
    pub(crate) name: &'static str,
    uses: &'static [&'static str],
}

const fn place(layer: &'static str, name: &'static str, uses: &'static [&'static str]) -> Place {
    Place { layer, name, uses }
}

/// Lowest first: a crate's arrows go to rows above its own.
///
/// Some arrows are absent on purpose. The server and the dock do not know `repo` and `backup`: a
/// data centre holds no key, so there must be no code there that could want one. The seed does not
/// know `repo`: to it a pack is a name and bytes.
pub(crate) const PLACES: &[Place] = &[
    place("pure", "model", &[]),
    place("pure", "sha256", &[]),
    place("pure", "poly1305", &[]),
    place("pure", "kdf", &[]),
    place("pure", "rabin", &[]),
    place("pure", "heap", &[]),
    place("pure", "flow", &["model"]),
    place("pure", "wire", &["model", "flow"]),
    place("pure", "credfile", &["model"]),
    place("pure", "policy", &["model"]),
    place("engine", "store", &["model", "flow", "wire"]),
    place(
        "engine",
        "repo",
        &["model", "sha256", "poly1305", "kdf", "heap", "flow", "wire", "store"],
    ),
    place(
        "engine",
        "backup",
        &["model", "rabin", "sha256", "poly1305", "heap", "flow", "wire", "store", "repo"],
    ),
    place("engine", "workload", &["model", "policy", "store", "repo", "backup"]),
    place("engine", "drive", &["model"]),
    place("engine", "keyring", &["model", "flow", "wire", "store"]),
    place("engine", "signing", &["model", "wire", "store"]),
    place("engine", "seed", &["model", "sha256", "flow", "wire", "store", "signing"]),
    place("engine", "custody", &["model", "wire", "store", "signing"]),
    place("control", "client", &["model", "flow", "wire", "store"]),
    place(
        "control",
        "server",
        &["model", "flow", "wire", "credfile", "store", "keyring", "signing", "seed", "custody"],
    ),
    place(
        "control",
        "agent",
        &[
            "model", "flow", "wire", "credfile", "policy", "store", "repo", "backup", "workload",
            "keyring", "seed", "custody", "client",
        ],
    ),
    place(
        "control",
        "service",
        &["model", "flow", "wire", "policy", "store", "repo", "backup", "seed", "agent"],
    ),
    place(
        "control",
        "dock",
        &["model", "flow", "wire", "store", "drive", "keyring", "seed", "custody", "client"],
    ),
    place(
        "binary",
        "packmule",
        &[
            "model", "flow", "wire", "credfile", "policy", "store", "repo", "backup", "workload",
            "drive", "keyring", "signing", "seed", "custody", "client", "server", "agent",
            "service", "dock", "heap",
        ],
    ),
    // What documents show of the code is made from the code.
    place("binary", "xtask", &["flow"]),
];

const RULE: &str = "arrow";
const TABLE: &str = "xtask/src/tidy/arrows.rs";

/// Members that use what they must not, or that have no place.
pub(crate) fn check(workspace: &Workspace) -> Vec<Problem> {
    check_against(PLACES, &workspace.members)
}

fn check_against(places: &[Place], members: &[Member]) -> Vec<Problem> {
    let mut problems: Vec<Problem> =
        members.iter().flat_map(|member| check_member(places, member)).collect();
    for place in places {
        if !members.iter().any(|member| member.name == place.name) && !members.is_empty() {
            let message = format!("{} has a place but is no member: remove its row", place.name);
            problems.push(Problem::new(RULE, TABLE, 0, message));
        }
    }
    problems
}

fn check_member(places: &[Place], member: &Member) -> Vec<Problem> {
    let manifest = format!("{}/Cargo.toml", member.folder);
    let Some(place) = places.iter().find(|place| place.name == member.name) else {
        let message = format!("{} has no layer: give it a row in {TABLE}", member.name);
        return vec![Problem::new(RULE, &manifest, 0, message)];
    };
    let wrong = member.uses.iter().filter(|used| !place.uses.contains(&used.as_str()));
    wrong
        .map(|used| {
            let message = format!(
                "{} ({}) must not depend on {used}: the table in {TABLE} has no such arrow",
                member.name, place.layer
            );
            Problem::new(RULE, &manifest, 0, message).within(used)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::fixture::member;

    fn messages(members: &[Member]) -> Vec<String> {
        let places = [place("pure", "model", &[]), place("engine", "seed", &["model"])];
        check_against(&places, members).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn an_arrow_that_is_not_in_the_table_is_refused() {
        assert!(messages(&[member("model", &[]), member("seed", &["model"])]).is_empty());
        let wrong = messages(&[member("model", &["seed"]), member("seed", &[])]);
        assert_eq!(wrong.len(), 1);
        assert!(wrong[0].starts_with("crates/model/Cargo.toml: model (pure)"), "{wrong:?}");
    }

    #[test]
    fn a_crate_without_a_layer_and_a_row_without_a_crate_are_refused() {
        let wrong = messages(&[member("model", &[]), member("stranger", &[])]);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        assert!(wrong[0].contains("stranger has no layer"), "{wrong:?}");
        assert!(wrong[1].contains("seed has a place"), "{wrong:?}");
    }

    #[test]
    fn every_arrow_of_the_table_points_to_a_row_above() {
        for (row, place) in PLACES.iter().enumerate() {
            for used in place.uses {
                let target = PLACES.iter().position(|other| other.name == *used).unwrap();
                assert!(target < row, "{} -> {used}", place.name);
            }
        }
    }

    #[test]
    fn the_data_centre_knows_no_code_that_wants_a_key() {
        for name in ["server", "dock"] {
            let place = PLACES.iter().find(|place| place.name == name).unwrap();
            assert!(!place.uses.iter().any(|used| ["repo", "backup", "agent"].contains(used)));
        }
        assert!(
            PLACES
                .iter()
                .filter(|place| place.layer == "control")
                .all(|place| !place.uses.contains(&"server"))
        );
    }
}
