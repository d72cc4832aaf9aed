//! A running hash in text is hexadecimal, as people compare it. Many readers of JSON would round so large a
//! number.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use synod_model::PrefixHash;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
pub(super) fn serialize<S: Serializer>(
    hash: &PrefixHash,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        serializer.collect_str(hash)
    } else {
        hash.serialize(serializer)
    }
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<PrefixHash, D::Error> {
    if !deserializer.is_human_readable() {
        return PrefixHash::deserialize(deserializer);
    }
    let text = String::deserialize(deserializer)?;
    u64::from_str_radix(&text, 16).map(PrefixHash).map_err(D::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec;

    #[derive(Serialize, Deserialize)]
    struct Holds(#[serde(with = "super")] PrefixHash);

    #[test]
    fn a_hash_is_a_number_between_programs() {
        for hash in [0, 7, u64::MAX] {
            let mut bytes = Vec::new();
            codec::encode(&Holds(PrefixHash(hash)), &mut bytes, 9).expect("it has 9 bytes at most");
            let (Holds(decoded), length) = codec::decode(&bytes).expect("a hash");
            assert_eq!((decoded, length), (PrefixHash(hash), bytes.len()));
        }
    }
}
