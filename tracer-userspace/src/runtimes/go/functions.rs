//! The table of functions that Go's linker writes for stack traces. The runtime needs it, so that
//! stripping leaves it, names included.
//!
//! Its layout is that of `pcHeader` and `functab` (runtime/symtab.go) and `_func`
//! (runtime/runtime2.go), the same from Go 1.18 to 1.27 for what is read here.

use std::{fs::File, os::unix::fs::FileExt};

use crate::runtimes::elf::{Elf, Range};

/// `abi.Go118PCLnTabMagic` and `abi.Go120PCLnTabMagic`, the latter of all since.
const MAGICS: [u64; 2] = [0xffff_fff0, 0xffff_fff1];
/// Bytes of `pcHeader` with pointers of 64 bits.
const HEADER: usize = 72;
/// Bytes of a `functab`.
const ENTRY: usize = 8;
/// Largest table that is searched, in bytes; that of Kubernetes' API server has 40 MB.
const LARGEST: u64 = 128 << 20;
/// Shortest name on average, in bytes: what has more names than that allows is no table of Go's, and would
/// take long.
const SHORTEST: u64 = 8;
/// Beyond this no file has anything, so that sums of offsets do not overflow.
const FARTHEST: u64 = 1 << 62;
/// Size of the pieces in which it is read, in bytes.
const PIECE: usize = 128 << 10;

/// Where a function's code is, from the beginning of the runtime's text on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first byte.
    pub begin: u64,
    /// That of the next function.
    pub end: u64,
}

/// The table of one program.
#[derive(Debug)]
pub struct Functions<'a> {
    elf: &'a Elf,
    file: &'a File,
    table: Range,
    count: u64,
    names: Range,
    /// From here on the entries and what they point to.
    entries: u64,
    /// Where the text begins, up to Go 1.25; 0 since, and in some programs that are moved.
    pub text: u64,
}

impl<'a> Functions<'a> {
    /// Reads the header; `None` where there is none that is known.
    pub fn open(elf: &'a Elf, file: &'a File) -> Option<Self> {
        let table = elf.go_functions.filter(|_| elf.wide)?;
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, table.offset).ok()?;
        let number = |at: usize, width: usize| elf.number(&header[at..at + width]);
        let is_known = MAGICS.contains(&number(0, 4)) && header[7] == 8;
        let (names, after_names, entries) = (number(32, 8), number(40, 8), number(64, 8));
        let ordered = names <= after_names && after_names <= entries && entries <= table.size;
        let count = number(8, 8);
        // One entry more than there are functions: it has the end of the last.
        let room = (table.size.saturating_sub(entries)) / ENTRY as u64;
        let fits = table.size <= LARGEST && table.offset <= FARTHEST && count < room;
        (is_known && ordered && fits).then(|| Self {
            elf,
            file,
            table,
            count,
            names: Range {
                offset: table.offset + names,
                size: after_names - names,
            },
            entries: table.offset + entries,
            text: number(24, 8),
        })
    }

    /// Finds functions by their whole names; those that are not there have none.
    pub fn find<const N: usize>(&self, wanted: [&str; N]) -> std::io::Result<[Option<Span>; N]> {
        let names = self.names_of(wanted)?;
        let mut found: [Option<Span>; N] = [None; N];
        let mut entries = Pieces::new(self.file, self.table);
        let mut functions = Pieces::new(self.file, self.table);
        let mut left = names.iter().filter(|name| name.is_some()).count();
        let mut last = 0;
        for index in 0..self.count {
            if left == 0 {
                break;
            }
            let entry = entries.read::<12>(self.entries + index * ENTRY as u64)?;
            let [begin, function, end] = [0, 4, 8].map(|at| self.elf.number(&entry[at..at + 4]));
            // They are in this order; in another one reading them would take for ever.
            if function < last {
                break;
            }
            last = function;
            let name = functions.read::<4>(self.entries + function + 4)?;
            let name = self.elf.number(&name);
            let Some(at) = names.iter().position(|wanted| *wanted == Some(name)) else {
                continue;
            };
            left -= 1;
            found[at] = (begin < end).then_some(Span { begin, end });
        }
        Ok(found)
    }

    /// Where in the table of names these are.
    fn names_of<const N: usize>(&self, wanted: [&str; N]) -> std::io::Result<[Option<u64>; N]> {
        let mut found = [None; N];
        let longest = wanted.iter().map(|name| name.len() + 1).max().unwrap_or(0);
        // The name that ends in the next piece, no more of it than tells it apart, and its whole length.
        let (mut name, mut length) = (Vec::new(), 0);
        let mut begin = 0;
        let mut buffer = vec![0; PIECE];
        let mut done = 0;
        let mut names = 0;
        while done < self.names.size {
            let size = (self.names.size - done).min(PIECE as u64) as usize;
            let piece = &mut buffer[..size];
            self.file.read_exact_at(piece, self.names.offset + done)?;
            done += size as u64;
            if names > done / SHORTEST {
                return Err(std::io::ErrorKind::InvalidData.into());
            }
            for text in piece.split_inclusive(|byte| *byte == 0) {
                let room = (longest + 1).saturating_sub(name.len()).min(text.len());
                name.extend_from_slice(&text[..room]);
                length += text.len() as u64;
                if text.last() != Some(&0) {
                    continue;
                }
                let is = |wanted: &&str| name.strip_suffix(&[0]) == Some(wanted.as_bytes());
                if let Some(at) = wanted.iter().position(is) {
                    found[at] = Some(begin);
                }
                begin += length;
                length = 0;
                name.clear();
                names += 1;
            }
        }
        Ok(found)
    }
}

/// Reads here and there in a part of a file, mostly forwards.
struct Pieces<'a> {
    file: &'a File,
    range: Range,
    /// What is held, and where it begins in the file.
    held: Vec<u8>,
    at: u64,
}

impl<'a> Pieces<'a> {
    const fn new(file: &'a File, range: Range) -> Self {
        Self {
            file,
            range,
            held: Vec::new(),
            at: 0,
        }
    }

    fn read<const N: usize>(&mut self, offset: u64) -> std::io::Result<[u8; N]> {
        let held = |pieces: &Self| {
            let begin = usize::try_from(offset.checked_sub(pieces.at)?).ok()?;
            pieces.held.get(begin..)?.first_chunk::<N>().copied()
        };
        if let Some(bytes) = held(self) {
            return Ok(bytes);
        }
        let end = self.range.offset + self.range.size;
        let left = end
            .checked_sub(offset)
            .filter(|_| offset >= self.range.offset);
        let size = left.unwrap_or(0).min(PIECE as u64) as usize;
        self.held.resize(size, 0);
        self.at = offset;
        self.file.read_exact_at(&mut self.held, offset)?;
        held(self).ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    const BEFORE: u64 = 10;

    /// A file with a table of functions: each with where it begins and its name. They end at 0x900.
    /// `change` is for the header.
    fn file(functions: &[(u32, &str)], change: impl FnOnce(&mut [u8])) -> (Elf, File) {
        let count = functions.len() as u64;
        let names: Vec<u8> = functions
            .iter()
            .flat_map(|(_, name)| [name.as_bytes(), b"\0"].concat())
            .collect();
        let entries = (HEADER + names.len()).next_multiple_of(8) as u64;
        let mut table = vec![0; HEADER];
        table[..8].copy_from_slice(&[0xf1, 0xff, 0xff, 0xff, 0, 0, 1, 8]);
        table[8..16].copy_from_slice(&count.to_le_bytes());
        table[32..40].copy_from_slice(&(HEADER as u64).to_le_bytes());
        table[40..48].copy_from_slice(&(HEADER as u64 + names.len() as u64).to_le_bytes());
        table[64..72].copy_from_slice(&entries.to_le_bytes());
        change(&mut table);
        table.extend(names);
        table.resize(entries as usize, 0);
        // The entries, the end of the last, and what they point to, of 8 bytes each.
        let mut name = 0;
        let mut about = Vec::new();
        for (index, (begin, text)) in functions.iter().enumerate() {
            let at = (count + 1) * ENTRY as u64 + index as u64 * 8;
            table.extend(begin.to_le_bytes());
            table.extend((at as u32).to_le_bytes());
            about.extend(begin.to_le_bytes());
            about.extend((name as u32).to_le_bytes());
            name += text.len() + 1;
        }
        table.extend(0x900_u64.to_le_bytes());
        table.extend(about);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[7; BEFORE as usize]).unwrap();
        file.write_all(&table).unwrap();
        let size = table.len() as u64;
        let offset = BEFORE;
        (Elf::sample(Range { offset, size }), file)
    }

    #[test]
    fn functions_are_found_by_their_whole_names() {
        let long = "x".repeat(PIECE + 3);
        let functions = [
            (0x100, "other.runtime.x"),
            (0x200, &*long),
            (0x300, "runtime.x"),
            (0x480, "runtime.x.func1"),
            (0x500, "runtime.last"),
        ];
        let (elf, file) = file(&functions, |_| {});
        let table = Functions::open(&elf, &file).unwrap();
        let found = table.find(["runtime.x", "runtime.none", "runtime.last"]);
        let span = |begin, end| Some(Span { begin, end });
        assert_eq!(
            found.unwrap(),
            [span(0x300, 0x480), None, span(0x500, 0x900)]
        );
    }

    #[test]
    fn forged_tables_are_refused_or_end_early() {
        let functions = [(0x100, "a"), (0x200, "b")];
        for change in [
            // Another magic number, pointers of 4 bytes, more functions than there is room for.
            &(|header: &mut [u8]| header[0] = 0xf2) as &dyn Fn(&mut [u8]),
            &|header| header[7] = 4,
            &|header| header[8..16].fill(0xff),
            &|header| header[8] = 9,
            // Names before the beginning, behind the end, in the wrong order.
            &|header| header[40..48].fill(0xff),
            &|header| header[32..40].fill(0xff),
            &|header| header[64..72].fill(0),
        ] {
            let (elf, file) = file(&functions, change);
            assert!(Functions::open(&elf, &file).is_none());
        }
        // What they point to is out of order, or not in the table.
        for forged in [[0_u8, 0, 0, 0], [0xff, 0xff, 0xff, 0xff]] {
            let (elf, file) = file(&functions, |_| {});
            let entries = Functions::open(&elf, &file).unwrap().entries;
            file.write_all_at(&forged, entries + 12).unwrap();
            let found = Functions::open(&elf, &file).unwrap().find(["b"]);
            assert!(!matches!(found, Ok([Some(_)])), "{found:?}");
        }
    }
}
