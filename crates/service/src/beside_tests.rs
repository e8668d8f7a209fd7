//! Commands beside a backup: when they run, and what becomes of the run when they fail.

use super::*;

#[test]
fn the_command_after_runs_as_soon_as_snapshots_hold_everything_and_not_before() {
    let said = tempfile::tempdir().unwrap();
    let file = said.path().join("said");
    let policy = |more: &str| {
        format!(
            "{NIGHTLY}\nafter = {{ command = ['sh', '-c', 'echo $PACKMULE_WHEN $PACKMULE_RESULT >> {}{more}, when = 'snapshot' }}",
            file.display()
        )
    };
    let mut life = Life::new(vec![group("files", &policy("']"))]);
    let held = |life: &Life, whole| {
        let _ = std::fs::remove_file(&file);
        *life.work.held.lock().unwrap() = Some((whole, file.clone()));
    };
    let said = || std::fs::read_to_string(&file).unwrap();
    held(&life, true);
    assert_eq!(life.at("2026-06-01T22:00:00Z"), 1);
    assert_eq!(said(), "after\nread\n", "before anything is read, and once");
    held(&life, false);
    assert_eq!(life.at("2026-06-02T22:00:00Z"), 1);
    assert_eq!(said(), "read\nafter done\n", "something is read as it is");
    // What fails, or takes too long, leaves a recovery point, and is said.
    *life.work.groups.lock().unwrap() =
        vec![group("files", &policy("; echo frozen >&2; exit 3']"))];
    held(&life, true);
    assert_eq!(life.at("2026-06-03T22:00:00Z"), 1);
    assert_eq!(said(), "after\nread\n");
    let run = &life.db().runs(None, 1).unwrap()[0];
    assert!(run.snapshot.is_some() && run.message.as_ref().unwrap().contains("frozen"), "{run:?}");
    *life.work.groups.lock().unwrap() =
        vec![group("files", &policy("; sleep 60'], timeout = '200ms'"))];
    held(&life, true);
    assert_eq!(life.at("2026-06-04T22:00:00Z"), 1);
    assert_eq!(said(), "after\nread\n");
    let run = &life.db().runs(None, 1).unwrap()[0];
    assert!(run.message.as_ref().unwrap().contains("took longer"), "{run:?}");
    let states = [RunState::Done, RunState::Done, RunState::Partial, RunState::Partial];
    assert_eq!(life.states(), states);
    assert_eq!(life.open(), ["group/files/after"]);
}

#[test]
fn commands_beside_a_backup_can_stop_it_and_see_how_it_ended() {
    let said = tempfile::tempdir().unwrap();
    let file = said.path().join("said");
    let policy = |before: &str| {
        format!(
            "{NIGHTLY}\nbefore = {{ command = ['sh', '-c', '{before}'] }}\nafter = {{ command = ['sh', '-c', 'echo $PACKMULE_GROUP $PACKMULE_RESULT >> {}'] }}",
            file.display()
        )
    };
    let mut life = Life::new(vec![group("files", &policy("true"))]);
    assert_eq!(life.at("2026-06-01T22:00:00Z"), 1);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "files done\n");
    *life.work.groups.lock().unwrap() = vec![group("files", &policy("echo locked >&2; exit 1"))];
    assert_eq!(life.at("2026-06-02T22:00:00Z"), 0, "nothing was backed up");
    assert_eq!(life.states(), [RunState::Done, RunState::Failed]);
    let run = &life.db().runs(None, 1).unwrap()[0];
    assert!(run.message.as_ref().unwrap().contains("locked"), "{:?}", run.message);
    assert_eq!(life.open(), ["group/files/failed"]);
}
