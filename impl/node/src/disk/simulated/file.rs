//! A file of the simulated disk: what is durable, what is cached, and every content between.

use std::collections::BTreeMap;
use std::io;

use fastrand::Rng;

/// A sector: a disk writes all of it or nothing.
const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug, Default)]
pub(super) struct File {
    durable: Vec<u8>,
    cached: Vec<u8>,
    /// For each sector that was written since the last sync, its content after each of the writes.
    dirty: BTreeMap<usize, Vec<[u8; SECTOR_BYTES]>>,
    /// Each length that the file has had since the last sync.
    lengths: Vec<usize>,
}

impl File {
    pub(super) fn cached(&self) -> &[u8] {
        &self.cached
    }

    pub(super) fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).ok();
        let range = from.and_then(|from| Some(from..from.checked_add(buffer.len())?));
        match range.and_then(|range| self.cached.get(range)) {
            Some(bytes) => {
                buffer.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    pub(super) fn write_at(&mut self, bytes: &[u8], offset: u64) {
        if bytes.is_empty() {
            return;
        }
        // An offset that does not fit in memory makes the resize below fail, with its own message.
        let from = usize::try_from(offset).unwrap_or(usize::MAX);
        let to = from.saturating_add(bytes.len());
        if to > self.cached.len() {
            self.cached.resize(to, 0);
            self.lengths.push(to);
        }
        self.cached[from..to].copy_from_slice(bytes);
        for sector in from / SECTOR_BYTES..to.div_ceil(SECTOR_BYTES) {
            let content = sector_of(&self.cached, sector);
            self.dirty.entry(sector).or_default().push(content);
        }
    }

    pub(super) fn sync(&mut self) {
        self.durable.resize(self.cached.len(), 0);
        for sector in std::mem::take(&mut self.dirty).into_keys() {
            put(&mut self.durable, sector, &sector_of(&self.cached, sector));
        }
        self.lengths.clear();
    }

    /// Each sector reached the disk or did not, and the cache marks all of them as clean.
    pub(super) fn fail_sync(&mut self, random: &mut Rng) {
        self.durable = self.after_power_loss(random);
        self.dirty.clear();
        self.lengths.clear();
    }

    pub(super) fn lose_power(&mut self, random: &mut Rng) {
        self.durable = self.after_power_loss(random);
        self.cached.clone_from(&self.durable);
        self.dirty.clear();
        self.lengths.clear();
    }

    /// Changes the durable content and the cached one.
    pub(super) fn replace(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.cached);
        self.durable.clone_from(&self.cached);
        self.dirty.clear();
        self.lengths.clear();
    }

    fn after_power_loss(&self, random: &mut Rng) -> Vec<u8> {
        let outcome = Outcome::draw(random);
        let mut content = self.durable.clone();
        let mut lengths = vec![content.len()];
        lengths.extend(&self.lengths);
        content.resize(lengths[outcome.draw_one_of(lengths.len(), random)], 0);
        for (sector, contents) in &self.dirty {
            if let Some(newer) = outcome.draw_one_of(contents.len() + 1, random).checked_sub(1) {
                put(&mut content, *sector, &contents[newer]);
            }
        }
        content
    }
}

fn sector_of(content: &[u8], sector: usize) -> [u8; SECTOR_BYTES] {
    let mut bytes = [0; SECTOR_BYTES];
    let from = (sector * SECTOR_BYTES).min(content.len());
    let to = (from + SECTOR_BYTES).min(content.len());
    bytes[..to - from].copy_from_slice(&content[from..to]);
    bytes
}

/// Bytes beyond the end of the file are lost.
fn put(content: &mut [u8], sector: usize, bytes: &[u8; SECTOR_BYTES]) {
    let from = (sector * SECTOR_BYTES).min(content.len());
    let to = (from + SECTOR_BYTES).min(content.len());
    content[from..to].copy_from_slice(&bytes[..to - from]);
}

/// How a power loss goes. If each sector were drawn by itself, a power loss would never lose
/// everything, and never keep everything.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Oldest,
    Newest,
    Any,
}

impl Outcome {
    pub(super) fn draw(random: &mut Rng) -> Self {
        [Self::Oldest, Self::Newest, Self::Any, Self::Any][random.usize(..4)]
    }

    /// One of `count` states, which are ordered from old to new.
    pub(super) fn draw_one_of(self, count: usize, random: &mut Rng) -> usize {
        match self {
            Self::Oldest => 0,
            Self::Newest => count - 1,
            Self::Any => random.usize(..count),
        }
    }
}
