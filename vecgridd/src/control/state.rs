//! How the grid decides: a deterministic function of the state and the command. Pure.

use super::command::{Command, Decision, Refused};
use crate::types::{ClusterView, Collection, CollectionId};

/// Decides a command; `view` changes only if it is accepted.
pub(super) fn decide(view: &mut ClusterView, command: Command) -> Result<Decision, Refused> {
    let decision = match command {
        Command::CreateCollection(config) => match view.collections.get(&config.name) {
            Some(existing) if existing.config == config => return Ok(Decision::Exists(existing.clone())),
            Some(_) => return Err(Refused::CollectionExists(config.name)),
            None => {
                let collection = Collection { id: CollectionId(view.next_collection), config };
                view.next_collection += 1;
                view.collections.insert(collection.config.name.clone(), collection.clone());
                Decision::Created(collection)
            }
        },
        Command::DropCollection(name) => match view.collections.remove(&name) {
            Some(dropped) => {
                view.purging.insert(dropped.id);
                Decision::Dropped(Some(dropped.id))
            }
            None => return Ok(Decision::Dropped(None)),
        },
        Command::Purged(id) => {
            view.purging.remove(&id);
            Decision::Purged
        }
    };
    view.version += 1;
    Ok(decision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{CollectionConfig, CollectionName, Durability, IndexOptions, MemberId, Metric};

    fn config(name: &str, dimension: u32) -> CollectionConfig {
        CollectionConfig {
            name: CollectionName::new(name).unwrap(),
            dimension,
            metric: Metric::Cosine,
            index: IndexOptions::default(),
            durability: Durability::Sync,
        }
    }

    #[test]
    fn creating_an_equal_collection_finds_it_and_a_different_one_is_refused() {
        let mut view = ClusterView::bootstrap("g", 8, &MemberId("m".into()));
        let Ok(Decision::Created(first)) = decide(&mut view, Command::CreateCollection(config("a", 4)))
        else {
            panic!()
        };
        let version = view.version();
        assert_eq!(decide(&mut view, Command::CreateCollection(config("a", 4))), Ok(Decision::Exists(first)));
        assert!(decide(&mut view, Command::CreateCollection(config("a", 5))).is_err());
        assert_eq!(view.version(), version);
    }

    #[test]
    fn a_number_is_never_used_again() {
        let mut view = ClusterView::bootstrap("g", 8, &MemberId("m".into()));
        decide(&mut view, Command::CreateCollection(config("a", 4))).unwrap();
        let Ok(Decision::Dropped(Some(dropped))) =
            decide(&mut view, Command::DropCollection(CollectionName::new("a").unwrap()))
        else {
            panic!()
        };
        assert_eq!(view.purging().collect::<Vec<_>>(), [dropped]);
        let Ok(Decision::Created(again)) = decide(&mut view, Command::CreateCollection(config("a", 4)))
        else {
            panic!()
        };
        assert_ne!(again.id, dropped);
        decide(&mut view, Command::Purged(dropped)).unwrap();
        assert_eq!(view.purging().count(), 0);
    }
}
