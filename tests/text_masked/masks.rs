//! Which tokens are masked: how many, where, when.

use super::*;

#[test]
fn ratios_are_met() {
    let corpus = corpus(&vec![62; 400]);
    let mut options = masking(Masking {
        rate: MaskRate::constant(0.2),
        replace: 0.5,
        random: 0.3,
        ..Masking::default()
    });
    options.batch = 16;
    let mask = corpus.1.roles().mask.unwrap();
    let (mut text, mut masked, mut kinds) = (0, 0, [0usize; 3]);
    let mut replaced = BTreeSet::new();
    for batch in epoch(&mut stream(&corpus, &options), 0.0) {
        text += originals(&batch).iter().filter(|&&id| id > SEP).count();
        masked += batch.masked;
        for (&row, &target) in batch.rows.iter().zip(&batch.targets).take(batch.masked) {
            match batch.inputs.ids[row as usize] {
                id if id == mask => kinds[0] += 1,
                id if id == target as u32 => kinds[2] += 1,
                id => {
                    kinds[1] += 1;
                    replaced.insert(id);
                }
            }
        }
    }
    // 62 tokens a row at 0.2: 12 or 13, 12.4 on average; over 400 rows the mean has a standard
    // deviation of 0.025.
    let rate = masked as f64 / text as f64 * 62.0;
    assert!((rate - 12.4).abs() < 0.1, "{rate}");
    // About 4,960 draws: a share's standard deviation is below 0.0071.
    for (kind, expected) in kinds.into_iter().zip([0.5, 0.3, 0.2]) {
        let share = kind as f64 / masked as f64;
        assert!((share - expected).abs() < 0.03, "{kinds:?}");
    }
    assert!(replaced.iter().all(|&id| id > SEP && id < mask));
    assert!(replaced.len() > 1000, "{} different words", replaced.len());
}

#[test]
fn every_place_is_masked_equally_often() {
    let corpus = corpus(&vec![20; 64]);
    let mut batches = stream(&corpus, &options());
    let mut counts = [0u32; 20];
    for _ in 0..100 {
        for batch in epoch(&mut batches, 0.0) {
            for &row in &batch.rows[..batch.masked] {
                counts[row as usize % batch.inputs.time - 1] += 1;
            }
        }
    }
    // 6,400 rows at 0.15: 960 at each place, standard deviation 29.
    assert!(counts.iter().all(|&c| c.abs_diff(960) < 145), "{counts:?}");
}

#[test]
fn whole_words_are_masked_as_a_whole() {
    let corpus = corpus(&lengths());
    let options = masking(Masking {
        whole_word: true,
        ..Masking::default()
    });
    let (mut text, mut masked, mut long) = (0, 0, 0);
    for batch in epoch(&mut stream(&corpus, &options), 0.0) {
        let original = originals(&batch);
        let is_masked: BTreeSet<u32> = batch.rows[..batch.masked].iter().copied().collect();
        text += original.iter().filter(|&&id| id > SEP).count();
        masked += batch.masked;
        for row in 1..original.len() {
            let (before, id) = (original[row - 1], original[row]);
            if id > SEP && before > SEP && corpus.1.continues(id) {
                let both = [row - 1, row].map(|r| is_masked.contains(&(r as u32)));
                assert_eq!(both[0], both[1], "a word is masked in part");
                long += usize::from(both[0]);
            }
        }
    }
    assert!(long > 500, "{long}");
    // Words of three tokens do not always fill a row's share; one a row is masked at least.
    let rate = masked as f64 / text as f64;
    assert!((0.12..0.17).contains(&rate), "{rate}");
}

/// What is masked in each sequence: its text's first tokens name it.
fn masks(batches: &[MaskedBatch]) -> BTreeMap<Vec<u32>, Vec<(usize, u32)>> {
    let mut masks = BTreeMap::new();
    for batch in batches {
        let (time, original) = (batch.inputs.time, originals(batch));
        for b in (0..8).filter(|&b| batch.inputs.lens[b] > 0) {
            let range = b * time..b * time + batch.inputs.lens[b] as usize;
            let mine = batch.rows[..batch.masked].iter().map(|&row| row as usize);
            let mask = mine
                .filter(|row| range.contains(row))
                .map(|row| (row - range.start, batch.inputs.ids[row]))
                .collect();
            masks.insert(original[range].to_vec(), mask);
        }
    }
    masks
}

#[test]
fn static_masks_stay_and_dynamic_ones_change() {
    let corpus = corpus(&lengths());
    for (dynamic, same) in [(false, true), (true, false)] {
        let options = masking(Masking {
            dynamic,
            ..Masking::default()
        });
        let mut batches = stream(&corpus, &options);
        let (first, second) = (epoch(&mut batches, 0.0), epoch(&mut batches, 0.5));
        assert_ne!(
            first[0].inputs.ids, second[0].inputs.ids,
            "the order changes"
        );
        assert_eq!(masks(&first) == masks(&second), same, "{dynamic}");
    }
}

#[test]
fn a_rising_rate_keeps_what_a_static_mask_had() {
    let corpus = corpus(&vec![50; 80]);
    let options = masking(Masking {
        rate: MaskRate {
            from: 0.1,
            to: 0.3,
            kind: RateShape::Linear,
        },
        dynamic: false,
        ..Masking::default()
    });
    let mut batches = stream(&corpus, &options);
    let (low, high) = (
        masks(&epoch(&mut batches, 0.0)),
        masks(&epoch(&mut batches, 1.0)),
    );
    for (text, mask) in &low {
        assert!(mask.iter().all(|one| high[text].contains(one)));
        assert!(high[text].len() >= 2 * mask.len());
    }
}

#[test]
fn rates_follow_their_schedule() {
    let rate = MaskRate {
        from: 0.4,
        to: 0.1,
        kind: RateShape::Linear,
    };
    let corpus = corpus(&vec![62; 160]);
    let mut batches = stream(&corpus, &masking(masking_at(rate)));
    // The room is that of the highest rate, so that the shape stays the same.
    assert_eq!(
        batches.shapes(),
        [(64, (8.0f64 * 64.0 * 0.4).round() as usize)]
    );
    let total = 2 * batches.batches_per_epoch();
    let counts: Vec<usize> = (0..total)
        .map(|step| batches.next_at(step as f64 / total as f64).masked)
        .collect();
    let (first, last) = (counts[0] as f64, counts[counts.len() - 1] as f64);
    assert!((first / (8.0 * 62.0) - 0.4).abs() < 0.02, "{first}");
    assert!((last / (8.0 * 62.0) - 0.1075).abs() < 0.02, "{last}");
}
