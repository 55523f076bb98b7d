//! The areas of the address space: disjoint, sorted, neighbours that are alike merged.
//!
//! Owns what may be where. An area remembers which part of it was ever touched, so that giving back four gigabytes of
//! reservation costs what was used of it.
//!
//! Invariant: areas are not empty, do not overlap, are sorted, page-aligned, and lie below [`TOP`].

/// Where the program's half of the address space ends, less a page, as on Linux.
pub(crate) const TOP: u64 = 0x7fff_ffff_f000;
/// Nothing is placed below: a null pointer with an offset stays one.
pub(crate) const BOTTOM: u64 = 0x1_0000;
const PAGE: u64 = 4096;
const MOST: usize = 4096;

pub(crate) const READ: u8 = 1;
pub(crate) const WRITE: u8 = 2;
pub(crate) const EXECUTE: u8 = 4;
/// The shim's own: the program cannot move it, take it away or change it.
pub(crate) const KEPT: u8 = 8;

/// A run of pages with one protection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Area {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// [`READ`], [`WRITE`], [`EXECUTE`]; 0 for none. And [`KEPT`].
    pub(crate) protection: u8,
    /// What was ever touched lies within; empty if the first is not below the second.
    pub(crate) touched: (u64, u64),
}

impl Area {
    pub(crate) fn new(start: u64, end: u64, protection: u8) -> Self {
        Self { start, end, protection, touched: (u64::MAX, 0) }
    }

    /// Whether there may be pages.
    pub(crate) fn was_touched(&self) -> bool {
        self.touched.0 < self.touched.1
    }

    /// The part of it within a range.
    fn cut(&self, start: u64, end: u64) -> Option<Self> {
        let (start, end) = (self.start.max(start), self.end.min(end));
        let touched = (self.touched.0.max(start), self.touched.1.min(end));
        (start < end).then_some(Self { start, end, touched, ..*self })
    }
}

/// There is no room for more areas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

/// All areas.
pub(crate) struct Areas {
    list: [Area; MOST],
    count: usize,
}

const NONE: Area = Area { start: 0, end: 0, protection: 0, touched: (0, 0) };

impl Areas {
    pub(crate) const fn new() -> Self {
        Self { list: [NONE; MOST], count: 0 }
    }

    fn all(&self) -> &[Area] {
        self.list.get(..self.count).unwrap_or_default()
    }

    /// The index of the first area that ends above `address`.
    fn above(&self, address: u64) -> usize {
        self.all().partition_point(|area| area.end <= address)
    }

    /// The area around an address.
    pub(crate) fn at(&self, address: u64) -> Option<&Area> {
        self.all().get(self.above(address)).filter(|area| area.start <= address)
    }

    /// Pages from `start` to `end` were touched; they lie in one area.
    pub(crate) fn touch(&mut self, start: u64, end: u64) {
        let index = self.above(start);
        if let Some(area) = self.list.get_mut(..self.count).and_then(|list| list.get_mut(index)) {
            area.touched = (area.touched.0.min(start), area.touched.1.max(end));
        }
    }

    /// Whether all of the range belongs to areas that allow `wanted`.
    pub(crate) fn allow(&self, start: u64, end: u64, wanted: u8) -> bool {
        let mut at = start;
        while at < end {
            match self.at(at) {
                Some(area) if area.protection & wanted == wanted => at = area.end,
                _ => return false,
            }
        }
        true
    }

    /// Whether no area is in the range.
    pub(crate) fn vacant(&self, start: u64, end: u64) -> bool {
        self.all().get(self.above(start)).is_none_or(|area| area.start >= end)
    }

    /// The highest vacant range of that length below `below`.
    pub(crate) fn room(&self, length: u64, below: u64) -> Option<u64> {
        let mut end = below;
        for area in self.all().iter().rev().skip_while(|area| area.start >= below) {
            if area.end <= end && end.saturating_sub(area.end) >= length {
                break;
            }
            end = end.min(area.start);
        }
        end.checked_sub(length).filter(|start| *start >= BOTTOM)
    }

    /// The areas, or parts of areas, in a range.
    pub(crate) fn within(&self, start: u64, end: u64) -> impl Iterator<Item = Area> + '_ {
        let all = self.all().get(self.above(start)..).unwrap_or_default();
        all.iter().take_while(move |area| area.start < end).filter_map(move |area| area.cut(start, end))
    }

    /// Takes everything in the range out.
    pub(crate) fn remove(&mut self, start: u64, end: u64) -> Result<(), Full> {
        self.replace(start, end, |_| None)
    }

    /// Gives everything in the range another protection.
    pub(crate) fn protect(&mut self, start: u64, end: u64, protection: u8) -> Result<(), Full> {
        self.replace(start, end, |area| Some(Area { protection, ..area }))
    }

    /// Puts an area into a vacant range.
    pub(crate) fn insert(&mut self, area: Area) -> Result<(), Full> {
        let index = self.above(area.start);
        self.put(index, area)?;
        self.join(index);
        self.join(index.saturating_sub(1));
        Ok(())
    }

    /// Cuts at both ends of the range and puts for each area inside what `change` makes of it.
    fn replace(&mut self, start: u64, end: u64, change: impl Fn(Area) -> Option<Area>) -> Result<(), Full> {
        // Both cuts may need a place; after them nothing fails.
        if self.count.saturating_add(2) > MOST {
            return Err(Full);
        }
        let mut index = self.above(start);
        if let Some(area) = self.all().get(index).copied()
            && let (Some(low), Some(high)) = (area.cut(area.start, start), area.cut(start, area.end))
        {
            self.set(index, low);
            index = index.saturating_add(1);
            self.put(index, high)?;
        }
        let first = index;
        while let Some(area) = self.all().get(index).copied().filter(|area| area.start < end) {
            if let (Some(low), Some(high)) = (area.cut(area.start, end), area.cut(end, area.end)) {
                self.set(index, low);
                self.put(index.saturating_add(1), high)?;
                continue;
            }
            match change(area) {
                Some(area) => {
                    self.set(index, area);
                    index = index.saturating_add(1);
                }
                None => self.take(index),
            }
        }
        // From the end, because joining moves what follows.
        for at in (first.saturating_sub(1)..=index).rev() {
            self.join(at);
        }
        Ok(())
    }

    fn set(&mut self, index: usize, area: Area) {
        if let Some(place) = self.list.get_mut(index) {
            *place = area;
        }
    }

    fn put(&mut self, index: usize, area: Area) -> Result<(), Full> {
        if self.count >= MOST || index > self.count {
            return Err(Full);
        }
        self.list.copy_within(index..self.count, index.saturating_add(1));
        self.count = self.count.saturating_add(1);
        self.set(index, area);
        Ok(())
    }

    fn take(&mut self, index: usize) {
        self.list.copy_within(index.saturating_add(1)..self.count, index);
        self.count = self.count.saturating_sub(1);
    }

    /// Joins the area at `index` with the next if they are alike.
    fn join(&mut self, index: usize) {
        let next = index.saturating_add(1);
        if let (Some(low), Some(high)) = (self.all().get(index).copied(), self.all().get(next).copied())
            && low.end == high.start
            && low.protection == high.protection
        {
            let touched = (low.touched.0.min(high.touched.0), low.touched.1.max(high.touched.1));
            self.set(index, Area { end: high.end, touched, ..low });
            self.take(next);
        }
    }
}

/// A range of whole pages in the program's half; `None` if `start` is not on a page, or it wraps, is empty or ends above.
pub(crate) fn range(start: u64, length: u64) -> Option<(u64, u64)> {
    let length = length.checked_next_multiple_of(PAGE)?;
    let end = start.checked_add(length)?;
    (start.is_multiple_of(PAGE) && length > 0 && end <= TOP).then_some((start, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model: what is where, page by page.
    #[derive(Default)]
    struct Model(std::collections::BTreeMap<u64, u8>);

    impl Model {
        fn areas(&self) -> Vec<(u64, u64, u8)> {
            let mut all: Vec<(u64, u64, u8)> = Vec::new();
            for (page, protection) in &self.0 {
                match all.last_mut() {
                    Some(last) if last.1 == *page && last.2 == *protection => last.1 = page + 1,
                    _ => all.push((*page, page + 1, *protection)),
                }
            }
            all
        }
    }

    fn found(areas: &Areas) -> Vec<(u64, u64, u8)> {
        areas.all().iter().map(|area| (area.start / PAGE, area.end / PAGE, area.protection)).collect()
    }

    /// Any sequence of changes leaves what a table of pages would have.
    #[test]
    fn areas_are_what_a_table_of_pages_says() {
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: u64| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed % below
        };
        let mut areas = Box::new(Areas::new());
        let mut model = Model::default();
        for _ in 0..20_000 {
            let (first, pages) = (20 + random(60), 1 + random(20));
            let (start, end) = (first * PAGE, (first + pages) * PAGE);
            let protection = u8::try_from(random(4)).unwrap();
            match random(3) {
                0 => {
                    areas.remove(start, end).unwrap();
                    areas.insert(Area::new(start, end, protection)).unwrap();
                    model.0.extend((first..first + pages).map(|page| (page, protection)));
                }
                1 => {
                    areas.remove(start, end).unwrap();
                    model.0.retain(|page, _| !(first..first + pages).contains(page));
                }
                _ => {
                    areas.protect(start, end, protection).unwrap();
                    model.0.range_mut(first..first + pages).for_each(|(_, old)| *old = protection);
                }
            }
            assert_eq!(found(&areas), model.areas());
            let all = (first..first + pages).all(|page| model.0.get(&page).is_some_and(|p| p & READ != 0));
            assert_eq!(areas.allow(start, end, READ), all);
            let none = model.0.range(first..first + pages).next().is_none();
            assert_eq!(areas.vacant(start, end), none);
            if let Some(room) = areas.room(pages * PAGE, 100 * PAGE) {
                assert!(areas.vacant(room, room + pages * PAGE) && room + pages * PAGE <= 100 * PAGE);
                let higher =
                    (room / PAGE + 1..=100 - pages).find(|page| model.0.range(page..&(page + pages)).next().is_none());
                assert_eq!(higher, None, "the highest room");
            }
        }
    }

    #[test]
    fn what_was_touched_is_remembered_through_cuts_and_merges() {
        let mut areas = Box::new(Areas::new());
        areas.insert(Area::new(BOTTOM, BOTTOM + 100 * PAGE, READ)).unwrap();
        areas.touch(BOTTOM + 10 * PAGE, BOTTOM + 12 * PAGE);
        areas.protect(BOTTOM + 11 * PAGE, BOTTOM + 20 * PAGE, 0).unwrap();
        let touched: Vec<_> = areas.within(0, TOP).map(|area| area.touched).collect();
        assert_eq!(touched[0], (BOTTOM + 10 * PAGE, BOTTOM + 11 * PAGE));
        assert_eq!(touched[1], (BOTTOM + 11 * PAGE, BOTTOM + 12 * PAGE));
        assert!(touched[2].0 >= touched[2].1);
        areas.protect(BOTTOM, BOTTOM + 100 * PAGE, WRITE).unwrap();
        assert_eq!(areas.all().len(), 1);
        assert_eq!(areas.all()[0].touched, (BOTTOM + 10 * PAGE, BOTTOM + 12 * PAGE));
    }

    #[test]
    fn ranges_are_pages_of_the_programs_half() {
        assert_eq!(range(BOTTOM, 1), Some((BOTTOM, BOTTOM + PAGE)));
        for (start, length) in [(1, 1), (BOTTOM, 0), (TOP, 1), (0, u64::MAX), (u64::MAX - 4095, 4096), (PAGE, TOP)] {
            assert_eq!(range(start, length), None, "{start:#x} {length:#x}");
        }
    }

    #[test]
    fn full_is_an_answer() {
        let mut areas = Box::new(Areas::new());
        for n in 0..MOST as u64 {
            areas.insert(Area::new(BOTTOM + 2 * n * PAGE, BOTTOM + (2 * n + 1) * PAGE, READ)).unwrap();
        }
        assert_eq!(areas.insert(Area::new(TOP - PAGE, TOP, READ)), Err(Full));
        assert_eq!(areas.remove(BOTTOM, BOTTOM + PAGE), Err(Full));
    }
}
