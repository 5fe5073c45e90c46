//! Many connections' TLS, in blocks that never move: a table that grows leaves no copies of keys in memory that is given back.

/// Entries of a block. With 240 bytes each, 240 KiB: the allocator has it apart from what handshakes leave behind.
const BLOCK: usize = 1024;

/// No entry.
const NOBODY: u32 = u32::MAX;

enum Entry<T> {
    Taken(T),
    /// The next vacant one.
    Vacant(u32),
}

/// Values under numbers, which are used again. Memory follows the most there ever were at once, until there are none.
pub struct Table<T> {
    blocks: Vec<Box<[Entry<T>]>>,
    vacant: u32,
    len: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { blocks: Vec::new(), vacant: NOBODY, len: 0 }
    }
}

impl<T> Table<T> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that it has allocated.
    pub fn allocated_bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<Box<[Entry<T>]>>()
            + self.blocks.len() * BLOCK * size_of::<Entry<T>>()
    }

    /// Puts a value in, under the number that it returns.
    ///
    /// # Panics
    /// With 2^32 values.
    pub fn insert(&mut self, value: T) -> u32 {
        if self.vacant == NOBODY {
            let first = u32::try_from(self.blocks.len() * BLOCK).expect("fewer than 2^32 connections");
            let numbers = first + 1..first + BLOCK as u32;
            let block = numbers.chain([NOBODY]).map(Entry::Vacant).collect();
            self.blocks.push(block);
            self.vacant = first;
        }
        let number = self.vacant;
        let entry = &mut self.blocks[number as usize / BLOCK][number as usize % BLOCK];
        if let Entry::Vacant(next) = std::mem::replace(entry, Entry::Taken(value)) {
            self.vacant = next;
        }
        self.len += 1;
        number
    }

    /// The value under a number.
    pub fn get(&self, number: u32) -> Option<&T> {
        match self.blocks.get(number as usize / BLOCK)?.get(number as usize % BLOCK) {
            Some(Entry::Taken(value)) => Some(value),
            _ => None,
        }
    }

    /// As [`Table::get`], to change it.
    pub fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        match self.blocks.get_mut(number as usize / BLOCK)?.get_mut(number as usize % BLOCK) {
            Some(Entry::Taken(value)) => Some(value),
            _ => None,
        }
    }

    /// Drops the value under a number, where it stands.
    pub fn remove(&mut self, number: u32) {
        if self.get_mut(number).is_none() {
            return;
        }
        self.blocks[number as usize / BLOCK][number as usize % BLOCK] = Entry::Vacant(self.vacant);
        self.vacant = number;
        self.len -= 1;
        if self.len == 0 {
            *self = Table::default();
        }
    }
}

impl<T> std::fmt::Debug for Table<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Table({} in {} blocks)", self.len, self.blocks.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_used_again_and_memory_goes_with_the_last() {
        let mut table = Table::default();
        let numbers: Vec<u32> = (0..4_000).map(|value| table.insert(value)).collect();
        assert_eq!((table.len(), table.blocks.len()), (4_000, 4));
        for (value, &number) in (0..).zip(&numbers) {
            assert_eq!(table.get_mut(number), Some(&mut value.clone()));
        }
        table.remove(numbers[7]);
        table.remove(numbers[7]);
        assert_eq!(table.len(), 3_999);
        assert_eq!(table.get_mut(numbers[7]), None);
        assert_eq!(table.insert(7), numbers[7]);
        for number in numbers {
            table.remove(number);
        }
        assert!(table.is_empty() && table.allocated_bytes() == 0);
        assert_eq!(table.get_mut(0), None);
        assert_eq!(table.insert(1), 0);
    }
}
