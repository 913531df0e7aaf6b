//! Where the runtime's variables are in a program without symbols.
//!
//! The table of functions is still there ([`Functions`]), and the code that uses the variables. A
//! variable is taken to be found only if several functions use the same address, each in the way in
//! which that function uses this variable and nothing else; the ways are the same from Go 1.19 to 1.27.
//! What a compiler made in another way is not found, and then nothing is told.

use std::{collections::BTreeSet, fs::File, os::unix::fs::FileExt};

use object::elf::EM_X86_64;

use super::{
    code::{self, Uses},
    functions::{Functions, Span},
};
use crate::runtimes::elf::Elf;

/// What a program's entry is named, unless a C library starts it.
const ENTRY: &str = "_rt0_amd64_linux";
/// `GOMAXPROCS(0)`: it gives the variable back, as a Go `int` of 64 bits.
const ASK: &str = "runtime.GOMAXPROCS";
/// It reads the old number, and puts the new one in its place in one step.
const RESIZE: &str = "runtime.procresize";
/// It waits for as many as the variable says.
const STOP: &str = "runtime.stopTheWorldWithSema";
/// It starts as many as the variable says, unless another number was asked for.
const START: &str = "runtime.startTheWorldWithSema";
/// It hands the controller, as the receiver, to its method [`INIT`].
const GC_INIT: &str = "runtime.gcinit";
const INIT: &str = "runtime.(*gcControllerState).init";
/// It hands the controller to its method [`COMMIT`], and its memory limit to the scavenger.
const GC_COMMIT: &str = "runtime.gcControllerCommit";
const COMMIT: &str = "runtime.(*gcControllerState).commit";

/// Largest function whose code is read, in bytes; `procresize` has some 4 KiB.
const LARGEST_FUNCTION: u64 = 64 << 10;

/// Addresses of the file, or why they are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variables {
    /// Of `runtime.gomaxprocs`.
    pub gomaxprocs: Result<u64, String>,
    /// Of `runtime.gcController`.
    pub gc_controller: Result<u64, String>,
}

/// Looks for the variables; `limit` is where the memory limit is in the controller.
pub fn variables(elf: &Elf, file: &File, limit: u64) -> Variables {
    match Program::open(elf, file) {
        Ok(program) => Variables {
            gomaxprocs: program.first(Program::gomaxprocs),
            gc_controller: program.first(|program, text| program.gc_controller(text, limit)),
        },
        Err(why) => Variables {
            gomaxprocs: Err(why.clone()),
            gc_controller: Err(why),
        },
    }
}

struct Program<'a> {
    elf: &'a Elf,
    file: &'a File,
    /// Where the runtime's text may begin. A wrong one shows other code, where nothing is found.
    texts: Vec<u64>,
    ask: Option<Span>,
    resize: Option<Span>,
    stop: Option<Span>,
    start: Option<Span>,
    gc_init: Option<Span>,
    init: Option<Span>,
    gc_commit: Option<Span>,
    commit: Option<Span>,
}

impl<'a> Program<'a> {
    fn open(elf: &'a Elf, file: &'a File) -> Result<Self, String> {
        if elf.machine != EM_X86_64 {
            return Err("code of this machine is not read".to_owned());
        }
        let functions =
            Functions::open(elf, file).ok_or("it has no table of functions that is known")?;
        let wanted = [
            ENTRY, ASK, RESIZE, STOP, START, GC_INIT, INIT, GC_COMMIT, COMMIT,
        ];
        let found = functions.find(wanted);
        let found = found.map_err(|error| format!("its functions cannot be read: {error}"))?;
        let [
            entry,
            ask,
            resize,
            stop,
            start,
            gc_init,
            init,
            gc_commit,
            commit,
        ] = found;
        let texts = [
            // Unless the program begins in a C library.
            entry.and_then(|entry| elf.entry.checked_sub(entry.begin)),
            Some(functions.text),
            text_of_module(elf, file),
        ];
        let mut texts: Vec<u64> = texts.into_iter().flatten().collect();
        texts.retain(|text| *text != 0);
        texts.dedup();
        Ok(Self {
            elf,
            file,
            texts,
            ask,
            resize,
            stop,
            start,
            gc_init,
            init,
            gc_commit,
            commit,
        })
    }

    /// What is found with the first beginning of the text with which something is.
    fn first(&self, find: impl Fn(&Self, u64) -> Option<u64>) -> Result<u64, String> {
        self.texts
            .iter()
            .find_map(|text| find(self, *text))
            .ok_or_else(|| "its code is not as expected".to_owned())
    }

    fn uses(&self, text: u64, function: Option<Span>) -> Option<Uses> {
        let Span { begin, end } = function?;
        let size = usize::try_from(end.checked_sub(begin)?).ok()?;
        if size as u64 > LARGEST_FUNCTION {
            return None;
        }
        let address = text.checked_add(begin)?;
        let code = self.elf.at_address(self.file, address, size)?;
        code::uses(&code, address)
    }

    /// The one address that `procresize` reads and replaces, and that at least two of the others use as
    /// they do; none of the others uses another one so.
    fn gomaxprocs(&self, text: u64) -> Option<u64> {
        let resize = self.uses(text, self.resize)?;
        let both: BTreeSet<u64> = &resize.reads & &resize.exchanges;
        let mut witnesses = vec![both];
        if self.ask.is_some() {
            // Reading it so is all that this function does with a variable.
            let asked = self.uses(text, self.ask)?.reads_signed;
            if asked.len() != 1 {
                return None;
            }
            witnesses.push(asked);
        }
        for other in [self.stop, self.start] {
            if other.is_some() {
                witnesses.push(self.uses(text, other)?.reads);
            }
        }
        let enough = witnesses.len() >= 3;
        only(&witnesses).filter(|address| enough && self.elf.is_variable(*address, 4))
    }

    /// The one address that is handed to both methods, and whose memory limit is read beside.
    fn gc_controller(&self, text: u64, limit: u64) -> Option<u64> {
        let handed = |uses: &Uses, method: Option<Span>| {
            let method = text.checked_add(method?.begin)?;
            let handed = uses.hands.iter().filter(|(callee, _)| *callee == method);
            Some(handed.map(|(_, address)| *address).collect())
        };
        let begun = self.uses(text, self.gc_init)?;
        let committed = self.uses(text, self.gc_commit)?;
        let limits = committed.reads_wide.iter();
        let witnesses: [BTreeSet<u64>; 3] = [
            handed(&begun, self.init)?,
            handed(&committed, self.commit)?,
            limits.filter_map(|read| read.checked_sub(limit)).collect(),
        ];
        only(&witnesses).filter(|address| self.elf.is_variable(*address, limit + 8))
    }
}

/// `moduledata.text` (runtime/symtab.go), from Go 1.26 on, which has a section for it; 0 in some programs
/// that are moved.
fn text_of_module(elf: &Elf, file: &File) -> Option<u64> {
    // Behind a pointer, six slices and three pointers.
    const AT: u64 = 8 + 6 * 24 + 3 * 8;
    let module = elf.go_module?;
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, module.offset.checked_add(AT)?)
        .ok()?;
    Some(elf.number(&bytes))
}

/// What is in all of them, if that is one.
fn only(witnesses: &[BTreeSet<u64>]) -> Option<u64> {
    let (first, others) = witnesses.split_first()?;
    let mut common = first
        .iter()
        .filter(|address| others.iter().all(|other| other.contains(address)));
    let one = common.next()?;
    common.next().is_none().then_some(*one)
}
