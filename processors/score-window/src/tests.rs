//! Tests of score-window.
