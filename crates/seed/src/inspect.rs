//! What a drive says it is, before anybody decides whether to believe it. Reads the label only.

use crate::beneath::Beneath;
use crate::sign::Trust;
use crate::{Error, Label, Signed, drive};
use std::path::Path;

/// The label of a drive; none when it has none.
///
/// The label's own signature is checked, so it is whole; whether its signer is the right one is the
/// caller's to decide.
///
/// # Errors
/// The folder cannot be read, or what stands where a label should is damaged.
pub fn inspect(folder: &Path) -> Result<Option<Signed<Label>>, Error> {
    let folder = Beneath::open(folder).map_err(Error::io("opening", folder))?;
    drive::label(&folder, &Trust::AsFound)
}
