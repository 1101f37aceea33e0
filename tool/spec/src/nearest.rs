//! "did you mean …": the candidate with the smallest edit distance (insert, delete, replace, swap neighbours: the optimal
//! string alignment distance), if it is near enough to be meant.

/// Longer words are not names that someone mistyped; comparing them would only cost time.
const LONGEST: usize = 64;

/// The candidate nearest to `word`, if one is near: about a third of its characters may differ, letter case does not count.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let folded = fold(word);
    let near = |candidate: &'a str| {
        let other = fold(candidate);
        let distance = distance(&folded, &other);
        let shorter = folded.len().min(other.len());
        // One starts with the other: `network` for `net`.
        let begun = shorter >= 3 && (folded.starts_with(&other) || other.starts_with(&folded));
        let limit = if shorter < 2 { 0 } else { 1 + (shorter - 1) / 3 };
        let rank = if begun { (distance.min(2), distance) } else { (distance, distance) };
        (distance <= limit || begun).then_some((rank, candidate))
    };
    let near = candidates.filter(|candidate| *candidate != word && candidate.len() <= LONGEST).filter_map(near);
    near.min_by_key(|(rank, _)| *rank).map(|(_, candidate)| candidate)
}

fn fold(word: &str) -> Vec<char> {
    word.chars().flat_map(char::to_lowercase).collect()
}

fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let keys = ["command", "capabilities", "cwd", "name", "image", "net", "noNewPrivileges", "CAP_NET_ADMIN"];
        for (word, expected) in [
            ("commands", Some("command")),
            ("cmomand", Some("command")),
            ("Capability", Some("capabilities")),
            ("nonewprivileges", Some("noNewPrivileges")),
            ("cap_net_admin", Some("CAP_NET_ADMIN")),
            ("cdw", Some("cwd")),
            ("network", Some("net")),
            ("CAP_NET", Some("CAP_NET_ADMIN")),
            ("zebra", None),
            ("x", None),
            ("", None),
            (&"c".repeat(1000), None),
        ] {
            assert_eq!(nearest(word, keys.into_iter()), expected, "{word}");
        }
    }
}
