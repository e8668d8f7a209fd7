//! File modes: Unix's bits, and those of Go's `fs.FileMode` in which the format has them.

use repo::tree::NodeKind;

const DIR: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const FIFO: u32 = 1 << 25;
const SOCKET: u32 = 1 << 24;
const SETUID: u32 = 1 << 23;
const SETGID: u32 = 1 << 22;
const CHAR_DEVICE: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;

/// (Unix, Go) for each bit above the permissions.
const SPECIAL: [(u32, u32); 3] = [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)];

/// What `st_mode` says the file is.
pub(crate) fn kind(st_mode: u32) -> NodeKind {
    match st_mode & 0o170_000 {
        0o100_000 => NodeKind::File,
        0o040_000 => NodeKind::Dir,
        0o120_000 => NodeKind::Symlink,
        0o060_000 => NodeKind::Device,
        0o020_000 => NodeKind::CharDevice,
        0o010_000 => NodeKind::Fifo,
        0o140_000 => NodeKind::Socket,
        _ => NodeKind::Irregular,
    }
}

/// Go's mode of a Unix one.
pub(crate) fn to_go(st_mode: u32) -> u32 {
    let kind = match kind(st_mode) {
        NodeKind::Dir => DIR,
        NodeKind::Symlink => SYMLINK,
        NodeKind::Device => DEVICE,
        NodeKind::CharDevice => DEVICE | CHAR_DEVICE,
        NodeKind::Fifo => FIFO,
        NodeKind::Socket => SOCKET,
        NodeKind::File | NodeKind::Irregular => 0,
    };
    let special = SPECIAL.iter().filter(|(unix, _)| st_mode & unix != 0);
    special.fold(kind | (st_mode & 0o777), |mode, (_, go)| mode | go)
}

/// Unix's permission bits, set-id and sticky included, of a Go mode.
pub(crate) fn permissions(go: u32) -> u32 {
    let special = SPECIAL.iter().filter(|(_, bit)| go & bit != 0);
    special.fold(go & 0o777, |mode, (unix, _)| mode | unix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_survive_the_way_through_go() {
        for kind in [0o100_000, 0o040_000, 0o120_000, 0o060_000, 0o020_000, 0o010_000] {
            for mode in 0..0o10_000 {
                assert_eq!(permissions(to_go(kind | mode)), mode);
            }
        }
    }

    #[test]
    fn a_link_has_the_mode_of_restics_documentation() {
        assert_eq!(to_go(0o120_777), 134_218_239);
        assert_eq!(to_go(0o100_644), 420);
    }
}
