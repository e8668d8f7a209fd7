//! What each state means, for the tables. A test holds the names against the machines.

type States = &'static [(&'static str, &'static str, &'static str)];

pub(super) const JOB: States = &[
    (
        "Creating",
        "defined, not shipped",
        "shipping; cancelling; 2 weeks without an update (warnings 7, 3 and 1 days before)",
    ),
    (
        "Shipping",
        "with the carrier, or overdue",
        "arrival; 2 weeks until it is overdue, then 30 days until it closes (warnings 7, 3 and 1 days before each)",
    ),
    (
        "Received",
        "opened at the dock, nothing read yet",
        "the first drive is started, or none turns out to be there",
    ),
    ("Transferring", "drives are being read", "the last drive that came is read"),
    (
        "Packaging",
        "nothing more to read; being packed",
        "all drives are sent back; a drive turns up or is read again",
    ),
    (
        "Completed",
        "sent back, everything was taken over",
        "never; after 90 days the record may go, not the keys",
    ),
    (
        "Closed",
        "over, not everything was taken over",
        "never; after 90 days the record may go, not the keys",
    ),
    (
        "Canceled",
        "over, nothing was read: cancelled or expired",
        "never; after 90 days the record may go, not the keys",
    ),
];

pub(super) const DRIVE: States = &[
    ("Specified", "listed in a job", "its package arrives, or is overdue"),
    (
        "Received",
        "at the dock, not read yet",
        "the dock starts to read it, or sends it back unread",
    ),
    ("NeverReceived", "not in its package, or the package is overdue", "it turns up"),
    ("Transferring", "being read", "the reading ends"),
    ("Completed", "read, everything taken over", "it is sent back"),
    ("CompletedMoreInfo", "read with problems", "it is read again, or sent back"),
    ("ShippedBack", "on its way back, or back", "never"),
];

pub(super) const SHIPMENT: States = &[
    ("Announced", "its details are known", "it is handed to the carrier, or the job is over"),
    (
        "InTransit",
        "with the carrier",
        "arrival; 2 weeks after the details were given or corrected (warnings 7, 3 and 1 days before)",
    ),
    (
        "Overdue",
        "not arrived in time, or opened without any drive of the job",
        "arrival; a correction or more time; 30 days (warnings 7, 3 and 1 days before)",
    ),
    (
        "Delivered",
        "at the dock, with drives of the job",
        "none of its drives turns out to be there",
    ),
    ("Lost", "given up", "never"),
];

pub(super) const SEED: States = &[
    ("Staging", "the first full backup is being written", "the backup is complete"),
    ("Staged", "complete in staging; increments may run from here on", "preparation starts"),
    (
        "Preparing",
        "drive sets are being written; finished ones may travel already",
        "all sets are written",
    ),
    ("Prepared", "all sets are written, none has left", "a set leaves"),
    ("InTransit", "a set has left, none has arrived", "a set arrives"),
    (
        "Landing",
        "a set has arrived, and not all have been read",
        "the last set has been read or lost",
    ),
    ("Landed", "every object of every set is there", "publication starts"),
    ("Publishing", "the vault takes over and verifies", "the receipt, or damage found"),
    (
        "Published",
        "the receipt is issued; staging and keys are still needed",
        "the agent has checked it, or found objects missing",
    ),
    ("Confirmed", "the agent has checked the vault; staging and keys may go", "never"),
    (
        "Incomplete",
        "nothing more is on its way, and objects are missing",
        "the missing objects arrive by network, or another set is prepared",
    ),
    ("Abandoned", "given up by its owner; staging and keys may go", "never"),
];
