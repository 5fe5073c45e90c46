//! Instants that wait: a chain per user, all in one vector, so that a user for whom nothing waits has none of it.
//!
//! A chain is a ring whose owner holds its last link; the last one's `next` is the first. One index per user thus gives both
//! ends.

/// No chain.
pub(crate) const NOBODY: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Link {
    planned: u64,
    next: u32,
}

/// The links of one worker's chains.
pub(crate) struct Queue {
    links: Vec<Link>,
    free: u32,
    len: usize,
    len_max: usize,
}

impl Queue {
    /// Room for `len_max` instants, none of which takes memory before it is needed.
    pub(crate) fn new(len_max: usize) -> Queue {
        assert!(len_max < NOBODY as usize, "links are named by 32 bits");
        Queue { links: Vec::new(), free: NOBODY, len: 0, len_max }
    }

    /// Bytes that it has allocated.
    #[cfg(test)]
    pub(crate) fn allocated_bytes(&self) -> usize {
        self.links.capacity() * size_of::<Link>()
    }

    /// Instants that wait, in all chains.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Appends to the chain that ends at `tail`. False: there is no room, and nothing was done.
    #[inline]
    pub(crate) fn push(&mut self, tail: &mut u32, planned: u64) -> bool {
        if self.len == self.len_max {
            return false;
        }
        let at = if self.free == NOBODY {
            self.links.push(Link { planned, next: NOBODY });
            (self.links.len() - 1) as u32
        } else {
            let at = self.free;
            self.free = self.links[at as usize].next;
            at
        };
        let next =
            if *tail == NOBODY { at } else { std::mem::replace(&mut self.links[*tail as usize].next, at) };
        self.links[at as usize] = Link { planned, next };
        *tail = at;
        self.len += 1;
        true
    }

    /// Takes the first of the chain that ends at `tail`.
    #[inline]
    pub(crate) fn pop(&mut self, tail: &mut u32) -> Option<u64> {
        if *tail == NOBODY {
            return None;
        }
        let first = self.links[*tail as usize].next;
        let Link { planned, next } = self.links[first as usize];
        if first == *tail {
            *tail = NOBODY;
        } else {
            self.links[*tail as usize].next = next;
        }
        self.links[first as usize].next = self.free;
        self.free = first;
        self.len -= 1;
        Some(planned)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_full_queue_refuses_and_goes_on_after_a_pop() {
        let mut queue = Queue::new(2);
        let (mut a, mut b) = (NOBODY, NOBODY);
        assert!(queue.push(&mut a, 1) && queue.push(&mut b, 2));
        assert!(!queue.push(&mut a, 3));
        assert_eq!(queue.pop(&mut b), Some(2));
        assert!(queue.push(&mut a, 3));
        assert_eq!(queue.links.len(), 2, "links are used again");
        assert_eq!((queue.pop(&mut a), queue.pop(&mut a), queue.pop(&mut a)), (Some(1), Some(3), None));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_chain_is_first_in_first_out(steps in prop::collection::vec((0..4usize, any::<bool>()), 1..300)) {
            let mut queue = Queue::new(50);
            let mut tails = [NOBODY; 4];
            let mut model: [VecDeque<u64>; 4] = Default::default();
            for (number, (who, pushes)) in (0..).zip(steps) {
                if pushes {
                    let fits = model.iter().map(VecDeque::len).sum::<usize>() < 50;
                    prop_assert_eq!(queue.push(&mut tails[who], number), fits);
                    if fits {
                        model[who].push_back(number);
                    }
                } else {
                    prop_assert_eq!(queue.pop(&mut tails[who]), model[who].pop_front());
                }
                prop_assert_eq!(queue.len(), model.iter().map(VecDeque::len).sum::<usize>());
                prop_assert!(tails.iter().zip(&model).all(|(&tail, chain)| (tail == NOBODY) == chain.is_empty()));
            }
        }
    }
}
