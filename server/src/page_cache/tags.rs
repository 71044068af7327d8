//! What an answer was made from, as numbers to compare. Pure.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use catalog::Tag;

/// Tags of one answer, or of one change. Two tags with one number cost a render too many, no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TagSet(Box<[u64]>);

fn number(tag: &Tag) -> u64 {
    let mut hasher = DefaultHasher::new();
    tag.hash(&mut hasher);
    hasher.finish()
}

impl TagSet {
    /// `None` when the tags say that anything may have changed.
    pub(crate) fn of_change(tags: &[Tag]) -> Option<Self> {
        (!tags.contains(&Tag::Everything)).then(|| Self::from_tags(tags))
    }

    pub(crate) fn from_tags(tags: &[Tag]) -> Self {
        Self::from_numbers(tags.iter().map(number).collect())
    }

    pub(crate) fn from_numbers(mut numbers: Vec<u64>) -> Self {
        numbers.sort_unstable();
        numbers.dedup();
        Self(numbers.into())
    }

    pub(crate) fn numbers(&self) -> &[u64] {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether they have a tag in common.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        let (few, many) = if self.0.len() < other.0.len() { (self, other) } else { (other, self) };
        few.0.iter().any(|number| many.0.binary_search(number).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use domain::AssetId;

    use super::*;

    fn asset(byte: u8) -> Tag {
        Tag::Asset(AssetId::from_digest([byte; 32]))
    }

    #[test]
    fn a_change_meets_the_answers_made_from_what_it_changed() {
        let list = TagSet::from_tags(&[Tag::Assets, asset(1), asset(2)]);
        let page = TagSet::from_tags(&[asset(2)]);
        let change = |tags: &[Tag]| TagSet::of_change(tags).unwrap();
        assert!(change(&[asset(2)]).meets(&list) && change(&[asset(2)]).meets(&page));
        assert!(change(&[Tag::Assets, Tag::Jobs]).meets(&list));
        assert!(!change(&[Tag::Assets]).meets(&page));
        assert!(!change(&[asset(3)]).meets(&list));
        assert!(!change(&[]).meets(&list));
        assert_eq!(TagSet::of_change(&[Tag::Assets, Tag::Everything]), None);
    }
}
