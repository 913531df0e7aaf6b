//! Addresses of the kernel's symbols.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::sync::atomic::{AtomicBool, Ordering};

/// Where the kernel lists its symbols.
const PATH: &str = "/proc/kallsyms";
/// Array of one `unsigned long` a CPU: what to add to a per-CPU pointer.
const PER_CPU_OFFSET: &str = "__per_cpu_offset";

/// Address of a symbol, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SymbolAddress {
    /// It is known.
    Known(u64),
    /// The kernel lists the symbol but hides addresses from this process.
    Hidden,
    /// The kernel does not list it (`CONFIG_KALLSYMS_ALL` is off).
    Absent,
    /// The list could not be read.
    Unreadable(String),
    /// Nobody looked, since it is not needed.
    NotNeeded,
}

impl SymbolAddress {
    /// The address, 0 where there is none.
    pub const fn or_zero(&self) -> u64 {
        match self {
            Self::Known(address) => *address,
            _ => 0,
        }
    }
}

impl fmt::Display for SymbolAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(_) => write!(f, "known"),
            Self::Hidden => write!(
                f,
                "hidden: needs CAP_SYSLOG and sysctl kernel.kptr_restrict below 2"
            ),
            Self::Absent => write!(
                f,
                "not listed in {PATH}: the kernel was built without CONFIG_KALLSYMS_ALL"
            ),
            Self::Unreadable(why) => write!(f, "{PATH} cannot be read: {why}"),
            Self::NotNeeded => write!(f, "not needed on this kernel"),
        }
    }
}

/// Address of `__per_cpu_offset`. Reads the kernel's whole list where it has none of that name
/// (some 70 ms), but only as long as it is `needed`.
pub fn per_cpu_offset(needed: &AtomicBool) -> SymbolAddress {
    File::open(PATH)
        .and_then(|file| {
            let list = BufReader::with_capacity(1 << 16, file);
            find(list, PER_CPU_OFFSET, needed)
        })
        .unwrap_or_else(|error| SymbolAddress::Unreadable(error.to_string()))
}

/// Looks for a symbol in lines of `address type name [module]`.
fn find(mut list: impl BufRead, symbol: &str, needed: &AtomicBool) -> io::Result<SymbolAddress> {
    let mut line = Vec::new();
    while needed.load(Ordering::Relaxed) {
        line.clear();
        if list.read_until(b'\n', &mut line)? == 0 {
            return Ok(SymbolAddress::Absent);
        }
        // Cheap test first: there are some 200,000 lines.
        let name = line.trim_ascii_end();
        if !name.ends_with(symbol.as_bytes()) {
            continue;
        }
        let mut fields = name.split(|byte| *byte == b' ');
        let address = fields
            .next()
            .and_then(|text| std::str::from_utf8(text).ok())
            .and_then(|text| u64::from_str_radix(text, 16).ok());
        if fields.nth(1) != Some(symbol.as_bytes()) {
            continue;
        }
        return Ok(match address {
            Some(0) => SymbolAddress::Hidden,
            Some(address) => SymbolAddress::Known(address),
            None => SymbolAddress::Unreadable("a line is not of the expected form".to_owned()),
        });
    }
    Ok(SymbolAddress::NotNeeded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(list: &str) -> SymbolAddress {
        find(list.as_bytes(), PER_CPU_OFFSET, &AtomicBool::new(true)).unwrap()
    }

    #[test]
    fn a_symbol_is_found_by_its_whole_name() {
        let list = "ffffffff81000000 T _text\n\
                    ffffffff82000000 d not__per_cpu_offset\n\
                    ffffffff82a11d20 D __per_cpu_offset\n\
                    ffffffff83000000 t x\t[module]\n";
        assert_eq!(look(list), SymbolAddress::Known(0xffff_ffff_82a1_1d20));
    }

    #[test]
    fn what_is_hidden_or_absent_is_told_apart() {
        assert_eq!(
            look("0000000000000000 D __per_cpu_offset\n"),
            SymbolAddress::Hidden
        );
        assert_eq!(look("ffffffff81000000 T _text\n"), SymbolAddress::Absent);
        assert_eq!(look(""), SymbolAddress::Absent);
        assert!(matches!(
            look("zz D __per_cpu_offset"),
            SymbolAddress::Unreadable(_)
        ));
    }

    #[test]
    fn nobody_reads_on_for_what_is_not_needed() {
        let list = "ffffffff82a11d20 D __per_cpu_offset\n".as_bytes();
        let needed = AtomicBool::new(false);
        assert_eq!(
            find(list, PER_CPU_OFFSET, &needed).unwrap(),
            SymbolAddress::NotNeeded
        );
    }

    #[test]
    fn the_running_kernel_agrees_with_grep() {
        let output = std::process::Command::new("grep")
            .args(["-wE", "[a-zA-Z] __per_cpu_offset", PATH])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        match per_cpu_offset(&AtomicBool::new(true)) {
            SymbolAddress::Known(address) => assert!(text.starts_with(&format!("{address:x} "))),
            SymbolAddress::Hidden => assert!(text.starts_with("0000000000000000 ")),
            SymbolAddress::Absent => assert_eq!(text, ""),
            other => panic!("{other}"),
        }
    }
}
