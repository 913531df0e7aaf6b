//! Tests of reading program files: real ones, and forged ones that are to cost nothing.

use std::io::Write;
use std::time::{Duration, Instant};

use super::*;

/// The most memory that this process has held at once, in bytes (`VmHWM`).
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib: u64 = line
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    kib << 10
}

/// A file of 64 bits, little-endian: the header and what `change` makes of it, at offset 64 the
/// section headers, and holes up to `size`.
fn forged(size: u64, sections: &[[u64; 4]], change: impl FnOnce(&mut [u8])) -> File {
    let mut header = vec![0; 64];
    header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    // e_type, e_machine, e_version, e_shoff, e_ehsize, e_phentsize, e_shentsize.
    header[16] = 2;
    header[18] = 62;
    header[20] = 1;
    header[40] = 64;
    header[52] = 64;
    header[54] = 56;
    header[58] = 64;
    change(&mut header);
    for [kind, offset, size, link] in sections {
        let mut section = [0; 64];
        section[4..8].copy_from_slice(&(*kind as u32).to_le_bytes());
        section[24..32].copy_from_slice(&offset.to_le_bytes());
        section[32..40].copy_from_slice(&size.to_le_bytes());
        section[40..44].copy_from_slice(&(*link as u32).to_le_bytes());
        header.extend_from_slice(&section);
    }
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&header).unwrap();
    file.set_len(size).unwrap();
    file
}

#[test]
fn a_forged_count_of_sections_takes_no_memory() {
    // 4 Mi sections of 64 bytes, in a file that takes one block.
    let count = 4 << 20;
    let sections = [
        [0, 0, count, 0],
        [u64::from(elf::SHT_SYMTAB), 256, 24, 2],
        [u64::from(elf::SHT_STRTAB), 280, 8, 0],
    ];
    let file = forged((count + 8) * 64, &sections, |header| header[62] = 2);
    let before = peak();
    let elf = Elf::parse(&file).unwrap();
    let taken = peak() - before;
    assert!(taken < 64 << 20, "{taken} bytes");
    assert!(!elf.has_symbols(), "its sections were read");
    // The same with as many as there are is an ordinary way to write it.
    let sections = [[0, 0, 3, 0], sections[1], sections[2]];
    let file = forged(4096, &sections, |header| header[62] = 2);
    assert!(Elf::parse(&file).unwrap().has_symbols());
}

#[test]
fn a_forged_count_of_program_headers_is_refused() {
    // PN_XNUM: the count is in sh_info of the first section.
    let file = forged(128 << 20, &[[0; 4]], |header| {
        header[32] = 128;
        header[56..58].copy_from_slice(&0xffff_u16.to_le_bytes());
    });
    assert!(matches!(Elf::parse(&file), Ok(elf) if elf.segments.is_empty()));
    file.write_all_at(&2_000_000_u32.to_le_bytes(), 64 + 44)
        .unwrap();
    assert!(matches!(
        Elf::parse(&file),
        Err(ElfError::TooManySegments(2_000_000))
    ));
}

#[test]
fn a_name_that_is_repeated_without_end_costs_no_time() {
    const COUNT: u64 = 80_000;
    let names = b"runtime.gomaxprocs\0".repeat(COUNT as usize);
    let symbols = 64 + 3 * 64;
    let at = symbols + COUNT * 24;
    let sections = [
        [0; 4],
        [u64::from(elf::SHT_SYMTAB), symbols, COUNT * 24, 2],
        [u64::from(elf::SHT_STRTAB), at, names.len() as u64, 0],
    ];
    let file = forged(at + names.len() as u64, &sections, |header| {
        header[60] = 3;
        header[62] = 2;
    });
    for index in 0..COUNT {
        let mut symbol = [0; 24];
        // A name that no other symbol has, the last of the names first.
        let name = (COUNT - 1 - index) * 19;
        symbol[..4].copy_from_slice(&(name as u32).to_le_bytes());
        symbol[4] = elf::STT_OBJECT;
        symbol[6] = 1;
        file.write_all_at(&symbol, symbols + index * 24).unwrap();
    }
    file.write_all_at(&names, at).unwrap();
    let elf = Elf::parse(&file).unwrap();
    assert!(elf.has_symbols());
    let begin = Instant::now();
    let answer = elf.data_symbol(&file, "runtime.gomaxprocs");
    assert!(
        matches!(&answer, Err(ElfError::Repeated(name)) if name == "runtime.gomaxprocs"),
        "{answer:?}"
    );
    let taken = begin.elapsed();
    assert!(taken < Duration::from_secs(2), "{taken:?}");
}

#[test]
fn a_table_larger_than_any_is_not_searched() {
    let range = Range {
        offset: 0,
        size: LARGEST_TABLE + 1,
    };
    let file = tempfile::tempfile().unwrap();
    assert!(matches!(
        occurrences(&file, range, "x"),
        Err(ElfError::TooLarge(_))
    ));
}

/// Something that this very program has and that no compiler may drop.
#[unsafe(no_mangle)]
static LIMITSCOPE_ELF_TEST_VALUE: u32 = 0x5eed_1234;

#[test]
fn a_symbol_of_this_program_leads_to_its_memory() {
    let value = &raw const LIMITSCOPE_ELF_TEST_VALUE;
    let file = File::open("/proc/self/exe").unwrap();
    let elf = Elf::parse(&file).unwrap();
    assert!(elf.has_symbols() && elf.wide);
    assert_eq!(elf.go_build_info, None);
    let (address, size) = elf
        .data_symbol(&file, "LIMITSCOPE_ELF_TEST_VALUE")
        .unwrap()
        .unwrap();
    assert_eq!(size, 4);
    let bias = elf
        .load_bias(&std::fs::read("/proc/self/auxv").unwrap())
        .unwrap();
    assert_eq!(elf.load_bias(&[0; 16]), None);
    assert_eq!(bias.wrapping_add(address), value.addr() as u64);
    let bytes = elf.at_address(&file, address, 4).unwrap();
    assert_eq!(elf.number(&bytes), 0x5eed_1234);
    assert_eq!(elf.data_symbol(&file, "LIMITSCOPE_NO_SUCH").unwrap(), None);
    assert_eq!(elf.at_address(&file, u64::MAX - 1, 4), None);
}

#[test]
fn what_is_no_elf_file_is_refused() {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(b"#!/bin/sh\nexit 0\n").unwrap();
    assert!(Elf::parse(&file).is_err());
    assert!(Elf::parse(&tempfile::tempfile().unwrap()).is_err());
}

#[test]
fn names_are_found_across_pieces() {
    let mut file = tempfile::tempfile().unwrap();
    let mut bytes = vec![b'x'; PIECE - 3];
    bytes.extend_from_slice(b"wanted\0other\0unwanted\0");
    file.write_all(&bytes).unwrap();
    let range = Range {
        offset: 0,
        size: bytes.len() as u64,
    };
    let first = PIECE as u64 - 3;
    // The second is the end of a longer name, which linkers share.
    assert_eq!(
        occurrences(&file, range, "wanted").unwrap(),
        [first, first + 15]
    );
}
