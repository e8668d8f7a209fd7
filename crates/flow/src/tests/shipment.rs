//! Rules of a package.

use super::{day, package};
use crate::{Deadline, Refused, Shipment, ShipmentEvent, ShipmentState, Step};

fn sent() -> Shipment {
    step(&Shipment::new(package("TRACK1")), &ShipmentEvent::HandedOver, 0).unwrap().0
}

fn step(shipment: &Shipment, event: &ShipmentEvent, days: i64) -> Step<Shipment> {
    shipment.transition(event, day(days))
}

#[test]
fn a_package_that_never_left_cannot_arrive_or_be_late() {
    let announced = Shipment::new(package("TRACK1"));
    for event in [ShipmentEvent::Arrived, ShipmentEvent::FoundEmpty] {
        assert_eq!(step(&announced, &event, 1), Err(Refused::PackageNotShipped));
    }
    assert_eq!(step(&announced, &ShipmentEvent::Extended, 1), Err(Refused::NotOverdue));
    assert_eq!(step(&announced, &ShipmentEvent::Tick, 1000), Ok((announced.clone(), vec![])));
    assert_eq!(announced.deadline(), None);
}

#[test]
fn details_corrected_before_it_leaves_start_no_clock() {
    let corrected = ShipmentEvent::Corrected { package: package("TRACK2") };
    let shipment = step(&Shipment::new(package("TRACK1")), &corrected, 1).unwrap().0;
    assert_eq!(shipment, Shipment::new(package("TRACK2")));
}

#[test]
fn more_time_is_two_weeks_from_when_it_is_asked_for() {
    let overdue = step(&sent(), &ShipmentEvent::Tick, 14).unwrap().0;
    assert_eq!(overdue.deadline(), Some((Deadline::Closing, day(44))));
    let extended = step(&overdue, &ShipmentEvent::Extended, 30).unwrap().0;
    assert_eq!(extended.deadline(), Some((Deadline::Arrival, day(44))));
    assert_eq!(step(&extended, &ShipmentEvent::Extended, 31), Err(Refused::NotOverdue));
}

#[test]
fn a_package_at_the_dock_is_neither_corrected_nor_given_up() {
    let here = step(&sent(), &ShipmentEvent::Arrived, 3).unwrap().0;
    let corrected = ShipmentEvent::Corrected { package: package("TRACK2") };
    for event in
        [corrected, ShipmentEvent::HandedOver, ShipmentEvent::Extended, ShipmentEvent::GivenUp]
    {
        assert_eq!(step(&here, &event, 4), Err(Refused::PackageIsHere), "{event:?}");
    }
}

#[test]
fn a_lost_package_stays_lost() {
    let lost = step(&sent(), &ShipmentEvent::GivenUp, 3).unwrap().0;
    assert_eq!(lost.state, ShipmentState::Lost { at: day(3) });
    for event in [ShipmentEvent::Arrived, ShipmentEvent::FoundEmpty, ShipmentEvent::Extended] {
        assert_eq!(step(&lost, &event, 4), Err(Refused::PackageLost), "{event:?}");
    }
    assert_eq!(step(&lost, &ShipmentEvent::GivenUp, 9).unwrap().0, lost);
}
