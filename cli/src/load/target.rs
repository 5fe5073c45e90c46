//! Whom a generator may load: loopback always, anybody else only when named.

use std::fs;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use throng_loadgen::{Engine, Network};

use crate::exit::Failure;

/// The addresses that are this machine's for certain: loopback, and those of the devices that the users come through.
pub(super) struct Mine(Vec<IpAddr>);

impl Mine {
    /// With the devices of an engine.
    pub(super) fn new(engine: &Engine) -> Mine {
        Mine(match engine {
            Engine::Kernel(_) => Vec::new(),
            Engine::Tun(devices) => {
                (0..devices.threads()).map(|nth| devices.of(nth).0.address.into()).collect()
            }
        })
    }

    /// Whether an address is one of them.
    pub(super) fn has(&self, address: &SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        ip.is_loopback() || self.0.contains(&ip)
    }
}

/// Resolves `HOST:PORT`, several with commas, to addresses that all may be loaded.
///
/// A name may stand for several addresses: each of them is loaded, so each of them must be allowed.
pub(super) fn resolve(text: &str, allowed: &[Network], mine: &Mine) -> Result<Vec<SocketAddr>, Failure> {
    let mut addresses = Vec::new();
    for one in text.split(',') {
        let found = one.to_socket_addrs().map_err(|error| {
            Failure::usage(format!("cannot tell the address of `{one}`: {error}; a target is HOST:PORT"))
        })?;
        addresses.extend(found);
    }
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.iter().any(|address| address.port() == 0) {
        return Err(Failure::usage(format!("`{text}`: nobody listens on port 0")));
    }
    let mut allowed = allowed.to_vec();
    // The file is read only when it decides something: a run on loopback does not depend on it.
    let may = |address: &SocketAddr, allowed: &[Network]| mine.has(address) || is_allowed(address, allowed);
    if !addresses.iter().all(|address| may(address, &allowed)) {
        allowed.extend(listed()?);
    }
    match addresses.iter().find(|address| !may(address, &allowed)) {
        None => Ok(addresses),
        Some(stranger) => Err(Failure::usage(refusal(text, stranger))),
    }
}

fn is_allowed(address: &SocketAddr, allowed: &[Network]) -> bool {
    let ip = address.ip().to_canonical();
    allowed.iter().any(|network| network.contains(ip))
}

fn refusal(text: &str, stranger: &SocketAddr) -> String {
    let ip = stranger.ip().to_canonical();
    let through = if text.contains(&ip.to_string()) { String::new() } else { format!(" (from `{text}`)") };
    format!(
        "{ip}{through} is not this machine, and a load generator is a weapon against the wrong address. If it is yours, or \
         its owner agreed, say so: --allow-target {ip}, or a line with the address or its network in {}",
        path().map_or_else(|| "~/.config/throng/targets".to_owned(), |path| path.display().to_string())
    )
}

/// Where a user keeps the targets that are always allowed.
fn path() -> Option<PathBuf> {
    let config = std::env::var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let config = config.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
    config.map(|folder| folder.join("throng").join("targets"))
}

fn listed() -> Result<Vec<Network>, Failure> {
    let Some(path) = path() else { return Ok(Vec::new()) };
    // No file allows nobody. A line that cannot be read is an error: skipping it would hide a mistake.
    let Ok(text) = fs::read_to_string(&path) else { return Ok(Vec::new()) };
    parse(&text).map_err(|(line, what)| Failure::usage(format!("{}:{line}: {what}", path.display())))
}

/// One network per line; `#` begins a comment.
fn parse(text: &str) -> Result<Vec<Network>, (usize, String)> {
    let mut networks = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            networks.push(line.parse().map_err(|what| (number, what))?);
        }
    }
    Ok(networks)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(list: &[&str]) -> Vec<Network> {
        list.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn loopback_is_always_allowed() {
        for text in
            ["127.0.0.1:1", "127.9.9.9:1,127.0.0.1:2", "[::1]:1", "[::ffff:127.0.0.1]:1", "localhost:1"]
        {
            assert!(resolve(text, &[], &Mine(Vec::new())).is_ok(), "{text}");
        }
    }

    #[test]
    fn anybody_else_must_be_named() {
        let failure = resolve("127.0.0.1:1,192.0.2.7:80", &networks(&["198.51.100.0/24"]), &Mine(Vec::new()))
            .unwrap_err();
        assert_eq!(failure.exit, crate::exit::Exit::Usage);
        assert!(failure.message.contains("--allow-target 192.0.2.7"), "{}", failure.message);
        assert_eq!(
            resolve("192.0.2.7:80", &networks(&["192.0.2.0/24"]), &Mine(Vec::new())).unwrap().len(),
            1
        );
        assert!(
            resolve("[::ffff:192.0.2.7]:80", &[], &Mine(Vec::new())).is_err(),
            "a disguised v4 address is the v4 address"
        );
        for text in ["0.0.0.0:1", "[::]:1"] {
            assert!(resolve(text, &[], &Mine(Vec::new())).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_target_is_named() {
        for text in ["127.0.0.1", "127.0.0.1:0", "127.0.0.1:x", "", "127.0.0.1:1,"] {
            let failure = resolve(text, &[], &Mine(Vec::new())).unwrap_err();
            assert_eq!(failure.exit, crate::exit::Exit::Usage, "{text}");
        }
    }

    #[test]
    fn a_list_names_its_bad_line() {
        let list = parse("# mine\n10.0.0.0/24  # the lab\n\nfd00::/64\n").unwrap();
        assert!(list[0].contains("10.0.0.9".parse().unwrap()) && list.len() == 2);
        assert_eq!(parse("10.0.0.1\nlab\n").unwrap_err().0, 2);
    }
}
