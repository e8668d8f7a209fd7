//! Single values out of `/sys`, `/proc` and `/run/udev`, as they are written there. Interprets, but
//! puts nothing together.

use crate::device::{Bus, FormFactor};
use model::DriveSerial;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// A device number, `8:16`.
pub(crate) fn number(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.trim().split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The connection that is nearest to the device on the way to it through `/sys/devices`.
pub(crate) fn bus(place: &Path) -> Bus {
    let names = place.components().rev().filter_map(|component| match component {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let mut buses = names.filter_map(|name| {
        let numbered = |prefix| {
            let rest: Option<&str> = name.strip_prefix(prefix);
            rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
        };
        [
            ("usb", Bus::Usb),
            ("ata", Bus::Sata),
            ("nvme", Bus::Nvme),
            ("mmc", Bus::Mmc),
            ("virtio", Bus::Virtio),
            ("end_device-", Bus::Sas),
            ("loop", Bus::Loop),
        ]
        .into_iter()
        .find_map(|(prefix, bus)| numbered(prefix).then_some(bus))
    });
    buses.next().unwrap_or(Bus::Other)
}

/// A serial number as something to tell drives apart by: spaces around it do not count, others
/// become underscores, as udev has them.
pub(crate) fn serial(text: &str) -> Option<DriveSerial> {
    let text = text.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\0');
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    words.join("_").parse().ok()
}

/// The serial number in a SCSI drive's page of vital product data 0x80: four bytes of head with
/// the length at 2, then the number (SPC-5, 7.7.23).
pub(crate) fn serial_page(page: &[u8]) -> Option<DriveSerial> {
    let (head, rest) = page.split_first_chunk::<4>()?;
    let [_, 0x80, high, low] = *head else { return None };
    let number = rest.get(..usize::from(u16::from_be_bytes([high, low])))?;
    serial(std::str::from_utf8(number).ok()?)
}

/// The nominal form factor in page 0xb1: the low half of the byte at 7 (SBC-4, 6.6.2).
pub(crate) fn form_factor(page: &[u8]) -> Option<FormFactor> {
    if page.get(1) != Some(&0xb1) {
        return None;
    }
    match page.get(7)? & 0x0f {
        1 => Some(FormFactor::Five),
        2 => Some(FormFactor::Three),
        3 => Some(FormFactor::Two),
        4 | 5 => Some(FormFactor::Small),
        _ => None,
    }
}

/// What udev has found out, by the name it has given it.
pub(crate) fn udev<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    text.lines().find_map(|line| line.strip_prefix("E:")?.strip_prefix(name)?.strip_prefix('='))
}

/// Device numbers and places of mounted file systems, from `mountinfo`.
pub(crate) fn mounts(text: &str) -> Vec<((u32, u32), PathBuf)> {
    let mount = |line: &str| {
        let mut fields = line.split(' ');
        let device = number(fields.nth(2)?)?;
        Some((device, PathBuf::from(unescape(fields.nth(1)?))))
    };
    text.lines().filter_map(mount).collect()
}

/// Files and devices that memory is swapped to, from `swaps`.
pub(crate) fn swaps(text: &str) -> Vec<PathBuf> {
    let places = text.lines().skip(1).filter_map(|line| line.split_ascii_whitespace().next());
    places.map(|place| PathBuf::from(unescape(place))).collect()
}

/// Spaces and the like stand there as `\040`.
fn unescape(text: &str) -> OsString {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = OsStr::new(text).as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_connection_nearest_to_the_device_counts() {
        for (place, expected) in [
            (
                "/sys/devices/pci0000:00/0000:00:1f.2/ata3/host2/target2:0:0/2:0:0:0/block/sda",
                Bus::Sata,
            ),
            (
                "/sys/devices/pci0000:00/0000:00:14.0/usb2/2-1/2-1:1.0/host6/target6:0:0/6:0:0:0/block/sdb",
                Bus::Usb,
            ),
            ("/sys/devices/pci0000:00/0000:01:00.0/nvme/nvme0/nvme0n1", Bus::Nvme),
            ("/sys/devices/pci0000:00/0000:00:02.0/virtio1/block/vda", Bus::Virtio),
            (
                "/sys/devices/pci0000:00/host0/port-0:0/end_device-0:0/target0:0:0/0:0:0:0/block/sdc",
                Bus::Sas,
            ),
            ("/sys/devices/platform/soc/mmc_host/mmc0/mmc0:0001/block/mmcblk0", Bus::Mmc),
            ("/sys/devices/virtual/block/loop0", Bus::Loop),
            ("/sys/devices/vbd-51712/block/xvda", Bus::Other),
        ] {
            assert_eq!(bus(Path::new(place)), expected, "{place}");
        }
    }

    #[test]
    fn serial_numbers_lose_what_is_around_them() {
        assert_eq!(serial("  WD-WCC4 N0 \n").unwrap().to_string(), "WD-WCC4_N0");
        assert_eq!(serial(" \n"), None);
        let page = [b"\0\x80\0\x0a".as_slice(), b"  ABC123  "].concat();
        assert_eq!(serial_page(&page).unwrap().to_string(), "ABC123");
        assert_eq!(serial_page(b"\0\x80\0\x0aABC"), None, "shorter than it says");
        assert_eq!(serial_page(b"\0\x83\0\x03ABC"), None, "another page");
    }

    #[test]
    fn form_factors_are_read_from_their_page() {
        assert_eq!(form_factor(&[0, 0xb1, 0, 0x3c, 0, 1, 0, 0x03]), Some(FormFactor::Two));
        assert_eq!(form_factor(&[0, 0xb1, 0, 0x3c, 0x1c, 0x20, 0, 0x12]), Some(FormFactor::Three));
        assert_eq!(form_factor(&[0, 0xb1, 0, 0x3c, 0, 1, 0, 0]), None);
        assert_eq!(form_factor(&[0, 0x80, 0, 0x3c, 0, 1, 0, 3]), None);
    }

    #[test]
    fn mounts_and_swaps_are_read_with_spaces_in_their_names() {
        let text = "36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 - ext3 /dev/root rw\n\
            37 35 8:17 / /srv rw - ext4 /dev/sdb1 rw\n";
        assert_eq!(mounts(text), [((98, 0), "/mnt 2".into()), ((8, 17), "/srv".into())]);
        let text =
            "Filename Type Size Used Priority\n/dev/sda2 partition 8 0 -2\n/a\\040b file 8 0 -3\n";
        assert_eq!(swaps(text), [PathBuf::from("/dev/sda2"), PathBuf::from("/a b")]);
    }

    #[test]
    fn udevs_values_are_found_by_their_whole_names() {
        let text = "S:disk/by-id/x\nE:ID_SERIAL=Model_X1\nE:ID_SERIAL_SHORT=X1\n";
        assert_eq!(udev(text, "ID_SERIAL_SHORT"), Some("X1"));
        assert_eq!(udev(text, "ID_MODEL"), None);
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_no_accident(bytes in prop::collection::vec(any::<u8>(), 0..80), text in "\\PC{0,80}") {
            let _ = (serial_page(&bytes), form_factor(&bytes), serial(&text), number(&text));
            let _ = (mounts(&text), swaps(&text), bus(Path::new(&text)));
        }
    }
}
