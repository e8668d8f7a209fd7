//! Whether a device may carry a seed, and if not, why. Pure.
//!
//! What the import service takes are internal SATA II or III drives: 2.5" or 3.5" HDDs, or 2.5"
//! SSDs, of 10 TB at most. Whoever runs a dock of their own may take others: such a refusal can be
//! overridden, by name. That somebody else's data is on a device, never.

use crate::device::{Bus, Device, FormFactor, Medium, Usage};
use model::ByteSize;
use serde::Serialize;
use std::fmt;

/// Of one drive: 10 TB.
pub const MOST_BYTES: u64 = 10_000_000_000_000;

/// Below this, there is no room for label, inventory and a pack: 256 MiB.
const LEAST_BYTES: u64 = 256 << 20;

/// Why a device may not be used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Refusal {
    /// It is in use, or may be.
    Used {
        /// By what.
        usage: Usage,
    },
    /// It cannot be written to.
    ReadOnly,
    /// It has no serial number: nobody could tell it from another one at the dock.
    NoSerial,
    /// It is no drive of any use.
    TooSmall {
        /// How large it is.
        size: ByteSize,
    },
    /// It is larger than the import service takes.
    TooLarge {
        /// How large it is.
        size: ByteSize,
    },
    /// It is not connected as the import service connects drives.
    NotSata {
        /// How it is.
        bus: Bus,
    },
    /// Its medium can be taken out.
    Removable,
    /// Its case does not fit.
    FormFactor {
        /// What it is.
        is: FormFactor,
        /// With which medium.
        medium: Medium,
    },
}

impl Refusal {
    /// Whether somebody who knows better may use it all the same.
    #[must_use]
    pub fn can_be_overridden(&self) -> bool {
        match self {
            Self::TooLarge { .. }
            | Self::NotSata { .. }
            | Self::Removable
            | Self::FormFactor { .. } => true,
            Self::Used { .. } | Self::ReadOnly | Self::NoSerial | Self::TooSmall { .. } => false,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Used { usage } => usage.fmt(f),
            Self::ReadOnly => f.write_str("it cannot be written to"),
            Self::NoSerial => {
                f.write_str("it says no serial number, by which a dock tells drives apart")
            }
            Self::TooSmall { size } => write!(f, "it has {size} only"),
            Self::TooLarge { size } => {
                write!(
                    f,
                    "it has {size}, and import services take {} at most",
                    ByteSize(MOST_BYTES)
                )
            }
            Self::NotSata { bus: Bus::Usb } => f.write_str(
                "it is connected by USB: a SATA drive on an adaptor is fine while it is written, \
                 a drive in a case of its own is not",
            ),
            Self::NotSata { bus } => {
                write!(f, "it is no SATA drive ({bus}), and import services take no others")
            }
            Self::Removable => f.write_str("its medium can be taken out, as of a card or a stick"),
            Self::FormFactor { is, medium } => write!(
                f,
                "it is a {is} {medium}, and import services take HDDs of 2.5\" or 3.5\", and SSDs of 2.5\""
            ),
        }
    }
}

/// Why a device may not be used, those reasons first that nothing overrides. Empty: it may.
#[must_use]
pub fn judge(device: &Device) -> Vec<Refusal> {
    let mut refusals: Vec<Refusal> =
        device.usage.iter().map(|usage| Refusal::Used { usage: usage.clone() }).collect();
    let size = device.size;
    let form = device.form_factor.filter(|form| !fits(*form, device.medium));
    let mut refuse = |when: bool, refusal: Refusal| refusals.extend(when.then_some(refusal));
    refuse(device.read_only, Refusal::ReadOnly);
    refuse(device.serial.is_none(), Refusal::NoSerial);
    refuse(size.0 < LEAST_BYTES, Refusal::TooSmall { size });
    refuse(size.0 > MOST_BYTES, Refusal::TooLarge { size });
    refuse(device.bus != Bus::Sata, Refusal::NotSata { bus: device.bus });
    refuse(device.removable, Refusal::Removable);
    let medium = device.medium;
    refusals.extend(form.map(|is| Refusal::FormFactor { is, medium }));
    refusals
}

fn fits(form: FormFactor, medium: Medium) -> bool {
    match medium {
        Medium::Hdd => matches!(form, FormFactor::Two | FormFactor::Three),
        Medium::Ssd => form == FormFactor::Two,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drive() -> Device {
        Device {
            path: "/dev/sdb".into(),
            number: (8, 16),
            insertion: 1,
            model: Some("Model".to_owned()),
            serial: Some("WD-WX11A1".parse().unwrap()),
            size: ByteSize(4_000_000_000_000),
            bus: Bus::Sata,
            medium: Medium::Hdd,
            form_factor: Some(FormFactor::Three),
            removable: false,
            read_only: false,
            partitions: Vec::new(),
            usage: Vec::new(),
        }
    }

    #[test]
    fn an_internal_sata_drive_of_ten_terabytes_may_be_used() {
        assert_eq!(judge(&drive()), []);
        assert_eq!(judge(&Device { size: ByteSize(MOST_BYTES), ..drive() }), []);
        assert_eq!(judge(&Device { form_factor: None, ..drive() }), []);
        let ssd = Device { medium: Medium::Ssd, form_factor: Some(FormFactor::Two), ..drive() };
        assert_eq!(judge(&ssd), []);
    }

    #[test]
    fn what_the_service_does_not_take_is_refused_and_can_be_overridden() {
        let is = FormFactor::Three;
        let size = ByteSize(MOST_BYTES + 1);
        for (device, refusal) in [
            (Device { bus: Bus::Usb, ..drive() }, Refusal::NotSata { bus: Bus::Usb }),
            (Device { size, ..drive() }, Refusal::TooLarge { size }),
            (Device { removable: true, ..drive() }, Refusal::Removable),
            (
                Device { medium: Medium::Ssd, ..drive() },
                Refusal::FormFactor { is, medium: Medium::Ssd },
            ),
        ] {
            assert!(refusal.can_be_overridden(), "{refusal}");
            assert_eq!(judge(&device), [refusal]);
        }
    }

    #[test]
    fn what_is_somebodys_or_cannot_work_is_refused_for_good() {
        let usage = Usage::Mount { at: "/".into() };
        let size = ByteSize(LEAST_BYTES - 1);
        for (device, refusal) in [
            (Device { usage: vec![usage.clone()], ..drive() }, Refusal::Used { usage }),
            (Device { read_only: true, ..drive() }, Refusal::ReadOnly),
            (Device { serial: None, ..drive() }, Refusal::NoSerial),
            (Device { size, ..drive() }, Refusal::TooSmall { size }),
        ] {
            assert!(!refusal.can_be_overridden(), "{refusal}");
            assert_eq!(judge(&device), [refusal]);
        }
    }
}
