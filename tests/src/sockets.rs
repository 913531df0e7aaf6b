//! Sockets of engines that are not there.

/// Where no engine listens, for those that the program is not to ask.
pub const NOWHERE: &str = "/var/tmp/limitscope-test-no-such-socket";
