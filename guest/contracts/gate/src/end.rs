//! The wish of a Keep's host that it ends: one byte, on a descriptor of its own, because the platform never speaks first
//! on the other.

/// The descriptor on which exec hears it.
pub const DESCRIPTOR: i32 = 4;

/// By what a host was told to end, as `signal(7)` numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Signal {
    /// SIGINT, of a person at a terminal.
    Interrupt = 2,
    /// SIGTERM, of whoever looks after services.
    Terminate = 15,
}

impl Signal {
    /// What a byte says. A host that wants an end and cannot say why wants it no less.
    #[must_use]
    pub const fn of(byte: u8) -> Self {
        match byte {
            2 => Self::Interrupt,
            _ => Self::Terminate,
        }
    }

    /// Its number, which is the byte.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The status by which a shell tells that it ended a program.
    #[must_use]
    pub const fn status(self) -> u8 {
        128 | self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::Signal;

    #[test]
    fn every_byte_is_a_wish() {
        let bytes = [2, 15, 0, 9, 255].map(|byte| (Signal::of(byte).number(), Signal::of(byte).status()));
        assert_eq!(bytes, [(2, 130), (15, 143), (15, 143), (15, 143), (15, 143)]);
    }
}
