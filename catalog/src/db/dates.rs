//! Days and months of a timeline. Must not: ask the catalog.

use domain::DateBucket;
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};

/// Days that are counted one by one; of a longer time months are.
const DAYS_MAX: i32 = 400;
/// Months that are counted; what is before is in the first bucket. Two hundred years.
const MONTHS_MAX: usize = 2400;

/// First millisecond of a day in UTC.
pub(super) fn start_of(day: Date) -> i64 {
    let start = day.to_zoned(TimeZone::UTC).map(|start| start.timestamp().as_millisecond());
    // The last days that there are have no next one.
    start.unwrap_or(i64::MAX)
}

/// First millisecond after a day in UTC.
pub(super) fn end_of(day: Date) -> i64 {
    day.tomorrow().map_or(i64::MAX, start_of)
}

/// From which millisecond to before which a bucket is.
pub(super) fn range_ms(bucket: &DateBucket) -> (i64, i64) {
    (start_of(bucket.from), end_of(bucket.to))
}

/// Empty buckets for a time, in order: days, or months when there are more than 400 days.
pub(super) fn buckets(first_ms: i64, last_ms: i64) -> Vec<DateBucket> {
    let (first, last) = (day_of(first_ms), day_of(last_ms));
    if days_between(first, last) <= DAYS_MAX { days(first, last) } else { months(first, last) }
}

/// Empty days in place of months that turned out to be within 400 days; `None` when they are not, or
/// are days already. `counted` has the latest first.
pub(super) fn days_of_months(counted: &[DateBucket]) -> Option<Vec<DateBucket>> {
    let (last, first) = (counted.first()?, counted.last()?);
    let are_months = counted.iter().any(|bucket| bucket.from != bucket.to);
    let is_short = days_between(first.from, last.to) <= DAYS_MAX;
    (are_months && is_short).then(|| days(first.from, last.to))
}

/// Counted days, in order, the latest first; by month when there are more than 400 from first to last.
pub(super) fn by_month_if_long(mut days: Vec<DateBucket>) -> Vec<DateBucket> {
    days.reverse();
    let span = days.first().zip(days.last());
    if span.is_none_or(|(last, first)| days_between(first.from, last.to) <= DAYS_MAX) {
        return days;
    }
    let mut months: Vec<DateBucket> = Vec::new();
    for day in days {
        let (from, to) = (day.from.first_of_month(), day.from.last_of_month());
        match months.last_mut().filter(|month| month.from == from) {
            Some(month) => month.count += day.count,
            None => months.push(DateBucket { from, to, count: day.count }),
        }
    }
    months
}

fn day_of(ms: i64) -> Date {
    let bound = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(ms).unwrap_or(bound).to_zoned(TimeZone::UTC).date()
}

fn days_between(first: Date, last: Date) -> i32 {
    // Whole days are the unit unless another is asked for.
    first.until(last).map_or(i32::MAX, |span| span.get_days())
}

fn days(first: Date, last: Date) -> Vec<DateBucket> {
    let days = first.series(1.day()).take_while(|day| *day <= last);
    days.map(|day| DateBucket { from: day, to: day, count: 0 }).collect()
}

fn months(first: Date, last: Date) -> Vec<DateBucket> {
    let month = |from: Date| DateBucket { from, to: from.last_of_month(), count: 0 };
    let back = last.first_of_month().series(-1.month());
    let back = back.take_while(|from| *from >= first.first_of_month()).take(MONTHS_MAX);
    let mut months: Vec<DateBucket> = back.map(month).collect();
    months.reverse();
    if let Some(oldest) = months.first_mut() {
        oldest.from = oldest.from.min(first.first_of_month());
    }
    months
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(first: &str, last: &str, len: usize, ends: [&str; 2]) {
        let [first, last] = [first, last].map(|day| start_of(day.parse().unwrap()));
        let buckets = buckets(first, last);
        assert_eq!(buckets.len(), len);
        assert_eq!(buckets[0].from.to_string(), ends[0]);
        assert_eq!(buckets[len - 1].to.to_string(), ends[1]);
        for pair in buckets.windows(2) {
            assert_eq!(range_ms(&pair[0]).1, range_ms(&pair[1]).0, "no gap");
        }
    }

    #[test]
    fn a_short_time_is_days_and_a_long_one_months() {
        check("2026-02-27", "2026-03-02", 4, ["2026-02-27", "2026-03-02"]);
        check("1969-12-31", "1970-01-01", 2, ["1969-12-31", "1970-01-01"]);
        check("2024-01-15", "2026-01-15", 25, ["2024-01-01", "2026-01-31"]);
        check("1500-05-05", "2026-01-15", MONTHS_MAX, ["1500-05-01", "2026-01-31"]);
    }
}
