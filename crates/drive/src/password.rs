//! Where a drive's password comes from. Its form is the model's.

use model::DrivePassword;
use zeroize::Zeroizing;

/// A new password for one drive.
///
/// # Errors
/// The operating system has no random bytes.
pub fn random_password() -> Result<DrivePassword, getrandom::Error> {
    let mut bytes = Zeroizing::new([0; 16]);
    getrandom::fill(bytes.as_mut_slice())?;
    Ok(DrivePassword::from_bytes(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_are_never_the_same() {
        assert!(random_password().unwrap() != random_password().unwrap());
    }
}
