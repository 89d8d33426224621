//! The value of a `--port` as data: the address to bind, the name for the worker, the wanted descriptor. Pure.

use std::net::{Ipv4Addr, Ipv6Addr};

/// A socket that `--port` asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub host: Host,
    pub transport: Transport,
    pub port: u16,
    /// The name in `SERVER_STARTER_PORT`.
    pub name: String,
    /// The descriptor number that the socket must have in the worker, if the option names one.
    pub descriptor: Option<i32>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A bare port: every IPv4 address.
    Any,
    V4(Ipv4Addr),
    V6(Ipv6Addr),
    /// A name that resolves to an IPv4 address.
    Named(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    Tcp,
    Udp,
}

impl Endpoint {
    /// Reads `[host:][u]port[=descriptor]`, with blanks around each part. The error is the reason alone.
    pub fn parse(text: &str) -> Result<Endpoint, &'static str> {
        Endpoint::parse_parts(text).map_err(|reason| {
            if text.contains("://") {
                return "a URL; give a host and a port, as HOST:PORT";
            }
            reason
        })
    }

    fn parse_parts(text: &str) -> Result<Endpoint, &'static str> {
        let (address, descriptor) = match text.split_once('=') {
            Some((address, number)) => (address.trim(), Some(parse_descriptor(number.trim())?)),
            None => (text.trim(), None),
        };
        let (host, port) = split_host(address)?;
        let (transport, digits) = match port.strip_prefix('u') {
            Some(digits) => (Transport::Udp, digits),
            None => (Transport::Tcp, port),
        };
        if !is_number(digits) {
            // The text is a lone IPv4 address or host name, which has dots, or it ends with the colon.
            let is_missing = host.is_none() && digits.contains('.') || port.is_empty();
            if is_missing && !text.trim().is_empty() {
                return Err("the port is missing");
            }
            return Err("the port must be a number, with a u before it for UDP");
        }
        let port = digits.parse().map_err(|_| "the port is above 65535")?;
        let name = match host {
            None => digits.to_string(),
            Some(host) if host.contains(':') => ["[", host, "]:", digits].concat(),
            Some(host) => [host, ":", digits].concat(),
        };
        Ok(Endpoint {
            host: host.map_or(Ok(Host::Any), parse_host)?,
            transport,
            port,
            name,
            descriptor,
        })
    }
}

/// Splits an address into the host, without brackets, and the port.
fn split_host(address: &str) -> Result<(Option<&str>, &str), &'static str> {
    let Some(bracketed) = address.strip_prefix('[') else {
        return Ok(match address.rsplit_once(':') {
            Some((host, port)) => (Some(host.trim()), port.trim_start()),
            None => (None, address),
        });
    };
    let split = bracketed.split_once(']');
    let (host, rest) = split.ok_or("there is no ] after the [")?;
    let after_colon = rest.trim_start().strip_prefix(':');
    let port = after_colon.ok_or("after the ] there must be a colon and a port")?;
    Ok((Some(host.trim()), port.trim_start()))
}

fn parse_host(text: &str) -> Result<Host, &'static str> {
    if text.is_empty() {
        return Err("there is no host before the colon");
    }
    if text.contains(':') {
        let address = text.parse().map(Host::V6);
        return address.map_err(|_| "the host is not an IPv6 address");
    }
    if let Ok(address) = text.parse() {
        return Ok(Host::V4(address));
    }
    if text.contains(|c: char| c.is_whitespace() || "[];".contains(c)) {
        return Err("that is not a host name");
    }
    Ok(Host::Named(text.to_string()))
}

fn parse_descriptor(digits: &str) -> Result<i32, &'static str> {
    if !is_number(digits) {
        return Err("after the = there must be a descriptor number");
    }
    match digits.parse() {
        Ok(1 | 2) => Err("descriptors 1 and 2 are the worker's standard output and standard error"),
        Ok(number) => Ok(number),
        Err(_) => Err("the descriptor number is too large"),
    }
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Transport::{Tcp, Udp};

    fn named(host: &str) -> Host {
        Host::Named(host.to_string())
    }

    #[test]
    fn accepts() {
        let v6 = |text: &str| Host::V6(text.parse().unwrap());
        let table = [
            ("8080", Host::Any, Tcp, 8080, "8080", None),
            (" 8080 ", Host::Any, Tcp, 8080, "8080", None),
            ("0", Host::Any, Tcp, 0, "0", None),
            ("65535", Host::Any, Tcp, 65535, "65535", None),
            ("00080", Host::Any, Tcp, 80, "00080", None),
            ("u443", Host::Any, Udp, 443, "443", None),
            ("8080=7", Host::Any, Tcp, 8080, "8080", Some(7)),
            ("8080=0", Host::Any, Tcp, 8080, "8080", Some(0)),
            (" u443 = 9 ", Host::Any, Udp, 443, "443", Some(9)),
            (
                "localhost:80",
                named("localhost"),
                Tcp,
                80,
                "localhost:80",
                None,
            ),
            (
                " localhost : 80 = 3",
                named("localhost"),
                Tcp,
                80,
                "localhost:80",
                Some(3),
            ),
            (
                "LocalHost:u53",
                named("LocalHost"),
                Udp,
                53,
                "LocalHost:53",
                None,
            ),
            (
                "127.0.0.1:80",
                Host::V4(Ipv4Addr::LOCALHOST),
                Tcp,
                80,
                "127.0.0.1:80",
                None,
            ),
            (
                "[127.0.0.1]:80",
                Host::V4(Ipv4Addr::LOCALHOST),
                Tcp,
                80,
                "127.0.0.1:80",
                None,
            ),
            ("[::1]:80", v6("::1"), Tcp, 80, "[::1]:80", None),
            ("::1:80", v6("::1"), Tcp, 80, "[::1]:80", None),
            ("[ ::1 ] : u80 =5", v6("::1"), Udp, 80, "[::1]:80", Some(5)),
            (
                "[0:0:0:0:0:0:0:1]:80",
                v6("::1"),
                Tcp,
                80,
                "[0:0:0:0:0:0:0:1]:80",
                None,
            ),
        ];
        for (text, host, transport, port, name, descriptor) in table {
            let expected = Endpoint {
                host,
                transport,
                port,
                name: name.to_string(),
                descriptor,
            };
            assert_eq!(Endpoint::parse(text), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn refuses() {
        let table = [
            ("", "must be a number"),
            ("http", "must be a number"),
            ("-1", "must be a number"),
            ("+80", "must be a number"),
            ("80 81", "must be a number"),
            ("u 80", "must be a number"),
            ("uu80", "must be a number"),
            ("U80", "must be a number"),
            ("host:", "the port is missing"),
            ("127.0.0.1", "the port is missing"),
            ("app.example.org=4", "the port is missing"),
            ("http://app.example.org:80/", "a URL"),
            ("tcp://127.0.0.1:80", "a URL"),
            ("65536", "above 65535"),
            ("70000", "above 65535"),
            ("99999999999999999999", "above 65535"),
            ("[::1]", "after the ]"),
            ("[::1]x:80", "after the ]"),
            ("[::1]80", "after the ]"),
            ("[::1:80", "no ]"),
            ("::1]:80", "not an IPv6"),
            ("::g:80", "not an IPv6"),
            ("fe80::1%lo:80", "not an IPv6"),
            ("[]:80", "no host"),
            (":80", "no host"),
            ("a b:80", "not a host name"),
            ("a;b:80", "not a host name"),
            ("80=", "descriptor number"),
            ("80=x", "descriptor number"),
            ("80=-1", "descriptor number"),
            ("80=3=4", "descriptor number"),
            ("80=1", "descriptors 1 and 2"),
            ("80=2", "descriptors 1 and 2"),
            ("80=99999999999", "too large"),
        ];
        for (text, reason) in table {
            let error = Endpoint::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    /// The name of an accepted value is accepted too, and keeps host, port and name.
    #[test]
    fn a_million_random_values() {
        const WORDS: [&str; 16] = [
            "",
            " ",
            "[",
            "]",
            ":",
            "::1",
            "=",
            "u",
            "0",
            "65536",
            "7",
            "a.b",
            ";",
            "\n",
            "é",
            "99999999999999999999",
        ];
        let mut accepted = 0;
        crate::fuzz::random_texts(&WORDS, |text| {
            if let Ok(endpoint) = Endpoint::parse(text) {
                let again = Endpoint::parse(&endpoint.name).unwrap();
                assert_eq!(again.name, endpoint.name, "{text:?}");
                assert_eq!(
                    (again.host, again.port),
                    (endpoint.host, endpoint.port),
                    "{text:?}"
                );
                accepted += 1;
            }
        });
        assert!(accepted > 1000, "{accepted}");
    }
}
