//! Where two builds differ: part by part, the first page of each, in its segment.
//!
//! What comes from a file (shim, exec) stands first, because tables, plan and the processor's state follow from it.

use serde::Serialize;

use super::file::{Part, Record};
use crate::failure::Failure;

/// Bytes of a page.
const PAGE: u64 = 4096;

#[derive(Debug, Serialize)]
pub(super) struct Changes {
    same: bool,
    was: String,
    is: String,
    parts: Vec<Change>,
}

/// What is different about a part.
#[derive(Debug, Serialize)]
struct Change {
    part: String,
    /// Where it was and where it is; `null`: it was not there, or is not there any more.
    was_at: Option<String>,
    at: Option<String>,
    /// How many pages it had and has.
    had: usize,
    pages: usize,
    /// How many of the pages that both have are not the same.
    changed: usize,
    first: Option<First>,
}

/// The first page that is not the same; of two parts of which one is longer, maybe the first that only one has.
#[derive(Debug, Serialize)]
struct First {
    /// Guest-physical, in this build; in the other if only that has it.
    at: String,
    /// Number and protection of the segment, and the offset in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<(usize, String)>,
    offset: String,
}

impl Changes {
    pub(super) const fn same(&self) -> bool {
        self.same
    }
}

pub(super) fn changes(before: &Record, now: &Record) -> Changes {
    let of = |parts: &'_ [Part], name: &str| parts.iter().position(|part| part.name == name);
    let mut parts: Vec<(bool, Change)> = now
        .parts
        .iter()
        .filter_map(|part| {
            let old = of(&before.parts, &part.name).map(|index| &before.parts[index]);
            Change::new(old, Some(part)).map(|change| (part.segments.is_empty(), change))
        })
        .collect();
    for part in before.parts.iter().filter(|part| of(&now.parts, &part.name).is_none()) {
        parts.extend(Change::new(Some(part), None).map(|change| (part.segments.is_empty(), change)));
    }
    parts.sort_by_key(|(follows, _)| *follows);
    Changes {
        same: before.measurement == now.measurement && parts.is_empty(),
        was: before.measurement.clone(),
        is: now.measurement.clone(),
        parts: parts.into_iter().map(|(_, change)| change).collect(),
    }
}

impl Change {
    fn new(old: Option<&Part>, new: Option<&Part>) -> Option<Self> {
        let pages = |part: Option<&Part>| part.map_or(0, |part| part.pages.len());
        let page = |part: Option<&Part>, index: usize| part.and_then(|part| part.pages.get(index).cloned());
        let differs = |index: &usize| page(old, *index) != page(new, *index);
        let both = pages(old).min(pages(new));
        let first = (0..pages(old).max(pages(new))).find(differs);
        if first.is_none() && old.map(Self::place) == new.map(Self::place) {
            return None;
        }
        let part = new.or(old)?;
        let place = |index: usize| First::new(if index < pages(new) { new? } else { old? }, index);
        Some(Self {
            part: part.name.clone(),
            was_at: old.map(|part| part.at.clone()),
            at: new.map(|part| part.at.clone()),
            had: pages(old),
            pages: pages(new),
            changed: (0..both).filter(differs).count(),
            first: first.and_then(place),
        })
    }

    fn place(part: &Part) -> (&str, &str) {
        (&part.at, &part.kind)
    }
}

impl First {
    fn new(part: &Part, index: usize) -> Option<Self> {
        let page = index as u64;
        let start = u64::from_str_radix(part.at.strip_prefix("0x")?, 16).ok()?;
        let inside =
            |segment: &super::file::Segment| page.checked_sub(segment.first).filter(|offset| *offset < segment.pages);
        let segment = part.segments.iter().enumerate().find_map(|(number, one)| Some((number, one, inside(one)?)));
        Some(Self {
            at: format!("{:#x}", start.checked_add(page.checked_mul(PAGE)?)?),
            segment: segment.map(|(number, one, _)| (number, one.protection.clone())),
            offset: format!("{:#x}", segment.map_or(page, |(_, _, offset)| offset).checked_mul(PAGE)?),
        })
    }
}

pub(super) fn text(changes: &Changes) -> String {
    let Changes { same, was, is, parts } = changes;
    if *same {
        return format!("same measurement {is}\n");
    }
    let mut out = format!("was {was}\nis  {is}\n");
    for Change { part, was_at, at, had, pages, changed, first } in parts {
        let what = match (was_at, at) {
            (None, _) => "is new".to_owned(),
            (_, None) => "is gone".to_owned(),
            (Some(was_at), Some(at)) => {
                let mut what = format!("{changed} of {had} pages changed");
                if had != pages {
                    what += &format!(", now {pages}");
                }
                if was_at != at {
                    what += &format!(", moved from {was_at} to {at}");
                }
                what
            }
        };
        let place = first.as_ref().map_or(String::new(), |First { at, segment, offset }| match segment {
            Some((number, protection)) => format!("; first {at}: segment {number} ({protection}), offset {offset}"),
            None => format!("; first {at}: offset {offset}"),
        });
        out += &format!("{part}: {what}{place}\n");
    }
    out
}

pub(super) fn json(changes: &Changes) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(changes).map_err(|error| Failure::caused("cannot write JSON", &error))?;
    Ok(text + "\n")
}
