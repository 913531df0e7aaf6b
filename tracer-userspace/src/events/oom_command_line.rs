//! [`tracer_common::records::OomCommandLine`]: what a victim of the OOM killer was started with.

use bytes::Buf;
use tracer_common::{
    header::RecordHeader,
    records::{COMMAND_LINE_MAX, KIND_OOM_COMMAND_LINE},
};

use super::DecodeError;

/// A victim has taken its SIGKILL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The process.
    pub pid: u32,
    /// Its arguments, joined by spaces; `None` where they could not be read any more.
    pub text: Option<String>,
}

/// Decodes a record that is at least as long as its header says.
pub fn decode(bytes: &[u8]) -> Result<CommandLine, DecodeError> {
    // The caller has checked that all but the arguments is there.
    let mut rest = bytes.get(size_of::<RecordHeader>()..).unwrap_or_default();
    let pid = rest.get_u32_ne();
    let length = rest.get_u32_ne();
    let arguments = rest.get(..length as usize).ok_or(DecodeError::Impossible {
        kind: KIND_OOM_COMMAND_LINE,
        member: "length",
        value: u64::from(length),
    })?;
    Ok(CommandLine {
        pid,
        text: joined(arguments),
    })
}

/// Arguments, each with a NUL behind it, joined by spaces. Where the last NUL is missing the process
/// has written a title of its own over them, which ends at the first NUL (`get_mm_cmdline`,
/// `fs/proc/base.c`), or they are too many.
fn joined(mut arguments: &[u8]) -> Option<String> {
    let is_cut = arguments.len() >= COMMAND_LINE_MAX;
    if !is_cut && arguments.last() != Some(&0) {
        let title = arguments.split(|byte| *byte == 0).next();
        arguments = title.unwrap_or_default();
    }
    while let [rest @ .., 0] = arguments {
        arguments = rest;
    }
    let text: Vec<u8> = (arguments.iter())
        .map(|byte| if *byte == 0 { b' ' } else { *byte })
        .collect();
    (!text.is_empty()).then(|| String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_and_titles_are_told_apart() {
        let of = |text: &[u8]| joined(text);
        assert_eq!(
            of(b"java\0-jar\0app.jar\0").as_deref(),
            Some("java -jar app.jar")
        );
        assert_eq!(of(b"java\0\0last\0\0").as_deref(), Some("java  last"));
        assert_eq!(
            of(b"worker: busy\0old\0ar").as_deref(),
            Some("worker: busy")
        );
        assert_eq!(of(b""), None);
        assert_eq!(of(b"\0\0"), None);
        let long = vec![b'x'; COMMAND_LINE_MAX];
        assert_eq!(joined(&long).map(|text| text.len()), Some(COMMAND_LINE_MAX));
    }
}
