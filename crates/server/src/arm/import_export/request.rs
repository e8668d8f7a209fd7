//! What clients send about a job, as types: names, hashes and addresses are checked here, once.

use super::super::fault::Fault;
use crate::jobs::plain::PlainKey;
use crate::jobs::said::{ReturnShipping, SaidDrive};
use model::{Address, DriveSerial, Package};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use zeroize::Zeroizing;

/// The body of PUT, and of PATCH.
#[derive(Deserialize)]
pub(super) struct Request {
    pub(super) location: Option<String>,
    pub(super) tags: Option<Map<String, Value>>,
    #[serde(default)]
    pub(super) properties: Details,
    pub(super) identity: Option<Value>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Details {
    pub(super) storage_account_id: Option<String>,
    pub(super) job_type: Option<String>,
    pub(super) state: Option<String>,
    pub(super) return_address: Option<Address>,
    pub(super) return_shipping: Option<ReturnShipping>,
    pub(super) shipping_information: Option<Value>,
    pub(super) delivery_package: Option<Delivery>,
    pub(super) diagnostics_path: Option<String>,
    pub(super) log_level: Option<String>,
    pub(super) backup_drive_manifest: Option<bool>,
    pub(super) cancel_requested: Option<bool>,
    pub(super) drive_list: Option<Vec<DriveSaid>>,
    pub(super) export: Option<Value>,
    pub(super) encryption_key: Option<Value>,
}

/// The package as it is written; some clients write the count as a text, and dates with a time.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Delivery {
    carrier_name: Option<String>,
    tracking_number: Option<String>,
    drive_count: Option<Value>,
    ship_date: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DriveSaid {
    drive_id: Option<String>,
    bit_locker_key: Option<Zeroizing<String>>,
    manifest_file: Option<String>,
    manifest_hash: Option<String>,
    drive_header_hash: Option<String>,
}

/// The longest of any text that is only kept.
const LONGEST: usize = 1024;
/// Recovery keys have 55 characters.
const LONGEST_KEY: usize = 256;
/// Several areas of a header, each with a hash of 128 digits.
const LONGEST_HEADER: usize = 8192;

/// A text that is only kept.
pub(super) fn text(target: &'static str, text: String) -> Result<String, Fault> {
    bounded(target, text, LONGEST)
}

fn bounded(target: &'static str, text: String, longest: usize) -> Result<String, Fault> {
    if text.len() > longest || text.chars().any(char::is_control) {
        let message =
            format!("'{target}' has a control character or more than {longest} characters.");
        return Err(Fault::content(target, message));
    }
    Ok(text)
}

impl Delivery {
    pub(super) fn read(self) -> Result<Package, Fault> {
        let wrong = |message: String| Fault::content("deliveryPackage", message);
        let carrier = self.carrier_name.unwrap_or_default();
        let number = self.tracking_number.unwrap_or_default();
        if carrier.trim().is_empty() || number.trim().is_empty() {
            let message = "The properties 'carrierName' and 'trackingNumber' of 'deliveryPackage' are required.";
            return Err(wrong(message.to_owned()));
        }
        let count = match self.drive_count {
            None => None,
            Some(Value::Number(count)) => count.as_u64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            Some(_) => return Err(wrong("'driveCount' is not a number.".to_owned())),
        };
        let count = count.map(u32::try_from).transpose();
        Ok(Package {
            carrier_name: text("deliveryPackage.carrierName", carrier)?,
            tracking_number: number
                .parse()
                .map_err(|why: model::AddressError| wrong(format!("{why}.")))?,
            drive_count: count
                .map_err(|_| wrong("'driveCount' is not a number of drives.".to_owned()))?,
            ship_date: self
                .ship_date
                .map(|date| text("deliveryPackage.shipDate", date))
                .transpose()?,
        })
    }
}

/// A list of drives: their numbers in order, what is said of each, and the passwords.
pub(super) type Drives = (Vec<DriveSerial>, BTreeMap<DriveSerial, SaidDrive>, Vec<PlainKey>);

pub(super) fn drives(list: Vec<DriveSaid>) -> Result<Drives, Fault> {
    let mut drives: Drives = (Vec::new(), BTreeMap::new(), Vec::new());
    for said in list {
        let id = said.drive_id.unwrap_or_default();
        let serial: DriveSerial = id.trim().parse().map_err(|why: model::NameError| {
            Fault::content("driveList.driveId", format!("{why}."))
        })?;
        if let Some(key) = said.bit_locker_key.filter(|key| !key.is_empty()) {
            if key.len() > LONGEST_KEY || !key.chars().all(|c| c.is_ascii_graphic()) {
                let message = format!("The BitLocker key of drive {serial} is none.");
                return Err(Fault::content("driveList.bitLockerKey", message));
            }
            drives.2.push(PlainKey { serial: serial.clone(), text: key });
        }
        let kept = SaidDrive {
            manifest_file: said
                .manifest_file
                .map(|file| text("driveList.manifestFile", file))
                .transpose()?,
            manifest_hash: said.manifest_hash.map(manifest_hash).transpose()?,
            drive_header_hash: said.drive_header_hash.map(header_hash).transpose()?,
            key: None,
        };
        drives.1.insert(serial.clone(), kept);
        drives.0.push(serial);
    }
    Ok(drives)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The documents say MD5, their example has the length of SHA-256.
fn manifest_hash(hash: String) -> Result<String, Fault> {
    if hash.is_empty() || ([32, 64].contains(&hash.len()) && is_hex(&hash)) {
        return Ok(hash);
    }
    let message = "'manifestHash' is an MD5 or SHA-256 in hexadecimal digits.";
    Err(Fault::content("driveList.manifestHash", message))
}

/// `offset:length:HASH;…`, or our own: the SHA-256 of a LUKS2 header.
fn header_hash(hash: String) -> Result<String, Fault> {
    let area = |area: &str| {
        let mut parts = area.split(':');
        let is_number = |text: Option<&str>| text.is_some_and(|text| text.parse::<u64>().is_ok());
        is_number(parts.next())
            && is_number(parts.next())
            && parts.next().is_some_and(|hash| !hash.is_empty() && is_hex(hash))
            && parts.next().is_none()
    };
    let is_own = hash.len() == 64 && is_hex(&hash);
    let is_areas = || hash.split(';').filter(|area| !area.is_empty()).all(area);
    if hash.len() <= LONGEST_HEADER && (hash.is_empty() || is_own || is_areas()) {
        return Ok(hash);
    }
    let message =
        "'driveHeaderHash' is written offset:length:HASH, with semicolons between several.";
    Err(Fault::content("driveList.driveHeaderHash", message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_both_lengths_and_headers_of_both_forms() {
        for good in ["", &"a".repeat(32), &"F".repeat(64)] {
            assert!(manifest_hash(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["x", &"a".repeat(33), &"g".repeat(32)] {
            assert!(manifest_hash(bad.to_owned()).is_err(), "{bad}");
        }
        for good in ["", "0:2048:AB;512:10:CD", "0:1:ab;", &"a".repeat(64)] {
            assert!(header_hash(good.to_owned()).is_ok(), "{good}");
        }
        for bad in ["0:1", "a:1:AB", "0:1:XY", "0:1:AB:2", &"0:1:AB;".repeat(2000)] {
            assert!(header_hash(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
