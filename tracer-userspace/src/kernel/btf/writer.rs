//! Writes BTF, for tests.

use super::raw::kind;

/// Writes BTF.
#[derive(Default)]
pub struct Writer {
    types: Vec<u8>,
    strings: Vec<u8>,
    /// The layout section; the header has its older form where this is empty.
    pub layout: Vec<u8>,
    count: u32,
}

impl Writer {
    pub fn new() -> Self {
        Self {
            strings: vec![0],
            ..Self::default()
        }
    }

    pub fn string(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend_from_slice(text.as_bytes());
        self.strings.push(0);
        at
    }

    fn words(&mut self, words: &[u32]) {
        for word in words {
            self.types.extend_from_slice(&word.to_ne_bytes());
        }
    }

    /// Adds a type and returns its id.
    pub fn add(
        &mut self,
        name: &str,
        kind: u32,
        vlen: u32,
        size_or_type: u32,
        data: &[u32],
    ) -> u32 {
        let name = self.string(name);
        self.words(&[name, kind << 24 | vlen, size_or_type]);
        self.words(data);
        self.count += 1;
        self.count
    }

    pub fn int(&mut self, name: &str, size: u32) -> u32 {
        self.add(name, kind::INT, 0, size, &[size * 8])
    }

    /// Adds a struct of `(name, type, offset word)`.
    pub fn aggregate(
        &mut self,
        name: &str,
        kind: u32,
        size: u32,
        members: &[(&str, u32, u32)],
    ) -> u32 {
        let data: Vec<u32> = members
            .iter()
            .flat_map(|(name, ty, offset)| [self.string(name), *ty, *offset])
            .collect();
        self.add(name, kind, members.len() as u32, size, &data)
    }

    pub fn finish(self) -> Vec<u8> {
        let header = if self.layout.is_empty() { 24u32 } else { 32 };
        let mut out = Vec::new();
        out.extend_from_slice(&0xeb9fu16.to_ne_bytes());
        out.extend_from_slice(&[1, 0]);
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut head = vec![header, 0, types, types, strings];
        if header == 32 {
            head.extend([types + strings, self.layout.len() as u32]);
        }
        for word in head {
            out.extend_from_slice(&word.to_ne_bytes());
        }
        out.extend(self.types);
        out.extend(self.strings);
        out.extend(self.layout);
        out
    }
}
