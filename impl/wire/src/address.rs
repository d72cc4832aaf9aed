//! Addresses as people write them, and when two of them are the same.

use std::net::{IpAddr, Ipv4Addr};

/// One spelling for all spellings of an address, `host:port`. No name is looked up but `localhost`: two
/// names of one machine stay two.
///
/// An IPv4 address may have leading zeros, or fewer than four parts, as the system reads it: `127.1` and
/// `127.0.0.01` are `127.0.0.1`.
pub fn canonical(address: &str) -> String {
    let Some((host, port)) = address.rsplit_once(':') else {
        return address.to_lowercase();
    };
    let port = port.parse::<u16>().map_or_else(|_| port.to_owned(), |port| port.to_string());
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_lowercase();
    let ip = match host.as_str() {
        "localhost" => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        host => host.parse().ok().or_else(|| as_the_system_reads(host).map(IpAddr::V4)),
    };
    match ip.map(|ip| ip.to_canonical()) {
        Some(IpAddr::V6(ip)) => format!("[{ip}]:{port}"),
        Some(IpAddr::V4(ip)) => format!("{ip}:{port}"),
        None => format!("{host}:{port}"),
    }
}

/// An IPv4 address in one to four numbers, each decimal, octal or hexadecimal. The last fills the rest.
fn as_the_system_reads(host: &str) -> Option<Ipv4Addr> {
    let numbers: Vec<u32> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, before) = numbers.split_last()?;
    let mut bits = 0_u32;
    for (at, number) in before.iter().enumerate() {
        bits |= u32::from(u8::try_from(*number).ok()?)
            << (24 - 8 * u32::try_from(at).ok().filter(|at| *at < 3)?);
    }
    let room = 32 - 8 * u32::try_from(before.len()).ok()?;
    (room == 32 || *last < 1 << room).then(|| Ipv4Addr::from_bits(bits | last))
}

fn number(text: &str) -> Option<u32> {
    if let Some(digits) = text.strip_prefix("0x") {
        return u32::from_str_radix(digits, 16).ok();
    }
    if !text.starts_with(|it: char| it.is_ascii_digit()) {
        return None;
    }
    match text.strip_prefix('0') {
        Some(digits) if !digits.is_empty() => u32::from_str_radix(digits, 8).ok(),
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_address_are_one() {
        for spelling in [
            "127.0.0.1:7000",
            "127.0.0.01:7000",
            "127.1:7000",
            "0x7f.0.0.1:7000",
            "2130706433:7000",
            "localhost:7000",
            "LocalHost.:07000",
            "[::ffff:127.0.0.1]:7000",
        ] {
            assert_eq!(canonical(spelling), "127.0.0.1:7000", "{spelling}");
        }
        assert_eq!(canonical("[0:0::1]:7000"), "[::1]:7000");
        assert_eq!(canonical("A.Example.:7000"), "a.example:7000");
    }

    #[test]
    fn different_addresses_stay_different() {
        for other in ["127.0.0.2:7000", "127.0.0.1:7001", "a:7000", "1.2.3.4.5:7000", "256.1:7000"]
        {
            assert_ne!(canonical(other), "127.0.0.1:7000", "{other}");
            assert_eq!(canonical(other), other);
        }
    }
}
