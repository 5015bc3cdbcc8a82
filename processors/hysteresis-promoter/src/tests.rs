//! Tests of hysteresis-promoter.
