//! What is needed of a program's file: a section, a symbol's address, bytes at an address.
//!
//! Headers are parsed by the crate `object`. Symbol tables of large programs have tens of megabytes;
//! they are searched in pieces and never held as a whole.

use std::{fs::File, os::unix::fs::FileExt};

use object::{
    Endianness, ReadCache, elf,
    read::elf::{FileHeader, ProgramHeader, SectionHeader},
};

/// Size of the pieces in which tables are searched, in bytes.
const PIECE: usize = 128 << 10;
/// Largest table that is searched, in bytes. The names of Docker's client, which is Go's, have 3.4 MB,
/// and those of Node.js, which is among the largest programs, 7.5 MB, with 2.6 MB of symbols; a
/// larger table than this would keep the caller waiting for longer than a symbol is worth.
const LARGEST_TABLE: u64 = 64 << 20;
/// Most places at which a name is looked for. A linker writes each name once, or lets it be the end
/// of longer ones, of which there are a few.
const MOST_OCCURRENCES: usize = 64;
/// `AT_ENTRY` in include/uapi/linux/auxvec.h.
const AT_ENTRY: u64 = 9;
/// Most sections that are looked at. The count may be a number of 64 bits: where the header has 0, it
/// is the size of the first section (elf(5)).
const MOST_SECTIONS: usize = 4096;
/// Most program headers; linkers make some ten.
const MOST_SEGMENTS: usize = 1024;

/// Why a file's symbols or sections could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ElfError {
    /// Not an ELF file, or one that is damaged.
    #[error("not a readable ELF file: {0}")]
    Parse(#[from] object::read::Error),
    /// Reading failed.
    #[error("reading the program's file failed: {0}")]
    Io(#[from] std::io::Error),
    /// A table is larger than any that a compiler makes.
    #[error("a table of {0} bytes is not searched")]
    TooLarge(u64),
    /// More program headers than any linker makes.
    #[error("it has {0} program headers, which is more than are read")]
    TooManySegments(usize),
    /// A name is there more often than any linker writes it.
    #[error("the name {0} is in its table of names too often")]
    Repeated(String),
}

/// A place in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First byte.
    pub offset: u64,
    /// Length in bytes.
    pub size: u64,
}

/// A segment that is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Address that it was linked for.
    pub address: u64,
    /// Its bytes in the file.
    pub file: Range,
    /// How many bytes it has in memory; those that are not in the file are zero at first.
    pub in_memory: u64,
    /// Whether it is writable.
    pub writable: bool,
}

/// The parts of an ELF file that are of interest.
#[derive(Debug)]
pub struct Elf {
    /// Whether addresses have 64 bits.
    pub wide: bool,
    /// Whether it is loaded at an address of the kernel's choice.
    pub position_independent: bool,
    /// Address that it begins to run at.
    pub entry: u64,
    /// What its code is for (`e_machine`).
    pub machine: u16,
    /// Byte order.
    pub endian: Endianness,
    /// Segments to load, in the order of their addresses.
    pub segments: Vec<Segment>,
    /// `.go.buildinfo`, which only Go's linker makes.
    pub go_build_info: Option<Range>,
    /// The table of functions that Go's runtime needs, so that stripping leaves it.
    pub go_functions: Option<Range>,
    /// What Go's runtime knows of the program's parts (`moduledata`), where it has a section.
    pub go_module: Option<Range>,
    symbols: Option<Range>,
    names: Option<Range>,
}

impl Elf {
    /// For tests: a program of 64 bits for x86-64 that has nothing but a table of functions.
    #[cfg(test)]
    pub const fn sample(go_functions: Range) -> Self {
        Self {
            wide: true,
            position_independent: false,
            entry: 0,
            machine: elf::EM_X86_64,
            endian: Endianness::Little,
            segments: Vec::new(),
            go_build_info: None,
            go_functions: Some(go_functions),
            go_module: None,
            symbols: None,
            names: None,
        }
    }

    /// Reads the headers.
    pub fn parse(file: &File) -> Result<Self, ElfError> {
        let mut ident = [0; 5];
        file.read_exact_at(&mut ident, 0)?;
        let cache = ReadCache::new(file);
        if ident[4] == elf::ELFCLASS64 {
            parse::<elf::FileHeader64<Endianness>>(&cache, true)
        } else {
            parse::<elf::FileHeader32<Endianness>>(&cache, false)
        }
    }

    /// Whether it has a symbol table.
    pub const fn has_symbols(&self) -> bool {
        self.symbols.is_some() && self.names.is_some()
    }

    /// Address and size of a data symbol with exactly this name; `None` if there is none, or if
    /// there are several that differ.
    pub fn data_symbol(&self, file: &File, name: &str) -> Result<Option<(u64, u64)>, ElfError> {
        let (Some(symbols), Some(names)) = (self.symbols, self.names) else {
            return Ok(None);
        };
        let offsets = occurrences(file, names, name)?;
        if offsets.is_empty() {
            return Ok(None);
        }
        let entry = if self.wide { 24 } else { 16 };
        let mut found = None;
        let mut several = false;
        in_pieces(file, symbols, entry, |bytes| {
            for symbol in bytes.chunks_exact(entry) {
                let symbol = self.symbol(symbol);
                if symbol.is_data && offsets.binary_search(&symbol.name).is_ok() {
                    several |= found.is_some_and(|other| other != (symbol.address, symbol.size));
                    found = Some((symbol.address, symbol.size));
                }
            }
            Ok(())
        })?;
        Ok(found.filter(|_| !several))
    }

    fn symbol(&self, bytes: &[u8]) -> Symbol {
        let number = |at: usize, width: usize| self.number(&bytes[at..at + width]);
        // Elf64_Sym and Elf32_Sym have their members in different orders (elf(5)).
        let (info, section, address, size) = if self.wide {
            (bytes[4], number(6, 2), number(8, 8), number(16, 8))
        } else {
            (bytes[12], number(14, 2), number(4, 4), number(8, 4))
        };
        Symbol {
            name: number(0, 4),
            address,
            size,
            is_data: info & 0xf == elf::STT_OBJECT && section != u64::from(elf::SHN_UNDEF),
        }
    }

    /// An unsigned number in the file's byte order; of at most 8 bytes.
    pub fn number(&self, bytes: &[u8]) -> u64 {
        let add = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        if self.endian == Endianness::Big {
            bytes.iter().fold(0, add)
        } else {
            bytes.iter().rev().fold(0, add)
        }
    }

    /// Reads `size` bytes that are loaded at `address`, from the file.
    pub fn at_address(&self, file: &File, address: u64, size: usize) -> Option<Vec<u8>> {
        let segment = self.segments.iter().find(|segment| {
            let within = address.checked_sub(segment.address);
            within.is_some_and(|within| {
                within
                    .checked_add(size as u64)
                    .is_some_and(|end| end <= segment.file.size)
            })
        })?;
        let mut bytes = vec![0; size];
        let offset = segment.file.offset.checked_add(address - segment.address)?;
        file.read_exact_at(&mut bytes, offset).ok()?;
        Some(bytes)
    }

    /// Whether a number of so many bytes, at most 16, can be a variable at this address.
    pub fn is_variable(&self, address: u64, size: u64) -> bool {
        let is_aligned = address.is_multiple_of(size.next_power_of_two().min(8));
        let within = |segment: &Segment| {
            let at = address.checked_sub(segment.address)?;
            Some(segment.writable && at.checked_add(size)? <= segment.in_memory)
        };
        is_aligned
            && self
                .segments
                .iter()
                .any(|segment| within(segment) == Some(true))
    }

    /// What has to be added to an address of the file to have it in a process, from that process's
    /// `/proc/PID/auxv`: it has the address of the program's entry (`AT_ENTRY`, getauxval(3)).
    /// Unlike the mappings it does not depend on how a file system numbers its files.
    pub fn load_bias(&self, auxv: &[u8]) -> Option<u64> {
        let width = if self.wide { 8 } else { 4 };
        let entry = auxv
            .chunks_exact(2 * width)
            .map(|pair| (self.number(&pair[..width]), self.number(&pair[width..])))
            .find(|(kind, _)| *kind == AT_ENTRY)?
            .1;
        let bias = entry.wrapping_sub(self.entry);
        (self.position_independent || bias == 0).then_some(bias)
    }
}

struct Symbol {
    name: u64,
    address: u64,
    size: u64,
    is_data: bool,
}

fn parse<H: FileHeader<Endian = Endianness>>(
    data: &ReadCache<&File>,
    wide: bool,
) -> Result<Elf, ElfError> {
    let header = H::parse(data)?;
    let endian = header.endian()?;
    let count = header.phnum(endian, data)?;
    if count > MOST_SEGMENTS {
        return Err(ElfError::TooManySegments(count));
    }
    let mut segments = Vec::new();
    for segment in header.program_headers(endian, data)? {
        if segment.p_type(endian) == elf::PT_LOAD {
            segments.push(Segment {
                address: segment.p_vaddr(endian).into(),
                file: Range {
                    offset: segment.p_offset(endian).into(),
                    size: segment.p_filesz(endian).into(),
                },
                in_memory: segment.p_memsz(endian).into(),
                writable: segment.p_flags(endian) & elf::PF_W != 0,
            });
        }
    }
    segments.sort_by_key(|segment| segment.address);
    let mut made = Elf {
        wide,
        entry: header.e_entry(endian).into(),
        machine: header.e_machine(endian),
        position_independent: header.e_type(endian) == elf::ET_DYN,
        endian,
        segments,
        go_build_info: None,
        go_functions: None,
        go_module: None,
        symbols: None,
        names: None,
    };
    // Before any of them is read: they are read as a whole.
    match header.shnum(endian, data) {
        Ok(count) if count <= MOST_SECTIONS => {}
        _ => return Ok(made),
    }
    // Stripping may leave no section headers at all; then only the segments are known.
    let Ok(sections) = header.sections(endian, data) else {
        return Ok(made);
    };
    let range = |section: &H::SectionHeader| Range {
        offset: section.sh_offset(endian).into(),
        size: section.sh_size(endian).into(),
    };
    for section in sections.iter() {
        match sections.section_name(endian, section) {
            Ok(b".go.buildinfo") => made.go_build_info = Some(range(section)),
            // The second is in programs that are moved, by older linkers.
            Ok(b".gopclntab" | b".data.rel.ro.gopclntab") => {
                made.go_functions = Some(range(section));
            }
            Ok(b".go.module") => made.go_module = Some(range(section)),
            _ => {}
        }
        if section.sh_type(endian) == elf::SHT_SYMTAB {
            made.symbols = Some(range(section));
            let link = object::SectionIndex(section.sh_link(endian) as usize);
            made.names = sections.section(link).ok().map(range);
        }
    }
    Ok(made)
}

/// Offsets within a string table at which a string of this name begins, or which end with it; in
/// ascending order.
fn occurrences(file: &File, names: Range, name: &str) -> Result<Vec<u64>, ElfError> {
    let mut wanted = name.as_bytes().to_vec();
    wanted.push(0);
    let mut found = Vec::new();
    let (mut kept, mut at): (Vec<u8>, u64) = (Vec::new(), 0);
    in_pieces(file, names, 1, |bytes| {
        let begin = at - kept.len() as u64;
        kept.extend_from_slice(bytes);
        at += bytes.len() as u64;
        for (index, window) in kept.windows(wanted.len()).enumerate() {
            if window == wanted {
                if found.len() == MOST_OCCURRENCES {
                    return Err(ElfError::Repeated(name.to_owned()));
                }
                found.push(begin + index as u64);
            }
        }
        // What may be the beginning of one that ends in the next piece.
        let rest = kept.len().saturating_sub(wanted.len() - 1);
        kept.drain(..rest);
        Ok(())
    })?;
    Ok(found)
}

/// Hands a range of the file on in pieces that hold whole entries; a rest of less than one is left
/// out. An error of `take` ends it.
fn in_pieces(
    file: &File,
    range: Range,
    entry: usize,
    mut take: impl FnMut(&[u8]) -> Result<(), ElfError>,
) -> Result<(), ElfError> {
    if range.size > LARGEST_TABLE {
        return Err(ElfError::TooLarge(range.size));
    }
    let mut buffer = vec![0; PIECE / entry * entry];
    let mut done = 0;
    while range.size - done >= entry as u64 {
        let left = usize::try_from(range.size - done).unwrap_or(usize::MAX);
        let size = left.min(buffer.len()) / entry * entry;
        let piece = &mut buffer[..size];
        file.read_exact_at(piece, range.offset.saturating_add(done))?;
        take(piece)?;
        done += size as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
