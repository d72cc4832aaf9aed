//! A snapshot file that lies anywhere, outside of a data directory.

use std::path::{Path, PathBuf};

use synod_model::SnapshotHandle;
use synod_wire::ClusterId;
use synod_wire::identity::RestoredFrom;

use super::check::{FlawFound, SnapshotCheck, SnapshotFlaws, SoundSnapshot};
use super::error::SnapshotError;
use super::format::{Header, SnapshotFile};
use super::reader::{Chunks, SnapshotReader, unreadable};
use crate::disk::{Access, Disk, DiskFile, RealDisk};

/// How much is read at once. 1 MiB: enough for any disk to be fast.
const PIECE_BYTES: usize = 1 << 20;

/// A saved snapshot, opened to be read. Its header, its handle and its end mark are sound.
#[derive(Debug)]
pub struct SavedSnapshot {
    path: PathBuf,
    header: Header,
    handle: SnapshotHandle,
    reader: SnapshotReader,
}

impl SavedSnapshot {
    /// Opens the file at `path`.
    ///
    /// # Errors
    ///
    /// If its beginning or its end is damaged, or the disk refuses.
    pub fn open(path: &Path) -> Result<Self, SnapshotError> {
        Self::of(path.to_owned(), open_file(path)?)
    }

    /// The snapshot in this file, whose name is for people.
    pub(in crate::storage) fn of(
        path: PathBuf,
        file: Box<dyn DiskFile>,
    ) -> Result<Self, SnapshotError> {
        Self::read(path, file).map_err(of_saved)
    }

    fn read(path: PathBuf, file: Box<dyn DiskFile>) -> Result<Self, SnapshotError> {
        let (header, mut chunks) = Chunks::of_any(path.clone(), file)?;
        let file = chunks.end()?.file(header.slot);
        let handle = chunks.handle()?;
        Ok(Self { path, header, handle, reader: SnapshotReader::new(chunks, file) })
    }

    /// Its last slot, its length and its checksum.
    #[must_use]
    pub fn file(&self) -> SnapshotFile {
        self.reader.file()
    }

    /// The id of the cluster whose snapshot it is.
    #[must_use]
    pub fn cluster_id(&self) -> ClusterId {
        self.header.cluster_id
    }

    /// The name of this cluster.
    #[must_use]
    pub fn cluster_name(&self) -> &str {
        &self.header.cluster_name
    }

    /// The core's part of it.
    #[must_use]
    pub fn handle(&self) -> &SnapshotHandle {
        &self.handle
    }

    /// A reader of the application's bytes.
    #[must_use]
    pub fn into_application(self) -> SnapshotReader {
        self.reader
    }

    pub(in crate::storage) fn path(&self) -> &Path {
        &self.path
    }

    pub(in crate::storage) fn restored_from(&self) -> RestoredFrom {
        let SnapshotFile { slot, length_bytes, checksum } = self.file();
        RestoredFrom { cluster_id: self.header.cluster_id, slot, length_bytes, checksum }
    }

    /// The core's part, and a reader of the application's.
    pub(in crate::storage) fn into_parts(self) -> (SnapshotHandle, SnapshotReader) {
        (self.handle, self.reader)
    }
}

/// Reads the whole file at `path`, and says everything that is wrong with it. `progress` is told how many bytes are
/// read, of how many.
///
/// # Errors
///
/// If the disk refuses. Inside is what is wrong with the file.
pub fn verify_snapshot(
    path: &Path,
    progress: impl FnMut(u64, u64),
) -> Result<Result<SoundSnapshot, SnapshotFlaws>, SnapshotError> {
    verify(path, open_file(path)?, progress)
}

pub(in crate::storage) fn verify(
    path: &Path,
    file: Box<dyn DiskFile>,
    mut progress: impl FnMut(u64, u64),
) -> Result<Result<SoundSnapshot, SnapshotFlaws>, SnapshotError> {
    let length_bytes = file.length_bytes().map_err(unreadable(path, "read"))?;
    let mut check = SnapshotCheck::default();
    let mut buffer = vec![0; PIECE_BYTES];
    let mut offset = 0;
    while offset < length_bytes {
        let left = usize::try_from(length_bytes - offset).unwrap_or(usize::MAX);
        let piece = &mut buffer[..left.min(PIECE_BYTES)];
        file.read_at(piece, offset).map_err(unreadable(path, "read"))?;
        check.add(piece);
        offset += piece.len() as u64;
        progress(offset, length_bytes);
    }
    let sound = match check.finish() {
        Ok(sound) => sound,
        Err(flaws) => return Ok(Err(flaws)),
    };
    // Every checksum is right. What the handle says may be wrong all the same.
    match SavedSnapshot::of(path.to_owned(), file) {
        Ok(_) => Ok(Ok(sound)),
        Err(SnapshotError::Saved { offset, flaw, .. }) => {
            Ok(Err(SnapshotFlaws { found: vec![FlawFound { offset, flaw }], more: 0 }))
        }
        Err(error) => Err(error),
    }
}

/// Damage in a file that lies outside of a data directory calls for other advice.
pub(in crate::storage) fn of_saved(error: SnapshotError) -> SnapshotError {
    match error {
        SnapshotError::Damaged { path, offset, flaw } => {
            SnapshotError::Saved { path, offset, flaw }
        }
        error => error,
    }
}

fn open_file(path: &Path) -> Result<Box<dyn DiskFile>, SnapshotError> {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
    let name = name.filter(|name| path.with_file_name(name) == path);
    let (Some(name), Some(folder)) = (name, path.parent()) else {
        let error = std::io::Error::new(std::io::ErrorKind::InvalidInput, "it names no file");
        return Err(unreadable(path, "open")(error));
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let disk = RealDisk::new(folder);
    let opened = disk.check_is_file(&name).and_then(|()| disk.open(&name, Access::Read));
    opened.map_err(unreadable(path, "open"))
}
