//! Which of several equal instances gets the next request: the less busy of two drawn at random.
//!
//! Looking at all of them makes every gateway run to the same one at the same moment; looking at one
//! spreads badly. Two are enough (Mitzenmacher, "The power of two choices", 2001). Randomness is an
//! argument.

/// Picks an index out of `ready`. `pending` tells how many requests the caller has under way to an
/// instance; `avoid` is the instance that has just failed this request and is taken only if it is alone.
pub fn pick(
    ready: &[u16],
    pending: impl Fn(u16) -> u32,
    random: u64,
    avoid: Option<u16>,
) -> Option<u16> {
    let (first, second) = match ready {
        [] => return None,
        [only] => return Some(*only),
        [a, b] => (*a, *b),
        more => {
            let count = more.len() as u64;
            let first = random % count;
            // Drawn from the others, so the two always differ.
            let second = (first + 1 + (random >> 32) % (count - 1)) % count;
            assert_ne!(first, second, "two choices that are one choice");
            (*more.get(first as usize)?, *more.get(second as usize)?)
        }
    };
    if avoid == Some(first) {
        return Some(second);
    }
    if avoid == Some(second) {
        return Some(first);
    }
    let (busy_first, busy_second) = (pending(first), pending(second));
    Some(match busy_first.cmp(&busy_second) {
        core::cmp::Ordering::Less => first,
        core::cmp::Ordering::Greater => second,
        core::cmp::Ordering::Equal if random & (1 << 31) == 0 => first,
        core::cmp::Ordering::Equal => second,
    })
}

#[cfg(test)]
mod tests {
    use super::pick;

    #[test]
    fn table() {
        let busy = |instance: u16| match instance {
            0 => 9,
            1 => 1,
            _ => 4,
        };
        let rows = [
            (&[][..], 7, None, None),
            (&[3], 7, None, Some(3)),
            (&[3], 7, Some(3), Some(3)),
            (&[0, 1], 7, None, Some(1)),
            (&[0, 1], 7, Some(1), Some(0)),
            (&[2, 3], 0, None, Some(2)),
        ];
        for (ready, random, avoid, expected) in rows {
            assert_eq!(pick(ready, busy, random, avoid), expected, "{ready:?}");
        }
    }

    #[test]
    fn the_busiest_of_many_is_never_drawn_against_another() {
        let mut random = 1u64;
        for _ in 0..10_000 {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let chosen = pick(&[0, 1, 2, 3], u32::from, random, None);
            assert!(chosen.is_some_and(|i| i < 3), "{chosen:?}");
        }
    }
}
