//! Which writes a read must show.

use std::{collections::BTreeMap, fmt, fmt::Write, str::FromStr};

use super::{Invalid, PartitionId, Version};

/// The last write of each partition that a read must show, whoever answers it: given out with every answer to a write,
/// handed from app to app, and given back with a read. For apps it is text without meaning: `41:3-17,88:1-4`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Token(BTreeMap<PartitionId, Version>);

/// Longest text of a token, in bytes: it travels in a header.
const MAX_BYTES: usize = 12 << 10;

impl Token {
    /// A read must show this write too.
    pub fn raise(&mut self, partition: PartitionId, version: Version) {
        let floor = self.0.entry(partition).or_default();
        *floor = version.max(*floor);
    }

    /// What a read of this partition must show at least.
    pub fn floor(&self, partition: PartitionId) -> Version {
        self.0.get(&partition).copied().unwrap_or_default()
    }

    /// All floors, by partition.
    pub fn floors(&self) -> impl Iterator<Item = (PartitionId, Version)> {
        self.0.iter().map(|(partition, version)| (*partition, *version))
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (PartitionId(partition), version)) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_char(',')?;
            }
            write!(f, "{partition}:{version}")?;
        }
        Ok(())
    }
}

impl FromStr for Token {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text.len() > MAX_BYTES {
            let message = format!("a token has at most {MAX_BYTES} bytes, this one has {}", text.len());
            return Err(Invalid::new("invalid_token", "token", message));
        }
        let mut token = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (partition, version) = floor(part).ok_or_else(|| {
                let message =
                    format!("`{part}` is not a part of a token: give it as it was in the answer to a write");
                Invalid::new("invalid_token", "token", message)
            })?;
            token.raise(partition, version);
        }
        Ok(token)
    }
}

fn floor(part: &str) -> Option<(PartitionId, Version)> {
    let (partition, version) = part.split_once(':')?;
    let (epoch, sequence) = version.split_once('-')?;
    let version = Version { epoch: epoch.parse().ok()?, sequence: sequence.parse().ok()? };
    Some((PartitionId(partition.parse().ok()?), version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let version = |epoch, sequence| Version { epoch, sequence };
        let mut token = Token::default();
        assert_eq!((token.to_string(), "".parse()), (String::new(), Ok(Token::default())));
        token.raise(PartitionId(88), version(1, 4));
        token.raise(PartitionId(41), version(3, 17));
        token.raise(PartitionId(41), version(2, 99));
        assert_eq!(token.to_string(), "41:3-17,88:1-4");
        assert_eq!(" 88:1-4 , 41:3-17,".parse(), Ok(token.clone()));
        assert_eq!(
            (token.floor(PartitionId(41)), token.floor(PartitionId(0))),
            (version(3, 17), version(0, 0))
        );
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in ["41", "41:3", "41:3-x", "70000:1-1", "41:-1-2", "41:1-2-3", "a:1-2"] {
            assert_eq!(text.parse::<Token>().unwrap_err().code, "invalid_token", "{text}");
        }
        assert!("1:1-1,".repeat(3_000).parse::<Token>().is_err());
    }
}
