//! The values of bounds. Each has one text, which is the same on the command line and in a file, and
//! says what is allowed when it is something else.

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use synod_model::world::{MessageKind, Replicas, Witness, small_limits};

use super::submission::Submission;

/// The highest sequence number that bounds may name. More is far beyond what can be searched.
const NUMBER_MAX: u64 = 1000;

/// A number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count<const MIN: u64, const MAX: u64>(pub u64);

/// Any number.
pub type Number = Count<0, { u64::MAX >> 1 }>;

impl<const MIN: u64, const MAX: u64> FromStr for Count<MIN, MAX> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // 284_413 and 284,413 are how a program and a report write a number.
        let number = text.replace(['_', ','], "").parse();
        let number: u64 =
            number.map_err(|_| format!("{text:?} is no number: {}", Self::allowed()))?;
        if (MIN..=MAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(format!("{number} is not allowed: {}", Self::allowed()))
        }
    }
}

impl<const MIN: u64, const MAX: u64> Count<MIN, MAX> {
    fn allowed() -> String {
        if MAX < u64::MAX >> 1 {
            format!("{MIN} to {MAX} are allowed")
        } else {
            "a number is allowed".to_owned()
        }
    }
}

impl<const MIN: u64, const MAX: u64> Display for Count<MIN, MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<const MIN: u64, const MAX: u64> Serialize for Count<MIN, MAX> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u64(self.0)
    }
}

/// Sequence numbers, in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Numbers(pub Vec<u64>);

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut numbers = Vec::new();
        if text == "none" {
            return Ok(Self(numbers));
        }
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        for part in parts {
            let (first, last) = part.split_once("..").unwrap_or((part, part));
            let number = |text: &str| match text.trim().trim_start_matches('=').parse() {
                Ok(number @ 1..=NUMBER_MAX) => Ok(number),
                _ => Err(format!(
                    "{text:?} is no sequence number: allowed are 1 to {NUMBER_MAX}, such as 1,3 or 1..5"
                )),
            };
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("{part:?} is empty: {first} is above {last}"));
            }
            numbers.extend(first..=last);
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok(Self(numbers))
    }
}

impl Serialize for Numbers {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_seq(&self.0)
    }
}

/// A set of replicas: `all`, `none`, or their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaSet(pub Replicas);

impl ReplicaSet {
    /// The ids in the set, unless it is `all`.
    pub fn ids(self) -> Vec<u16> {
        (0..5).filter(|id| self.0 != Replicas::ALL && self.0.contains(usize::from(*id))).collect()
    }
}

impl FromStr for ReplicaSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let ids = match text.trim() {
            "all" => return Ok(Self(Replicas::ALL)),
            "none" | "" => return Ok(Self(Replicas::NONE)),
            ids => ids.split(',').map(|id| id.trim().trim_start_matches('r').parse()),
        };
        let ids: Option<Vec<u16>> = ids.map(|id| id.ok().filter(|id| *id < 5)).collect();
        let ids = ids.ok_or_else(|| {
            format!("{text:?} names no replicas: allowed are all, none, or ids from 0, such as 0,2")
        })?;
        Ok(Self(Replicas::of(&ids)))
    }
}

impl Display for ReplicaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Replicas::ALL => f.write_str("all"),
            Replicas::NONE => f.write_str("none"),
            _ => {
                let ids: Vec<_> = self.ids().iter().map(u16::to_string).collect();
                f.write_str(&ids.join(","))
            }
        }
    }
}

impl Serialize for ReplicaSet {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Replicas::ALL | Replicas::NONE => out.collect_str(self),
            _ => out.collect_seq(self.ids()),
        }
    }
}

/// The replicas that one replica hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hears {
    /// The replica that hears.
    pub replica: u16,
    /// The replicas that it hears.
    pub hears: ReplicaSet,
}

impl FromStr for Hears {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('=');
        let replica =
            parts.and_then(|(replica, _)| replica.trim().trim_start_matches('r').parse().ok());
        match (replica, parts) {
            (Some(replica @ 0..5), Some((_, hears))) => Ok(Self { replica, hears: hears.parse()? }),
            _ => Err(format!("{text:?} is not REPLICA=REPLICAS, such as 1=0,2")),
        }
    }
}

impl Display for Hears {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.replica, self.hears)
    }
}

/// A kind of message, or `none`: so that a list of kinds can be empty on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageName(pub Option<MessageKind>);

impl FromStr for MessageName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = MessageKind::NAMED.iter().find(|(_, name)| *name == text);
        match named {
            Some((kind, _)) => Ok(Self(Some(*kind))),
            None if text == "none" => Ok(Self(None)),
            None => {
                let all = MessageKind::NAMED.map(|(_, name)| name).join(", ");
                Err(format!("{text:?} is no kind of message: allowed are {all}, or none"))
            }
        }
    }
}

impl Display for MessageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = MessageKind::NAMED.iter().find(|(kind, _)| Some(*kind) == self.0);
        f.write_str(named.map_or("none", |(_, name)| name))
    }
}

/// One limit of the replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitName {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
}

impl FromStr for LimitName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let limits = small_limits();
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| format!("{text:?} is not LIMIT=N, such as open_slots_max=1"))?;
        let known = limits.named().into_iter().find(|(known, _)| *known == name.trim());
        let Some((name, _)) = known else {
            let names: Vec<_> = limits.named().iter().map(|(name, _)| *name).collect();
            return Err(format!("{:?} is no limit: allowed are {}", name.trim(), names.join(", ")));
        };
        let Count::<1, { u64::MAX >> 1 }>(value) =
            value.trim().parse().map_err(|error: String| format!("{name}: {error}"))?;
        Ok(Self { name, value })
    }
}

impl Display for LimitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.value)
    }
}

/// A `sometimes` property, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WitnessName(pub Option<Witness>);

impl FromStr for WitnessName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let named = Witness::ALL.iter().find(|witness| witness.name() == text);
        named.map(|witness| Self(Some(*witness))).ok_or_else(|| {
            let all: Vec<_> = Witness::ALL.iter().map(|it| format!("{:?}", it.name())).collect();
            format!("{text:?} is no `sometimes` property: allowed are {}", all.join(", "))
        })
    }
}

impl Display for WitnessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.map_or("none", Witness::name))
    }
}

/// Reads a value from the text that stands for it. A file may also have a number, or a list of numbers,
/// in place of the text.
struct FromText<T>(PhantomData<T>);

impl<'de, T: FromStr<Err = String>> Visitor<'de> for FromText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, or a list of numbers")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<T, A::Error> {
        let mut numbers: Vec<String> = Vec::new();
        while let Some(number) = list.next_element::<i64>()? {
            numbers.push(number.to_string());
        }
        self.visit_str(&numbers.join(","))
    }
}

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Count<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(FromText(PhantomData))
    }
}

macro_rules! deserialize_from_text {
    ($($type:ty),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_any(FromText(PhantomData))
            }
        }
    )*};
}

macro_rules! serialize_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
                out.collect_str(self)
            }
        }
    )*};
}

deserialize_from_text!(Numbers, ReplicaSet, Hears, MessageName, LimitName, WitnessName, Submission);
serialize_as_text!(Hears, MessageName, LimitName, WitnessName, Submission);
