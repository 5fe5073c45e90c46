//! One part of a plan that several generators play together.

use std::fmt;
use std::str::FromStr;

/// Part `number` of `of`: of all lanes those whose number, divided by `of`, leaves `number - 1`. So partners stay together, and the parts
/// need not have the same number of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// From 1 on.
    pub number: u32,
    /// How many parts there are.
    pub of: u32,
}

impl Part {
    /// Everything.
    pub const WHOLE: Part = Part { number: 1, of: 1 };

    /// What one of this part's `workers` is, were the whole plan played by workers of this kind: its number, and how many there were.
    pub(crate) fn among_all(self, worker: u32, workers: u32) -> (u32, u32) {
        (self.number - 1 + self.of * worker, self.of * workers)
    }
}

impl Default for Part {
    fn default() -> Part {
        Part::WHOLE
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Part, String> {
        let numbers =
            text.split_once('/').and_then(|(number, of)| Some((number.parse().ok()?, of.parse().ok()?)));
        match numbers {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Part { number, of }),
            _ => Err(format!("`{text}` is no part: NUMBER/OF, as 1/4, 2/4, 3/4, 4/4")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_written_as_it_is_read() {
        assert_eq!("3/4".parse(), Ok(Part { number: 3, of: 4 }));
        assert_eq!(Part { number: 3, of: 4 }.to_string(), "3/4");
        for text in ["0/4", "5/4", "4", "a/b", "1/0", "", "1/4/2", "-1/4"] {
            assert!(text.parse::<Part>().is_err(), "{text}");
        }
    }
}
