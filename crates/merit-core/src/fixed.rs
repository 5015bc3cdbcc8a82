//! Fixed-point decimals: every score, metric and threshold.

use core::fmt;

/// A decimal in units of 1e-6, so that equal inputs give equal bits on every machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fixed(pub i64);

impl Fixed {
    /// Units in 1.
    pub const ONE: Fixed = Fixed(1_000_000);
    /// Zero.
    pub const ZERO: Fixed = Fixed(0);
    /// Digits after the decimal point.
    pub const DECIMALS: u32 = 6;

    /// Reads a decimal as JSON, CSV and TOML write it (`-0.93`, `12`, `1e-3`), rounding half away from zero to 1e-6.
    /// `None` for anything else and for what does not fit.
    pub fn parse(text: &str) -> Option<Fixed> {
        let (negative, unsigned) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            rest => (false, rest),
        };
        let split = unsigned.iter().position(|b| matches!(b, b'e' | b'E'));
        let (mantissa, exponent) = match split {
            Some(at) => (&unsigned[..at], parse_exponent(&unsigned[at + 1..])?),
            None => (unsigned, 0),
        };
        let point = mantissa.iter().position(|b| *b == b'.');
        let whole = &mantissa[..point.unwrap_or(mantissa.len())];
        let fraction = point.map_or(&[][..], |at| &mantissa[at + 1..]);
        if whole.is_empty() || (point.is_some() && fraction.is_empty()) {
            return None;
        }
        // The digit at place `p` (0 = units, -1 = tenths) counts 10^(p + exponent + 6) units of 1e-6.
        let first_place = i32::try_from(whole.len()).ok()? - 1 + exponent + Self::DECIMALS as i32;
        let mut units: i64 = 0;
        let mut place = first_place;
        for digit in whole.iter().chain(fraction) {
            if !digit.is_ascii_digit() {
                return None;
            }
            let digit = i64::from(digit - b'0');
            if place >= 0 {
                units = units.checked_mul(10)?.checked_add(digit)?;
            } else if place == -1 && digit >= 5 {
                units = units.checked_add(1)?;
            }
            place -= 1;
        }
        while place >= 0 && units != 0 {
            units = units.checked_mul(10)?;
            place -= 1;
        }
        Some(Fixed(if negative { -units } else { units }))
    }

    /// `numerator / denominator`, rounded half away from zero to 1e-6. The denominator is positive.
    #[inline]
    pub fn ratio(numerator: i128, denominator: i128) -> Fixed {
        Fixed(clamp_to_i64(divide_rounded(numerator * 1_000_000, denominator)))
    }

    /// `self * factor / divisor`, rounded half away from zero to 1e-6. The divisor is positive.
    #[inline]
    pub fn scaled(self, factor: i64, divisor: i64) -> Fixed {
        // Many times as fast as 128 bits.
        match self.0.checked_mul(factor) {
            Some(product) => Fixed(divide_rounded_i64(product, divisor)),
            None => Fixed(clamp_to_i64(divide_rounded(i128::from(self.0) * i128::from(factor), divisor.into()))),
        }
    }

    /// Rounds half away from zero to `decimals` digits (0 to 6).
    #[inline]
    pub fn round_to(self, decimals: u32) -> Fixed {
        let step = 10_i64.pow(Self::DECIMALS - decimals.min(Self::DECIMALS));
        Fixed(divide_rounded_i64(self.0, step) * step)
    }

    /// The value held within `low..=high`.
    pub fn clamp(self, low: Fixed, high: Fixed) -> Fixed {
        Fixed(self.0.clamp(low.0, high.0))
    }
}

fn parse_exponent(text: &[u8]) -> Option<i32> {
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        rest => (1, rest),
    };
    if digits.is_empty() {
        return None;
    }
    // More than any text has digits: it is as good as without end.
    let add = |value: i32, digit: &u8| digit.is_ascii_digit().then(|| (value * 10 + i32::from(digit - b'0')).min(100_000_000));
    digits.iter().try_fold(0, add).map(|value| sign * value)
}

/// Integer division, rounded half away from zero. The denominator is positive.
#[inline]
pub fn divide_rounded(numerator: i128, denominator: i128) -> i128 {
    if let (Ok(n), Ok(d)) = (i64::try_from(numerator), i64::try_from(denominator)) {
        return i128::from(divide_rounded_i64(n, d));
    }
    let quotient = numerator / denominator;
    let remainder = (numerator % denominator).abs();
    quotient + if remainder >= denominator - remainder { numerator.signum() } else { 0 }
}

/// Half of the denominator more, divided and rounded down, by magnitude: that is half away from zero, and fits 64 bits.
#[inline]
fn divide_rounded_i64(numerator: i64, denominator: i64) -> i64 {
    let denominator = denominator.unsigned_abs();
    let magnitude = (numerator.unsigned_abs() + denominator / 2) / denominator;
    if numerator < 0 { 0_i64.wrapping_sub_unsigned(magnitude) } else { magnitude as i64 }
}

#[inline]
fn clamp_to_i64(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// The shortest decimal that reads back as the same value: `0.92`, `-3`, `0.000001`.
impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let magnitude = self.0.unsigned_abs();
        let (whole, mut fraction) = (magnitude / 1_000_000, magnitude % 1_000_000);
        if self.0 < 0 {
            f.write_str("-")?;
        }
        write!(f, "{whole}")?;
        if fraction > 0 {
            let mut width = 6;
            while fraction % 10 == 0 {
                fraction /= 10;
                width -= 1;
            }
            write!(f, ".{fraction:0width$}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_and_written() {
        for (text, units, shown) in [
            ("0.93", Some(930_000), "0.93"),
            ("-1.5", Some(-1_500_000), "-1.5"),
            ("12", Some(12_000_000), "12"),
            ("1e-3", Some(1_000), "0.001"),
            ("2.5E2", Some(250_000_000), "250"),
            ("0.0000005", Some(1), "0.000001"), // half, away from zero
            ("-0.0000005", Some(-1), "-0.000001"),
            ("0.00000049", Some(0), "0"),
            ("", None, ""),
            (".5", None, ""),
            ("1.", None, ""),
            ("1e", None, ""),
            ("0x1", None, ""),
            ("NaN", None, ""),
            ("9300000000000000000", None, ""),
            ("1e999", None, ""),
            ("0e999", Some(0), "0"),
            ("1e99999999999999999999", None, ""),
            ("1e-99999999999999999999", Some(0), "0"),
            ("1e0001", Some(10_000_000), "10"),
        ] {
            let parsed = Fixed::parse(text);
            assert_eq!(parsed.map(|f| f.0), units, "{text}");
            if let Some(value) = parsed {
                assert_eq!(std::format!("{value}"), shown, "{text}");
                assert_eq!(Fixed::parse(shown), Some(value), "{text}");
            }
        }
    }

    #[test]
    fn rounding_is_half_away_from_zero() {
        assert_eq!(Fixed(915_000).round_to(2), Fixed(920_000));
        assert_eq!(Fixed(-915_000).round_to(2), Fixed(-920_000));
        assert_eq!(Fixed(914_999).round_to(2), Fixed(910_000));
        assert_eq!(Fixed::ratio(2, 3), Fixed(666_667));
        assert_eq!(Fixed::ratio(-2, 3), Fixed(-666_667));
        assert_eq!(divide_rounded(i128::from(i64::MAX) * 3, 2), i128::from(i64::MAX) + i128::from(i64::MAX) / 2 + 1);
    }
}
