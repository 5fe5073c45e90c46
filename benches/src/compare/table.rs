//! Rows to Markdown.

use std::fmt::Write as _;

use super::{Contestant, Row, Sample};

/// The table of all rows: medians, spread, and medians of the ratios to the floor and to Redis in the same round.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| W | server | messages/s | messages per server CPU-s | min to max | of the floor | of Redis | remarks |\n\
         | ---: | --- | ---: | ---: | ---: | ---: | ---: | --- |\n",
    );
    for row in rows {
        let good: Vec<&Sample> = row.samples.iter().flatten().collect();
        let per_cpu_s: Vec<f64> = good.iter().map(|sample| sample.messages_per_cpu_s).collect();
        let per_s = median(good.iter().map(|sample| sample.messages_per_s).collect());
        let spread =
            match (per_cpu_s.iter().copied().reduce(f64::min), per_cpu_s.iter().copied().reduce(f64::max)) {
                (Some(min), Some(max)) => format!("{} to {}", thousands(min), thousands(max)),
                _ => "-".to_owned(),
            };
        let against = |is_reference: fn(&Contestant) -> bool| {
            let reference =
                rows.iter().find(|other| other.window == row.window && is_reference(&other.contestant));
            let ratio = reference.and_then(|reference| median(ratios(row, reference)));
            ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
        };
        let show = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), thousands);
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {spread} | {} | {} | {} |",
            row.window,
            row.contestant,
            show(per_s),
            show(median(per_cpu_s)),
            against(|contestant| matches!(contestant, Contestant::Floor { .. })),
            against(|contestant| matches!(contestant, Contestant::Redis { .. })),
            remarks(row),
        );
    }
    text
}

/// This row's figure over the other's, for every round in which both have one.
fn ratios(row: &Row, reference: &Row) -> Vec<f64> {
    let both = row.samples.iter().zip(&reference.samples);
    both.filter_map(|(this, other)| {
        Some(this.as_ref().ok()?.messages_per_cpu_s / other.as_ref().ok()?.messages_per_cpu_s)
    })
    .collect()
}

/// Everything that was not as it should be, with how often.
fn remarks(row: &Row) -> String {
    let mut counted: Vec<(String, usize)> = Vec::new();
    for sample in &row.samples {
        let remark = match sample {
            Err(why) => format!("failed ({})", why.replace('|', "/")),
            Ok(Sample { verdict: Some(verdict), .. }) if verdict != "pass" => format!("verdict {verdict}"),
            Ok(_) => continue,
        };
        match counted.iter_mut().find(|(known, _)| *known == remark) {
            Some((_, count)) => *count += 1,
            None => counted.push((remark, 1)),
        }
    }
    counted.into_iter().map(|(remark, count)| format!("{count} x {remark}")).collect::<Vec<_>>().join("; ")
}

/// The middle value, or the mean of the two in the middle; `None` without values.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// A rate with thousands kept apart.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn row(contestant: Contestant, figures: &[f64]) -> Row {
        let sample = |&figure: &f64| {
            Ok(Sample { messages_per_s: figure / 2.0, messages_per_cpu_s: figure, verdict: None })
        };
        Row { window: 8, contestant, samples: figures.iter().map(sample).collect() }
    }

    fn floor() -> Contestant {
        Contestant::Floor { program: PathBuf::from("floor") }
    }

    fn redis() -> Contestant {
        Contestant::Redis { program: PathBuf::from("floor"), address: ([127, 0, 0, 1], 1).into() }
    }

    #[test]
    fn a_ratio_is_the_median_of_the_rounds_and_not_the_ratio_of_the_medians() {
        // The machine was twice as slow in the last round, for both.
        let rows = [row(floor(), &[1000.0, 1000.0, 100.0]), row(redis(), &[800.0, 900.0, 90.0])];
        let text = table(&rows);
        assert!(text.contains("| 8 | redis | 400 | 800 | 90 to 900 | 0.90 | 1.00 |  |"), "{text}");
    }

    #[test]
    fn windows_are_not_compared_with_each_other() {
        let mut other = row(floor(), &[50.0]);
        other.window = 1;
        let text = table(&[other, row(floor(), &[1000.0]), row(redis(), &[500.0])]);
        assert!(text.contains("| 8 | redis | 250 | 500 | 500 to 500 | 0.50 | 1.00 |  |"), "{text}");
    }

    #[test]
    fn a_round_that_failed_is_left_out_and_told() {
        let mut bad = row(redis(), &[800.0, 900.0, 700.0]);
        bad.samples[0] = Err("exit status: 1: a | b".to_owned());
        let text = table(&[row(floor(), &[1000.0, 1000.0, 1000.0]), bad]);
        let expected =
            "| 8 | redis | 400 | 800 | 700 to 900 | 0.80 | 1.00 | 1 x failed (exit status: 1: a / b) |";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn without_a_reference_there_is_no_ratio() {
        let text = table(&[row(floor(), &[1_234_567.0])]);
        assert!(text.contains("| 617,284 | 1,234,567 | 1,234,567 to 1,234,567 | 1.00 | - |  |"), "{text}");
    }

    #[test]
    fn a_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![]), None);
    }
}
