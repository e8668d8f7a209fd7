//! Every transition that the import service documents, and every exception rule of its operators.

use super::*;

struct Row {
    rule: &'static str,
    story: Story,
    state: &'static str,
    drives: &'static [&'static str],
}

fn row(
    rule: &'static str,
    story: Story,
    state: &'static str,
    drives: &'static [&'static str],
) -> Row {
    Row { rule, story, state, drives }
}

fn arrived_both() -> Story {
    Story::shipped().at(3).then(arrived(&["A", "B"]))
}

fn both_read(problems: u64) -> Story {
    let story = arrived_both().then(started("A")).then(finished("A", 0));
    story.then(started("B")).then(finished("B", problems))
}

fn journey() -> Vec<Row> {
    let specified = &["Specified", "Specified"];
    let never = &["NeverReceived", "NeverReceived"];
    vec![
        row("a new job is Creating", Story::new(), "Creating", specified),
        row("Creating ends after two weeks", Story::new().tick(14), "Canceled", specified),
        row("not a day earlier", Story::new().tick(13), "Creating", specified),
        row(
            "any update in Creating restarts the two weeks",
            Story::new().at(13).then(JobEvent::Updated).tick(26),
            "Creating",
            specified,
        ),
        row("tracking given: Shipping", Story::shipped(), "Shipping", specified),
        row(
            "Shipping: two weeks without the package",
            Story::shipped().tick(14),
            "Shipping",
            never,
        ),
        row(
            "no reply in 30 days: Shipping goes straight to Closed",
            Story::shipped().tick(14).tick(44),
            "Closed",
            never,
        ),
        row("not a day earlier", Story::shipped().tick(14).tick(43), "Shipping", never),
        row(
            "the customer may extend",
            Story::shipped().tick(14).at(40).then(JobEvent::ExtensionRequested).tick(53),
            "Shipping",
            never,
        ),
        row("all drives received", arrived_both(), "Received", &["Received", "Received"]),
        row(
            "a drive that was not in the package",
            Story::shipped().then(arrived(&["B"])),
            "Received",
            &["NeverReceived", "Received"],
        ),
        row(
            "NeverReceived becomes Received in another shipment",
            Story::shipped().then(arrived(&["B"])).then(came("A")),
            "Received",
            &["Received", "Received"],
        ),
        row(
            "an overdue package that arrives",
            Story::shipped().tick(14).at(20).then(arrived(&["A", "B"])),
            "Received",
            &["Received", "Received"],
        ),
        row(
            "at least one drive being processed: Transferring",
            arrived_both().then(started("B")),
            "Transferring",
            &["Received", "Transferring"],
        ),
        row("processing over: Packaging", both_read(0), "Packaging", &["Completed", "Completed"]),
        row(
            "problems are Completed with more information",
            both_read(3),
            "Packaging",
            &["Completed", "CompletedMoreInfo"],
        ),
        row(
            "shipped back, no errors: Completed",
            both_read(0).then(returned()),
            "Completed",
            &["ShippedBack", "ShippedBack"],
        ),
        row(
            "shipped back, some errors: Closed",
            both_read(3).then(returned()),
            "Closed",
            &["ShippedBack", "ShippedBack"],
        ),
        row(
            "shipped back, a drive never came: Closed",
            Story::shipped()
                .then(arrived(&["B"]))
                .then(started("B"))
                .then(finished("B", 0))
                .then(drive_returned("B")),
            "Closed",
            &["NeverReceived", "ShippedBack"],
        ),
        row(
            "aborted: Closed",
            arrived_both().then(JobEvent::OperatorAbandoned { reason: "water".into() }),
            "Closed",
            &["Received", "Received"],
        ),
        row(
            "cancelled in Creating: Canceled",
            Story::new().then(JobEvent::CancelRequested),
            "Canceled",
            specified,
        ),
        row(
            "cancelled in Shipping skips the data copy",
            Story::shipped().then(JobEvent::CancelRequested).then(arrived(&["A", "B"])),
            "Packaging",
            &["Received", "Received"],
        ),
        row(
            "and ends Canceled",
            Story::shipped()
                .then(JobEvent::CancelRequested)
                .then(arrived(&["A", "B"]))
                .then(returned()),
            "Canceled",
            &["ShippedBack", "ShippedBack"],
        ),
        row(
            "export drives begin in Received",
            Story::of(JobType::Export, &[])
                .then(details("TRACK1"))
                .then(JobEvent::ShippingRequested)
                .then(arrived(&["E1", "E2"])),
            "Received",
            &["Received", "Received"],
        ),
        row(
            "Faulted until operators resolve it",
            Story::shipped()
                .then(JobEvent::Faulted { reason: "customs".into() })
                .tick(100)
                .then(JobEvent::FaultResolved)
                .tick(113),
            "Shipping",
            specified,
        ),
    ]
}

#[test]
fn jobs_and_drives_go_where_the_documents_say() {
    for Row { rule, story, state, drives } in journey() {
        assert_eq!((story.state(), &story.drives()[..]), (state, drives), "{rule}");
    }
}

#[test]
fn two_weeks_in_shipping_tell_customer_and_operators() {
    let story = Story::shipped().tick(14);
    assert!(story.customer_was_told(&Notice::PackageOverdue));
    assert!(story.operator_was_told(&Notice::PackageOverdue));
}

#[test]
fn a_record_may_go_90_days_after_any_end_and_says_so_once() {
    let ends = [
        Story::new().then(JobEvent::CancelRequested),
        both_read(0).then(returned()),
        both_read(1).then(returned()),
    ];
    for story in ends {
        let ended = (story.now.duration_since(day(0)).as_hours()) / 24;
        let story = story.tick(ended + 89);
        assert!(!story.effects.contains(&Effect::RecordMayGo));
        let story = story.tick(ended + 90).tick(ended + 91);
        let told = story.effects.iter().filter(|e| **e == Effect::RecordMayGo).count();
        assert_eq!(told, 1);
        assert_eq!(story.job.deadline(), None);
    }
}

#[test]
fn from_received_on_nothing_can_be_cancelled() {
    for story in [arrived_both(), arrived_both().then(started("A")), both_read(0)] {
        let refused = story.refuses(&JobEvent::CancelRequested);
        assert_eq!(refused, Refused::CancelTooLate { state: story.state() });
    }
}

#[test]
fn drives_of_a_job_that_is_not_shipped_are_left_alone() {
    let story = Story::new();
    assert_eq!(story.refuses(&arrived(&["A"])), Refused::PackageNotShipped);
    for event in [came("A"), started("A"), finished("A", 0)] {
        assert_eq!(story.refuses(&event), Refused::DriveBeforeShipping { serial: serial("A") });
    }
}

#[test]
fn an_extra_drive_is_reported_and_not_processed() {
    let story = Story::shipped().then(arrived(&["A", "X", "B"]));
    let notice = Notice::ExtraDrive { serial: serial("X") };
    assert!(story.customer_was_told(&notice) && story.operator_was_told(&notice));
    assert_eq!(story.drives(), ["Received", "Received"]);
    assert_eq!(story.refuses(&started("X")), Refused::UnknownDrive { serial: serial("X") });
}

#[test]
fn shipping_needs_drives_address_and_package() {
    let address_only = JobEvent::ShippingGiven {
        return_address: Some(Box::new(address())),
        package: None,
        number_taken: false,
    };
    let ship = JobEvent::ShippingRequested;
    let empty = Story::of(JobType::Import, &[]).then(details("TRACK1"));
    assert_eq!(empty.refuses(&ship), Refused::NoDrives);
    assert_eq!(Story::new().refuses(&ship), Refused::NoReturnAddress);
    assert_eq!(Story::new().then(address_only).refuses(&ship), Refused::NoPackage);
}

#[test]
fn at_most_ten_drives_and_each_once() {
    let eleven: Vec<String> = (0..11).map(|n| format!("D{n}")).collect();
    let eleven: Vec<&str> = eleven.iter().map(String::as_str).collect();
    let ten = Story::of(JobType::Import, &eleven[..10]);
    let add = JobEvent::DriveAdded { serial: serial("D10") };
    assert_eq!(ten.refuses(&add), Refused::TooManyDrives { given: 11 });
    let new = |names: &[&str]| ImportJob::new(JobType::Import, serials(names), day(0));
    assert_eq!(new(&eleven), Err(Refused::TooManyDrives { given: 11 }));
    assert_eq!(new(&["A", "B", "A"]), Err(Refused::DriveTwice { serial: serial("A") }));
    let again = JobEvent::DriveAdded { serial: serial("A") };
    assert_eq!(Story::new().refuses(&again), Refused::DriveTwice { serial: serial("A") });
}
