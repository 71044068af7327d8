//! When a live tile connects, waits, and gives up on a connection. Must not: do I/O or read a clock.

/// Longer than this without a picture is shown as a stall.
const STALL_MS: u64 = 3_000;
/// A restarted connection gets this long to bring a picture before there is a new session.
const RESTART_MS: u64 = 3_000;
/// A new session gets this long to bring its first picture from a camera that is live.
const DEAD_MS: u64 = 10_000;
/// A tile that nobody can see keeps its (paused) session for this long.
const AWAY_MS: u64 = 60_000;
/// A camera that came back gets this long to send a key frame over the connection it already has.
const SETTLE_MS: u64 = 3_000;
const BACKOFF_FIRST_MS: u64 = 500;
const BACKOFF_MAX_MS: u64 = 10_000;
/// When the server names no `Retry-After`.
const RETRY_DEFAULT_MS: u64 = 2_000;
/// For answers that only a change of configuration can alter.
const RETRY_REFUSED_MS: u64 = 30_000;

/// What a camera is doing, as far as a player cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameraSeen {
    /// Pictures arrive at the server.
    Live,
    /// None do.
    Down,
    /// The server did not say.
    Unknown,
}

/// Why a WHEP request brought no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 409: the camera is not live.
    NotLive {
        /// From `Retry-After`.
        retry_after_ms: Option<u64>,
    },
    /// 503: the server has no room.
    Busy {
        /// From `Retry-After`.
        retry_after_ms: Option<u64>,
    },
    /// 404.
    NoSuchCamera,
    /// 401.
    LoggedOut,
    /// 406, and what the server offers instead is not for this browser either.
    NoCodec,
    /// Any other status, or an answer that the browser does not take.
    Failed,
    /// No answer at all.
    Unreachable,
    /// The browser has no WebRTC.
    Unsupported,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The tile is on the page.
    Start,
    /// The page is being left; it may come back from the browser's history with [`Event::Start`].
    Leave,
    /// The offer was answered.
    Answered,
    /// The offer was not answered.
    Refused(Refusal),
    /// A new picture was shown or decoded.
    Picture,
    /// The peer connection is up.
    LinkUp,
    /// The peer connection failed or was closed.
    LinkLost,
    /// The server would not restart the connection.
    RestartFailed,
    /// The server does not know the session any more.
    SessionGone,
    /// The camera's state was learnt.
    Camera(CameraSeen),
    /// The tile cannot be seen: browsers stop showing pictures then.
    Hidden,
    /// The tile can be seen.
    Shown,
    /// Time passed; a few times a second.
    Tick,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// Offer a new session, in place of the one there may be.
    Connect,
    /// Find another way to the server for the session there is (an ICE restart).
    Restart,
    /// Close the connection and delete its session.
    Disconnect,
    /// Show the login page.
    LogIn,
}

/// Why there is no connection at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offline {
    /// The camera is not live.
    NotLive,
    /// The server has no room.
    Busy,
    /// The server does not answer.
    Unreachable,
    /// There was a connection, and it broke.
    LinkLost,
    /// There was a session, but no packet ever came.
    NoPackets,
}

/// Why playing cannot work as things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no camera of this name.
    NoSuchCamera,
    /// The server refused the offer.
    Refused,
    /// The browser cannot decode what the camera sends.
    NoCodec,
    /// The browser has no WebRTC.
    Unsupported,
}

/// What a tile shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not started: as the server renders it.
    Idle,
    /// No picture yet.
    Connecting,
    /// Pictures are shown.
    Playing,
    /// Pictures have stopped coming; the connection is kept.
    Stalled,
    /// No connection; tried again by itself.
    Offline(Offline),
    /// Something is wrong that waiting alone does not mend.
    Error(Fault),
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Idle,
    /// On the page, but not seen for long: without a session.
    Away,
    Connecting {
        answered: bool,
    },
    Playing,
    /// `restarted_ms`: when the connection was restarted for it.
    Stalled {
        restarted_ms: Option<u64>,
    },
    Waiting {
        retry_ms: u64,
        why: Offline,
    },
    Faulty {
        retry_ms: Option<u64>,
        fault: Fault,
    },
}

/// One tile's player.
#[derive(Clone, Debug)]
pub struct Player {
    phase: Phase,
    /// When a picture last came, or when waiting for one began.
    picture_ms: u64,
    /// From when on a missing picture of a live camera is the connection's fault.
    blame_link_ms: Option<u64>,
    camera: CameraSeen,
    link_up: bool,
    hidden_since_ms: Option<u64>,
    failures: u32,
}

impl Default for Player {
    fn default() -> Self {
        Self {
            phase: Phase::Idle,
            picture_ms: 0,
            blame_link_ms: None,
            camera: CameraSeen::Unknown,
            link_up: false,
            hidden_since_ms: None,
            failures: 0,
        }
    }
}

impl Player {
    /// What to show.
    pub fn status(&self) -> Status {
        match self.phase {
            Phase::Idle | Phase::Away => Status::Idle,
            Phase::Connecting { .. } => Status::Connecting,
            Phase::Playing => Status::Playing,
            Phase::Stalled { .. } => Status::Stalled,
            Phase::Waiting { why, .. } => Status::Offline(why),
            Phase::Faulty { fault, .. } => Status::Error(fault),
        }
    }

    /// Takes in what happened at `now_ms`, a clock that never goes back.
    pub fn on_event(&mut self, now_ms: u64, event: Event) -> Action {
        match event {
            Event::Start => self.start(now_ms),
            Event::Leave => {
                self.phase = Phase::Idle;
                Action::Disconnect
            }
            Event::Answered => {
                if let Phase::Connecting { answered } = &mut self.phase {
                    *answered = true;
                    self.picture_ms = now_ms;
                }
                Action::None
            }
            Event::Refused(refusal) => self.refused(now_ms, refusal),
            Event::Picture => {
                // Before the answer it can only be the last one of an earlier session.
                let offering = matches!(self.phase, Phase::Connecting { answered: false });
                if self.holds_session() && !offering {
                    self.picture_ms = now_ms;
                    self.failures = 0;
                    self.phase = Phase::Playing;
                }
                Action::None
            }
            Event::LinkUp => {
                self.link_up = true;
                Action::None
            }
            Event::LinkLost => {
                if self.holds_session() {
                    let why = if self.link_up { Offline::LinkLost } else { Offline::NoPackets };
                    self.back_off(now_ms, why)
                } else {
                    Action::None
                }
            }
            Event::RestartFailed => match self.phase {
                Phase::Stalled { restarted_ms: Some(_) } => self.reconnect(now_ms),
                _ => Action::None,
            },
            Event::SessionGone => match self.phase {
                Phase::Connecting { answered: true } | Phase::Playing | Phase::Stalled { .. } => {
                    self.reconnect(now_ms)
                }
                _ => Action::None,
            },
            Event::Camera(seen) => {
                self.camera_seen(now_ms, seen);
                Action::None
            }
            Event::Hidden => {
                self.hidden_since_ms = self.hidden_since_ms.or(Some(now_ms));
                Action::None
            }
            Event::Shown => {
                self.hidden_since_ms = None;
                self.picture_ms = now_ms;
                match self.phase {
                    Phase::Away => self.start(now_ms),
                    _ => Action::None,
                }
            }
            Event::Tick => self.tick(now_ms),
        }
    }

    /// Whether there is a session, or an offer under way, that events can be about.
    fn holds_session(&self) -> bool {
        matches!(self.phase, Phase::Connecting { .. } | Phase::Playing | Phase::Stalled { .. })
    }

    fn camera_seen(&mut self, now_ms: u64, seen: CameraSeen) {
        let came_back = self.camera == CameraSeen::Down;
        self.camera = seen;
        self.blame_link_ms = match seen {
            CameraSeen::Live => self.blame_link_ms.or(Some(if came_back {
                now_ms.saturating_add(SETTLE_MS)
            } else {
                now_ms
            })),
            CameraSeen::Down | CameraSeen::Unknown => None,
        };
        // It was not the connection's fault.
        if let (Phase::Stalled { restarted_ms }, CameraSeen::Down) = (&mut self.phase, seen) {
            *restarted_ms = None;
        }
    }

    fn start(&mut self, now_ms: u64) -> Action {
        self.failures = 0;
        if self.hidden_since_ms.is_some() {
            self.phase = Phase::Away;
            return Action::None;
        }
        if self.camera == CameraSeen::Down {
            // The server would only answer 409.
            self.phase = Phase::Waiting { retry_ms: now_ms, why: Offline::NotLive };
            return Action::None;
        }
        self.connect(now_ms)
    }

    fn connect(&mut self, now_ms: u64) -> Action {
        self.phase = Phase::Connecting { answered: false };
        self.picture_ms = now_ms;
        self.blame_link_ms = None;
        self.link_up = false;
        Action::Connect
    }

    /// A new session: at once when this is the first remedy tried since the last picture.
    fn reconnect(&mut self, now_ms: u64) -> Action {
        if self.failures == 0 {
            self.failures = 1;
            return self.connect(now_ms);
        }
        let why = if self.link_up { Offline::LinkLost } else { Offline::NoPackets };
        self.back_off(now_ms, why)
    }

    fn refused(&mut self, now_ms: u64, refusal: Refusal) -> Action {
        if !self.holds_session() {
            return Action::None;
        }
        let wait = |retry_after_ms: Option<u64>, why| Phase::Waiting {
            retry_ms: now_ms.saturating_add(retry_after_ms.unwrap_or(RETRY_DEFAULT_MS)),
            why,
        };
        let faulty = |retry_ms, fault| Phase::Faulty { retry_ms, fault };
        let later = Some(now_ms.saturating_add(RETRY_REFUSED_MS));
        self.phase = match refusal {
            Refusal::NotLive { retry_after_ms } => {
                // What was known of the camera is older than this answer.
                self.camera = CameraSeen::Unknown;
                wait(retry_after_ms, Offline::NotLive)
            }
            Refusal::Busy { retry_after_ms } => wait(retry_after_ms, Offline::Busy),
            Refusal::Unreachable => return self.back_off(now_ms, Offline::Unreachable),
            Refusal::NoSuchCamera => faulty(later, Fault::NoSuchCamera),
            Refusal::NoCodec => faulty(later, Fault::NoCodec),
            Refusal::Failed => faulty(later, Fault::Refused),
            Refusal::Unsupported => faulty(None, Fault::Unsupported),
            Refusal::LoggedOut => {
                self.phase = faulty(None, Fault::Refused);
                return Action::LogIn;
            }
        };
        Action::Disconnect
    }

    fn tick(&mut self, now_ms: u64) -> Action {
        if let Some(since_ms) = self.hidden_since_ms {
            return self.tick_hidden(now_ms.saturating_sub(since_ms));
        }
        let silent_ms = now_ms.saturating_sub(self.picture_ms);
        let is_links_fault = self.blame_link_ms.is_some_and(|from_ms| now_ms >= from_ms);
        match self.phase {
            Phase::Idle | Phase::Away => Action::None,
            Phase::Waiting { why: Offline::NotLive, .. } if self.camera == CameraSeen::Down => {
                Action::None
            }
            Phase::Waiting { retry_ms, .. } | Phase::Faulty { retry_ms: Some(retry_ms), .. } => {
                if now_ms >= retry_ms {
                    self.connect(now_ms)
                } else {
                    Action::None
                }
            }
            Phase::Faulty { retry_ms: None, .. } => Action::None,
            Phase::Connecting { answered: false } if silent_ms >= DEAD_MS => {
                self.back_off(now_ms, Offline::Unreachable)
            }
            Phase::Connecting { answered: true } if silent_ms >= DEAD_MS && is_links_fault => {
                self.reconnect(now_ms)
            }
            Phase::Connecting { .. } => Action::None,
            Phase::Playing if silent_ms >= STALL_MS => {
                self.phase = Phase::Stalled { restarted_ms: None };
                // Only what is learnt from here on says whose fault it is.
                self.camera = CameraSeen::Unknown;
                self.blame_link_ms = None;
                Action::None
            }
            Phase::Playing => Action::None,
            Phase::Stalled { restarted_ms: None } if is_links_fault => {
                self.phase = Phase::Stalled { restarted_ms: Some(now_ms) };
                Action::Restart
            }
            Phase::Stalled { restarted_ms: Some(at_ms) }
                if is_links_fault && now_ms >= at_ms.saturating_add(RESTART_MS) =>
            {
                self.reconnect(now_ms)
            }
            Phase::Stalled { .. } => Action::None,
        }
    }

    fn tick_hidden(&mut self, hidden_ms: u64) -> Action {
        match self.phase {
            Phase::Idle | Phase::Away | Phase::Faulty { retry_ms: None, .. } => Action::None,
            _ if hidden_ms >= AWAY_MS => {
                self.phase = Phase::Away;
                Action::Disconnect
            }
            _ => Action::None,
        }
    }

    fn back_off(&mut self, now_ms: u64, why: Offline) -> Action {
        let wait_ms =
            BACKOFF_FIRST_MS.saturating_mul(1 << self.failures.min(10)).min(BACKOFF_MAX_MS);
        self.failures = self.failures.saturating_add(1);
        self.phase = Phase::Waiting { retry_ms: now_ms + wait_ms, why };
        Action::Disconnect
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A player and a clock.
    struct Bench {
        player: Player,
        now_ms: u64,
    }

    impl Bench {
        fn new() -> Self {
            Self { player: Player::default(), now_ms: 1_000 }
        }

        fn playing() -> Self {
            let mut bench = Self::new();
            assert_eq!(bench.on(Event::Start), Action::Connect);
            assert_eq!(bench.on(Event::Answered), Action::None);
            bench.on(Event::LinkUp);
            bench.on(Event::Picture);
            assert_eq!(bench.player.status(), Status::Playing);
            bench
        }

        fn on(&mut self, event: Event) -> Action {
            self.player.on_event(self.now_ms, event)
        }

        /// Ticks for `ms`, as the browser does; returns the first action and how long it took.
        fn run(&mut self, ms: u64) -> Option<(u64, Action)> {
            let begin_ms = self.now_ms;
            while self.now_ms < begin_ms + ms {
                self.now_ms += 250;
                match self.on(Event::Tick) {
                    Action::None => {}
                    action => return Some((self.now_ms - begin_ms, action)),
                }
            }
            None
        }
    }

    #[test]
    fn first_picture_makes_the_tile_playing() {
        let mut bench = Bench::new();
        assert_eq!(bench.player.status(), Status::Idle);
        assert_eq!(bench.on(Event::Start), Action::Connect);
        assert_eq!(bench.player.status(), Status::Connecting);
        bench.on(Event::Answered);
        assert_eq!(bench.player.status(), Status::Connecting);
        bench.on(Event::Picture);
        assert_eq!(bench.player.status(), Status::Playing);
    }

    #[test]
    fn camera_reboot_keeps_the_connection_and_plays_on() {
        let mut bench = Bench::playing();
        assert_eq!(bench.run(2_750), None);
        assert_eq!(bench.player.status(), Status::Playing);
        bench.run(250);
        assert_eq!(bench.player.status(), Status::Stalled);
        for _ in 0..30 {
            bench.on(Event::Camera(CameraSeen::Down));
            assert_eq!(bench.run(2_000), None);
        }
        bench.on(Event::Camera(CameraSeen::Live));
        assert_eq!(bench.run(2_000), None);
        bench.on(Event::Picture);
        assert_eq!(bench.player.status(), Status::Playing);
    }

    #[test]
    fn stall_of_a_live_camera_restarts_the_connection_then_makes_a_new_one() {
        let mut bench = Bench::playing();
        bench.run(3_000);
        bench.on(Event::Camera(CameraSeen::Live));
        assert_eq!(bench.run(60_000), Some((250, Action::Restart)));
        assert_eq!(bench.player.status(), Status::Stalled);
        assert_eq!(bench.run(60_000), Some((3_000, Action::Connect)));
        assert_eq!(bench.player.status(), Status::Connecting);
        // What did not help is not done at this pace for ever.
        bench.on(Event::Answered);
        bench.on(Event::LinkUp);
        bench.on(Event::Camera(CameraSeen::Live));
        assert_eq!(bench.run(60_000), Some((10_000, Action::Disconnect)));
        assert_eq!(bench.player.status(), Status::Offline(Offline::LinkLost));
    }

    #[test]
    fn restarted_connection_that_brings_a_picture_is_kept() {
        let mut bench = Bench::playing();
        bench.run(3_000);
        bench.on(Event::Camera(CameraSeen::Live));
        assert_eq!(bench.run(60_000), Some((250, Action::Restart)));
        bench.on(Event::Picture);
        assert_eq!(bench.player.status(), Status::Playing);
        assert_eq!(bench.run(2_750), None);
    }

    #[test]
    fn restart_that_the_server_refuses_is_a_new_session_at_once() {
        let mut bench = Bench::playing();
        bench.run(3_000);
        bench.on(Event::Camera(CameraSeen::Live));
        assert_eq!(bench.run(60_000), Some((250, Action::Restart)));
        assert_eq!(bench.on(Event::RestartFailed), Action::Connect);
        assert_eq!(bench.on(Event::RestartFailed), Action::None);
    }

    #[test]
    fn camera_that_turns_out_to_be_down_stops_the_ladder() {
        let mut bench = Bench::playing();
        bench.run(3_000);
        bench.on(Event::Camera(CameraSeen::Live));
        assert_eq!(bench.run(60_000), Some((250, Action::Restart)));
        bench.on(Event::Camera(CameraSeen::Down));
        assert_eq!(bench.run(60_000), None);
        bench.on(Event::Camera(CameraSeen::Live));
        assert_eq!(bench.run(60_000), Some((3_000, Action::Restart)));
    }

    #[test]
    fn session_that_the_server_forgot_is_replaced() {
        let mut bench = Bench::playing();
        assert_eq!(bench.on(Event::SessionGone), Action::Connect);
        // Said of the old one while the new one is offered.
        assert_eq!(bench.on(Event::SessionGone), Action::None);
        bench.on(Event::Answered);
        assert_eq!(bench.on(Event::SessionGone), Action::Disconnect);
        assert_eq!(bench.run(60_000), Some((1_000, Action::Connect)));
    }

    #[test]
    fn camera_that_was_live_before_the_stall_proves_nothing() {
        let mut bench = Bench::playing();
        bench.on(Event::Camera(CameraSeen::Live));
        assert_eq!(bench.run(60_000), None);
        assert_eq!(bench.player.status(), Status::Stalled);
    }

    #[test]
    fn hidden_tile_is_no_stall() {
        let mut bench = Bench::playing();
        bench.on(Event::Hidden);
        bench.on(Event::Camera(CameraSeen::Live));
        assert_eq!(bench.run(59_750), None);
        bench.on(Event::Shown);
        assert_eq!(bench.run(2_750), None);
        assert_eq!(bench.player.status(), Status::Playing);
    }

    #[test]
    fn tile_hidden_for_a_minute_gives_its_session_back_until_it_is_seen() {
        let mut bench = Bench::playing();
        bench.on(Event::Hidden);
        assert_eq!(bench.run(30_000), None);
        bench.on(Event::Hidden);
        assert_eq!(bench.run(60_000), Some((30_000, Action::Disconnect)));
        assert_eq!(bench.run(600_000), None);
        assert_eq!(bench.on(Event::Shown), Action::Connect);
    }

    #[test]
    fn tile_that_was_never_seen_does_not_connect() {
        let mut bench = Bench::new();
        bench.on(Event::Hidden);
        assert_eq!(bench.on(Event::Start), Action::None);
        assert_eq!(bench.run(600_000), None);
        assert_eq!(bench.on(Event::Shown), Action::Connect);
    }

    #[test]
    fn hidden_tile_does_not_try_again() {
        let mut bench = Bench::playing();
        bench.on(Event::Hidden);
        assert_eq!(bench.on(Event::LinkLost), Action::Disconnect);
        assert_eq!(bench.run(30_000), None);
        bench.on(Event::Shown);
        assert_eq!(bench.run(60_000), Some((250, Action::Connect)));
    }

    #[test]
    fn broken_link_backs_off_from_half_a_second_to_ten() {
        let mut bench = Bench::playing();
        let mut waits = Vec::new();
        for _ in 0..7 {
            assert_eq!(bench.on(Event::LinkLost), Action::Disconnect);
            let (wait_ms, action) = bench.run(60_000).unwrap();
            assert_eq!(action, Action::Connect);
            waits.push(wait_ms);
        }
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        bench.on(Event::Answered);
        bench.on(Event::Picture);
        bench.on(Event::LinkLost);
        assert_eq!(bench.run(60_000), Some((500, Action::Connect)));
    }

    #[test]
    fn retry_after_is_respected() {
        for refusal in [
            Refusal::NotLive { retry_after_ms: Some(7_000) },
            Refusal::Busy { retry_after_ms: Some(7_000) },
        ] {
            let mut bench = Bench::new();
            bench.on(Event::Start);
            assert_eq!(bench.on(Event::Refused(refusal)), Action::Disconnect);
            bench.on(Event::Camera(CameraSeen::Live));
            assert_eq!(bench.run(60_000), Some((7_000, Action::Connect)));
        }
    }

    #[test]
    fn camera_known_to_be_down_is_not_asked_for() {
        let mut bench = Bench::new();
        bench.on(Event::Camera(CameraSeen::Down));
        assert_eq!(bench.on(Event::Start), Action::None);
        assert_eq!(bench.player.status(), Status::Offline(Offline::NotLive));
        assert_eq!(bench.run(60_000), None);
        bench.on(Event::Camera(CameraSeen::Live));
        assert_eq!(bench.run(1_000), Some((250, Action::Connect)));
    }

    #[test]
    fn unreachable_server_is_tried_again() {
        let mut bench = Bench::new();
        bench.on(Event::Start);
        assert_eq!(bench.on(Event::Refused(Refusal::Unreachable)), Action::Disconnect);
        assert_eq!(bench.player.status(), Status::Offline(Offline::Unreachable));
        assert_eq!(bench.run(60_000), Some((500, Action::Connect)));
        // An offer that is never answered counts as one, too.
        assert_eq!(bench.run(60_000), Some((10_000, Action::Disconnect)));
        assert_eq!(bench.run(60_000), Some((1_000, Action::Connect)));
    }

    #[test]
    fn session_without_packets_is_given_up_while_the_camera_is_live() {
        let mut bench = Bench::new();
        bench.on(Event::Start);
        bench.on(Event::Answered);
        bench.on(Event::Camera(CameraSeen::Live));
        assert_eq!(bench.run(60_000), Some((10_000, Action::Connect)));
        bench.on(Event::Answered);
        bench.on(Event::Camera(CameraSeen::Live));
        assert_eq!(bench.run(60_000), Some((10_000, Action::Disconnect)));
        assert_eq!(bench.player.status(), Status::Offline(Offline::NoPackets));
    }

    #[test]
    fn unknown_camera_is_an_error_and_asked_for_again_later() {
        let mut bench = Bench::new();
        bench.on(Event::Start);
        assert_eq!(bench.on(Event::Refused(Refusal::NoSuchCamera)), Action::Disconnect);
        assert_eq!(bench.player.status(), Status::Error(Fault::NoSuchCamera));
        assert_eq!(bench.run(60_000), Some((30_000, Action::Connect)));
    }

    #[test]
    fn browser_without_webrtc_is_not_asked_again() {
        let mut bench = Bench::new();
        bench.on(Event::Start);
        bench.on(Event::Refused(Refusal::Unsupported));
        assert_eq!(bench.player.status(), Status::Error(Fault::Unsupported));
        assert_eq!(bench.run(600_000), None);
    }

    #[test]
    fn logged_out_viewer_is_sent_to_the_login_page() {
        let mut bench = Bench::new();
        bench.on(Event::Start);
        assert_eq!(bench.on(Event::Refused(Refusal::LoggedOut)), Action::LogIn);
        assert_eq!(bench.run(600_000), None);
    }

    #[test]
    fn page_restored_from_history_starts_again() {
        let mut bench = Bench::playing();
        assert_eq!(bench.on(Event::Leave), Action::Disconnect);
        assert_eq!(bench.on(Event::Picture), Action::None);
        assert_eq!(bench.player.status(), Status::Idle);
        assert_eq!(bench.run(60_000), None);
        assert_eq!(bench.on(Event::Start), Action::Connect);
    }
}
