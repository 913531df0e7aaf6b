//! A report's file: checked before a run, written whole at its end.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use tempfile::NamedTempFile;
use thiserror::Error;

use crate::sinks::text::Visible;

/// Why a report's file cannot be written.
#[derive(Debug, Error)]
#[error("cannot write {}: {source}", Visible(&path.to_string_lossy()))]
pub struct FileError {
    path: PathBuf,
    source: io::Error,
}

/// A file that will hold a report.
#[derive(Debug)]
pub struct ReportFile {
    path: PathBuf,
    target: Target,
}

#[derive(Debug)]
enum Target {
    /// A new file beside the old one, which it replaces when it is complete: whoever looks sees
    /// the old report or the new one, never half of one.
    Replaced(NamedTempFile),
    /// A pipe, a terminal or a device.
    Direct(File),
}

impl ReportFile {
    /// Makes sure that the file can be written, without touching what it holds.
    pub fn prepare(path: &Path) -> Result<Self, FileError> {
        Self::open(path)
            .map(|(path, target)| Self { path, target })
            .map_err(|source| FileError {
                path: path.to_owned(),
                source,
            })
    }

    fn open(path: &Path) -> io::Result<(PathBuf, Target)> {
        // The file behind a symbolic link is replaced, not the link.
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let old = fs::metadata(&real);
        match &old {
            Ok(metadata) if !metadata.is_file() => {
                let file = OpenOptions::new().write(true).open(&real)?;
                return Ok((real, Target::Direct(file)));
            }
            // Replacing would get around a file that must not be written.
            Ok(_) => drop(OpenOptions::new().write(true).open(&real)?),
            // Nothing is there yet; if the folder cannot be used, that fails below.
            Err(_) => {}
        }
        let folder = match real.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let file = tempfile::Builder::new()
            .prefix(".limitscope-")
            .permissions(new_file())
            .tempfile_in(folder)
            .map_err(|error| reason(folder, &error))?;
        if let Ok(old) = old {
            file.as_file().set_permissions(old.permissions())?;
        }
        Ok((real, Target::Replaced(file)))
    }

    /// The file that will be replaced; `None` where it is written in place.
    pub fn replaced(&self) -> Option<&Path> {
        matches!(self.target, Target::Replaced(_)).then_some(&*self.path)
    }

    /// Writes the whole report.
    pub fn write(self, content: &[u8]) -> Result<(), FileError> {
        let Self { path, target } = self;
        let result = match target {
            Target::Direct(mut file) => file.write_all(content),
            Target::Replaced(mut file) => file
                .write_all(content)
                .and_then(|()| file.as_file().sync_all())
                .and_then(|()| match file.persist(&path) {
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.error),
                }),
        };
        result.map_err(|source| FileError { path, source })
    }
}

/// Why no file could be made in `folder`, without the name of the temporary one, which nobody has
/// heard of and which tempfile puts into its errors.
fn reason(folder: &Path, error: &io::Error) -> io::Error {
    let access = Access::WRITE_OK | Access::EXEC_OK;
    match accessat(CWD, folder, access, AtFlags::EACCESS) {
        Err(errno) => errno.into(),
        Ok(()) => error.kind().into(),
    }
}

/// What every new file gets; the umask takes from it.
fn new_file() -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt as _;
    fs::Permissions::from_mode(0o666)
}
