//! Output that fails, recovers, is closed, or is a real file.

use super::*;

/// A disk: takes `room` bytes in pieces of at most `piece`, then fails with `error`.
struct Disk {
    taken: Vec<u8>,
    room: usize,
    piece: usize,
    error: ErrorKind,
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = bytes.len().min(self.room).min(self.piece);
        if count == 0 {
            return Err(self.error.into());
        }
        self.taken.extend_from_slice(&bytes[..count]);
        self.room -= count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn disk(room: usize, error: ErrorKind) -> LineWriter<Disk> {
    let disk = Disk {
        taken: Vec::new(),
        room,
        piece: 7,
        error,
    };
    LineWriter::new(disk, "disk".into())
}

fn line(number: usize) -> Vec<u8> {
    format!("{{\"seq\":{number}}}\n").into_bytes()
}

#[test]
fn a_line_torn_by_a_full_disk_is_completed_later() {
    let mut writer = disk(15, ErrorKind::StorageFull);
    for number in 1..=3 {
        writer.write_entry(&line(number)).unwrap();
    }
    writer.flush().unwrap();
    assert_eq!(writer.target.taken, b"{\"seq\":1}\n{\"seq");
    writer.target.room = usize::MAX;
    writer.write_entry(&line(4)).unwrap();
    writer.finish().unwrap();
    let expected: Vec<u8> = (1..=4).flat_map(line).collect();
    assert_eq!(writer.target.taken, expected);
    assert_eq!(writer.lost(), 0);
}

#[test]
fn a_full_backlog_refuses_and_counts() {
    let mut writer = disk(3, ErrorKind::StorageFull);
    let entry = [&[b'x'; 1023][..], b"\n"].concat();
    let total = 2 * MAX_BACKLOG / entry.len();
    for _ in 0..total {
        writer.write_entry(&entry).unwrap();
    }
    assert!(writer.buffer.len() <= MAX_BACKLOG);
    let refused = writer.lost();
    writer.target.room = usize::MAX;
    writer.finish().unwrap();
    assert_eq!(writer.lost(), refused);
    assert_eq!(
        writer.target.taken.len(),
        (total - refused as usize) * entry.len()
    );
    assert!(
        writer
            .target
            .taken
            .chunks(entry.len())
            .all(|chunk| chunk == entry)
    );
}

#[test]
fn what_is_left_at_the_end_is_counted() {
    let mut writer = disk(12, ErrorKind::StorageFull);
    for number in 1..=5 {
        writer.write_entry(&line(number)).unwrap();
    }
    writer.finish().unwrap();
    assert_eq!(writer.lost(), 4);
}

#[test]
fn a_closed_reader_is_told_apart() {
    let mut writer = disk(0, ErrorKind::BrokenPipe);
    writer.write_entry(&line(1)).unwrap();
    assert_eq!(writer.flush(), Err(Closed));
}

#[test]
fn a_reader_that_went_away_closes_a_real_pipe() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let file = File::from(std::os::fd::OwnedFd::from(writer));
    let mut output = Output::new(Descriptor::from(file), "pipe".into());
    output.write_entry(&line(1)).unwrap();
    assert_eq!(output.flush(), Err(Closed));
}

#[test]
fn a_non_blocking_pipe_is_waited_for() {
    let (mut reader, writer) = io::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    let file = File::from(std::os::fd::OwnedFd::from(writer));
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    });
    let mut output = Output::new(Descriptor::from(file), "pipe".into());
    let expected: Vec<u8> = (0..100_000).flat_map(line).collect();
    for number in 0..100_000 {
        output.write_entry(&line(number)).unwrap();
    }
    output.finish().unwrap();
    assert_eq!(output.lost(), 0);
    drop(output);
    assert_eq!(reading.join().unwrap(), expected);
}

#[test]
fn a_reader_that_stops_is_left_behind_and_catches_up() {
    let (mut reader, writer) = io::pipe().unwrap();
    let file = File::from(std::os::fd::OwnedFd::from(writer));
    let mut output = Output::new(Descriptor::from(file), "pipe".into());
    let expected: Vec<u8> = (0..20_000).flat_map(line).collect();
    assert!(expected.len() > 1 << 17, "more than a pipe holds");
    let start = std::time::Instant::now();
    for number in 0..20_000 {
        output.write_entry(&line(number)).unwrap();
    }
    output.flush().unwrap();
    assert!(output.is_behind() && !output.failing);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "it was not waited for"
    );
    let reading = std::thread::spawn(move || {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    });
    output.finish().unwrap();
    assert_eq!(output.lost(), 0);
    drop(output);
    assert_eq!(reading.join().unwrap(), expected);
}

#[test]
fn a_real_full_device_is_counted() {
    let mut output = Output::file(Path::new("/dev/full")).unwrap();
    output.write_entry(&line(1)).unwrap();
    output.flush().unwrap();
    assert!(output.failing);
    output.finish().unwrap();
    assert_eq!(output.lost(), 1);
}

#[test]
fn a_second_run_appends_on_a_fresh_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("events.jsonl");
    std::fs::write(&path, "{\"seq\":1}\n{\"se").unwrap();
    for number in 2..=3 {
        let mut output = Output::file(&path).unwrap();
        output.write_entry(&line(number)).unwrap();
        output.finish().unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "{\"seq\":1}\n{\"se\n{\"seq\":2}\n{\"seq\":3}\n"
    );
}

#[test]
fn an_unwritable_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = Output::file(folder.path()).unwrap_err();
    let expected = format!(
        "cannot open {} for writing: Is a directory (os error 21)",
        folder.path().display()
    );
    assert_eq!(error.to_string(), expected);
}
