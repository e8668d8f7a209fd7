//! What the fuzz targets call of this crate: the reader of a server's list. Not part of what users
//! get: only with the feature `fuzzing`, and in tests.

/// A list as a server sends it. Answers whether it is one.
pub fn list(data: &[u8]) -> bool {
    crate::rest::is_list(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn some_seeds_are_lists_and_some_are_not() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/list");
        let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let seeds: Vec<Vec<u8>> = paths.map(|path| std::fs::read(path).unwrap()).collect();
        let lists = seeds.iter().filter(|seed| list(seed)).count();
        assert!(lists > 0 && lists < seeds.len());
    }
}
