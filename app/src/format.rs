//! Numbers, times and names of things as people read them. Must not: depend on a locale, a time zone or a clock, so
//! that server and browser write the same text.

use domain::JobKind;
use jiff::{Timestamp, tz::Offset};

/// `1.4 MB`: decimal units, as file managers and camera makers count.
pub fn bytes(len_bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if len_bytes < 1000 {
        return format!("{len_bytes} B");
    }
    let mut value = len_bytes as f64 / 1000.0;
    let mut unit = 0;
    // 999.95 would be written `1000.0`.
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `0:07`, `1:02:03`: whole seconds, rounded down as players do.
pub fn duration(duration_ms: u64) -> String {
    let secs = duration_ms / 1000;
    let (hours, minutes, secs) = (secs / 3600, secs / 60 % 60, secs % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{secs:02}")
    } else {
        format!("{minutes}:{secs:02}")
    }
}

/// `2026-11-22 14:03 UTC`.
pub fn date(at: Timestamp) -> String {
    let at = Offset::UTC.to_datetime(at);
    let (year, month, day) = (at.year(), at.month(), at.day());
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", at.hour(), at.minute())
}

/// `512 kbit/s`, `2.1 Mbit/s`.
pub fn bitrate(kbps: u32) -> String {
    match kbps {
        0..1000 => format!("{kbps} kbit/s"),
        _ => format!("{:.1} Mbit/s", f64::from(kbps) / 1000.0),
    }
}

/// `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 asset`, `12,345 assets`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// `2.8`, `50`, `29.97`: two digits at most.
pub fn decimal(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// `1/250 s`, `2.5 s`: short times as cameras show them.
pub fn exposure(secs: f64) -> String {
    match 1.0 / secs {
        parts if parts >= 3.5 && parts.is_finite() => format!("1/{parts:.0} s"),
        _ => format!("{} s", decimal(secs)),
    }
}

/// `52.50000° N, 13.25000° W`: to a metre.
pub fn place(latitude: f64, longitude: f64) -> String {
    let side = |degrees: f64, [positive, negative]: [char; 2]| {
        let side = if degrees < 0.0 { negative } else { positive };
        format!("{:.5}° {side}", degrees.abs())
    };
    format!("{}, {}", side(latitude, ['N', 'S']), side(longitude, ['E', 'W']))
}

/// `1920 × 1080`.
pub fn dimensions(width_px: u32, height_px: u32) -> String {
    format!("{width_px} × {height_px}")
}

/// What a job makes.
pub fn job(kind: JobKind) -> &'static str {
    match kind {
        JobKind::Derive => "Measures and thumbnails",
        JobKind::Storyboard => "Storyboard",
        JobKind::Waveform => "Waveform",
        JobKind::Proxy720p => "Film, 720 lines",
        JobKind::Proxy1080p => "Film, 1080 lines",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_decimal_with_one_digit() {
        for (len_bytes, expected) in [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (1_449_000, "1.4 MB"),
            (999_949, "999.9 kB"),
            (999_960, "1.0 MB"),
            (5_000_000_000, "5.0 GB"),
            (u64::MAX, "18446.7 PB"),
        ] {
            assert_eq!(bytes(len_bytes), expected);
        }
    }

    #[test]
    fn duration_shows_hours_only_when_there_are_any() {
        for (duration_ms, expected) in
            [(0, "0:00"), (7_999, "0:07"), (83_000, "1:23"), (3_723_000, "1:02:03")]
        {
            assert_eq!(duration(duration_ms), expected);
        }
    }

    #[test]
    fn large_numbers_are_grouped() {
        for (number, expected) in
            [(0, "0"), (999, "999"), (1000, "1,000"), (12_345, "12,345"), (1_000_000, "1,000,000")]
        {
            assert_eq!(count(number), expected);
        }
        assert_eq!(counted(1, "asset", "assets"), "1 asset");
    }

    #[test]
    fn date_is_utc_to_the_minute() {
        let at: Timestamp = "2026-11-22T15:03:59+01:00".parse().unwrap();
        assert_eq!(date(at), "2026-11-22 14:03 UTC");
        assert_eq!(date(Timestamp::UNIX_EPOCH), "1970-01-01 00:00 UTC");
    }

    #[test]
    fn exposures_and_places_are_written_as_cameras_and_maps_do() {
        for (secs, expected) in [
            (0.004, "1/250 s"),
            (0.000_125, "1/8000 s"),
            (0.4, "0.4 s"),
            (0.5, "0.5 s"),
            (1.0, "1 s"),
            (30.0, "30 s"),
            (0.0, "0 s"),
        ] {
            assert_eq!(exposure(secs), expected);
        }
        assert_eq!(decimal(29.97), "29.97");
        assert_eq!(decimal(44.1), "44.1");
        assert_eq!(decimal(50.0), "50");
        assert_eq!(place(52.5, -13.25), "52.50000° N, 13.25000° W");
        assert_eq!(place(-0.5, 0.0), "0.50000° S, 0.00000° E");
    }
}
