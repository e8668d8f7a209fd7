//! Reed-Solomon over one stripe: an extent of each data drive, and one of each parity drive. Reads and writes
//! nothing.

use crate::EXTENT;
use crate::Error;
use reed_solomon_simd::{EncoderResult, ReedSolomonDecoder, ReedSolomonEncoder};

/// Bytes of an extent, as the computer counts.
pub(crate) const SHARD: usize = 1 << 20;
const _: () = assert!(SHARD as u64 == EXTENT);

/// How many drives a set has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) data: usize,
    pub(crate) parity: usize,
}

fn failed(cause: reed_solomon_simd::Error) -> Error {
    Error::Stripe { what: cause.to_string() }
}

/// Makes parity.
pub(crate) struct Encoder(ReedSolomonEncoder);

impl Encoder {
    pub(crate) fn new(shape: Shape) -> Result<Self, Error> {
        ReedSolomonEncoder::new(shape.data, shape.parity, SHARD).map(Self).map_err(failed)
    }

    /// The stripe's parity, for its data extents in the order of their drives.
    pub(crate) fn encode<'d>(
        &mut self,
        data: impl Iterator<Item = &'d [u8]>,
    ) -> Result<Made<'_>, Error> {
        for extent in data {
            self.0.add_original_shard(extent).map_err(failed)?;
        }
        self.0.encode().map(Made).map_err(failed)
    }
}

/// The parity of one stripe.
pub(crate) struct Made<'e>(EncoderResult<'e>);

impl Made<'_> {
    /// The extent with that index.
    pub(crate) fn extent(&self, index: usize) -> Option<&[u8]> {
        self.0.recovery(index)
    }
}

/// Rebuilds data.
pub(crate) struct Decoder(ReedSolomonDecoder);

impl Decoder {
    pub(crate) fn new(shape: Shape) -> Result<Self, Error> {
        ReedSolomonDecoder::new(shape.data, shape.parity, SHARD).map(Self).map_err(failed)
    }

    /// Puts the data extents that are missing in their places. There must be as many extents in all as there are
    /// data drives.
    pub(crate) fn decode<'p>(
        &mut self,
        data: &mut [Option<Box<[u8]>>],
        parity: impl Iterator<Item = (usize, &'p [u8])>,
    ) -> Result<(), Error> {
        for (index, extent) in data.iter().enumerate() {
            if let Some(extent) = extent {
                self.0.add_original_shard(index, extent).map_err(failed)?;
            }
        }
        for (index, extent) in parity {
            self.0.add_recovery_shard(index, extent).map_err(failed)?;
        }
        let restored = self.0.decode().map_err(failed)?;
        for (index, extent) in restored.restored_original_iter() {
            if let Some(place) = data.get_mut(index) {
                *place = Some(extent.into());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::noise;
    use proptest::prelude::*;

    fn extents(count: usize, seed: u64) -> Vec<Box<[u8]>> {
        (0..count as u64).map(|at| noise(seed + at, SHARD).into()).collect()
    }

    fn parity(shape: Shape, data: &[Box<[u8]>]) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new(shape).unwrap();
        let made = encoder.encode(data.iter().map(AsRef::as_ref)).unwrap();
        assert!(made.extent(shape.parity).is_none());
        (0..shape.parity).map(|index| made.extent(index).unwrap().to_vec()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]

        #[test]
        fn any_k_extents_of_a_stripe_come_back(
            (data, parity_count) in (1_usize..10).prop_flat_map(|data| (Just(data), 1..=10 - data)),
            order in any::<[u8; 10]>(),
            seed in 1_u64..1000,
        ) {
            let shape = Shape { data, parity: parity_count };
            let good = extents(data, seed);
            let made = parity(shape, &good);
            let mut all: Vec<usize> = (0..data + parity_count).collect();
            all.sort_by_key(|at| order[*at]);
            let lost = &all[..parity_count];
            let mut there: Vec<Option<Box<[u8]>>> = good.iter().cloned().map(Some).collect();
            lost.iter().filter(|at| **at < data).for_each(|at| there[*at] = None);
            let missing = there.iter().filter(|extent| extent.is_none()).count();
            let parity = made.iter().enumerate().filter(|(at, _)| !lost.contains(&(at + data)));
            let parity = parity.take(missing).map(|(at, extent)| (at, extent.as_slice()));
            Decoder::new(shape).unwrap().decode(&mut there, parity).unwrap();
            prop_assert!(there.iter().map(|extent| extent.as_ref().unwrap()).eq(good.iter()));
        }
    }

    #[test]
    fn the_code_is_the_one_that_earlier_versions_have_written() {
        let data = extents(3, 7);
        let hashes: Vec<String> = parity(Shape { data: 3, parity: 2 }, &data)
            .iter()
            .map(|extent| blake3::hash(extent).to_hex().to_string())
            .collect();
        assert_eq!(hashes, GOLDEN);
    }

    #[test]
    fn too_few_extents_are_an_error() {
        let shape = Shape { data: 3, parity: 1 };
        let mut data: Vec<Option<Box<[u8]>>> = vec![None, None, Some(noise(1, SHARD).into())];
        let parity = noise(2, SHARD);
        let parity = std::iter::once((0, parity.as_slice()));
        assert!(Decoder::new(shape).unwrap().decode(&mut data, parity).is_err());
    }

    const GOLDEN: [&str; 2] = [
        "2ad4921557b022c48e713b3432ab191d5a2fe08b574ef77bb14b97ce222cd267",
        "7f7561180702b4ed105561432e7e2ba7cf47e8b2134adfff2163fa6d3c3bcb6b",
    ];
}
