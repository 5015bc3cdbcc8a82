//! Records as bytes: Avro binary, one byte string a value.
//!
//! [`datum!`](crate::datum) gives a struct and straight-line `put`/`get` from one definition; its [`Shape`] is compared with the
//! schema file of that name by test. Canonical form: shortest varints, an array is one block or none.
//!
//! | Rust | Avro |
//! |---|---|
//! | `bool`, `u32`, `i64`, `u64`, `f64` | boolean, long, long, long, double |
//! | [`Fixed`] | long, `"scale": 6` |
//! | [`EventTime`] | long, `timestamp-millis` |
//! | `&str`, `&[u8]`, `[u8; N]`, [`Uuid`] | string, bytes, fixed, fixed (`uuid`) |
//! | `Option<T>`, [`List<T>`] | union of null and T, array |

use crate::{EventTime, Fixed, Uuid};
/// The buffer that encodings go to, for the macros.
pub use alloc::vec::Vec;

/// A value with one canonical Avro encoding.
pub trait Datum<'a>: Copy {
    /// Its schema.
    const SHAPE: &'static Shape;
    /// Appends the encoding.
    fn put(&self, out: &mut Vec<u8>);
    /// Takes one value off the front; `None` where the bytes are not its canonical encoding.
    fn get(bytes: &mut &'a [u8]) -> Option<Self>;

    /// Reads a value that takes up all the bytes.
    fn decode(mut bytes: &'a [u8]) -> Option<Self> {
        let value = Self::get(&mut bytes)?;
        bytes.is_empty().then_some(value)
    }
}

/// The schema of a datum, as data.
#[derive(Debug, PartialEq, Eq)]
pub enum Shape {
    /// `boolean`
    Boolean,
    /// `long`
    Long,
    /// `double`; in state rows only
    Double,
    /// `long` in units of 1e-6
    Fixed,
    /// `long`, `timestamp-millis`
    Time,
    /// `string`
    Text,
    /// `bytes`
    Bytes,
    /// `fixed` of so many bytes
    Octets(usize),
    /// `fixed` of 16 bytes, `uuid`
    Uuid,
    /// `enum`
    Enum(&'static str, &'static [&'static str]),
    /// `record`
    Record(&'static str, &'static [Field]),
    /// `array`
    List(&'static Shape),
    /// union of `null` and another
    Optional(&'static Shape),
}

/// One field of a record's [`Shape`]; the schema writes its name in camel case.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    /// The Rust name.
    pub name: &'static str,
    /// Its shape.
    pub shape: &'static Shape,
}

#[inline]
fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    if value < 0x80 {
        out.push(value as u8);
        return;
    }
    let mut bytes = [0; 10];
    let mut length = 0;
    while value >= 0x80 {
        bytes[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    bytes[length] = value as u8;
    // A copy of known length is two stores instead of a call.
    let end = out.len() + length + 1;
    out.extend_from_slice(&bytes);
    out.truncate(end);
}

#[inline]
fn get_varint(bytes: &mut &[u8]) -> Option<u64> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        *bytes = rest;
        return Some(u64::from(first));
    }
    let mut value = u64::from(first & 0x7f);
    for (at, &byte) in rest.iter().enumerate().take(9) {
        let shift = 7 * (at as u32 + 1);
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            *bytes = &rest[at + 1..];
            let overlong = byte == 0 || (shift == 63 && byte > 1);
            return (!overlong).then_some(value);
        }
    }
    None
}

/// Bytes as a text, where they are one. Names are short and ASCII mostly, which is faster to see than that they are UTF-8.
#[inline]
#[expect(unsafe_code, reason = "the standard library checks such texts byte by byte")]
fn text(bytes: &[u8]) -> Option<&str> {
    if bytes.is_ascii() {
        // SAFETY: ASCII is UTF-8.
        return Some(unsafe { core::str::from_utf8_unchecked(bytes) });
    }
    core::str::from_utf8(bytes).ok()
}

macro_rules! integers {
    ($($type:ty: $shape:ident),*) => {$(
        impl<'a> Datum<'a> for $type {
            const SHAPE: &'static Shape = &Shape::$shape;
            #[inline]
            fn put(&self, out: &mut Vec<u8>) {
                let value = i64::from(*self);
                put_varint((value << 1 ^ value >> 63) as u64, out);
            }
            #[inline]
            fn get(bytes: &mut &'a [u8]) -> Option<Self> {
                let raw = get_varint(bytes)?;
                ((raw >> 1) as i64 ^ -((raw & 1) as i64)).try_into().ok()
            }
        }
    )*};
}
integers!(i64: Long, u32: Long);

/// Stored as a `long`: sequences, offsets and milli-units stay below 2^63.
impl<'a> Datum<'a> for u64 {
    const SHAPE: &'static Shape = &Shape::Long;
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        (*self as i64).put(out);
    }
    #[inline]
    fn get(bytes: &mut &'a [u8]) -> Option<Self> {
        i64::get(bytes)?.try_into().ok()
    }
}

impl<'a> Datum<'a> for Fixed {
    const SHAPE: &'static Shape = &Shape::Fixed;
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    #[inline]
    fn get(bytes: &mut &'a [u8]) -> Option<Self> {
        i64::get(bytes).map(Fixed)
    }
}

impl<'a> Datum<'a> for EventTime {
    const SHAPE: &'static Shape = &Shape::Time;
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    #[inline]
    fn get(bytes: &mut &'a [u8]) -> Option<Self> {
        i64::get(bytes).map(EventTime)
    }
}

impl<'a> Datum<'a> for bool {
    const SHAPE: &'static Shape = &Shape::Boolean;
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn get(bytes: &mut &'a [u8]) -> Option<Self> {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        match byte {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<'a> Datum<'a> for f64 {
    const SHAPE: &'static Shape = &Shape::Double;
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.to_le_bytes());
    }
    fn get(bytes: &mut &'a [u8]) -> Option<Self> {
        <[u8; 8]>::get(bytes).map(f64::from_le_bytes)
    }
}

impl<'a> Datum<'a> for &'a [u8] {
    const SHAPE: &'static Shape = &Shape::Bytes;
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        put_varint((self.len() as u64) << 1, out);
        out.extend_from_slice(self);
    }
    #[inline]
    fn get(bytes: &mut &'a [u8]) -> Option<Self> {
        let length = usize::try_from(i64::get(bytes)?).ok()?;
        let (value, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(value)
    }
}

impl<'a> Datum<'a> for &'a str {
    const SHAPE: &'static Shape = &Shape::Text;
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        self.as_bytes().put(out);
    }
    #[inline]
    fn get(bytes: &mut &'a [u8]) -> Option<Self> {
        text(<&[u8]>::get(bytes)?)
    }
}

impl<'a, const N: usize> Datum<'a> for [u8; N] {
    const SHAPE: &'static Shape = &Shape::Octets(N);
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn get(bytes: &mut &'a [u8]) -> Option<Self> {
        let (value, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(*value)
    }
}

impl<'a> Datum<'a> for Uuid {
    const SHAPE: &'static Shape = &Shape::Uuid;
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
    }
    fn get(bytes: &mut &'a [u8]) -> Option<Self> {
        <[u8; 16]>::get(bytes).map(Uuid)
    }
}

impl<'a, T: Datum<'a>> Datum<'a> for Option<T> {
    const SHAPE: &'static Shape = &Shape::Optional(T::SHAPE);
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => {
                out.push(2);
                value.put(out);
            }
        }
    }
    #[inline]
    fn get(bytes: &mut &'a [u8]) -> Option<Self> {
        let (&branch, rest) = bytes.split_first()?;
        *bytes = rest;
        match branch {
            0 => Some(None),
            2 => T::get(bytes).map(Some),
            _ => None,
        }
    }
}

/// An array that was built from a slice or read from bytes: the same items either way.
#[derive(Clone, Copy, Debug)]
pub enum List<'a, T> {
    /// Items in memory.
    Slice(&'a [T]),
    /// Items still encoded; checked when they were taken off.
    Encoded {
        /// How many.
        count: usize,
        /// Their encodings, one after another.
        bytes: &'a [u8],
    },
}

impl<'a, T: Datum<'a>> List<'a, T> {
    /// A list without items.
    pub const EMPTY: List<'a, T> = List::Slice(&[]);

    /// The number of items.
    pub fn len(&self) -> usize {
        match self {
            List::Slice(items) => items.len(),
            List::Encoded { count, .. } => *count,
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The items in order.
    #[inline]
    pub fn iter(&self) -> Items<'a, T> {
        Items { list: *self }
    }
}

/// Iterator over a [`List`].
#[derive(Clone)]
pub struct Items<'a, T> {
    list: List<'a, T>,
}

impl<'a, T: Datum<'a>> Iterator for Items<'a, T> {
    type Item = T;
    #[inline]
    fn next(&mut self) -> Option<T> {
        match &mut self.list {
            List::Slice(items) => {
                let (first, rest) = items.split_first()?;
                *items = rest;
                Some(*first)
            }
            List::Encoded { count, bytes } => {
                *count = count.checked_sub(1)?;
                T::get(bytes)
            }
        }
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.list.len(), Some(self.list.len()))
    }
}

impl<'a, T: Datum<'a>> ExactSizeIterator for Items<'a, T> {}

impl<'a, T: Datum<'a>> IntoIterator for List<'a, T> {
    type Item = T;
    type IntoIter = Items<'a, T>;
    fn into_iter(self) -> Items<'a, T> {
        self.iter()
    }
}

impl<'a, T: Datum<'a> + PartialEq> PartialEq for List<'a, T> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

/// Appends the encoding of a list whose `count` items `put` appends.
#[inline]
pub fn put_list(count: usize, out: &mut Vec<u8>, put: impl FnOnce(&mut Vec<u8>)) {
    if count > 0 {
        put_varint((count as u64) << 1, out);
        put(out);
    }
    out.push(0);
}

/// Takes the items of a list that is all of `bytes`, each as it is read: [`List::decode`] reads them once more before the first is
/// seen. `None` where that refuses, or `take` does.
#[inline]
pub fn each_item<'a, T: Datum<'a>>(mut bytes: &'a [u8], mut take: impl FnMut(T) -> Option<()>) -> Option<()> {
    let count = usize::try_from(i64::get(&mut bytes)?).ok()?;
    for _ in 0..count {
        take(T::get(&mut bytes)?)?;
    }
    let end: &[u8] = if count > 0 { &[0] } else { &[] };
    (bytes == end).then_some(())
}

impl<'a, T: Datum<'a>> Datum<'a> for List<'a, T> {
    const SHAPE: &'static Shape = &Shape::List(T::SHAPE);
    #[inline]
    fn put(&self, out: &mut Vec<u8>) {
        put_list(self.len(), out, |out| match self {
            List::Slice(items) => items.iter().for_each(|item| item.put(out)),
            List::Encoded { bytes, .. } => out.extend_from_slice(bytes),
        });
    }
    #[inline]
    fn get(bytes: &mut &'a [u8]) -> Option<Self> {
        let count = usize::try_from(i64::get(bytes)?).ok()?;
        if count == 0 {
            return Some(List::EMPTY);
        }
        let start = *bytes;
        for _ in 0..count {
            T::get(bytes)?;
        }
        let items = &start[..start.len() - bytes.len()];
        (usize::try_from(i64::get(bytes)?).ok()? == 0).then_some(List::Encoded { count, bytes: items })
    }
}

/// Defines a record: a `Copy` struct and its Avro encoding, from one list of fields.
#[macro_export]
macro_rules! datum {
    ($(#[$meta:meta])* $name:ident $(<$life:lifetime>)? { $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct $name $(<$life>)? { $($(#[$field_meta])* pub $field: $type),* }

        $crate::datum!(@implement $name [$($life)?] { $($field: $type),* });
    };
    (@implement $name:ident [] { $($field:ident: $type:ty),* }) => {
        impl<'a> $crate::Datum<'a> for $name { $crate::datum!(@body $name { $($field: $type),* }); }
    };
    (@implement $name:ident [$life:lifetime] { $($field:ident: $type:ty),* }) => {
        impl<$life> $crate::Datum<$life> for $name<$life> { $crate::datum!(@body $name, $life { $($field: $type),* }); }
    };
    (@body $name:ident { $($field:ident: $type:ty),* }) => { $crate::datum!(@body $name, 'a { $($field: $type),* }); };
    (@body $name:ident, $life:lifetime { $($field:ident: $type:ty),* }) => {
        const SHAPE: &'static $crate::Shape = &$crate::Shape::Record(stringify!($name), &[
            $($crate::datum::Field { name: stringify!($field), shape: <$type as $crate::Datum<$life>>::SHAPE }),*
        ]);
        #[inline]
        fn put(&self, out: &mut $crate::datum::Vec<u8>) {
            $($crate::Datum::put(&self.$field, out);)*
        }
        #[inline]
        fn get(bytes: &mut &$life [u8]) -> Option<Self> {
            $(let $field = <$type as $crate::Datum<$life>>::get(bytes)?;)*
            Some(Self { $($field),* })
        }
    };
}

/// Defines an enumeration with its Avro encoding.
#[macro_export]
macro_rules! datum_enum {
    ($(#[$meta:meta])* $name:ident { $($(#[$symbol_meta:meta])* $symbol:ident),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$symbol_meta])* $symbol),* }

        impl $name {
            /// Every value in the order of the schema.
            pub const ALL: &'static [$name] = &[$($name::$symbol),*];
        }

        impl<'a> $crate::Datum<'a> for $name {
            const SHAPE: &'static $crate::Shape = &$crate::Shape::Enum(stringify!($name), &[$(stringify!($symbol)),*]);
            fn put(&self, out: &mut $crate::datum::Vec<u8>) {
                (*self as i64).put(out);
            }
            fn get(bytes: &mut &'a [u8]) -> Option<Self> {
                let at = usize::try_from(<i64 as $crate::Datum>::get(bytes)?).ok()?;
                Self::ALL.get(at).copied()
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes_of<'a>(value: impl Datum<'a>) -> Vec<u8> {
        let mut bytes = Vec::new();
        value.put(&mut bytes);
        bytes
    }

    proptest! {
        #[test]
        fn long_round_trips(value: i64) {
            prop_assert_eq!(i64::decode(&bytes_of(value)), Some(value));
        }

        #[test]
        fn lists_and_options_round_trip(items: Vec<Option<i64>>) {
            let list = List::Slice(&items);
            let bytes = bytes_of(list);
            let read = List::<Option<i64>>::decode(&bytes).expect("canonical");
            prop_assert_eq!(read.iter().collect::<Vec<_>>(), items.clone());
            prop_assert_eq!(bytes_of(read), bytes);
        }

        #[test]
        fn items_are_taken_one_by_one_where_they_are_all_at_once(items: Vec<Option<i64>>, other: Vec<u8>) {
            let list = bytes_of(List::Slice(&items));
            let (longer, shorter) = ([&list[..], &[0]].concat(), list[..list.len() - 1].to_vec());
            for bytes in [list, longer, shorter, other] {
                let mut taken = Vec::new();
                let whole = each_item(&bytes, |item: Option<i64>| {
                    taken.push(item);
                    Some(())
                });
                let all_at_once = List::<Option<i64>>::decode(&bytes).map(|list| list.iter().collect());
                prop_assert_eq!(whole.map(|()| taken), all_at_once);
            }
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes: Vec<u8>) {
            if let Some(value) = List::<Option<&str>>::decode(&bytes) {
                prop_assert_eq!(bytes_of(value), bytes);
            }
        }
    }

    /// LEB128, a group at a time.
    fn groups(mut value: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value >= 0x80 {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    #[test]
    fn varints_of_every_length_are_groups_of_seven_bits_wherever_they_end() {
        let around =
            |bits: u32| [1_u64 << bits, (1 << bits) - 1, (1 << bits) | 0x55, (!0 >> (63 - bits)) & 0xaaaa_aaaa_aaaa_aaaa | 1 << bits];
        for value in (0..64).flat_map(around).chain([0, u64::MAX]) {
            let mut bytes = Vec::new();
            put_varint(value, &mut bytes);
            assert_eq!(bytes, groups(value), "{value:x}");
            for behind in 0..10 {
                let longer = [&bytes[..], &[0x81; 10][..behind]].concat();
                let mut rest = &longer[..];
                assert_eq!((get_varint(&mut rest), rest.len()), (Some(value), behind), "{value:x}");
                let mut overlong = bytes.clone();
                *overlong.last_mut().expect("a byte at least") |= 0x80;
                overlong.push(0);
                overlong.extend(&[0x81; 10][..behind]);
                assert_eq!(get_varint(&mut &overlong[..]), None, "{value:x}");
            }
            for cut in 0..bytes.len() {
                assert_eq!(get_varint(&mut &bytes[..cut]), None, "{value:x}");
            }
        }
    }

    #[test]
    fn texts_are_utf8() {
        for text in ["", "a", "agent-00042", "\u{7f}", "\u{80}", "prüfung", "a long name with one 💡 in it"] {
            assert_eq!(<&str>::decode(&bytes_of(text)), Some(text));
        }
        for bytes in [&b"\x80"[..], b"agent-\xff", b"a long name with half a \xf0\x9f\x92", b"\xc0\xaf", b"\xed\xa0\x80"] {
            assert_eq!(<&str>::decode(&bytes_of(bytes)), None);
        }
    }

    #[test]
    fn overlong_varints_are_refused() {
        assert_eq!(i64::decode(&[0x02]), Some(1));
        assert_eq!(i64::decode(&[0x82, 0x00]), None);
        assert_eq!(i64::decode(&[0xff; 11]), None);
        assert_eq!(i64::decode(&bytes_of(i64::MIN)), Some(i64::MIN));
    }
}
