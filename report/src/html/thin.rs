//! Lines with fewer points than were measured, in which every extreme is still there.

/// Points of one line, at most: a page is read on screens that have hardly more columns, and a run may last a day.
pub(super) const POINTS_MAX: usize = 600;

/// A point of a line; without a value there is a gap.
pub(super) type Point = (f64, Option<f64>);

/// The line in at most [`POINTS_MAX`] points, cut into pieces at its gaps. Of points that are taken together, the lowest and the highest
/// remain. Values that are no numbers are gaps.
pub(super) fn pieces(points: &[Point]) -> Vec<Vec<(f64, f64)>> {
    // Two of each bucket remain.
    let bucket = if points.len() > POINTS_MAX { points.len().div_ceil(POINTS_MAX / 2) } else { 1 };
    let mut pieces = vec![Vec::new()];
    for points in points.chunks(bucket) {
        match extremes(points) {
            Some([first, second]) => {
                let piece = pieces.last_mut().expect("begins with one, and is never emptied");
                piece.push(first);
                if second != first {
                    piece.push(second);
                }
            }
            None => pieces.push(Vec::new()),
        }
    }
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

/// The lowest and the highest point, in the order of time; `None` where nothing is known.
fn extremes(points: &[Point]) -> Option<[(f64, f64); 2]> {
    let known = points.iter().filter_map(|(x, y)| Some((*x, (*y)?)).filter(|(_, y)| y.is_finite()));
    let lowest = known.clone().min_by(|one, other| one.1.total_cmp(&other.1))?;
    let highest = known.max_by(|one, other| one.1.total_cmp(&other.1))?;
    Some(if lowest.0 <= highest.0 { [lowest, highest] } else { [highest, lowest] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(seconds: usize) -> Vec<Point> {
        (0..seconds).map(|second| (second as f64, Some(1.0))).collect()
    }

    #[test]
    fn a_spike_of_one_second_survives_a_day() {
        let mut day = flat(86_400);
        day[50_000].1 = Some(1000.0);
        day[60_000].1 = Some(0.0);
        let pieces = pieces(&day);
        assert_eq!(pieces.len(), 1);
        assert!(pieces[0].len() <= POINTS_MAX, "{}", pieces[0].len());
        assert!(pieces[0].contains(&(50_000.0, 1000.0)) && pieces[0].contains(&(60_000.0, 0.0)));
        assert!(pieces[0].is_sorted_by(|one, other| one.0 < other.0), "time goes on");
    }

    #[test]
    fn a_short_line_stays_as_it_is() {
        let line = flat(POINTS_MAX);
        let whole: Vec<(f64, f64)> = line.iter().map(|(x, y)| (*x, y.unwrap())).collect();
        assert_eq!(pieces(&line), [whole]);
    }

    #[test]
    fn gaps_cut_a_line() {
        let line = [(0.0, None), (1.0, Some(1.0)), (2.0, Some(2.0)), (3.0, Some(f64::NAN)), (4.0, Some(4.0))];
        assert_eq!(pieces(&line), [vec![(1.0, 1.0), (2.0, 2.0)], vec![(4.0, 4.0)]]);
        assert!(pieces(&[]).is_empty() && pieces(&[(0.0, None)]).is_empty());
        let mut day = flat(86_400);
        day[10_000..20_000].iter_mut().for_each(|point| point.1 = None);
        assert_eq!(pieces(&day).len(), 2);
    }
}
