//! Kubernetes quantities, such as `10Gi`, as bytes.

/// Suffixes and their factors in thousandths. Suffixes of two letters come first.
const SUFFIXES: [(&str, u128); 13] = [
    ("Ki", 1000 << 10),
    ("Mi", 1000 << 20),
    ("Gi", 1000 << 30),
    ("Ti", 1000 << 40),
    ("Pi", 1000 << 50),
    ("Ei", 1000 << 60),
    ("m", 1),
    ("k", 1_000_000),
    ("M", 1_000_000_000),
    ("G", 1_000_000_000_000),
    ("T", 1_000_000_000_000_000),
    ("P", 1_000_000_000_000_000_000),
    ("E", 1_000_000_000_000_000_000_000),
];

/// The number of bytes, rounded up as Kubernetes does; `None` if the text is not a quantity, or is too large for bytes.
/// Kubernetes writes half a byte as `500m`.
#[must_use]
pub fn bytes(text: &str) -> Option<u64> {
    let (number, factor) = SUFFIXES
        .iter()
        .find_map(|&(suffix, factor)| text.strip_suffix(suffix).map(|number| (number, factor)))
        .unwrap_or((text, 1000));
    let (number, exponent) = match number.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<u32>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let scale = 10u128.checked_pow(u32::try_from(fraction.len()).ok()?)?.checked_mul(1000)?;
    let scaled =
        digits.parse::<u128>().ok()?.checked_mul(factor)?.checked_mul(10u128.checked_pow(exponent)?)?;
    u64::try_from(scaled.div_ceil(scale)).ok()
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn quantities_are_read_as_kubernetes_writes_them() {
        for (text, number) in [
            ("0", 0),
            ("1024", 1024),
            ("10Gi", 10 << 30),
            ("1.5Gi", 3 << 29),
            ("1Ki", 1 << 10),
            ("2Mi", 2 << 20),
            ("3Ti", 3 << 40),
            ("4Pi", 4 << 50),
            ("1Ei", 1 << 60),
            ("100k", 100_000),
            ("7M", 7_000_000),
            ("5G", 5_000_000_000),
            ("6T", 6_000_000_000_000),
            ("8P", 8_000_000_000_000_000),
            ("2E", 2_000_000_000_000_000_000),
            ("1e3", 1000),
            ("1.5E3", 1500),
            ("1073741824000m", 1 << 30),
            ("1m", 1),
            ("0.1", 1),
        ] {
            assert_eq!(bytes(text), Some(number), "{text}");
        }
        for text in ["", "Gi", "-1", "1.2.3", "ten", "99Ei", "1e99", "1e", "1Gib", " 1", "1u", "m"] {
            assert_eq!(bytes(text), None, "{text:?}");
        }
    }
}
