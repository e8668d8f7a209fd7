//! The stages that a blob goes through, each timed alone, on one core. Touches no file.

use super::clock::timed;
use super::known::Known;
use aes::cipher::{BlockCipherEncrypt, KeyInit, KeyIvInit, StreamCipher};
use aes::{Aes128, Aes256};
use backup::{CHUNK_MAX, CHUNK_MIN, Chunker};
use serde::Serialize;
use std::io;

/// zstd's level that a backup uses by itself.
const LEVEL: i32 = 2;

/// A polynomial that restic's own tests use.
const POLYNOMIAL: u64 = 0x003D_A335_8B4D_C173;

/// Seconds for each stage.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Stages {
    /// Bytes in files that are long enough to be cut.
    cut_bytes: u64,
    /// Bytes in blobs that are not known.
    new_bytes: u64,
    /// The same, compressed.
    stored_bytes: u64,
    /// Finding where blobs end.
    cut: f64,
    /// Naming blobs: SHA-256 of what was read.
    hash: f64,
    compress: f64,
    /// Encrypting and authenticating.
    seal: f64,
    /// Naming packs: SHA-256 of what is stored.
    name: f64,
    /// Authenticating and decrypting.
    open: f64,
    decompress: f64,
}

/// The stages, and what they need.
pub(crate) struct Work {
    chunker: Chunker,
    compressor: zstd::bulk::Compressor<'static>,
    decompressor: zstd::bulk::Decompressor<'static>,
    packed: Vec<u8>,
    plain: Vec<u8>,
    window: Vec<u8>,
    pub(crate) stages: Stages,
}

impl Work {
    pub(crate) fn new() -> io::Result<Self> {
        let polynomial = repo::Polynomial::new(POLYNOMIAL);
        let polynomial = polynomial.ok_or_else(|| io::Error::other("no such polynomial"))?;
        Ok(Self {
            chunker: Chunker::new(polynomial),
            compressor: zstd::bulk::Compressor::new(LEVEL)?,
            decompressor: zstd::bulk::Decompressor::new()?,
            packed: vec![0; zstd::zstd_safe::compress_bound(CHUNK_MAX)],
            plain: vec![0; CHUNK_MAX],
            window: vec![0; CHUNK_MAX],
            stages: Stages::default(),
        })
    }

    /// The window, as long as the longest blob. Comes back by [`Work::take_back`].
    pub(crate) fn buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.window)
    }

    pub(crate) fn take_back(&mut self, window: Vec<u8>) {
        self.window = window;
    }

    /// Takes the first blob of `window` through all stages. Answers its length, its name, and whether it is new.
    pub(crate) fn blob(
        &mut self,
        window: &[u8],
        known: &mut Known,
    ) -> io::Result<(usize, [u8; 32], bool)> {
        let mut stages = self.stages;
        let length = if window.len() > CHUNK_MIN {
            let length = timed(&mut stages.cut, || self.chunker.cut(window));
            stages.cut_bytes += length as u64;
            length
        } else {
            window.len()
        };
        let blob = window.get(..length).unwrap_or_default();
        // Two side by side, as a backup hashes them: one of them is this one's part.
        let mut both = 0.0;
        let [name, _] = timed(&mut both, || sha256::hash_both([blob, blob]));
        stages.hash += both / 2.0;
        let is_new = known.is_new(name);
        if is_new {
            let packed = &mut self.packed;
            let stored =
                timed(&mut stages.compress, || self.compressor.compress_to_buffer(blob, packed))?;
            let sealed = packed.get_mut(..stored).unwrap_or_default();
            timed(&mut stages.seal, || seal(sealed));
            // A pack is hashed beside what comes out of it.
            let mut both = 0.0;
            timed(&mut both, || sha256::hash_both([sealed, sealed]));
            stages.name += both / 2.0;
            timed(&mut stages.open, || open(sealed));
            let plain = &mut self.plain;
            let again = timed(&mut stages.decompress, || {
                self.decompressor.decompress_to_buffer(sealed, plain)
            })?;
            if plain.get(..again) != Some(blob) {
                return Err(io::Error::other("a blob did not come back"));
            }
            stages.new_bytes += length as u64;
            stages.stored_bytes += stored as u64;
        }
        self.stages = stages;
        Ok((length, name, is_new))
    }

    /// Takes something that is not a file's through the same stages. Answers how many seconds of one core they take, but
    /// for the cutting. The stages begin anew.
    pub(crate) fn noted(&mut self, mut text: &[u8]) -> io::Result<f64> {
        self.stages = Stages::default();
        let mut known = Known::default();
        while !text.is_empty() {
            let window = text.get(..CHUNK_MAX).unwrap_or(text);
            let (length, ..) = self.blob(window, &mut known)?;
            text = text.get(length..).unwrap_or_default();
        }
        let Stages { hash, compress, seal, name, open, decompress, .. } = self.stages;
        Ok(hash + compress + seal + name + open + decompress + hash)
    }
}

// The key is nobody's: what is encrypted here is thrown away.
const KEY: [u8; 32] = [7; 32];
const NONCE: [u8; 16] = [9; 16];

fn seal(bytes: &mut [u8]) -> [u8; 16] {
    ctr::Ctr128BE::<Aes256>::new(&KEY.into(), &NONCE.into()).apply_keystream(bytes);
    authenticate(bytes)
}

fn open(bytes: &mut [u8]) -> [u8; 16] {
    let tag = authenticate(bytes);
    ctr::Ctr128BE::<Aes256>::new(&KEY.into(), &NONCE.into()).apply_keystream(bytes);
    tag
}

fn authenticate(bytes: &[u8]) -> [u8; 16] {
    let mut masked = NONCE.into();
    Aes128::new(&[5; 16].into()).encrypt_block(&mut masked);
    mac::poly1305(&[3; 16], &masked.into(), bytes)
}
