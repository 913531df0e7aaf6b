//! What a guest told on its second serial port.

/// Begins the guest's own lines, among those of the programs that it ran.
const MARK: &str = "@@ ";

/// Something that was run.
#[derive(Debug, Default, PartialEq)]
pub struct Section {
    pub pass: String,
    pub name: String,
    /// What it wrote.
    pub output: String,
    /// Its exit code; none if it did not end.
    pub code: Option<i32>,
    /// How long it took by the guest's clock.
    pub seconds: f64,
}

/// Everything in order.
#[derive(Debug, Default, PartialEq)]
pub struct Transcript {
    /// When the first process was ready, in seconds of the guest's clock, and the kernel's release.
    pub booted: Option<(f64, String)>,
    pub sections: Vec<Section>,
    /// What kept the guest from its work.
    pub broken: Option<String>,
    /// Whether it came to its planned end.
    pub finished: bool,
    open: bool,
}

impl Transcript {
    /// Takes a line, and tells whether it ended a section.
    pub fn line(&mut self, line: &str) -> bool {
        let mark = line
            .strip_prefix(MARK)
            .and_then(|rest| rest.split_once(' '))
            .and_then(|(up, rest)| Some((up.parse::<f64>().ok()?, rest)));
        let Some((up, said)) = mark else {
            if let (true, Some(section)) = (self.open, self.sections.last_mut()) {
                section.output.push_str(line);
                section.output.push('\n');
            }
            return false;
        };
        let words: Vec<&str> = said.split(' ').collect();
        match words[..] {
            ["booted", release] => self.booted = Some((up, release.to_owned())),
            ["begin", pass, name] => {
                self.sections.push(Section {
                    pass: pass.to_owned(),
                    name: name.to_owned(),
                    seconds: -up,
                    ..Section::default()
                });
                self.open = true;
            }
            ["end", pass, name, code] if self.open => {
                if let Some(section) = self.sections.last_mut()
                    && (section.pass.as_str(), section.name.as_str()) == (pass, name)
                {
                    section.seconds += up;
                    section.code = code.parse().ok();
                    self.open = false;
                    return true;
                }
            }
            ["finished"] => self.finished = true,
            ["broken", ..] => self.broken = Some(words[1..].join(" ")),
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Transcript {
        let mut transcript = Transcript::default();
        for line in text.lines() {
            transcript.line(line);
        }
        transcript
    }

    #[test]
    fn sections_are_told_apart() {
        let transcript = read(
            "noise\n@@ 3.25 booted 6.1.0-56-cloud-amd64\n\
            @@ 4.00 begin auto oom\nrunning 2 tests\n@@ is no mark\n\n@@ 9.50 end auto oom 101\n\
            noise\n@@ 10.00 begin auto throttle\ntest a ... ",
        );
        assert_eq!(
            transcript.booted,
            Some((3.25, "6.1.0-56-cloud-amd64".to_owned()))
        );
        let [oom, throttle] = &transcript.sections[..] else {
            panic!("{transcript:?}");
        };
        assert_eq!(oom.output, "running 2 tests\n@@ is no mark\n\n");
        assert_eq!((oom.code, oom.seconds), (Some(101), 5.5));
        assert_eq!(
            (throttle.code, throttle.output.as_str()),
            (None, "test a ... \n")
        );
        assert!(!transcript.finished);
    }

    #[test]
    fn the_end_is_told() {
        assert!(read("@@ 1.00 finished").finished);
        let broken = read("@@ 1.00 broken cgroup v1 cannot be mounted").broken;
        assert_eq!(broken.as_deref(), Some("cgroup v1 cannot be mounted"));
    }
}
