//! Components that kubelet names: quality-of-service classes and pods.

use std::borrow::Cow;

/// Longest pod uid that is believed, in bytes: a UUID has 36.
const UID_MAX: usize = 64;

/// What kubelet made.
pub(super) enum Found<'p> {
    /// `kubepods` itself or a quality-of-service class below it.
    Qos {
        /// Made by the cgroupfs driver: what is below it has short names.
        directory: bool,
    },
    /// A pod, with its uid.
    Pod(Cow<'p, str>),
}

/// What the component is; `below_kubepods` where its parent is `kubepods` or a class below it.
pub(super) fn find(name: &[u8], below_kubepods: bool) -> Option<Found<'_>> {
    let name = std::str::from_utf8(name).ok()?;
    if name == "kubepods" {
        return Some(Found::Qos { directory: true });
    }
    if below_kubepods {
        if is_qos(name) {
            return Some(Found::Qos { directory: true });
        }
        let uid = name.strip_prefix("pod").filter(|uid| is_uid(uid))?;
        return Some(Found::Pod(Cow::Borrowed(uid)));
    }
    slice(name)
}

/// `[<prefix>-]kubepods[-<class>][-pod<uid>].slice`: a slice's name has the names of all slices
/// above it, so a root other than `/` (kind's `kubelet`) is its prefix, and `-` within a name is
/// written `_`.
fn slice(name: &str) -> Option<Found<'_>> {
    let name = name.strip_suffix(".slice")?;
    let rest = match name.strip_prefix("kubepods") {
        Some(rest) => rest,
        None => name.split_once("-kubepods")?.1,
    };
    let mut parts = rest.split('-');
    // What stands before the first dash belongs to the word `kubepods`, so it is another word.
    if !parts.next()?.is_empty() {
        return None;
    }
    let mut part = parts.next();
    if part.is_some_and(is_qos) {
        part = parts.next();
    }
    let found = match part {
        None => Found::Qos { directory: false },
        Some(pod) => {
            let uid = pod.strip_prefix("pod").filter(|uid| is_uid(uid))?;
            Found::Pod(if uid.contains('_') {
                Cow::Owned(uid.replace('_', "-"))
            } else {
                Cow::Borrowed(uid)
            })
        }
    };
    parts.next().is_none().then_some(found)
}

fn is_qos(name: &str) -> bool {
    matches!(name, "burstable" | "besteffort" | "guaranteed")
}

/// Kubelet's own uids are UUIDs, or 32 hex digits for static pods; tools that start containers
/// in a pod's place give others.
fn is_uid(uid: &str) -> bool {
    !uid.is_empty()
        && uid.len() <= UID_MAX
        && uid
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}
