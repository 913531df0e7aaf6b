//! Lines of `/proc/self/mountinfo` (`fs/proc_namespace.c`, `show_mountinfo`).

/// One mount. Texts are bytes, since paths need not be UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// Device: major and minor number.
    pub device: (u32, u32),
    /// Directory of the file system that is mounted; `/` is all of it.
    pub root: Vec<u8>,
    /// Where it is mounted.
    pub mount_point: Vec<u8>,
    /// Type of the file system.
    pub fs_type: Vec<u8>,
    /// Options of the file system, separated by commas; holds the controllers of cgroup v1.
    pub super_options: Vec<u8>,
}

/// All mounts in the text of `mountinfo`; lines of another form are passed over.
pub fn mounts(mountinfo: &[u8]) -> Vec<Mount> {
    mountinfo
        .split(|byte| *byte == b'\n')
        .filter_map(Mount::parse)
        .collect()
}

impl Mount {
    /// `31 23 0:28 / /sys/fs/cgroup rw,relatime shared:9 - tmpfs tmpfs rw,mode=755`
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.split(|byte| *byte == b' ');
        let device = fields.nth(2)?;
        let root = fields.next()?;
        let mount_point = fields.next()?;
        // Options of the mount, then optional fields up to a dash.
        fields.next()?;
        fields.by_ref().find(|field| *field == b"-")?;
        let fs_type = fields.next()?;
        let super_options = fields.nth(1).unwrap_or_default();
        Some(Self {
            device: parse_device(device)?,
            root: unescape(root),
            mount_point: unescape(mount_point),
            fs_type: unescape(fs_type),
            super_options: unescape(super_options),
        })
    }

    /// The file system's options one by one.
    pub fn options(&self) -> impl Iterator<Item = &[u8]> {
        self.super_options.split(|byte| *byte == b',')
    }
}

fn parse_device(text: &[u8]) -> Option<(u32, u32)> {
    let (major, minor) = std::str::from_utf8(text).ok()?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Undoes the kernel's escapes: space, tab, newline and backslash are `\040`, `\011`, `\012` and
/// `\134` (`mangle`, `fs/seq_file.c`).
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        if let (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..]) =
            (first, tail)
        {
            out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = tail;
        } else {
            out.push(*first);
            rest = tail;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let line = b"36 35 98:0 /mnt1 /mnt2\\040with\\011tab\\134 rw,noatime master:1 shared:2 - \
                     ext3 /dev/root rw,errors=continue";
        let mount = Mount::parse(line).unwrap();
        assert_eq!(mount.device, (98, 0));
        assert_eq!(mount.root, b"/mnt1");
        assert_eq!(mount.mount_point, b"/mnt2 with\ttab\\");
        assert_eq!(mount.fs_type, b"ext3");
        assert_eq!(
            mount.options().collect::<Vec<_>>(),
            [b"rw".as_slice(), b"errors=continue"]
        );
    }

    #[test]
    fn broken_lines_and_escapes_are_passed_over() {
        let table = b"\nnonsense\n1 2 x:y / /a rw - tmpfs t rw\n1 2 0:5 / /b rw no dash\n\
                      1 2 0:5 / /c\\9\\04 rw - tmpfs tmpfs\n";
        let mounts = mounts(table);
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0].mount_point, b"/c\\9\\04");
        assert_eq!(mounts[0].super_options, b"");
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = mounts(&text);
        }

        #[test]
        fn escaping_comes_back(text in proptest::collection::vec(any::<u8>(), 0..60)) {
            let escaped: Vec<u8> = text
                .iter()
                .flat_map(|byte| match byte {
                    b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
                    other => vec![*other],
                })
                .collect();
            prop_assert_eq!(unescape(&escaped), text);
        }
    }
}
