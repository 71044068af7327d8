//! Which tile an arrow key leads to. Must not: touch the browser.

/// Where a tile is on the page, in CSS pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Middle, from the left.
    pub x: f64,
    /// Middle, from the top.
    pub y: f64,
}

/// An arrow key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrow {
    /// To the tile on the left, or the last one of the row above.
    Left,
    /// To the tile on the right, or the first one of the row below.
    Right,
    /// To the nearest tile of the row above.
    Up,
    /// To the nearest tile of the row below.
    Down,
}

impl Arrow {
    /// From a key's name in the browser.
    pub fn from_key(key: &str) -> Option<Self> {
        match key {
            "ArrowLeft" => Some(Self::Left),
            "ArrowRight" => Some(Self::Right),
            "ArrowUp" => Some(Self::Up),
            "ArrowDown" => Some(Self::Down),
            _ => None,
        }
    }
}

/// The tile to go to from `from`, in the order of the page; the first one when there is no `from`.
/// `None` when there is none that way.
pub fn neighbour(tiles: &[Place], from: Option<usize>, arrow: Arrow) -> Option<usize> {
    let Some(from) = from else { return (!tiles.is_empty()).then_some(0) };
    let here = tiles.get(from)?;
    let is_beyond = |tile: &Place| match arrow {
        Arrow::Up => tile.y < here.y - 1.0,
        _ => tile.y > here.y + 1.0,
    };
    match arrow {
        Arrow::Left => from.checked_sub(1),
        Arrow::Right => (from + 1 < tiles.len()).then_some(from + 1),
        Arrow::Up | Arrow::Down => {
            let rows_off = |tile: &Place| (tile.y - here.y).abs();
            let beyond = || tiles.iter().enumerate().filter(|(_, tile)| is_beyond(tile));
            let next_row = beyond().map(|(_, tile)| rows_off(tile)).min_by(f64::total_cmp)?;
            beyond()
                .filter(|(_, tile)| rows_off(tile) <= next_row + 1.0)
                .min_by(|(_, a), (_, b)| (a.x - here.x).abs().total_cmp(&(b.x - here.x).abs()))
                .map(|(index, _)| index)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three columns, five tiles.
    fn wall() -> Vec<Place> {
        (0..5).map(|n| Place { x: f64::from(n % 3) * 100.0, y: f64::from(n / 3) * 60.0 }).collect()
    }

    fn check(from: usize, arrow: Arrow, to: Option<usize>) {
        assert_eq!(neighbour(&wall(), Some(from), arrow), to, "{from} {arrow:?}");
    }

    #[test]
    fn arrows_lead_along_rows_and_columns() {
        check(0, Arrow::Right, Some(1));
        check(2, Arrow::Right, Some(3));
        check(3, Arrow::Left, Some(2));
        check(1, Arrow::Down, Some(4));
        check(4, Arrow::Up, Some(1));
        // Nothing is straight below; the nearest of that row is.
        check(2, Arrow::Down, Some(4));
    }

    #[test]
    fn arrows_stop_at_the_edges() {
        check(0, Arrow::Left, None);
        check(1, Arrow::Up, None);
        check(4, Arrow::Down, None);
        check(4, Arrow::Right, None);
        assert_eq!(neighbour(&[], None, Arrow::Right), None);
        assert_eq!(neighbour(&wall(), Some(9), Arrow::Up), None);
    }

    #[test]
    fn first_arrow_leads_to_the_first_tile() {
        assert_eq!(neighbour(&wall(), None, Arrow::Down), Some(0));
    }
}
