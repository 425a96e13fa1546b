//! The pool: which Backends to make, and which are surplus.
//!
//! Nothing is remembered: a Backend that leaves because its pool shrinks is known by [`Member::scale_in`], and such
//! ones stay the choice as long as the pool stays too large. A pool that grows again takes back as many as it needs.

use std::cmp::Reverse;

/// A Backend of the pool.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Member {
    /// Its name, e.g. `mc-0`.
    pub name: String,
    /// Whether a user deleted it: it goes, whatever the pool wants.
    pub deleting: bool,
    /// Whether it leaves already because the pool shrinks.
    pub scale_in: bool,
    /// Whether its server's identity ended, so that it cannot be taken back.
    pub retired: bool,
    /// Whether a user asked that it goes first.
    pub remove_first: bool,
    /// Whether a user empties it, or keeps it from new users.
    pub set_aside: bool,
    /// Whether it serves.
    pub ready: bool,
    /// Whether it ever served.
    pub was_ready: bool,
    /// Its bytes of mail; none if they are not known.
    pub bytes: Option<u64>,
    /// When it was made, in milliseconds since any fixed point.
    pub created_ms: u64,
}

/// Which member goes first, of those that nothing else tells apart.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Removal {
    /// The one with the highest number: the user names others by [`Member::remove_first`].
    Annotated,
    /// The one with the fewest bytes.
    #[default]
    LeastData,
    /// The youngest.
    Newest,
}

/// What a pool should be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PoolWish<'a> {
    /// Name of the MurderCluster, with which the members' names begin.
    pub cluster: &'a str,
    /// How many members.
    pub replicas: usize,
    /// Which goes first.
    pub removal: Removal,
    /// Fewest Backends of the murder, in the pool or not, that are not leaving.
    pub min_active: usize,
    /// Backends of the murder outside the pool that are not leaving.
    pub active_outside: usize,
    /// Names that others than members have; a member that is made gets the next free one.
    pub taken: &'a [String],
}

/// What to do with a pool.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PoolPlan {
    /// Names of Backends to make, in order of their numbers.
    pub create: Vec<String>,
    /// Names of members that leave, in the order in which they go; all others stay or are taken back.
    pub leave: Vec<String>,
    /// How many more should leave, but are needed as long as the murder has so few.
    pub kept: usize,
}

/// Decides on the members of a pool. The order of `members` changes nothing.
///
/// A member that a user deleted is replaced only when it is gone, so that its name is free and its mail has moved.
pub fn pool(wish: PoolWish<'_>, members: &[Member]) -> PoolPlan {
    let is_going = |member: &&Member| member.deleting || member.retired;
    let (going, mut staying): (Vec<&Member>, Vec<&Member>) = members.iter().partition(is_going);
    staying.sort_by_cached_key(|member| order(wish, member));
    let surplus = staying.len().saturating_sub(wish.replicas);
    let retired = going.iter().filter(|member| !member.deleting);
    let mut leave: Vec<String> = retired.map(|member| member.name.clone()).collect();
    leave.sort_unstable();
    let active = staying.iter().filter(|member| !member.set_aside).count();
    let mut spare = (active + wish.active_outside).saturating_sub(wish.min_active);
    let mut left = surplus;
    for member in &staying {
        let is_needed = !member.set_aside && spare == 0;
        if left == 0 || is_needed {
            continue;
        }
        spare -= usize::from(!member.set_aside);
        left -= 1;
        leave.push(member.name.clone());
    }
    // One that a user deleted has its place until it is gone; one that the pool gave up has none.
    let deleted = going.iter().filter(|m| m.deleting && !m.scale_in).count();
    let missing = wish.replicas.saturating_sub(staying.len() + deleted);
    let free = (0_usize..)
        .map(|index| format!("{}-{index}", wish.cluster))
        .filter(|name| !members.iter().any(|member| member.name == *name))
        .filter(|name| !wish.taken.contains(name));
    PoolPlan {
        create: free.take(missing).collect(),
        leave,
        kept: left,
    }
}

/// The lower, the sooner it goes.
type Order = (u8, u8, u64, Reverse<u64>, Reverse<usize>, String);

fn order(wish: PoolWish<'_>, member: &Member) -> Order {
    let by_choice = match member {
        Member { scale_in: true, .. } => 0,
        Member {
            remove_first: true, ..
        } => 1,
        Member {
            set_aside: true, ..
        } => 2,
        _ => 3,
    };
    // What never served holds nothing. What does not serve now holds mail that only it can give away, so it goes last.
    let by_health = match (member.was_ready, member.ready) {
        (false, _) => 0,
        (true, true) => 1,
        (true, false) => 2,
    };
    let bytes = match wish.removal {
        Removal::LeastData => member.bytes.unwrap_or(u64::MAX),
        Removal::Annotated | Removal::Newest => 0,
    };
    let created = match wish.removal {
        Removal::Newest => member.created_ms,
        Removal::Annotated | Removal::LeastData => 0,
    };
    (
        by_choice,
        by_health,
        bytes,
        Reverse(created),
        Reverse(index(wish.cluster, &member.name).unwrap_or(0)),
        member.name.clone(),
    )
}

/// The number in a member's name.
fn index(cluster: &str, name: &str) -> Option<usize> {
    name.strip_prefix(cluster)?.strip_prefix('-')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Member, PoolPlan, PoolWish, Removal, pool};

    fn wish(replicas: usize) -> PoolWish<'static> {
        PoolWish {
            cluster: "mc",
            replicas,
            min_active: 1,
            ..PoolWish::default()
        }
    }

    fn member(index: usize, bytes: u64) -> Member {
        Member {
            name: format!("mc-{index}"),
            ready: true,
            was_ready: true,
            bytes: Some(bytes),
            created_ms: 1000 * index as u64,
            ..Member::default()
        }
    }

    fn names(indices: &[usize]) -> Vec<String> {
        indices.iter().map(|index| format!("mc-{index}")).collect()
    }

    fn made(create: &[usize]) -> PoolPlan {
        PoolPlan {
            create: names(create),
            ..PoolPlan::default()
        }
    }

    fn left(leave: &[usize]) -> PoolPlan {
        PoolPlan {
            leave: names(leave),
            ..PoolPlan::default()
        }
    }

    #[test]
    fn row_14_a_pool_grows_by_the_lowest_free_numbers() {
        assert_eq!(pool(wish(3), &[]), made(&[0, 1, 2]));
        let members = [member(1, 5), member(3, 5)];
        assert_eq!(pool(wish(5), &members), made(&[0, 2, 4]));
        assert_eq!(pool(wish(2), &members), PoolPlan::default());
    }

    #[test]
    fn row_14_a_number_that_is_not_a_members_is_skipped() {
        let taken = names(&[0, 2]);
        let wish = |replicas| PoolWish {
            taken: &taken,
            ..wish(replicas)
        };
        assert_eq!(pool(wish(2), &[]), made(&[1, 3]));
        assert_eq!(pool(wish(2), &[member(1, 5)]), made(&[3]));
        // One that lost its label and got it back is a member as before.
        assert_eq!(
            pool(wish(2), &[member(1, 5), member(3, 5)]),
            PoolPlan::default()
        );
    }

    #[test]
    fn row_15_the_surplus_goes_by_preference() {
        let members = [member(0, 10), member(1, 30), member(2, 20)];
        let by = |removal| PoolWish { removal, ..wish(1) };
        assert_eq!(pool(by(Removal::LeastData), &members), left(&[0, 2]));
        assert_eq!(pool(by(Removal::Newest), &members), left(&[2, 1]));
        assert_eq!(pool(by(Removal::Annotated), &members), left(&[2, 1]));
    }

    #[test]
    fn row_15_what_never_served_goes_first_and_what_is_down_goes_last() {
        let mut members = [member(0, 1), member(1, 9), member(2, 5)];
        members[0].ready = false;
        members[1].was_ready = false;
        members[1].ready = false;
        members[1].bytes = None;
        assert_eq!(pool(wish(1), &members), left(&[1, 2]));
    }

    #[test]
    fn row_16_a_choice_stays_and_growth_takes_back_as_many_as_needed() {
        let mut members = [member(0, 10), member(1, 20), member(2, 30), member(3, 40)];
        assert_eq!(pool(wish(2), &members), left(&[0, 1]));
        members[0].scale_in = true;
        members[1].scale_in = true;
        // Mail has moved: by its bytes another would be chosen now.
        members[1].bytes = Some(90);
        members[2].bytes = Some(0);
        assert_eq!(pool(wish(2), &members), left(&[0, 1]));
        assert_eq!(pool(wish(3), &members), left(&[0]));
        assert_eq!(pool(wish(4), &members), PoolPlan::default());
        assert_eq!(pool(wish(5), &members), made(&[4]));
    }

    #[test]
    fn row_16_what_is_retired_is_not_taken_back() {
        let mut members = [member(0, 0), member(1, 20)];
        members[0].scale_in = true;
        members[0].retired = true;
        let expected = PoolPlan {
            create: names(&[2]),
            leave: names(&[0]),
            kept: 0,
        };
        assert_eq!(pool(wish(2), &members), expected);
        assert_eq!(pool(wish(1), &members), left(&[0]));
    }

    #[test]
    fn row_17_a_user_names_who_goes() {
        let mut members = [member(0, 10), member(1, 20), member(2, 30)];
        members[2].remove_first = true;
        assert_eq!(pool(wish(2), &members), left(&[2]));
        members[0].scale_in = true;
        assert_eq!(pool(wish(2), &members), left(&[0]));
        assert_eq!(pool(wish(1), &members), left(&[0, 2]));
    }

    #[test]
    fn what_a_user_emptied_goes_before_what_serves() {
        let mut members = [member(0, 10), member(1, 20)];
        members[1].set_aside = true;
        assert_eq!(pool(wish(1), &members), left(&[1]));
    }

    #[test]
    fn what_a_user_deleted_is_replaced_once_it_is_gone() {
        let mut members = vec![member(0, 10), member(1, 20), member(2, 30)];
        members[1].deleting = true;
        assert_eq!(pool(wish(3), &members), PoolPlan::default());
        assert_eq!(pool(wish(2), &members), PoolPlan::default());
        assert_eq!(pool(wish(1), &members), left(&[0]));
        members.remove(1);
        assert_eq!(pool(wish(3), &members), made(&[1]));
    }

    #[test]
    fn what_the_pool_gave_up_is_not_waited_for() {
        let mut members = [member(0, 10), member(1, 20)];
        members[0].deleting = true;
        members[0].scale_in = true;
        assert_eq!(pool(wish(1), &members), PoolPlan::default());
        assert_eq!(pool(wish(2), &members), made(&[2]));
    }

    #[test]
    fn the_fewest_that_stay_active_stay() {
        let members = [member(0, 10), member(1, 20)];
        let kept = |leave: &[usize], kept| PoolPlan {
            leave: names(leave),
            kept,
            ..PoolPlan::default()
        };
        assert_eq!(pool(wish(0), &members), kept(&[0], 1));
        let outside = PoolWish {
            active_outside: 1,
            ..wish(0)
        };
        assert_eq!(pool(outside, &members), left(&[0, 1]));
        let none = PoolWish {
            min_active: 0,
            ..wish(0)
        };
        assert_eq!(pool(none, &members), left(&[0, 1]));
        let mut aside = [member(0, 10), member(1, 20)];
        aside[1].set_aside = true;
        assert_eq!(pool(wish(0), &aside), kept(&[1], 1));
    }

    prop_compose! {
        fn any_member()(
            index in 0_usize..12,
            flags in any::<[bool; 7]>(),
            bytes in proptest::option::of(0_u64..4),
            created_ms in 0_u64..4,
        ) -> Member {
            let [deleting, scale_in, retired, remove_first, set_aside, ready, was_ready] = flags;
            Member {
                name: format!("mc-{index}"),
                deleting,
                scale_in,
                retired: retired && scale_in,
                remove_first,
                set_aside,
                ready: ready && was_ready,
                was_ready,
                bytes,
                created_ms,
            }
        }
    }

    proptest! {
        #[test]
        fn the_pool_gets_what_it_should_and_rests(
            members in proptest::collection::vec(any_member(), 0..10),
            replicas in 0_usize..12,
            min_active in 0_usize..4,
            active_outside in 0_usize..3,
            taken in proptest::collection::btree_set(0_usize..12, 0..3),
            removal in prop_oneof![
                Just(Removal::Annotated), Just(Removal::LeastData), Just(Removal::Newest)
            ],
        ) {
            let mut members = members;
            members.sort_by(|a, b| a.name.cmp(&b.name));
            members.dedup_by(|a, b| a.name == b.name);
            let taken = names(&taken.into_iter().collect::<Vec<_>>());
            let members: Vec<Member> = members
                .into_iter()
                .filter(|member| !taken.contains(&member.name))
                .collect();
            let wish = PoolWish {
                cluster: "mc", replicas, removal, min_active, active_outside, taken: &taken,
            };
            let plan = pool(wish, &members);
            let known = |name: &String| members.iter().any(|member| member.name == *name);
            prop_assert!(plan.create.iter().all(|name| !known(name) && !taken.contains(name)));
            prop_assert!(plan.leave.iter().all(known));
            let leaves = |member: &Member| plan.leave.contains(&member.name);
            let goes = |member: &Member| member.deleting || member.retired || leaves(member);
            let stay = members.iter().filter(|member| !goes(member)).count();
            let held = members.iter().filter(|m| m.deleting && !m.scale_in).count();
            // Never both, never too many, and too few only while a deleted one is waited for.
            prop_assert!(plan.create.is_empty() || stay + held + plan.create.len() == replicas);
            prop_assert!(stay + held + plan.create.len() >= replicas);
            prop_assert_eq!(stay.saturating_sub(replicas), plan.kept);
            // The scale-in takes no active one that is needed.
            let active = |member: &&Member| {
                !member.set_aside && !member.deleting && !member.retired
            };
            let before = members.iter().filter(active).count() + active_outside;
            let after = members.iter().filter(active).filter(|m| !leaves(m)).count();
            prop_assert!(after + active_outside >= min_active.min(before));
            // The order of the list changes nothing, and what was decided is decided again.
            let mut next: Vec<Member> = members.iter().rev().cloned().collect();
            prop_assert_eq!(&pool(wish, &next), &plan);
            for member in &mut next {
                member.scale_in = leaves(member) || (member.deleting && member.scale_in);
                member.bytes = Some(0);
            }
            let mut again = pool(wish, &next).leave;
            let mut first = plan.leave.clone();
            again.sort();
            first.sort();
            prop_assert_eq!(again, first);
        }
    }
}
