//! What a tile asks of its session: a layer that fits it, and a pause while nobody can see it.
//!
//! Must not: touch the browser, read a clock, or decide whether there is a session
//! (that is [`super::player`]).
//!
//! Source: draft-ietf-wish-whep, layer extension

/// A tile that is being resized, or scrolled past, is not followed pixel by pixel.
pub const SETTLE_MS: u64 = 100;
/// A request that failed is made again after this long.
const RETRY_MS: u64 = 2_000;

/// Which of a camera's layers a tile wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LayerWish {
    /// The best that the way to the browser carries.
    #[default]
    Best,
    /// The best of those that are not larger.
    Within {
        /// Of the encoded picture.
        width_px: u32,
        /// Of the encoded picture.
        height_px: u32,
    },
}

impl LayerWish {
    /// For a tile of this size on the screen, in device pixels. A layer half as large again is still of
    /// use to it, and cheaper to scale down than a small one is ugly to scale up.
    pub fn for_size(width_px: u32, height_px: u32) -> Self {
        let with_margin = |px: u32| px.saturating_add(px / 2);
        Self::Within { width_px: with_margin(width_px), height_px: with_margin(height_px) }
    }
}

/// One request to the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// Send nothing.
    Pause,
    /// Send again, from a key frame on.
    Resume,
    /// Send this layer.
    Layer(LayerWish),
}

impl Ask {
    /// Path below the session's URL.
    pub fn path(self) -> &'static str {
        match self {
            Self::Pause | Self::Resume => "pause",
            Self::Layer(_) => "layer",
        }
    }

    /// Body of the request, JSON; `media_id` is the video's `mid`.
    pub fn body(self, media_id: &str) -> String {
        match self {
            Self::Pause => r#"{"paused":true}"#.to_owned(),
            Self::Resume => r#"{"paused":false}"#.to_owned(),
            Self::Layer(LayerWish::Best) => format!(r#"{{"mediaId":"{media_id}"}}"#),
            Self::Layer(LayerWish::Within { width_px, height_px }) => format!(
                r#"{{"mediaId":"{media_id}","maxWidth":{width_px},"maxHeight":{height_px}}}"#
            ),
        }
    }
}

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// It is not; the same may work later.
    Failed,
}

/// The wishes of one tile, and what its session was told of them. One request is under way at a time.
#[derive(Clone, Debug, Default)]
pub struct Asking {
    layer: LayerWish,
    layer_since_ms: u64,
    hidden_since_ms: Option<u64>,
    told: Option<Told>,
}

/// What one session was told; a new one plays, and chooses its layer itself.
#[derive(Clone, Debug, Default)]
struct Told {
    layer: LayerWish,
    paused: bool,
    under_way: Option<Ask>,
    not_before_ms: u64,
}

impl Asking {
    /// The tile is this large now, or wants the best there is. An empty size says nothing.
    pub fn wish(&mut self, now_ms: u64, layer: LayerWish) {
        let is_empty = matches!(
            layer,
            LayerWish::Within { width_px: 0, .. } | LayerWish::Within { height_px: 0, .. }
        );
        if !is_empty && layer != self.layer {
            self.layer = layer;
            self.layer_since_ms = now_ms;
        }
    }

    /// Nobody can see the tile.
    pub fn hide(&mut self, now_ms: u64) {
        self.hidden_since_ms = self.hidden_since_ms.or(Some(now_ms));
    }

    /// The tile can be seen.
    pub fn show(&mut self) {
        self.hidden_since_ms = None;
    }

    /// There is a new session, which knows of nothing; wishes that are older are told at once.
    pub fn session_opened(&mut self) {
        self.told = Some(Told::default());
    }

    /// There is no session.
    pub fn session_closed(&mut self) {
        self.told = None;
    }

    /// The request to make now; answer it with [`Asking::answered`].
    pub fn next(&mut self, now_ms: u64) -> Option<Ask> {
        let settled = |since_ms: u64| now_ms >= since_ms.saturating_add(SETTLE_MS);
        let pause = self.hidden_since_ms.is_some_and(settled);
        let (layer, layer_settled) = (self.layer, settled(self.layer_since_ms));
        let is_shown = self.hidden_since_ms.is_none();
        let told = self.told.as_mut()?;
        if told.under_way.is_some() || now_ms < told.not_before_ms {
            return None;
        }
        let ask = match told.paused {
            true if is_shown => Ask::Resume,
            false if pause => Ask::Pause,
            // What is not sent needs no layer.
            false if is_shown && layer != told.layer && layer_settled => Ask::Layer(layer),
            _ => return None,
        };
        told.under_way = Some(ask);
        Some(ask)
    }

    /// The request under way was answered.
    pub fn answered(&mut self, now_ms: u64, answer: Answer) {
        let Some(told) = self.told.as_mut() else { return };
        match (told.under_way.take(), answer) {
            (None, _) => {}
            (Some(_), Answer::Failed) => told.not_before_ms = now_ms.saturating_add(RETRY_MS),
            (Some(Ask::Pause), Answer::Done) => told.paused = true,
            (Some(Ask::Resume), Answer::Done) => told.paused = false,
            (Some(Ask::Layer(layer)), Answer::Done) => told.layer = layer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: LayerWish = LayerWish::Within { width_px: 640, height_px: 360 };
    const LARGE: LayerWish = LayerWish::Within { width_px: 1280, height_px: 720 };

    fn open() -> Asking {
        let mut asking = Asking::default();
        asking.wish(0, SMALL);
        asking.session_opened();
        assert_eq!(asking.next(1_000), Some(Ask::Layer(SMALL)));
        assert_eq!(asking.next(1_000), None, "one at a time");
        asking.answered(1_010, Answer::Done);
        assert_eq!(asking.next(1_010), None);
        asking
    }

    #[test]
    fn new_session_is_told_the_tiles_size_at_once() {
        open();
    }

    #[test]
    fn size_is_told_when_it_has_settled() {
        let mut asking = open();
        asking.wish(2_000, LARGE);
        asking.wish(2_060, LayerWish::Within { width_px: 1300, height_px: 731 });
        assert_eq!(asking.next(2_110), None);
        asking.wish(2_120, LayerWish::Best);
        assert_eq!(asking.next(2_220), Some(Ask::Layer(LayerWish::Best)));
    }

    #[test]
    fn size_that_comes_and_goes_is_not_told() {
        let mut asking = open();
        asking.wish(2_000, LARGE);
        asking.wish(2_050, SMALL);
        assert_eq!(asking.next(9_000), None);
    }

    #[test]
    fn layer_somewhat_larger_than_its_tile_is_wanted() {
        let fits = |tile: (u32, u32), layer: (u32, u32)| {
            let LayerWish::Within { width_px, height_px } = LayerWish::for_size(tile.0, tile.1)
            else {
                panic!("a size is a limit");
            };
            layer.0 <= width_px && layer.1 <= height_px
        };
        assert!(fits((620, 349), (640, 360)));
        assert!(fits((1100, 619), (1280, 720)));
        assert!(!fits((620, 349), (1280, 720)));
        assert!(!fits((960, 540), (1920, 1080)));
    }

    #[test]
    fn element_without_a_size_keeps_its_layer() {
        let mut asking = open();
        asking.wish(2_000, LayerWish::Within { width_px: 0, height_px: 0 });
        assert_eq!(asking.next(9_000), None);
    }

    #[test]
    fn hidden_tile_is_paused_and_resumed_at_once() {
        let mut asking = open();
        asking.hide(2_000);
        assert_eq!(asking.next(2_050), None);
        assert_eq!(asking.next(2_100), Some(Ask::Pause));
        asking.answered(2_110, Answer::Done);
        asking.wish(2_200, LARGE);
        assert_eq!(asking.next(9_000), None, "what is not sent needs no layer");
        asking.show();
        assert_eq!(asking.next(9_000), Some(Ask::Resume));
        asking.answered(9_010, Answer::Done);
        assert_eq!(asking.next(9_010), Some(Ask::Layer(LARGE)));
    }

    #[test]
    fn tile_shown_while_its_pause_is_under_way_is_resumed_after() {
        let mut asking = open();
        asking.hide(2_000);
        assert_eq!(asking.next(2_100), Some(Ask::Pause));
        asking.show();
        assert_eq!(asking.next(2_105), None);
        asking.answered(2_110, Answer::Done);
        assert_eq!(asking.next(2_110), Some(Ask::Resume));
    }

    #[test]
    fn failed_request_is_made_again_later() {
        let mut asking = open();
        asking.hide(2_000);
        assert_eq!(asking.next(2_100), Some(Ask::Pause));
        asking.answered(2_200, Answer::Failed);
        assert_eq!(asking.next(4_199), None);
        assert_eq!(asking.next(4_200), Some(Ask::Pause));
    }

    #[test]
    fn without_a_session_there_is_nobody_to_ask() {
        let mut asking = open();
        asking.session_closed();
        asking.hide(2_000);
        assert_eq!(asking.next(9_000), None);
        asking.answered(9_000, Answer::Done);
    }

    #[test]
    fn requests_are_json_of_the_layer_extension() {
        assert_eq!(Ask::Pause.body("0"), r#"{"paused":true}"#);
        assert_eq!(Ask::Layer(LayerWish::Best).body("0"), r#"{"mediaId":"0"}"#);
        assert_eq!(
            Ask::Layer(SMALL).body("0"),
            r#"{"mediaId":"0","maxWidth":640,"maxHeight":360}"#
        );
        assert_eq!((Ask::Resume.path(), Ask::Layer(SMALL).path()), ("pause", "layer"));
    }
}
