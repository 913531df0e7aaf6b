//! What building for BPF needs beside the Rust toolchain: the source of `core` and bpf-linker.
//! Both are looked for first and fetched once otherwise, into a cache in the target folder.

mod debian;
pub mod go;
pub mod kubelet;
mod linker;
pub mod packages;
pub mod private_apt;
mod rust_src;
pub mod unpacked;

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    process,
    workspace::{self, Workspace},
};

/// The target of the programs: BPF, little-endian, as every supported machine.
pub const TARGET: &str = "bpfel-unknown-none";

/// The compiler in use.
pub struct Compiler {
    /// As in `1.95.0`.
    pub release: String,
    /// The major version of its LLVM.
    pub llvm: u32,
    pub sysroot: PathBuf,
    /// Tells apart two compilers of one version.
    identity: String,
}

/// All that is needed, in place.
pub struct Toolchain {
    pub compiler: Compiler,
    /// Where cargo finds the standard library's workspace; none means in the sysroot.
    library: Option<PathBuf>,
    pub linker: PathBuf,
}

impl Toolchain {
    /// Finds the tools, or sets them up saying what is fetched and why.
    pub fn prepare(workspace: &Workspace) -> Result<Self> {
        let cache = Cache::open(workspace)?;
        let compiler = Compiler::ask()?;
        let library = rust_src::prepare(&compiler, &cache.folder)?;
        let linker = linker::prepare(&compiler, &cache.folder)?;
        Ok(Self {
            compiler,
            library,
            linker,
        })
    }

    /// Lets a cargo command compile for BPF.
    pub fn apply(&self, command: &mut Command) {
        // `-Z build-std` is unstable, and the only way to a `core` for this target.
        command
            .env("RUSTC_BOOTSTRAP", "1")
            .env("LD_LIBRARY_PATH", self.compiler.library_path());
        if let Some(library) = &self.library {
            // Cargo's own switch for another source of the library. It spares a symbolic link in
            // the sysroot, which belongs to rustup.
            command.env("__CARGO_TESTS_ONLY_SRC_ROOT", library);
        }
    }
}

impl Compiler {
    fn ask() -> Result<Self> {
        let identity = process::output(Command::new(workspace::rustc()).arg("-vV"))?;
        let sysroot =
            process::output(Command::new(workspace::rustc()).args(["--print", "sysroot"]))?;
        let field = |name: &str| {
            identity
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .with_context(|| format!("`rustc -vV` has no line `{name}`:\n{identity}"))
        };
        let llvm = field("LLVM version")?;
        let llvm = llvm
            .split('.')
            .next()
            .and_then(|major| major.parse().ok())
            .with_context(|| format!("`rustc -vV` names an LLVM version without number: {llvm}"))?;
        Ok(Self {
            release: field("release")?.to_owned(),
            llvm,
            sysroot: PathBuf::from(sysroot.trim_end()),
            identity,
        })
    }

    /// The loader's search path with the compiler's own libraries first: bpf-linker uses its LLVM.
    pub fn library_path(&self) -> OsString {
        let mut path = self.sysroot.join("lib").into_os_string();
        if let Some(rest) = env::var_os("LD_LIBRARY_PATH").filter(|rest| !rest.is_empty()) {
            path.push(":");
            path.push(rest);
        }
        path
    }
}

/// Where what was fetched and built is kept. Two set-ups in one are kept apart: the second waits.
struct Cache {
    folder: PathBuf,
    /// Open, and with it the lock held.
    _lock: File,
}

impl Cache {
    fn open(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.toolchain_cache();
        fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the cache folder {}", folder.display()))?;
        let path = folder.join("lock");
        let lock =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        lock.lock()
            .with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(Self {
            folder,
            _lock: lock,
        })
    }
}

/// A note in the cache that something was proven for this compiler, so that the next run need not
/// prove it again. `subject` is what was proven, for example the file that works.
struct Stamp {
    path: PathBuf,
    content: String,
}

impl Stamp {
    fn new(cache: &Path, name: &str, compiler: &Compiler, subject: &str) -> Self {
        Self {
            path: cache.join(name).with_extension("stamp"),
            content: format!("{}{subject}\n", compiler.identity),
        }
    }

    fn holds(&self) -> bool {
        fs::read_to_string(&self.path).is_ok_and(|content| content == self.content)
    }

    fn set(&self) -> Result<()> {
        fs::write(&self.path, &self.content)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Says what set-up does, before it does it.
pub fn say(what: &str) {
    eprintln!("set-up: {what}");
}
