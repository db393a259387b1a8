//! What copies say about their rows, and whether that is the same. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    index::Digest,
    types::{CollectionId, MemberId, PartitionId, Version},
};

/// How many ids a difference names.
pub const NAMED: usize = 8;

/// Which rows a copy has, by collection, in one number each. A collection without rows may be left out.
pub type Digests = BTreeMap<CollectionId, Digest>;

/// A copy at one version.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// The last write that is in.
    pub at: Version,
    /// The digests of its rows, as they were kept up with each write.
    pub digests: Digests,
}

/// What a copy says without reading its rows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Glance {
    /// The table that it goes by.
    pub table_version: u64,
    /// Now, and at some versions before: one of them is also one of another copy, unless they are far apart.
    pub moments: Vec<Moment>,
    /// Collections whose index shows other rows than there are.
    pub index: BTreeSet<CollectionId>,
}

/// A row that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its id.
    pub id: String,
    /// The write that it is from.
    pub version: Version,
    /// Hash of everything in it.
    pub content: u64,
}

/// What reading the rows of a collection gave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// What should be there: as it was kept up with each write.
    pub written: Digest,
    /// What is there.
    pub read: Digest,
    /// All hashes of everything in the rows.
    pub content: u64,
    /// Rows that cannot be read any more, and some of their ids.
    pub damaged: Few,
    /// Rows that the index shows otherwise, or not, or that are not there, and some of their ids.
    pub index: Few,
    /// The rows, if they were asked for and are not too many.
    pub rows: Option<Vec<Listed>>,
}

/// A number of rows and some of their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Few {
    /// How many.
    pub count: u64,
    /// The first.
    pub ids: Vec<String>,
}

impl Few {
    /// One more.
    pub fn add(&mut self, id: &str) {
        self.count += 1;
        if self.ids.len() < NAMED {
            self.ids.push(id.to_owned());
        }
    }
}

/// What reading a whole copy gave.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scan {
    /// The table that it goes by.
    pub table_version: u64,
    /// The last write that is in.
    pub at: Version,
    /// By collection.
    pub collections: BTreeMap<CollectionId, Read>,
    /// The store gave up: the rest was not read.
    pub failed: Option<String>,
}

impl Scan {
    /// Rows that were read.
    pub fn rows(&self) -> u64 {
        self.collections.values().map(|read| read.read.count).sum()
    }

    /// Are its rows those that were written?
    pub fn is_sound(&self, live: &BTreeSet<CollectionId>) -> bool {
        let sound = |(id, read): (&CollectionId, &Read)| {
            !live.contains(id) || read.read == read.written && read.damaged.count == 0
        };
        self.failed.is_none() && self.collections.iter().all(sound)
    }
}

/// What is wrong with a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Its rows are not those that were written to it: some are lost, damaged, or came from nowhere.
    Rows,
    /// Its index does not show its rows.
    Index,
    /// It was given other writes than the primary, or some were lost.
    Copy,
    /// Rows of the same write have other content than at the primary.
    Content,
}

impl What {
    /// For a label and for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Index => "index",
            Self::Copy => "copy",
            Self::Content => "content",
        }
    }
}

/// A difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// What is wrong.
    pub what: What,
    /// In which collection; `None` = the copy as a whole.
    pub collection: Option<CollectionId>,
    /// Rows that differ, as far as is known: at least one.
    pub rows: u64,
    /// Some of their ids.
    pub ids: Vec<String>,
}

/// What was found out about a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyVerdict {
    /// Who holds it.
    pub member: MemberId,
    /// The version at which it was read; `None` = it was not.
    pub at: Option<Version>,
    /// Rows that were read.
    pub rows: u64,
    /// What is wrong with it.
    pub differences: Vec<Difference>,
    /// Why it was not compared, or not in everything.
    pub unverified: Option<String>,
}

/// What was found out about a partition, by its primary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Which one.
    pub partition: PartitionId,
    /// The primary's own copy, then the others that are in sync.
    pub copies: Vec<CopyVerdict>,
}

impl Findings {
    /// Is there a difference anywhere?
    pub fn differs(&self) -> bool {
        self.copies.iter().any(|copy| !copy.differences.is_empty())
    }
}

/// The collections whose rows differ between two copies, at the newest version at which both are known; `None` when
/// there is none.
pub fn differing(
    ours: &Glance,
    theirs: &Glance,
    live: &BTreeSet<CollectionId>,
) -> Option<BTreeSet<CollectionId>> {
    let common = ours.moments.iter().filter_map(|our| {
        let their = theirs.moments.iter().find(|their| their.at == our.at)?;
        Some((our, their))
    });
    let (our, their) = common.max_by_key(|(our, _)| our.at)?;
    let of = |moment: &Moment, id| moment.digests.get(id).copied().unwrap_or_default();
    Some(live.iter().filter(|id| of(our, id) != of(their, id)).copied().collect())
}

/// What is wrong with a copy by itself.
pub fn alone(scan: &Scan, live: &BTreeSet<CollectionId>) -> Vec<Difference> {
    let mut found = Vec::new();
    if let Some(why) = &scan.failed {
        found.push(Difference { what: What::Rows, collection: None, rows: 1, ids: vec![why.clone()] });
    }
    for (&id, read) in scan.collections.iter().filter(|(id, _)| live.contains(id)) {
        let collection = Some(id);
        if scan.failed.is_none() && (read.read != read.written || read.damaged.count > 0) {
            let lost = read.written.count.abs_diff(read.read.count);
            let rows = lost.max(read.damaged.count).max(1);
            let ids = read.damaged.ids.clone();
            found.push(Difference { what: What::Rows, collection, rows, ids });
        }
        if read.index.count > 0 {
            let Few { count: rows, ids } = read.index.clone();
            found.push(Difference { what: What::Index, collection, rows, ids });
        }
    }
    found
}

/// What is wrong with a copy beside the primary's, which is sound. `differ`: the collections whose digests differ at
/// one version.
pub fn beside(
    ours: &Scan,
    theirs: &Scan,
    differ: &BTreeSet<CollectionId>,
    live: &BTreeSet<CollectionId>,
) -> Vec<Difference> {
    let mut found = alone(theirs, live);
    for &id in live {
        let nothing = Read::default();
        let our = ours.collections.get(&id).unwrap_or(&nothing);
        let their = theirs.collections.get(&id).unwrap_or(&nothing);
        let same_version = ours.at == theirs.at;
        let what = if differ.contains(&id) || same_version && our.written != their.written {
            What::Copy
        } else if same_version && our.read == their.read && our.content != their.content {
            What::Content
        } else {
            continue;
        };
        let rows = our.written.count.abs_diff(their.written.count).max(1);
        found.push(Difference { what, collection: Some(id), rows, ids: Vec::new() });
    }
    found
}

/// The rows that differ, at the version at which both copies were: where one of them went on, rows that are newer than
/// the other one's version are left out, and what they replaced may be counted.
pub fn rows_that_differ(ours: &Scan, theirs: &Scan, collection: CollectionId) -> Option<Few> {
    let until = ours.at.min(theirs.at);
    let rows = |scan: &'_ Scan| -> Option<BTreeMap<String, (Version, u64)>> {
        let listed = scan.collections.get(&collection)?.rows.as_ref()?.iter();
        let old = listed.filter(|row| row.version <= until);
        Some(old.map(|row| (row.id.clone(), (row.version, row.content))).collect())
    };
    let (ours, theirs) = (rows(ours)?, rows(theirs)?);
    let mut few = Few::default();
    let ids: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    ids.into_iter().filter(|id| ours.get(*id) != theirs.get(*id)).for_each(|id| few.add(id));
    Some(few)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: CollectionId = CollectionId(1);

    fn at(sequence: u64) -> Version {
        Version { epoch: 1, sequence }
    }

    fn digest(rows: &[(&str, u64)]) -> Digest {
        let mut digest = Digest::default();
        rows.iter().for_each(|(id, sequence)| digest.add(id, at(*sequence)));
        digest
    }

    fn moment(sequence: u64, rows: &[(&str, u64)]) -> Moment {
        Moment { at: at(sequence), digests: [(ONE, digest(rows))].into() }
    }

    fn glance<const N: usize>(moments: [&Moment; N]) -> Glance {
        Glance { moments: moments.map(Clone::clone).to_vec(), ..Glance::default() }
    }

    fn scan(sequence: u64, rows: &[(&str, u64)]) -> Scan {
        let listed = |(id, sequence): &(&str, u64)| Listed {
            id: (*id).to_owned(),
            version: at(*sequence),
            content: *sequence,
        };
        let read = Read {
            written: digest(rows),
            read: digest(rows),
            content: rows.iter().fold(0, |all, (_, sequence)| all ^ sequence),
            rows: Some(rows.iter().map(listed).collect()),
            ..Read::default()
        };
        Scan { at: at(sequence), collections: [(ONE, read)].into(), ..Scan::default() }
    }

    #[test]
    fn copies_are_compared_at_a_version_that_both_know() {
        let live = BTreeSet::from([ONE]);
        let (early, late) = (moment(256, &[("a", 1)]), moment(300, &[("a", 1), ("b", 290)]));
        let ours = glance([&late, &early]);
        assert_eq!(differing(&ours, &glance([&late]), &live), Some(BTreeSet::new()));
        // It went on, and both remember where it had been.
        let ahead = moment(310, &[("a", 1), ("b", 290), ("c", 305)]);
        assert_eq!(differing(&ours, &glance([&ahead, &early]), &live), Some(BTreeSet::new()));
        assert_eq!(differing(&ours, &glance([&ahead]), &live), None, "nothing is known at one version");
        let lost = moment(300, &[("a", 1)]);
        assert_eq!(differing(&ours, &glance([&lost]), &live), Some(live.clone()));
        assert_eq!(differing(&ours, &glance([&lost]), &BTreeSet::new()), Some(BTreeSet::new()), "dropped");
    }

    #[test]
    fn a_copy_is_judged_by_itself() {
        let live = BTreeSet::from([ONE]);
        let good = scan(9, &[("a", 1), ("b", 2)]);
        assert!(good.is_sound(&live) && alone(&good, &live).is_empty());
        let mut lost = good.clone();
        let read = lost.collections.get_mut(&ONE).unwrap();
        read.read = digest(&[("a", 1)]);
        read.index.add("b");
        assert!(!lost.is_sound(&live));
        let found = alone(&lost, &live);
        let whats: Vec<(What, u64)> = found.iter().map(|found| (found.what, found.rows)).collect();
        assert_eq!(whats, [(What::Rows, 1), (What::Index, 1)]);
        assert_eq!(found[1].ids, ["b"]);
        assert!(alone(&lost, &BTreeSet::new()).is_empty(), "of a dropped collection");
        let failed = Scan { failed: Some("the disk".into()), ..good };
        assert_eq!(alone(&failed, &live).len(), 1);
    }

    #[test]
    fn a_copy_is_judged_beside_the_primary() {
        let live = BTreeSet::from([ONE]);
        let ours = scan(9, &[("a", 1), ("b", 2)]);
        let none = BTreeSet::new();
        assert!(beside(&ours, &ours, &none, &live).is_empty());
        // One that came back from the dead, and one that lost a row; both are sound in themselves.
        let theirs = scan(9, &[("a", 1), ("c", 3)]);
        let found = beside(&ours, &theirs, &none, &live);
        assert_eq!(found.iter().map(|found| found.what).collect::<Vec<_>>(), [What::Copy]);
        let few = rows_that_differ(&ours, &theirs, ONE).unwrap();
        assert_eq!((few.count, few.ids), (2, vec!["b".to_owned(), "c".to_owned()]));
        let mut other = ours.clone();
        let read = other.collections.get_mut(&ONE).unwrap();
        read.content ^= 77;
        read.rows.as_mut().unwrap()[1].content = 77;
        let found = beside(&ours, &other, &none, &live);
        assert_eq!(found.iter().map(|found| found.what).collect::<Vec<_>>(), [What::Content]);
        assert_eq!(rows_that_differ(&ours, &other, ONE).unwrap().ids, ["b"]);
        // At other versions only what was compared at one version counts.
        let ahead = scan(10, &[("a", 1), ("b", 10)]);
        assert!(beside(&ours, &ahead, &none, &live).is_empty());
        assert_eq!(beside(&ours, &ahead, &live, &live).len(), 1);
    }
}
