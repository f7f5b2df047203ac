//! Files from the volume that boot itself was started from.

use alloc::format;
use boot::Failure;
use boot::source::{FileSource, SourceError};
use uefi::boot::ScopedProtocol;
use uefi::proto::media::file::{Directory, File, FileAttribute, FileInfo, FileMode, FileType, RegularFile};
use uefi::proto::media::fs::SimpleFileSystem;
use uefi::{CString16, Error, Status};

/// The most bytes that are asked of firmware at once; some drivers fail on more.
const CHUNK_BYTES: usize = 1024 * 1024;

/// The volume, by its root directory.
pub(crate) struct EspSource {
    // Declared first: to be closed before the file system.
    root: Directory,
    _file_system: ScopedProtocol<SimpleFileSystem>,
}

impl EspSource {
    /// The volume that holds the running program.
    ///
    /// # Errors
    /// [`Failure::NoVolume`] when it cannot be opened.
    pub(crate) fn of_this_image() -> Result<Self, Failure> {
        let failed = |error: Error| Failure::NoVolume(format!("{}", error.status()));
        let mut file_system =
            uefi::boot::get_image_file_system(uefi::boot::image_handle()).map_err(failed)?;
        let root = file_system.open_volume().map_err(failed)?;
        Ok(Self { root, _file_system: file_system })
    }

    fn open(&mut self, place: &str) -> Result<RegularFile, SourceError> {
        // A path that UCS-2 cannot write names no file.
        let name = CString16::try_from(place).map_err(|_| SourceError::NotFound)?;
        let file = self.root.open(&name, FileMode::Read, FileAttribute::empty()).map_err(source_error)?;
        match file.into_type().map_err(source_error)? {
            FileType::Regular(file) => Ok(file),
            FileType::Dir(_) => Err(SourceError::IsDirectory),
        }
    }
}

impl FileSource for EspSource {
    fn len_bytes(&mut self, place: &str) -> Result<u64, SourceError> {
        let info = self.open(place)?.get_boxed_info::<FileInfo>().map_err(source_error)?;
        Ok(info.file_size())
    }

    fn read(&mut self, place: &str, buffer: &mut [u8]) -> Result<(), SourceError> {
        let mut file = self.open(place)?;
        for chunk in buffer.chunks_mut(CHUNK_BYTES) {
            let read = file.read(chunk).map_err(source_error)?;
            if read != chunk.len() {
                return Err(SourceError::Short);
            }
        }
        Ok(())
    }
}

fn source_error<D: core::fmt::Debug>(error: Error<D>) -> SourceError {
    match error.status() {
        Status::NOT_FOUND => SourceError::NotFound,
        status => SourceError::Device(format!("{status}")),
    }
}
