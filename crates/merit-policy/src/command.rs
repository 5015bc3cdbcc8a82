//! Commands that are refused by themselves, before anyone judges them.

use alloc::string::{String, ToString};
use merit_core::record::Flaw;
use merit_core::{Code, Head, Payload, codes};

codes! {
    /// Every rule that a command breaks by itself.
    RULES exits 0 {
        TEXT_INVALID "text_invalid" "a name of the command is empty or longer than 256 bytes, a claim longer than 256, or a reason longer than 4096", "shorten it";
        DELTA_NOT_POSITIVE "delta_not_positive" "the command asks for nothing", "ask for at least one GPU";
    }
}

/// The rule that a command breaks by itself, and how.
///
/// Gate and allocator ask the same question, so what one refuses the other does not judge. Texts that processors write are bounded
/// by what they read, and pass: a reason that grew on its way must not keep units from coming back.
pub fn refusal(at: &Head<'_>, command: &Payload<'_>) -> Option<(&'static Code, String)> {
    let flaw = command.flaw()?;
    match flaw {
        Flaw::Zero { .. } => Some((DELTA_NOT_POSITIVE, flaw.to_string())),
        Flaw::Empty { .. } | Flaw::TooLong { .. } | Flaw::TooMany { .. } => {
            (at.stream == Head::OUTSIDE).then(|| (TEXT_INVALID, flaw.to_string()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use merit_core::record::Preempt;
    use merit_core::{EventTime, Key};

    #[test]
    fn texts_are_judged_where_they_come_from_outside_and_amounts_anywhere() {
        let head =
            |stream| Head { key: Key::new("p"), time: EventTime(0), stream, sequence: 0, offset: 0, hops: 0, sent: None, headers: None };
        let good = Preempt { agent_id: "a", pool: "p", delta: 1, reason: "", requested_by: "" };
        for (stream, command, rule) in [
            (Head::OUTSIDE, good, None),
            (Head::OUTSIDE, Preempt { delta: 0, ..good }, Some("delta_not_positive")),
            (Head::OUTSIDE, Preempt { pool: "", ..good }, Some("text_invalid")),
            (3, Preempt { pool: "", ..good }, None),
            (3, Preempt { delta: 0, ..good }, Some("delta_not_positive")),
        ] {
            assert_eq!(refusal(&head(stream), &Payload::from(&command)).map(|(rule, _)| rule.name), rule, "{command:?}");
        }
    }
}
