//! Numbers and times as people read them. Must not: depend on a locale, a time zone or a clock, so
//! that server and browser write the same text.

use jiff::Timestamp;

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
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// `512 kbit/s`, `2.1 Mbit/s`.
pub fn bitrate(kbps: u32) -> String {
    match kbps {
        0..1000 => format!("{kbps} kbit/s"),
        _ => format!("{:.1} Mbit/s", f64::from(kbps) / 1000.0),
    }
}

/// `1920 × 1080`.
pub fn dimensions(width_px: u32, height_px: u32) -> String {
    format!("{width_px} × {height_px}")
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
    fn date_is_utc_to_the_minute() {
        let at: Timestamp = "2026-11-22T15:03:59+01:00".parse().unwrap();
        assert_eq!(date(at), "2026-11-22 14:03 UTC");
        assert_eq!(date(Timestamp::UNIX_EPOCH), "1970-01-01 00:00 UTC");
    }
}
