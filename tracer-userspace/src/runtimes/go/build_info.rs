//! What Go's linker writes into every program about its version and modules.
//!
//! The layout is that of `debug/buildinfo` of Go's library: 16 bytes of header, then, since Go 1.18,
//! the two texts with their lengths as varints from byte 32 on; before, two pointers to Go strings.

use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::model::runtime::GoBuild;
use crate::runtimes::elf::{Elf, Range};

/// The first bytes of the blob.
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// The blob is aligned to this.
const ALIGN: usize = 16;
/// Bytes of a segment that are searched where the section has no name any more.
const SEARCHED: u64 = 1 << 20;
/// Longest text that is taken; that of programs with thousands of modules has some 300 KiB.
const LONGEST: u64 = 512 << 10;
/// The first Go 1 whose runtime takes the CPU limit into account.
pub const CONTAINER_AWARE: u32 = 25;
/// Most modules that are kept. A forged text names a hundred thousand, each of which takes many times
/// the memory that its line has in the file.
const MOST_DEPENDENCIES: usize = 4096;
/// Most settings of the build that are kept; Go writes some thirty.
const MOST_SETTINGS: usize = 256;

/// Version and module text; `None` where the file was not made by Go.
pub fn read(elf: &Elf, file: &File) -> Option<(String, String)> {
    let range = match elf.go_build_info {
        Some(range) => range,
        // As Go's own reader does: the first writable segment begins with it.
        None => elf.segments.iter().find(|segment| segment.writable)?.file,
    };
    let at = find(file, range)?;
    let mut header = [0; 32];
    file.read_exact_at(&mut header, at).ok()?;
    if header[15] & 2 == 0 {
        let width = match header[14] {
            4 => 4,
            8 => 8,
            _ => return None,
        };
        let pointer = |index: usize| elf.number(&header[16 + index * width..][..width]);
        let version = go_string(elf, file, pointer(0), width)?;
        // A program without modules has none.
        let modules = go_string(elf, file, pointer(1), width).unwrap_or_default();
        return finish(&version, &modules);
    }
    let (version, next) = counted(file, at + 32)?;
    let modules = counted(file, next).map_or_else(Vec::new, |(text, _)| text);
    finish(&version, &modules)
}

fn finish(version: &[u8], modules: &[u8]) -> Option<(String, String)> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    // The text of modules lies between two marks of 16 bytes, and ends with a line break.
    let inner = modules
        .get(16..modules.len().saturating_sub(16))
        .filter(|inner| inner.ends_with(b"\n"))
        .unwrap_or_default();
    let named = version.starts_with(b"go") || version.starts_with(b"devel");
    named.then(|| (text(version), text(inner)))
}

fn find(file: &File, range: Range) -> Option<u64> {
    let size = usize::try_from(range.size.min(SEARCHED)).ok()?;
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, range.offset).ok()?;
    (0..size)
        .step_by(ALIGN)
        .find(|at| bytes[*at..].starts_with(MAGIC))
        .map(|at| range.offset + at as u64)
}

/// A text behind its length, and where it ends.
fn counted(file: &File, at: u64) -> Option<(Vec<u8>, u64)> {
    let mut bytes = [0; 10];
    let read = file.read_at(&mut bytes, at).ok()?;
    let (mut length, mut shift) = (0u64, 0);
    for (index, byte) in bytes[..read].iter().enumerate() {
        length |= u64::from(byte & 0x7f).checked_shl(shift)?;
        shift += 7;
        if byte & 0x80 == 0 {
            let begin = at + index as u64 + 1;
            let text = text(file, begin, length)?;
            return Some((text, begin + length));
        }
    }
    None
}

fn text(file: &File, at: u64, length: u64) -> Option<Vec<u8>> {
    let length = usize::try_from(length).ok().filter(|_| length <= LONGEST)?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, at).ok()?;
    Some(bytes)
}

/// A Go string of the file's data: pointer and length.
fn go_string(elf: &Elf, file: &File, address: u64, width: usize) -> Option<Vec<u8>> {
    let header = elf.at_address(file, address, 2 * width)?;
    let length = elf.number(&header[width..]);
    let length = usize::try_from(length).ok().filter(|_| length <= LONGEST)?;
    elf.at_address(file, elf.number(&header[..width]), length)
}

/// What the module text says, and how many modules it names beyond those that are kept; `version`
/// decides whether the runtime reads the CPU limit. What is left out of the lists is looked at too.
pub fn parse(version: &str, modules: &str) -> (GoBuild, usize) {
    let mut build = GoBuild::default();
    let mut left_out = 0;
    // The default of `containermaxprocs` follows the `go` line of the main module's go.mod, and the
    // linker writes it down where it is not the newest (internal/godebugs/table.go).
    let mut switched_off = false;
    for line in modules.lines() {
        let mut words = line.split('\t');
        match (words.next(), words.next()) {
            (Some("path"), Some(path)) => build.path = Some(path.to_owned()),
            (Some("dep"), Some(module)) => {
                build.automaxprocs |= module == "go.uber.org/automaxprocs";
                if build.dependencies.len() == MOST_DEPENDENCIES {
                    left_out += 1;
                    continue;
                }
                let version = words.next().unwrap_or_default();
                build
                    .dependencies
                    .push((module.to_owned(), version.to_owned()));
            }
            (Some("build"), Some(setting)) => {
                let Some((key, value)) = setting.split_once('=') else {
                    continue;
                };
                let value = value.trim_matches('"');
                switched_off |= key == "DefaultGODEBUG"
                    && value.split(',').any(|word| word == "containermaxprocs=0");
                if build.settings.len() < MOST_SETTINGS {
                    build.settings.push((key.to_owned(), value.to_owned()));
                }
            }
            _ => {}
        }
    }
    build.container_aware =
        minor(version).is_some_and(|minor| minor >= CONTAINER_AWARE) && !switched_off;
    (build, left_out)
}

/// The second number of `go1.27.4`, `go1.22rc1`, `devel go1.23-…`; of Go 1 alone.
pub fn minor(version: &str) -> Option<u32> {
    let rest = version.split("go1.").nth(1)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_a_minor_number() {
        for (version, expected) in [
            ("go1.27.4", Some(27)),
            ("go1.22rc1", Some(22)),
            ("devel go1.23-abc Mon", Some(23)),
            ("go1.19.8 X:loopvar", Some(19)),
            ("devel +abc", None),
            ("go2.1", None),
        ] {
            assert_eq!(minor(version), expected, "{version}");
        }
    }

    #[test]
    fn the_module_text_tells_who_sets_gomaxprocs() {
        let text = "path\texample.test/x\nmod\texample.test/x\t(devel)\t\n\
                    dep\tgo.uber.org/automaxprocs\tv1.6.0\th1:x=\n\
                    build\tDefaultGODEBUG=asynctimerchan=1,containermaxprocs=0\n";
        let (build, left_out) = parse("go1.26", text);
        assert_eq!((build.dependencies.len(), left_out), (1, 0));
        assert!(build.automaxprocs && !build.container_aware);
        assert_eq!(build.path.as_deref(), Some("example.test/x"));
        let (plain, _) = parse("go1.25.1", "path\tx\n");
        assert!(plain.container_aware && !plain.automaxprocs);
        assert!(!parse("go1.24.9", "").0.container_aware);
    }

    #[test]
    fn of_a_forged_text_no_more_is_kept_than_a_program_has() {
        let mut text = "dep\ta\tb\n".repeat(50_000);
        text.push_str(&"build\ta=b\n".repeat(5_000));
        text.push_str("dep\tgo.uber.org/automaxprocs\tv1.6.0\n");
        text.push_str("build\tDefaultGODEBUG=containermaxprocs=0\n");
        let (build, left_out) = parse("go1.26", &text);
        assert_eq!(build.dependencies.len(), MOST_DEPENDENCIES);
        assert_eq!(left_out, 50_001 - MOST_DEPENDENCIES);
        assert_eq!(build.settings.len(), MOST_SETTINGS);
        assert!(build.automaxprocs && !build.container_aware);
    }

    #[test]
    fn a_text_longer_than_any_is_not_read() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 << 20).unwrap();
        // As varints: 512 KiB and one byte more.
        for (length, taken) in [([0x80, 0x80, 0x20], true), ([0x81, 0x80, 0x20], false)] {
            file.write_all_at(&length, 0).unwrap();
            let text = counted(&file, 0);
            assert_eq!(text.is_some(), taken, "{length:?}");
        }
    }
}
