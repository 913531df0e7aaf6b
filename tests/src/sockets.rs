//! Sockets of engines that are not there, or are of no use.

use std::{os::unix::net::UnixListener, path::Path, thread};

use anyhow::Result;

/// Where no engine listens, for those that the program is not to ask.
pub const NOWHERE: &str = "/var/tmp/limitscope-test-no-such-socket";

/// Makes a socket that takes every call and answers none, until the process of the test ends.
pub fn hang(socket: &Path) -> Result<()> {
    let listener = UnixListener::bind(socket)?;
    thread::spawn(move || {
        listener
            .incoming()
            .map_while(Result::ok)
            .collect::<Vec<_>>()
    });
    Ok(())
}
