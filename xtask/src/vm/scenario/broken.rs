//! A drive with sectors that cannot be read, and one with sectors that cannot be written: each is an
//! error for whoever wants them, and for nobody else.

use super::super::drive::{Access, Controller, Drive};
use super::super::lab::Lab;
use super::super::machine::{Machine, Spec};
use super::list::serials;
use anyhow::ensure;

/// Beyond what is looked at to tell what lies on a drive.
const BAD: u64 = 200_000;

pub(super) fn run(lab: &Lab<'_>) -> anyhow::Result<()> {
    let cases = [
        ("BAD-READ-S", Controller::Ahci, Access::Read),
        ("BAD-WRITE-S", Controller::Ahci, Access::Write),
        ("BAD-READ-V", Controller::Virtio, Access::Read),
        ("BAD-WRITE-V", Controller::Virtio, Access::Write),
    ];
    let mut spec = Spec::new();
    for (serial, controller, access) in cases {
        let drive = Drive::new(&lab.image(serial, 300)?, controller, serial);
        spec = spec.drive(drive.broken(access, BAD).broken(access, BAD + 80));
    }
    let mut machine = lab.boot(spec)?;
    for (serial, _, access) in cases {
        let device = machine.device(serial)?;
        for (sector, works) in
            [(BAD - 1, true), (BAD, false), (BAD + 1, true), (BAD + 80, false), (0, true)]
        {
            let code = one_sector(&mut machine, &device, access, sector)?;
            ensure!((code == 0) == works, "{access:?} of sector {sector} of {serial}: {code}");
        }
        let other = if access == Access::Read { Access::Write } else { Access::Read };
        let code = one_sector(&mut machine, &device, other, BAD)?;
        ensure!(code == 0, "{other:?} of sector {BAD} of {serial}: {code}");
    }
    let listed = serials(&mut machine)?;
    ensure!(cases.iter().all(|(serial, ..)| listed.contains(&(*serial).to_owned())), "{listed:?}");
    machine.power_off()
}

/// Past the page cache, which reads and writes whole pages and more.
fn one_sector(
    machine: &mut Machine,
    device: &str,
    access: Access,
    sector: u64,
) -> anyhow::Result<i32> {
    let script = match access {
        Access::Read => format!("dd if={device} of=/dev/null iflag=direct skip={sector}"),
        Access::Write => format!("dd if=/dev/zero of={device} oflag=direct seek={sector}"),
    };
    Ok(machine.run(&format!("{script} bs=512 count=1"))?.code)
}
