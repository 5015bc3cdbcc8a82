//! Rules and errors by name: what happened, and what to do.

use core::fmt;

/// A rule that a record can break, or an error that a command can end with. Its name never changes its meaning.
///
/// Only [`codes!`](crate::codes) makes one, and only in a list, so none can be raised that `docs/errors.md` does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Code {
    /// `timestamp_future`.
    pub name: &'static str,
    /// Exit code of the command that ends with it; 0 for a rule, which refuses a record and ends nothing.
    pub exit: u8,
    /// What happened, for a person.
    pub happened: &'static str,
    /// What a person can do about it.
    pub remedy: &'static str,
}

impl Code {
    #[doc(hidden)]
    pub const fn listed(name: &'static str, exit: u8, happened: &'static str, remedy: &'static str) -> Code {
        Code { name, exit, happened, remedy }
    }
}

/// Its name.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A list of codes, each with its constant.
#[macro_export]
macro_rules! codes {
    ($(#[$about:meta])* $list:ident exits $exit:literal { $($constant:ident $name:literal $happened:literal, $remedy:expr;)+ }) => {
        $(#[doc = $happened]
        pub const $constant: &$crate::Code = &$crate::Code::listed($name, $exit, $happened, $remedy);)+

        $(#[$about])*
        pub const $list: &[&$crate::Code] = &[$($constant),+];
    };
}
