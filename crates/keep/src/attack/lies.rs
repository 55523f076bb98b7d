//! The closed list of lies, and of what a host can lie about: together the table that a run fills.
//!
//! Invariant: a [`Cell`] is a lie that can be told of its row; there is no other way to make one.

use gate::ring::{KINDS, Kind};

/// A lie, by what of an answer it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Lie {
    /// Result: 0.
    Zero,
    /// Result: 1.
    One,
    /// Result: -1, an error number.
    MinusOne,
    /// Result: -4095, the last error number.
    LastError,
    /// Result: -4096, which is none.
    PastErrors,
    /// Result: the least signed number.
    Least,
    /// Result: the greatest signed number.
    Greatest,
    /// Result: the largest that can be true.
    Most,
    /// Result: one less than is true.
    OneLess,
    /// Result: one more than can be true.
    OneMore,
    /// Result: what is true, but for a bit of the high half.
    High,
    /// Result: one bit changed.
    Bit,
    /// Result: another that can be true.
    InRange,
    /// Result: an error number of Linux.
    Errno,
    /// Result: any word.
    Random,
    /// Result: the last one but 0.
    Stale,
    /// Result: that of another processor.
    Others,
    /// Data: a bit of the answer changed.
    Flip,
    /// Data: everything is noise.
    Fill,
    /// Data: what was there before.
    Old,
    /// Data: noise behind the answer.
    Past,
    /// Data: as it was for an earlier call of the same kind.
    Replay,
    /// Words: those of the call are noise when it returns.
    Words,
    /// Deed: not done, or later, and said to be done.
    Undone,
    /// Deed: done twice.
    Twice,
    /// Time: it returns at once.
    Early,
    /// Time: it returns a little later.
    Late,
    /// Processors: one more starts.
    Extra,
    /// Processors: all are woken.
    Woken,
    /// Processors: all are kicked.
    Kicked,
    /// While it is read: result and data change all the time, the result between two that can be true.
    Rewrite,
    /// While it is read: the result changes all the time between one that can be true and one that cannot.
    Double,
}

/// All lies.
pub const LIES: [Lie; 32] = [
    Lie::Zero,
    Lie::One,
    Lie::MinusOne,
    Lie::LastError,
    Lie::PastErrors,
    Lie::Least,
    Lie::Greatest,
    Lie::Most,
    Lie::OneLess,
    Lie::OneMore,
    Lie::High,
    Lie::Bit,
    Lie::InRange,
    Lie::Errno,
    Lie::Random,
    Lie::Stale,
    Lie::Others,
    Lie::Flip,
    Lie::Fill,
    Lie::Old,
    Lie::Past,
    Lie::Replay,
    Lie::Words,
    Lie::Undone,
    Lie::Twice,
    Lie::Early,
    Lie::Late,
    Lie::Extra,
    Lie::Woken,
    Lie::Kicked,
    Lie::Rewrite,
    Lie::Double,
];

/// What of an answer a lie changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The word of the result.
    Result,
    /// The data part.
    Data,
    /// The words of the call.
    Words,
    /// Whether it was done.
    Deed,
    /// When it returns.
    Time,
    /// Which processors run.
    Processors,
    /// Result or data, while they are read.
    While,
}

impl Lie {
    /// What it changes.
    #[must_use]
    pub fn field(self) -> Field {
        match self {
            Self::Flip | Self::Fill | Self::Old | Self::Past | Self::Replay => Field::Data,
            Self::Words => Field::Words,
            Self::Undone | Self::Twice => Field::Deed,
            Self::Early | Self::Late => Field::Time,
            Self::Extra | Self::Woken | Self::Kicked => Field::Processors,
            Self::Rewrite | Self::Double => Field::While,
            _ => Field::Result,
        }
    }
}

/// What can be lied about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Start {
    /// Bytes of memory.
    Memory,
    /// Ticks of a second.
    Ticks,
    /// How many processors are offered.
    Processors,
}

const STARTS: [Start; 3] = [Start::Memory, Start::Ticks, Start::Processors];

/// A row of the table: the answer to a kind of call, or a word that the host leaves at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Row {
    /// An answer.
    Call(Kind),
    /// A word.
    Start(Start),
}

impl Row {
    /// All rows with an answer to lie about.
    pub fn all() -> impl Iterator<Item = Self> {
        let calls = KINDS.into_iter().filter(|kind| !matches!(kind, Kind::Exit | Kind::Fatal)).map(Self::Call);
        calls.chain(STARTS.map(Self::Start))
    }

    /// Its place in the table.
    #[must_use]
    pub fn index(self) -> usize {
        match self {
            Self::Call(kind) => kind as usize - 1,
            Self::Start(start) => KINDS.len() + start as usize,
        }
    }

    /// Whether the lie can be told here, and would not be the truth.
    #[must_use]
    pub fn takes(self, lie: Lie) -> bool {
        let kind = match self {
            Self::Start(start) => {
                return match lie {
                    Lie::Zero | Lie::Least | Lie::Greatest | Lie::OneMore | Lie::High | Lie::Random => true,
                    // One processor fewer is an offer like any other, if there was more than one.
                    Lie::One | Lie::OneLess | Lie::InRange => start != Start::Processors,
                    _ => false,
                };
            }
            Self::Call(kind) => kind,
        };
        let ranged = ranged(kind);
        match lie {
            // The streams of an attack are no files: that is the truth.
            Lie::Zero => ranged && kind != Kind::What,
            Lie::Most | Lie::OneLess | Lie::InRange => ranged,
            Lie::Flip | Lie::Fill | Lie::Old | Lie::Past => {
                let told = matches!(kind, Kind::Accept | Kind::Name | Kind::Receive);
                told || matches!(kind, Kind::Read | Kind::Wait | Kind::Firmware)
            }
            Lie::Replay => matches!(kind, Kind::Read | Kind::Receive | Kind::Wait | Kind::Firmware),
            // The others have no deed, or none that can be done twice.
            Lie::Undone => {
                !matches!(kind, Kind::Clock | Kind::What | Kind::Option | Kind::Sleep | Kind::Park | Kind::Seek)
            }
            Lie::Twice => !matches!(kind, Kind::Wait | Kind::Poll | Kind::Sleep | Kind::Park),
            Lie::Early => matches!(kind, Kind::Wait | Kind::Poll | Kind::Sleep | Kind::Park),
            Lie::Extra => matches!(kind, Kind::Read | Kind::Sleep | Kind::Processor),
            _ => true,
        }
    }
}

/// For people.
impl std::fmt::Display for Row {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Call(kind) => write!(out, "{kind:?}"),
            Self::Start(start) => write!(out, "start::{start:?}"),
        }
    }
}

/// A lie of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// About what.
    pub row: Row,
    /// Which.
    pub lie: Lie,
}

/// All cells of a machine, with or without firmware below.
pub fn cells(firmware: bool) -> impl Iterator<Item = Cell> {
    let there = move |row: &Row| firmware || *row != Row::Call(Kind::Firmware);
    Row::all().filter(there).flat_map(|row| LIES.map(|lie| Cell { row, lie })).filter(|cell| cell.row.takes(cell.lie))
}

/// For people.
impl std::fmt::Display for Cell {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} × {:?} × {:?}", self.row, self.lie.field(), self.lie)
    }
}

/// Whether results of this kind have a range, and not one value.
fn ranged(kind: Kind) -> bool {
    matches!(
        kind,
        Kind::Read
            | Kind::Write
            | Kind::Wait
            | Kind::Accept
            | Kind::Name
            | Kind::Error
            | Kind::Poll
            | Kind::What
            | Kind::Seek
            | Kind::Clock
            | Kind::Send
            | Kind::Receive
            | Kind::Option
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lies_stand_in_the_order_of_their_numbers() {
        for (index, lie) in LIES.into_iter().enumerate() {
            assert_eq!(lie as usize, index);
        }
    }

    #[test]
    fn every_row_has_its_place_and_every_field_a_lie() {
        let rows: Vec<_> = Row::all().collect();
        assert_eq!(rows.len(), 31);
        let mut places: Vec<_> = rows.iter().map(|row| row.index()).collect();
        places.dedup();
        assert!(places.len() == rows.len() && places.iter().all(|place| *place < KINDS.len() + 3));
        for row in &rows {
            let fields: Vec<_> = LIES.into_iter().filter(|lie| row.takes(*lie)).map(Lie::field).collect();
            assert!(fields.contains(&Field::Result), "{row}");
            if let Row::Call(_) = row {
                assert!(fields.contains(&Field::While) && fields.contains(&Field::Words), "{row}");
            }
        }
        let without = cells(false).count();
        assert!(without > 500 && cells(true).count() > without);
    }
}
