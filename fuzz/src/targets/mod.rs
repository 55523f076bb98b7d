//! What is given hostile input, and what must hold of it.

pub(crate) mod azure;
pub(crate) mod brief;
pub(crate) mod channel;
pub(crate) mod dcap;
pub(crate) mod drawbridge;
pub(crate) mod ear;
pub(crate) mod elf;
pub(crate) mod enarx;
pub(crate) mod envelope;
pub(crate) mod evidence;
pub(crate) mod file;
pub(crate) mod firmware;
pub(crate) mod http;
pub(crate) mod message;
pub(crate) mod piece;
pub(crate) mod pki;
pub(crate) mod plan;
pub(crate) mod policy;
pub(crate) mod publisher;
pub(crate) mod quote;
pub(crate) mod release;
pub(crate) mod request;
pub(crate) mod ring;
pub(crate) mod snp;
pub(crate) mod steward;

/// An input as instructions: what is left of it, which never ends but gives zeroes.
pub(crate) struct Script<'a>(pub(crate) &'a [u8]);

impl<'a> Script<'a> {
    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    pub(crate) fn number(&mut self) -> usize {
        usize::from(self.byte()) | usize::from(self.byte()) << 8
    }

    /// At most so many.
    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (head, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        head
    }

    pub(crate) fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}
