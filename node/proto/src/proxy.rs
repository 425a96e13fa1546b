//! The PROXY protocol, versions 1 and 2: what a balancer says before a client's first byte.
//!
//! The header must be taken off a connection without a byte of what follows, which may be the
//! beginning of TLS. [`parse`] therefore says how many more bytes are certain to belong to it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest header of version 1, with its end.
pub const LINE_BYTES_MAX: usize = 107;
/// Longest header of version 2 that is read: addresses and a few kilobytes of extensions.
pub const HEADER_BYTES_MAX: usize = 16 + 4096;

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const LINE: &[u8; 6] = b"PROXY ";
/// `PROXY UNKNOWN` with its end, and the fixed part of version 2.
const LINE_BYTES_MIN: usize = 15;
const FIXED_BYTES: usize = 16;

/// What is known of a header that has begun.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// At least so many more bytes belong to it.
    More(usize),
    /// It is whole. The client's address, if the proxy tells one: health checks of its own have none.
    Whole(Option<SocketAddr>),
}

/// The bytes are no header, or one that is not read here.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no PROXY header")]
pub struct NotProxy;

/// Whether a header may begin with this byte.
pub fn may_begin(byte: u8) -> bool {
    byte == LINE[0] || byte == SIGNATURE[0]
}

/// Looks at all bytes so far, which are those of the header and no more.
pub fn parse(bytes: &[u8]) -> Result<Step, NotProxy> {
    match bytes.first() {
        None => Ok(Step::More(1)),
        Some(byte) if *byte == SIGNATURE[0] => binary(bytes),
        Some(_) => line(bytes),
    }
}

fn binary(bytes: &[u8]) -> Result<Step, NotProxy> {
    let known = bytes.len().min(SIGNATURE.len());
    if bytes[..known] != SIGNATURE[..known] {
        return Err(NotProxy);
    }
    if bytes.len() < FIXED_BYTES {
        return Ok(Step::More(FIXED_BYTES - bytes.len()));
    }
    let length = FIXED_BYTES + usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    if length > HEADER_BYTES_MAX {
        return Err(NotProxy);
    }
    if bytes.len() < length {
        return Ok(Step::More(length - bytes.len()));
    }
    if bytes.len() > length {
        return Err(NotProxy);
    }
    let told = &bytes[FIXED_BYTES..];
    match (bytes[12], bytes[13]) {
        // LOCAL: the proxy itself.
        (0x20, _) => Ok(Step::Whole(None)),
        // PROXY over TCP.
        (0x21, 0x11) => {
            let address: [u8; 4] = array(told, 0)?;
            let port = u16::from_be_bytes(array(told, 8)?);
            array::<2>(told, 10)?;
            let address = IpAddr::V4(Ipv4Addr::from(address));
            Ok(Step::Whole(Some(SocketAddr::new(address, port))))
        }
        (0x21, 0x21) => {
            let address: [u8; 16] = array(told, 0)?;
            let port = u16::from_be_bytes(array(told, 32)?);
            array::<2>(told, 34)?;
            let address = IpAddr::V6(Ipv6Addr::from(address));
            Ok(Step::Whole(Some(SocketAddr::new(address, port))))
        }
        // Unspecified, datagrams, Unix sockets: no address that means something here.
        (0x21, _) => Ok(Step::Whole(None)),
        _ => Err(NotProxy),
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], NotProxy> {
    let found = bytes.get(at..at + N).ok_or(NotProxy)?;
    found.try_into().map_err(|_| NotProxy)
}

fn line(bytes: &[u8]) -> Result<Step, NotProxy> {
    let known = bytes.len().min(LINE.len());
    if bytes[..known] != LINE[..known] {
        return Err(NotProxy);
    }
    if bytes.len() < LINE_BYTES_MIN {
        return Ok(Step::More(LINE_BYTES_MIN - bytes.len()));
    }
    let Some(text) = bytes.strip_suffix(b"\r\n") else {
        if bytes.contains(&b'\n') || bytes.len() >= LINE_BYTES_MAX {
            return Err(NotProxy);
        }
        return Ok(Step::More(if bytes.last() == Some(&b'\r') { 1 } else { 2 }));
    };
    if text.contains(&b'\n') || text.contains(&b'\r') {
        return Err(NotProxy);
    }
    let text = std::str::from_utf8(&text[LINE.len()..]).map_err(|_| NotProxy)?;
    let mut words = text.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        return Ok(Step::Whole(None));
    }
    let mut address = || -> Result<IpAddr, NotProxy> {
        let address: IpAddr = words
            .next()
            .and_then(|word| word.parse().ok())
            .ok_or(NotProxy)?;
        let wanted = if address.is_ipv4() { "TCP4" } else { "TCP6" };
        (family == Some(wanted)).then_some(address).ok_or(NotProxy)
    };
    let (source, _destination) = (address()?, address()?);
    let mut port = || {
        words
            .next()
            .and_then(|word| word.parse::<u16>().ok())
            .ok_or(NotProxy)
    };
    let (source_port, _destination_port) = (port()?, port()?);
    match words.next() {
        None => Ok(Step::Whole(Some(SocketAddr::new(source, source_port)))),
        Some(_) => Err(NotProxy),
    }
}

#[cfg(test)]
mod tests {
    use super::{HEADER_BYTES_MAX, NotProxy, Step, parse};

    fn binary(command: u8, family: u8, told: &[u8]) -> Vec<u8> {
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
        bytes.extend([command, family]);
        bytes.extend(u16::try_from(told.len()).unwrap().to_be_bytes());
        bytes.extend(told);
        bytes
    }

    fn good() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let four = [192, 0, 2, 1, 198, 51, 100, 1, 0xc3, 0x50, 0, 143];
        let mut six = [0_u8; 36];
        six[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        six[15] = 7;
        six[32..34].copy_from_slice(&[0, 99]);
        let with_extensions = [&four[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        vec![
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), None),
            (
                b"PROXY TCP4 192.0.2.1 198.51.100.1 50000 143\r\n".to_vec(),
                Some("192.0.2.1:50000"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 99 993\r\n".to_vec(),
                Some("[2001:db8::7]:99"),
            ),
            (binary(0x21, 0x11, &four), Some("192.0.2.1:50000")),
            (
                binary(0x21, 0x11, &with_extensions),
                Some("192.0.2.1:50000"),
            ),
            (binary(0x21, 0x21, &six), Some("[2001:db8::7]:99")),
            (binary(0x20, 0, &[]), None),
            (binary(0x20, 0x11, &four), None),
            (binary(0x21, 0x31, &[0; 216]), None),
        ]
    }

    /// However the bytes arrive: never is more asked for than belongs to the header.
    #[test]
    fn a_header_is_read_to_its_end_and_no_further_wherever_it_is_split() {
        for (bytes, source) in good() {
            for split in 0..bytes.len() {
                match parse(&bytes[..split]) {
                    Ok(Step::More(more)) => {
                        assert!(
                            more >= 1 && split + more <= bytes.len(),
                            "{bytes:?} {split}"
                        );
                    }
                    other => panic!("{bytes:?} {split}: {other:?}"),
                }
            }
            let source = source.map(|source| source.parse().unwrap());
            assert_eq!(parse(&bytes), Ok(Step::Whole(source)), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_it_can_be() {
        let four = [192, 0, 2, 1, 198, 51, 100, 1, 0xc3, 0x50, 0, 143];
        let too_long = vec![0; HEADER_BYTES_MAX - 15];
        for bytes in [
            b"\x16\x03\x01".to_vec(),
            b"LHLO x\r\n".to_vec(),
            b"PROXX".to_vec(),
            b"\r\n\r\n\0\r\nQUIX".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.1 50000\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.1 50000 143 1\r\n".to_vec(),
            b"PROXY TCP4 ::1 ::1 1 2\r\n".to_vec(),
            b"PROXY TCP6 192.0.2.1 192.0.2.1 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.1 65536 143\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.1 1 2\nx".to_vec(),
            [b"PROXY UNKNOWN ".as_slice(), &[b'x'; 100]].concat(),
            binary(0x11, 0x11, &four),
            binary(0x22, 0x11, &four),
            binary(0x21, 0x11, &four[..11]),
            binary(0x21, 0x21, &four),
            binary(0x21, 0x00, &too_long),
        ] {
            assert_eq!(parse(&bytes), Err(NotProxy), "{bytes:?}");
        }
    }
}
