//! Archives for the kernel to unpack as its first file system: cpio in the "newc" form
//! (Documentation/driver-api/early-userspace/buffer-format.rst of the kernel).

use std::{
    fmt::Write as _,
    io::{self, Write},
};

/// File type and rights, as in stat(2).
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// Names and contents are padded to this.
const ALIGNMENT: usize = 4;

/// Writes an archive; several of them one after the other are one file system.
pub struct Archive<W> {
    out: W,
    inode: u32,
    /// Folders that were written.
    folders: Vec<String>,
}

impl<W: Write> Archive<W> {
    pub fn new(out: W) -> Self {
        Self {
            out,
            inode: 0,
            folders: Vec::new(),
        }
    }

    /// A folder and those above it, each written once; no slash in front.
    pub fn folder(&mut self, path: &str) -> io::Result<()> {
        let ends = path.match_indices('/').map(|(at, _)| at);
        for end in ends.chain([path.len()]) {
            let folder = &path[..end];
            if !folder.is_empty() && !self.folders.iter().any(|known| known == folder) {
                self.folders.push(folder.to_owned());
                self.entry(folder, FOLDER, &[], (0, 0))?;
            }
        }
        Ok(())
    }

    /// A file that can be run.
    pub fn program(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.above(path)?;
        self.entry(path, PROGRAM, content, (0, 0))
    }

    /// A file that cannot be run.
    pub fn file(&mut self, path: &str, content: &[u8]) -> io::Result<()> {
        self.above(path)?;
        self.entry(path, FILE, content, (0, 0))
    }

    /// A character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) -> io::Result<()> {
        self.above(path)?;
        self.entry(path, CHARACTER_DEVICE, &[], (major, minor))
    }

    /// Ends the archive.
    pub fn finish(mut self) -> io::Result<W> {
        self.entry("TRAILER!!!", 0, &[], (0, 0))?;
        Ok(self.out)
    }

    fn above(&mut self, path: &str) -> io::Result<()> {
        match path.rsplit_once('/') {
            Some((folder, _)) => self.folder(folder),
            None => Ok(()),
        }
    }

    fn entry(
        &mut self,
        path: &str,
        mode: u32,
        content: &[u8],
        (major, minor): (u32, u32),
    ) -> io::Result<()> {
        let too_long = || io::Error::other(format!("{path} is too long for an archive"));
        let size = u32::try_from(content.len()).map_err(|_| too_long())?;
        let name_size = u32::try_from(path.len() + 1).map_err(|_| too_long())?;
        self.inode += 1;
        // Inode, mode, uid, gid, links, mtime, size, device of the file, device it is, name, check.
        let fields = [
            self.inode, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name_size, 0,
        ];
        let mut header = String::from("070701");
        for field in fields {
            let _ = write!(header, "{field:08X}");
        }
        header.push_str(path);
        header.push('\0');
        self.padded(header.as_bytes())?;
        self.padded(content)
    }

    fn padded(&mut self, bytes: &[u8]) -> io::Result<()> {
        let padding = bytes.len().next_multiple_of(ALIGNMENT) - bytes.len();
        self.out.write_all(bytes)?;
        self.out.write_all(&[0; ALIGNMENT][..padding])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_folders_come_first() {
        let mut archive = Archive::new(Vec::new());
        archive.program("usr/bin/a", b"12345").unwrap();
        archive.device("dev/console", 5, 1).unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % ALIGNMENT, 0);
        let mut rest = &bytes[..];
        let mut found = Vec::new();
        while !rest.is_empty() {
            let number = |at: usize| {
                let text = std::str::from_utf8(&rest[6 + 8 * at..14 + 8 * at]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            assert_eq!(&rest[..6], b"070701");
            let (mode, size, name_size) = (number(1), number(6), number(11));
            let name = std::str::from_utf8(&rest[110..110 + name_size - 1]).unwrap();
            let start = (110 + name_size).next_multiple_of(4);
            found.push((name.to_owned(), mode, rest[start..start + size].to_owned()));
            rest = &rest[(start + size).next_multiple_of(4)..];
        }
        let names: Vec<&str> = found.iter().map(|(name, ..)| &name[..]).collect();
        let expected = [
            "usr",
            "usr/bin",
            "usr/bin/a",
            "dev",
            "dev/console",
            "TRAILER!!!",
        ];
        assert_eq!(names, expected);
        assert_eq!(found[0].1, 0o040_755);
        assert_eq!(
            found[2],
            ("usr/bin/a".to_owned(), 0o100_755, b"12345".to_vec())
        );
    }
}
