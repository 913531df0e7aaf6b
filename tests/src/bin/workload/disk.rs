//! A file system of this process's own with a program on it: whoever stops the process has a disk that
//! does not answer. It is mounted in a namespace of its own, so that nothing of it stays.

use std::{
    ffi::OsStr,
    fs::{self, File, Metadata},
    os::unix::fs::{FileExt, MetadataExt},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};
use fuser::{
    Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner,
    MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, Request,
};
use rustix::{
    mount::{MountPropagationFlags, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};
use serde_json::{Value, json};

use super::Options;

/// Name of the one file.
const PROGRAM: &str = "program";
const FILE: INodeNo = INodeNo(2);
/// How long the kernel may go on without asking again.
const VALID: Duration = Duration::from_hours(1);

/// Serves `--program` as a file in the folder `--at`, until the process ends.
pub fn serve(options: &Options) -> Result<Value> {
    let at = options.text("at").context("--at")?;
    let program = options.text("program").context("--program")?;
    let disk = Disk {
        file: File::open(program).with_context(|| program.to_owned())?,
        about: fs::metadata(program)?,
    };
    // SAFETY: nothing of the file system table is shared with a thread: there is none yet.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.context("a mount namespace of its own")?;
    mount_change(
        "/",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )?;
    let mut config = Config::default();
    config.mount_options = vec![MountOption::RO, MountOption::Exec];
    let session = fuser::spawn_mount(disk, Path::new(at), &config)?;
    // Until the end of the process, which is that of the mount, too.
    std::mem::forget(session);
    Ok(json!({}))
}

struct Disk {
    file: File,
    about: Metadata,
}

impl Disk {
    fn attr(&self, node: INodeNo) -> Option<FileAttr> {
        let (kind, perm, size) = match node {
            INodeNo::ROOT => (FileType::Directory, 0o755, 0),
            FILE => (FileType::RegularFile, 0o555, self.about.len()),
            _ => return None,
        };
        let time = self.about.modified().ok()?;
        Some(FileAttr {
            ino: node,
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm,
            nlink: 1,
            uid: self.about.uid(),
            gid: self.about.gid(),
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }
}

impl Filesystem for Disk {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let known = parent == INodeNo::ROOT && name == PROGRAM;
        match self.attr(FILE).filter(|_| known) {
            Some(attr) => reply.entry(&VALID, &attr, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attr(node) {
            Some(attr) => reply.attr(&VALID, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn read(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let mut bytes = vec![0; size as usize];
        match self.file.read_at(&mut bytes, offset) {
            Ok(read) => reply.data(&bytes[..read]),
            Err(_) => reply.error(Errno::EIO),
        }
    }
}
