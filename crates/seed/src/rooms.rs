//! The first of many rooms that is large enough, in logarithmic time. Knows no drives.

/// Rooms in an order.
///
/// A binary tree in an array: each inner node is the larger one of its two children, the leaves
/// are the rooms, and the root is the first element. So a room is found by going down to the left
/// wherever there is enough.
pub(crate) struct Rooms {
    largest: Vec<u64>,
    /// How many leaves: a power of two.
    leaves: usize,
}

impl Rooms {
    pub(crate) fn new(free: &[u64]) -> Self {
        let leaves = free.len().next_power_of_two();
        // Node n has the children 2n and 2n + 1; number 0 is not used.
        let mut largest = vec![0; leaves];
        largest.extend_from_slice(free);
        largest.resize(leaves * 2, 0);
        let mut rooms = Self { largest, leaves };
        for node in (1..leaves).rev() {
            rooms.update(node);
        }
        rooms
    }

    /// Takes that much of the first room that has it, and says which one that is. Nothing is more
    /// than no room: `amount` must not be 0.
    pub(crate) fn take(&mut self, amount: u64) -> Option<usize> {
        if self.at(1) < amount {
            return None;
        }
        let mut node = 1;
        while node < self.leaves {
            node *= 2;
            if self.at(node) < amount {
                node += 1;
            }
        }
        let room = self.largest.get_mut(node)?;
        *room = room.checked_sub(amount)?;
        let found = node - self.leaves;
        while node > 1 {
            node /= 2;
            self.update(node);
        }
        Some(found)
    }

    fn at(&self, node: usize) -> u64 {
        self.largest.get(node).copied().unwrap_or(0)
    }

    fn update(&mut self, node: usize) {
        let larger = self.at(node * 2).max(self.at(node * 2 + 1));
        if let Some(own) = self.largest.get_mut(node) {
            *own = larger;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_first_room_that_is_large_enough_is_found(
            mut free in prop::collection::vec(0_u64..100, 0..20),
            amounts in prop::collection::vec(1_u64..60, 0..60),
        ) {
            let mut rooms = Rooms::new(&free);
            for amount in amounts {
                let expected = free.iter().position(|room| *room >= amount);
                if let Some(at) = expected {
                    free[at] -= amount;
                }
                prop_assert_eq!(rooms.take(amount), expected);
            }
        }
    }
}
