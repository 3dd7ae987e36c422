//! Names of classes: their order, and which output of a model each of them is.

/// The number that a name stands for: `3`, `LABEL_3` (an output that nobody named), `3.0` (as tables
/// write whole numbers in a column with gaps).
pub fn number(name: &str) -> Option<f64> {
    let digits = name.strip_prefix("LABEL_").unwrap_or(name);
    digits.parse().ok().filter(|x: &f64| x.is_finite())
}

/// Whether nobody named an output: transformers calls it `LABEL_3`.
pub fn is_unnamed(name: &str) -> bool {
    name.starts_with("LABEL_") && number(name).is_some()
}

/// Texts of each number from which on they are classes after all.
const OF_A_CLASS: usize = 50;
/// Texts from which on that is counted: of fewer most are somebody's own scores.
const MANY: usize = 1000;

/// Different numbers from which on they may well be amounts: stars and scores have as many.
const AMOUNTS: usize = 5;

/// Whether the names of so many texts' labels look like amounts, not like classes: all are numbers, and not
/// whole, or many of them with few texts each.
pub fn may_be_amounts<S: AsRef<str>>(names: &[S], texts: usize) -> bool {
    let few = texts < MANY.max(OF_A_CLASS * names.len());
    let number = |name: &S| name.as_ref().parse().ok().filter(|x: &f64| x.is_finite());
    let numbers: Option<Vec<f64>> = names.iter().map(number).collect();
    numbers.is_some_and(|all| few && all.len() >= AMOUNTS || all.iter().any(|x| x.fract() != 0.0))
}

/// Each name once, in the order in which classes are numbered: as numbers where all of them are,
/// otherwise as strings.
pub fn sorted<S: AsRef<str> + Ord>(names: impl IntoIterator<Item = S>) -> Vec<S> {
    let mut names: Vec<S> = names.into_iter().collect();
    names.sort_unstable();
    names.dedup();
    let numbers: Option<Vec<f64>> = names.iter().map(|name| number(name.as_ref())).collect();
    if let Some(numbers) = numbers {
        let mut numbered: Vec<(f64, S)> = numbers.into_iter().zip(names).collect();
        numbered.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        names = numbered.into_iter().map(|(_, name)| name).collect();
    }
    names
}

/// Which of a model's `outputs` each class is: the one of that name or, where the outputs are but
/// numbered (`LABEL_0`, `LABEL_1`, …), the one of that number.
///
/// # Errors
/// The first class that is none of them.
pub fn places<'a>(outputs: &[String], classes: &[&'a str]) -> Result<Vec<usize>, &'a str> {
    let numbered = (0u32..)
        .zip(outputs)
        .all(|(n, name)| number(name) == Some(f64::from(n)));
    let place = |class: &&'a str| {
        let by_name = outputs.iter().position(|name| name == class);
        let by_number = || {
            let number = number(class).filter(|_| numbered)?;
            (0..outputs.len()).find(|&n| n as f64 == number)
        };
        by_name.or_else(by_number).ok_or(*class)
    };
    classes.iter().map(place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    fn unnamed(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("LABEL_{n}")).collect()
    }

    #[test]
    fn numbers_come_in_their_order_and_words_in_theirs() {
        assert_eq!(sorted(["10", "9", "-1", "0", "9"]), ["-1", "0", "9", "10"]);
        assert_eq!(
            sorted(["LABEL_10", "LABEL_2", "LABEL_0"]),
            ["LABEL_0", "LABEL_2", "LABEL_10"]
        );
        assert_eq!(sorted(["2.5", "10.0", "0.5"]), ["0.5", "2.5", "10.0"]);
        assert_eq!(sorted(["pos", "neg", "pos"]), ["neg", "pos"]);
        assert_eq!(sorted(["9", "10", "many"]), ["10", "9", "many"]);
        // Rust reads these as numbers, which no order knows.
        assert_eq!(sorted(["nan", "inf", "2", "10"]), ["10", "2", "inf", "nan"]);
        assert!(sorted(Vec::<String>::new()).is_empty());
    }

    #[test]
    fn many_numbers_or_broken_ones_may_be_amounts() {
        assert!(may_be_amounts(&["1", "2", "3", "4", "5"], 200));
        assert!(may_be_amounts(&["0.0", "2.5"], 200));
        assert!(!may_be_amounts(&["0", "1"], 200));
        // As tables write whole numbers in a column with gaps.
        assert!(!may_be_amounts(&["0.0", "1.0", "2.0"], 200));
        assert!(!may_be_amounts(&["1", "2", "3", "4", "5", "many"], 200));
        assert!(!may_be_amounts(&unnamed(7), 200));
        assert!(!may_be_amounts::<&str>(&[], 0));
        // DBpedia's, of 40,000 texts each; a number that few texts have is an amount.
        let fourteen: Vec<String> = (1..15).map(|n| n.to_string()).collect();
        assert!(!may_be_amounts(&fourteen, 560_000));
        assert!(!may_be_amounts(&fourteen, 1000) && may_be_amounts(&fourteen, 999));
        let hundred: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        assert!(may_be_amounts(&hundred, 4999) && !may_be_amounts(&hundred, 5000));
        assert!(may_be_amounts(&["0.0", "2.5"], 560_000));
    }

    #[test]
    fn outputs_without_names_are_found_by_number() {
        for classes in [
            ["0", "10", "2"],
            ["LABEL_0", "LABEL_10", "LABEL_2"],
            ["0.0", "10.0", "2.0"],
        ] {
            assert_eq!(places(&unnamed(12), &classes), Ok(vec![0, 10, 2]));
        }
        let numbers: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        assert_eq!(places(&numbers, &["LABEL_11", "3"]), Ok(vec![11, 3]));
        // Some were named when a model was trained on.
        assert_eq!(
            places(&names(&["0", "LABEL_1", "2"]), &["1", "2"]),
            Ok(vec![1, 2])
        );
        for wrong in ["12", "-1", "0.5", "neg", "", "LABEL_", "nan"] {
            assert_eq!(places(&unnamed(12), &["1", wrong]), Err(wrong));
        }
    }

    #[test]
    fn outputs_with_names_are_found_by_name() {
        let stars = names(&["1", "2", "3"]);
        assert_eq!(places(&stars, &["1", "3"]), Ok(vec![0, 2]));
        assert_eq!(places(&stars, &["LABEL_1"]), Err("LABEL_1"));
        assert_eq!(places(&stars, &["0", "1"]), Err("0"));
        let turned = names(&["LABEL_1", "LABEL_0"]);
        assert_eq!(places(&turned, &["LABEL_0"]), Ok(vec![1]));
        assert_eq!(places(&turned, &["0"]), Err("0"));
        assert!(is_unnamed("LABEL_7") && !is_unnamed("7") && !is_unnamed("LABEL_x"));
    }
}
