//! Who is measured after whom: what one server leaves behind (a core that rests deeper, ports,
//! memory that is given back) falls upon the next one, so within the rounds nobody always comes
//! after the same one.
//!
//! The order is Williams' (1949): it goes there and back between both ends (the first, the last,
//! the second, the last but one, ...), and everybody moves on by one place each round. With an even
//! number of servers everybody comes once right after each other one in as many rounds as there are
//! servers. With an odd number it takes twice as many, the second half of them backwards.

/// The order of the round, from 0, in which so many take turns: each of `0..count` once.
pub fn order(count: usize, round: usize) -> Vec<usize> {
    let there_and_back =
        (0..count).map(|place| if place % 2 == 0 { place / 2 } else { count - 1 - place / 2 });
    let mut order: Vec<usize> = there_and_back.map(|who| (who + round) % count).collect();
    if count % 2 == 1 && (round / count) % 2 == 1 {
        order.reverse();
    }
    order
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn everybody_comes_once_in_each_round() {
        assert_eq!(order(8, 0), [0, 7, 1, 6, 2, 5, 3, 4]);
        assert_eq!(order(8, 1), [1, 0, 2, 7, 3, 6, 4, 5]);
        for count in 1..10 {
            for round in 0..40 {
                let mut order = order(count, round);
                order.sort_unstable();
                assert!(order.into_iter().eq(0..count), "{count} {round}");
            }
        }
    }

    #[test]
    fn everybody_comes_after_everybody_equally_often() {
        for count in 2..10 {
            let (rounds, times) = if count % 2 == 0 { (count, 1) } else { (2 * count, 2) };
            let mut pairs: HashMap<(usize, usize), usize> = HashMap::new();
            for round in 0..rounds {
                for pair in order(count, round).windows(2) {
                    *pairs.entry((pair[0], pair[1])).or_default() += 1;
                }
            }
            assert_eq!(pairs.len(), count * (count - 1), "{count}");
            assert!(pairs.values().all(|&seen| seen == times), "{count}: {pairs:?}");
        }
    }

    #[test]
    fn nobody_takes_no_turns() {
        assert!(order(0, 3).is_empty());
    }
}
