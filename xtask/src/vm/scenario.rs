//! What happens to drives, as scenarios: each in a file of its own, with its claims at the top. How a
//! machine is made and driven is not their business.

mod broken;
mod clock;
mod direct;
mod export;
mod hostile;
mod journey;
mod list;
mod lost;
mod luks;
mod mishaps;
mod net;
mod parity;
mod power;
mod pulled;
mod set;
mod site;
mod snapshot;
mod standalone;
mod systemd;
mod two_jobs;
mod zfs;

use super::lab::Lab;

/// Something that happens to drives, and what must hold then.
pub(super) struct Scenario {
    /// One word.
    pub(super) name: &'static str,
    /// Whether it is among the tests that everybody runs: all of those together take under five minutes.
    pub(super) short: bool,
    /// What it claims.
    pub(super) about: &'static str,
    /// Fails when a claim does not hold.
    pub(super) run: fn(&Lab<'_>) -> anyhow::Result<()>,
}

/// Those that run only when they are named: modules of the kernel are built for them first.
pub(super) const NAMED: &[&str] = &["zfs"];

/// In the order in which they run.
pub(super) const ALL: &[Scenario] = &[
    Scenario {
        name: "list",
        short: true,
        about: "drives on every bus are seen as what they are",
        run: list::run,
    },
    Scenario {
        name: "luks",
        short: true,
        about: "an encrypted drive is read by another machine, and in use while it is open",
        run: luks::run,
    },
    Scenario {
        name: "pulled",
        short: true,
        about: "a drive that is pulled while it is written fails, and nothing else does",
        run: pulled::run,
    },
    Scenario {
        name: "broken",
        short: false,
        about: "sectors that cannot be read are errors, and their neighbours are not",
        run: broken::run,
    },
    Scenario {
        name: "standalone",
        short: false,
        about: "a drive set is written by one machine and taken in by another, whole",
        run: standalone::run,
    },
    Scenario {
        name: "parity",
        short: false,
        about: "of a set with parity one drive never arrives and one is damaged, and everything comes back",
        run: parity::run,
    },
    Scenario {
        name: "direct",
        short: false,
        about: "a backup straight onto drives of which one is pulled half-way is whole on the other",
        run: direct::run,
    },
    Scenario {
        name: "direct-parity",
        short: false,
        about: "the same with parity: one drive is pulled half-way, another one never arrives, and everything is there",
        run: direct::parity,
    },
    Scenario {
        name: "export",
        short: false,
        about: "a recovery point comes back from a vault on two encrypted drives, and restic reads what they make",
        run: export::run,
    },
    Scenario {
        name: "clock",
        short: false,
        about: "clocks change at night, jump and are put back, a certificate ends meanwhile: no recovery point is lost or made twice",
        run: clock::run,
    },
    Scenario {
        name: "systemd",
        short: false,
        about: "the agent's unit under systemd: ready, fed, reloaded, killed, hung, with snapshots of LVM, stopped",
        run: systemd::run,
    },
    Scenario {
        name: "snapshot",
        short: false,
        about: "files on LVM are backed up as they were when the snapshot was taken, or not at all",
        run: snapshot::run,
    },
    Scenario {
        name: "zfs",
        short: false,
        about: "files on ZFS are backed up as they were at one moment in all datasets of a pool, or not at all",
        run: zfs::run,
    },
    Scenario {
        name: "journey",
        short: true,
        about: "encrypted drives travel from a source server through a dock into a vault, and are erased",
        run: journey::run,
    },
    Scenario {
        name: "lost",
        short: false,
        about: "a data drive and the parity drive never arrive, and just what is missing is asked for and comes over the network",
        run: lost::run,
    },
    Scenario {
        name: "two-jobs",
        short: false,
        about: "a seed travels in two parcels, the second one lands first, and what arrives is whole",
        run: two_jobs::run,
    },
    Scenario {
        name: "mishap-pulled",
        short: false,
        about: "a drive is pulled while it is written and while it is read, and put in again",
        run: mishaps::pulled,
    },
    Scenario {
        name: "mishap-cut",
        short: false,
        about: "the power goes while a set is written, and the same command goes on",
        run: mishaps::cut,
    },
    Scenario {
        name: "mishap-worn",
        short: false,
        about: "a drive with bad sectors is left out when written, and gives what it can when read",
        run: mishaps::worn,
    },
    Scenario {
        name: "hostile",
        short: false,
        about: "drives made to harm are refused by name, and what is sound on them is taken in",
        run: hostile::run,
    },
    Scenario {
        name: "power",
        short: false,
        about: "what was synced is there after the power was cut, and the journal is recovered",
        run: power::run,
    },
    Scenario {
        name: "net",
        short: false,
        about: "a guest reaches the one port that it is allowed to, and no other",
        run: net::run,
    },
];
