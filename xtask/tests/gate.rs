//! `spec/gate.md` and the crate `gate` say the same: the table of calls row by row, the kinds of messages, the bounds.
//!
//! A difference is an error in one of the two; the message shows what the code says, ready to be pasted.

use gate::calls::{Call, Is, REFUSED, TABLE};
use gate::frame::{self, FrameError};
use gate::message::{self, Reply, Request};
use gate::program;

fn document() -> String {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../spec/gate.md");
    std::fs::read_to_string(file).unwrap()
}

/// The rows of the table whose first line is `head`, without head and rule.
fn table(document: &str, head: &str) -> Vec<String> {
    let mut lines = document.lines().skip_while(|line| *line != head);
    assert!(lines.next().is_some(), "spec/gate.md has no table {head}");
    lines.skip(1).take_while(|line| line.starts_with('|')).map(str::to_owned).collect()
}

fn row(Call { number, name, when, why }: &Call) -> String {
    let condition = |Is { argument, mask, value }: &Is| match mask {
        0xffff_ffff => format!("a{argument} = {value:#x}"),
        mask => format!("a{argument} & {mask:#x} = {value:#x}"),
    };
    let alternatives: Vec<String> =
        when.iter().map(|all| all.iter().map(condition).collect::<Vec<_>>().join(" and ")).collect();
    let when = if alternatives.is_empty() { "any".to_owned() } else { alternatives.join("; or ") };
    format!("| {number} | `{name}` | {when} | {why} |")
}

#[test]
fn the_document_has_exactly_the_calls_of_the_code() {
    let expected: Vec<String> = TABLE.iter().map(row).collect();
    let found = table(&document(), "| number | call | arguments | needed for |");
    assert!(found == expected, "the table of spec/gate.md must be:\n{}\n", expected.join("\n"));
}

#[test]
fn the_document_has_exactly_the_calls_that_are_answered_with_an_error() {
    let expected: Vec<String> = REFUSED
        .iter()
        .map(|call| format!("| {} | `{}` | {} | {} |", call.number, call.name, call.error, call.why))
        .collect();
    let found = table(&document(), "| number | call | error | why |");
    assert!(found == expected, "the refused calls of spec/gate.md must be:\n{}\n", expected.join("\n"));
}

/// The control: a row that says a little more than the code is seen.
#[test]
fn a_wider_row_is_not_the_same_row() {
    let clone = TABLE.iter().find(|call| call.name == "clone").unwrap();
    let wider = Call { when: &[], ..*clone };
    assert_ne!(row(clone), row(&wider));
}

/// The kinds that a table lists: the numbers of its first column.
fn kinds(head: &str) -> Vec<u8> {
    let number = |row: &String| row.split('|').nth(1).and_then(|cell| cell.trim().parse().ok());
    table(&document(), head).iter().map(|row| number(row).unwrap_or_else(|| panic!("no kind in {row}"))).collect()
}

#[test]
fn the_document_has_exactly_the_kinds_of_messages_of_the_code() {
    let requests = |kind: &u8| Request::decode(&[*kind]) != Err(FrameError::Unknown { what: "request", found: *kind });
    let replies = |kind: &u8| Reply::decode(&[*kind]) != Err(FrameError::Unknown { what: "reply", found: *kind });
    let known = |is: &dyn Fn(&u8) -> bool| (0..=u8::MAX).filter(is).collect::<Vec<_>>();
    assert_eq!(kinds("| kind | request | fields | reply |"), known(&requests));
    assert_eq!(kinds("| kind | reply | fields | to |"), known(&replies));
}

#[test]
fn the_document_has_the_bounds_of_the_code() {
    let endorsements = (0..=u8::MAX).rev().find(|count| {
        let certificates = vec![&b""[..]; usize::from(*count)];
        Reply::Endorsements { certificates, crl: b"" }.encode(&mut Vec::new()).is_ok()
    });
    let bounds = [
        ("frame", frame::MAX),
        ("chunk", message::CHUNK),
        ("text", message::TEXT),
        ("addresses", message::ADDRESSES),
        ("endorsements", usize::from(endorsements.unwrap())),
        ("entries", message::ENTRIES),
        ("attested", message::ATTESTED),
        ("context", message::CONTEXT),
        ("stored", usize::try_from(message::STORED).unwrap()),
        ("program", usize::try_from(program::PROGRAM).unwrap()),
        ("files", program::FILES),
        ("file", program::FILE),
        ("all files", program::ALL_FILES),
        ("path", program::PATH),
        ("stack", program::STACK),
    ];
    let expected: Vec<String> = bounds.iter().map(|(name, value)| format!("| {name} | {value} |")).collect();
    let found = table(&document(), "| bound | value | is |");
    for (row, expected) in found.iter().zip(&expected) {
        assert!(row.starts_with(expected), "expected {expected}, found {row}");
    }
    assert_eq!(found.len(), expected.len());
}

/// The calls of the ring: number and name of each row.
#[test]
fn the_document_has_exactly_the_calls_of_the_ring() {
    let expected: Vec<String> =
        gate::ring::KINDS.iter().map(|kind| format!("| {} | `{kind:?}` |", *kind as u32)).collect();
    let found = table(&document(), "| kind | call | place | a | b | result |");
    assert_eq!(found.len(), expected.len());
    for (row, begins) in found.iter().zip(&expected) {
        assert!(row.starts_with(begins), "{row} begins with {begins}");
    }
}

/// The addresses and the port.
#[test]
fn the_document_has_the_places_of_the_code() {
    use gate::{plan, ring};
    let document = document();
    for place in
        [plan::SHIM, plan::PLAN, plan::BLOCKS, plan::SHARED, plan::ROOT, u64::from(ring::DOORBELL), ring::DATA as u64]
    {
        let written = [format!("`{place:#x}`"), format!(" {place} ")];
        assert!(written.iter().any(|text| document.contains(text)), "{place:#x}");
    }
}
