//! A drive of a virtual machine: an image file, and how it is connected, as QEMU wants to be told.
//! Makes and reads no image.
//!
//! ```text
//! file ── blkdebug, where sectors are broken ── throttle ── device on its bus
//! f-S          b-S                               t-S        d-S             S: serial number
//! ```

use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A file of the host that holds what is on a drive. Outlives every machine.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(super) path: PathBuf,
}

impl Image {
    /// Where it is, for those who look at its bytes while no machine runs.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// What a drive is connected to. All but AHCI can be plugged while the machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controller {
    Virtio,
    Ahci,
    Usb,
    Nvme,
}

/// Which accesses fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// A drive. Its serial number is what scenarios call it by, so no two of a machine have the same; one
/// that is to say another's has a name besides.
#[derive(Debug, Clone)]
pub(crate) struct Drive {
    image: Image,
    controller: Controller,
    pub(super) serial: String,
    says: Option<String>,
    rotation: u32,
    removable: bool,
    read_only: bool,
    broken: Vec<(Access, u64)>,
}

impl Drive {
    /// A drive of that serial number, of at most 20 letters and digits; on AHCI with turning disks.
    pub(crate) fn new(image: &Image, controller: Controller, serial: &str) -> Self {
        Self {
            image: image.clone(),
            controller,
            serial: serial.to_owned(),
            says: None,
            rotation: 7200,
            removable: false,
            read_only: false,
            broken: Vec::new(),
        }
    }

    /// Without turning disks. Only AHCI's drives say so either way.
    pub(crate) fn solid(mut self) -> Self {
        // What ATA says for a medium that does not turn.
        self.rotation = 1;
        self
    }

    /// With a medium that can be taken out. Only USB's drives say so.
    pub(crate) fn removable(mut self) -> Self {
        self.removable = true;
        self
    }

    /// That nobody can write to. Not on AHCI, where QEMU has no such drives.
    pub(crate) fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// That tells the guest that serial number instead of its own.
    pub(crate) fn saying(mut self, serial: &str) -> Self {
        self.says = Some(serial.to_owned());
        self
    }

    /// Whose `sector`, of 512 bytes, fails for ever with an error of input and output.
    pub(crate) fn broken(mut self, access: Access, sector: u64) -> Self {
        self.broken.push((access, sector));
        self
    }

    /// Whether the machine needs a controller of that kind.
    pub(super) fn is_on(&self, controller: Controller) -> bool {
        self.controller == controller
    }

    /// The group that limits its speed.
    pub(super) fn group(&self) -> Value {
        json!({ "qom-type": "throttle-group", "id": group(&self.serial) })
    }

    /// The layers below the device, lowest first.
    pub(super) fn layers(&self) -> Vec<Value> {
        let node = |kind: &str| format!("{kind}-{}", self.serial);
        let mut layers = vec![json!({
            "driver": "file",
            "node-name": node("f"),
            "filename": self.image.path,
            "read-only": self.read_only,
        })];
        let mut below = node("f");
        if !self.broken.is_empty() {
            let errors = self.broken.iter().map(|(access, sector)| {
                let access = if *access == Access::Read { "read" } else { "write" };
                json!({ "event": "none", "iotype": access, "errno": 5, "sector": sector })
            });
            let errors: Vec<Value> = errors.collect();
            layers.push(json!({
                "driver": "blkdebug",
                "node-name": node("b"),
                "image": below,
                "inject-error": errors,
                "read-only": self.read_only,
            }));
            below = node("b");
        }
        layers.push(json!({
            "driver": "throttle",
            "node-name": top(&self.serial),
            "throttle-group": group(&self.serial),
            "file": below,
            "read-only": self.read_only,
        }));
        layers
    }

    /// The device; on AHCI at that port.
    pub(super) fn device(&self, port: usize) -> Value {
        let (driver, more) = match self.controller {
            Controller::Virtio => ("virtio-blk-pci", json!({})),
            Controller::Ahci => {
                let bus = format!("{AHCI}.{port}");
                ("ide-hd", json!({ "bus": bus, "rotation_rate": self.rotation }))
            }
            Controller::Usb => {
                let bus = format!("{XHCI}.0");
                ("usb-storage", json!({ "bus": bus, "removable": self.removable }))
            }
            Controller::Nvme => ("nvme", json!({})),
        };
        let mut device = json!({
            "driver": driver,
            "id": device(&self.serial),
            "drive": top(&self.serial),
            "serial": self.says.as_ref().unwrap_or(&self.serial),
        });
        if let (Value::Object(device), Value::Object(more)) = (&mut device, more) {
            device.extend(more);
        }
        device
    }

    /// The names of its layers, highest first: the order in which they can be taken apart.
    pub(super) fn nodes(&self) -> Vec<String> {
        let names = self.layers().into_iter().rev();
        names.filter_map(|layer| Some(layer.get("node-name")?.as_str()?.to_owned())).collect()
    }
}

/// The controllers' own names.
pub(super) const AHCI: &str = "ahci";
pub(super) const XHCI: &str = "xhci";

/// What a device is called.
pub(super) fn device(serial: &str) -> String {
    format!("d-{serial}")
}

/// What the group is called that limits a drive's speed.
pub(super) fn group(serial: &str) -> String {
    format!("g-{serial}")
}

fn top(serial: &str) -> String {
    format!("t-{serial}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_stand_on_each_other_and_are_taken_apart_from_above() {
        let image = Image { path: "/images/a".into() };
        let whole = Drive::new(&image, Controller::Usb, "S1");
        assert_eq!(whole.nodes(), ["t-S1", "f-S1"]);
        let broken = whole.broken(Access::Read, 8);
        assert_eq!(broken.nodes(), ["t-S1", "b-S1", "f-S1"]);
        let below: Vec<Value> = broken
            .layers()
            .iter()
            .filter_map(|layer| layer.get("image").or(layer.get("file")).cloned())
            .collect();
        assert_eq!(below, ["f-S1", "b-S1"]);
    }

    #[test]
    fn a_device_says_what_its_bus_can_say() {
        let image = Image { path: "/images/a".into() };
        let device = |controller| Drive::new(&image, controller, "S1").solid().device(3);
        assert_eq!(device(Controller::Ahci)["bus"], "ahci.3");
        assert_eq!(device(Controller::Ahci)["rotation_rate"], 1);
        assert!(device(Controller::Virtio).get("rotation_rate").is_none());
        assert_eq!(device(Controller::Nvme)["serial"], "S1");
        let twin = Drive::new(&image, Controller::Usb, "S2").saying("S1").device(0);
        assert_eq!((&twin["serial"], &twin["id"]), (&json!("S1"), &json!("d-S2")));
    }
}
