//! What hysteresis-promoter remembers.

use crate::interval::Sequence;
use alloc::string::String;
use alloc::vec::Vec;
use merit_core::{Datum, EventTime, Fixed, List, Row, Shape, Uuid, datum, datum_enum, datum_row, prefetch};

datum! {
    /// A window that has not closed.
    OpenWindow {
        /// Event time divided by the window's length.
        number: i64,
        /// Observations.
        n: u64,
        /// Their sum.
        sum: Fixed,
    }
}

/// What a promotion obtained, or asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The promotion.
    pub promotion: Uuid,
    /// Where.
    pub pool: String,
    /// The tier that it led from; what it obtained goes back when the entity falls to that tier or below.
    pub from: u32,
    /// The tier that it led to; no other than `from` where a person promoted at the top.
    pub to: u32,
}

datum! {
    /// Row of [`Held`].
    HeldRow<'a> {
        /// The promotion.
        promotion: Uuid,
        /// Where.
        pool: &'a str,
        /// The tier that it led from.
        from: u32,
        /// The tier that it led to.
        to: u32,
    }
}

datum_enum! {
    /// Which way a score points.
    Direction {
        /// Between the thresholds.
        Stay,
        /// At or above the next tier's enter.
        Up,
        /// Below the own tier's exit.
        Down,
    }
}

/// Everything about one entity.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its home division.
    pub division: String,
    /// 0 is the base, n the n-th tier of the profile.
    pub tier: u32,
    /// When it took that tier, or was last refused another.
    pub since: Option<EventTime>,
    /// The profile that what follows was gathered under.
    pub profile: [u8; 8],
    /// Which way the last judged scores pointed.
    pub direction: Direction,
    /// How many of them in a row.
    pub in_row: u64,
    /// Whether Held or ReviewRequired was emitted for this crossing.
    pub announced: bool,
    /// Why the entity loses its tier at the next evaluation, if it does.
    pub lost: Option<String>,
    /// Windows that have not closed, oldest first.
    pub open: Vec<OpenWindow>,
    /// Confidence sequence of its observations since the last change of tier or profile.
    pub sequence: Sequence,
    /// What its promotions obtained.
    pub held: Vec<Held>,
    /// Stream and sequence of its last ScoreUpdated.
    pub score: (u16, u64),
}

impl Default for Standing {
    fn default() -> Self {
        Standing {
            division: "default".into(),
            tier: 0,
            since: None,
            profile: [0; 8],
            direction: Direction::Stay,
            in_row: 0,
            announced: false,
            lost: None,
            open: Vec::new(),
            sequence: Sequence::default(),
            held: Vec::new(),
            score: (0, 0),
        }
    }
}

impl Standing {
    /// Forgets what was gathered towards a change of tier.
    pub fn start_over(&mut self) {
        self.direction = Direction::Stay;
        self.in_row = 0;
        self.announced = false;
        self.open.clear();
        self.sequence = Sequence::default();
    }

    /// Fits it into a profile of that many tiers: who stood above them stands at the top.
    pub fn fit(&mut self, tiers: u32) {
        self.tier = self.tier.min(tiers);
        for held in &mut self.held {
            (held.from, held.to) = (held.from.min(tiers), held.to.min(tiers));
        }
    }

    /// Takes a refused promotion back; one at the top raised nothing. Later promotions then began one tier lower.
    pub fn take_back(&mut self, place: usize) {
        let refused = self.held.remove(place);
        if refused.from < refused.to {
            self.tier = self.tier.saturating_sub(1);
            for held in &mut self.held[place..] {
                (held.from, held.to) = (held.from.saturating_sub(1), held.to.saturating_sub(1));
            }
        }
    }
}

datum! {
    /// Row of [`Standing`].
    StandingRow<'a> {
        /// Its home division.
        division: &'a str,
        /// Tier, 0 is the base.
        tier: u32,
        /// Since when.
        since: Option<EventTime>,
        /// Profile of what follows.
        profile: [u8; 8],
        /// Which way the last scores pointed.
        direction: Direction,
        /// How many in a row.
        in_row: u64,
        /// Whether that was announced.
        announced: bool,
        /// Why the tier is lost.
        lost: Option<&'a str>,
        /// Open windows.
        open: List<'a, OpenWindow>,
        /// Confidence sequence.
        sequence: Sequence,
        /// What promotions obtained.
        held: List<'a, HeldRow<'a>>,
        /// Stream of the last score.
        score_stream: u32,
        /// Its sequence.
        score_sequence: u64,
    }
}

impl Row for Standing {
    const STORE: &'static str = "tiers";
    const IS_ONE_ROW: bool = true;
    type Shared = ();

    fn shape(_: u32) -> &'static Shape {
        StandingRow::SHAPE
    }

    fn save(&mut self, scratch: &mut Vec<u8>, put: &mut dyn FnMut(u32, &[u8])) {
        scratch.clear();
        let held = self.held.iter().map(|Held { promotion, pool, from, to }| HeldRow { promotion: *promotion, pool, from: *from, to: *to });
        let held: Vec<HeldRow<'_>> = held.collect();
        StandingRow {
            division: &self.division,
            tier: self.tier,
            since: self.since,
            profile: self.profile,
            direction: self.direction,
            in_row: self.in_row,
            announced: self.announced,
            lost: self.lost.as_deref(),
            open: List::Slice(&self.open),
            sequence: self.sequence,
            held: List::Slice(&held),
            score_stream: self.score.0.into(),
            score_sequence: self.score.1,
        }
        .put(scratch);
        put(0, scratch);
    }

    fn load(&mut self, _: u32, bytes: &[u8]) -> Option<()> {
        let row = StandingRow::decode(bytes)?;
        *self = Standing {
            division: row.division.into(),
            tier: row.tier,
            since: row.since,
            profile: row.profile,
            direction: row.direction,
            in_row: row.in_row,
            announced: row.announced,
            lost: row.lost.map(Into::into),
            open: row.open.iter().collect(),
            sequence: row.sequence,
            held: row.held.iter().map(|HeldRow { promotion, pool, from, to }| Held { promotion, pool: pool.into(), from, to }).collect(),
            score: (u16::try_from(row.score_stream).ok()?, row.score_sequence),
        };
        Some(())
    }

    fn heap(&self) -> usize {
        self.division.capacity() + self.open.capacity() * size_of::<OpenWindow>() + self.held.capacity() * size_of::<Held>()
    }

    #[inline]
    fn warm(&self) {
        prefetch::line(self.division.as_ptr());
        prefetch::line(self.open.as_ptr());
    }
}

datum! {
    /// The partition's clock.
    #[derive(Default)]
    Clock {
        /// Largest min(timestamp, receivedAt) of scored reports and Ticks; none before the first.
        newest: Option<EventTime>,
    }
}

datum_row!(Clock in "promoter-clock");
