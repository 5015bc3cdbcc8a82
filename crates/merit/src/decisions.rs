//! Decision records of a log, gathered for reading.
