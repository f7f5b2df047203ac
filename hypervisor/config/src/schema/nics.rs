//! The `[[network]]` and `[[vm.nic]]` tables.

use crate::error::{ConfigError, Problem, Subject};
use crate::nearest::nearest;
use crate::network::{Network, NetworkName, Nic, Reach, generated_mac, is_station, parse_rate};
use crate::position::Located;
use crate::reader::{Table, excerpt, integer_value};
use crate::{MAX_ADDRESSES, MAX_NETWORKS, MAX_NICS};
use alloc::{string::String, vec::Vec};
use base::{BitRate, MacAddress, VlanId, VmName};
use core::net::IpAddr;
use toml::de::DeValue;

const NETWORK_KEYS: [&str; 2] = ["name", "uplink"];
const NIC_KEYS: [&str; 6] = ["network", "mac", "ip", "vlan", "rate", "isolated"];

/// The longest name of a host NIC, in bytes.
const MAX_UPLINK_NAME_BYTES: usize = 31;

/// The `[[network]]` tables.
pub(super) fn read_networks(top: &Table<'_>) -> Result<Vec<Network>, ConfigError> {
    const EXPECTED: &str = "[[network]], with two brackets, before each network";
    let mut networks = Vec::new();
    let found = top.tables("network", EXPECTED, MAX_NETWORKS, "networks")?;
    for (index, found) in found.into_iter().enumerate() {
        let subject = Subject::UnnamedNetwork(index + 1);
        let table = Table { entries: found.value, subject, position: found.position, lines: top.lines };
        networks.push(read_network(table, &networks)?);
    }
    Ok(networks)
}

/// One `[[network]]` table, after those `earlier` in the text.
fn read_network(mut table: Table<'_>, earlier: &[Network]) -> Result<Network, ConfigError> {
    let text = table.required_string("name", "a name in quotes")?;
    let name = NetworkName::new(text.value)
        .map_err(|_| table.error("name", text.position, Problem::BadNetworkName))?;
    table.subject = Subject::Network(name);
    table.refuse_unknown_keys(&NETWORK_KEYS)?;
    if let Some(other) = earlier.iter().find(|network| network.name == name) {
        let problem = Problem::DuplicateNetwork { first: other.position };
        return Err(table.error("name", text.position, problem));
    }
    let uplink = read_uplink(&table)?;
    // A host's NIC has one owner.
    let takes_uplink = |other: &&Network| match (&other.uplink, &uplink) {
        (Some(theirs), Some(ours)) => theirs.value == ours.value,
        _ => false,
    };
    if let (Some(other), Some(ours)) = (earlier.iter().find(takes_uplink), &uplink) {
        let problem = Problem::DuplicateNetwork { first: other.position };
        return Err(table.error("uplink", ours.position, problem));
    }
    Ok(Network { name, position: table.position, uplink })
}

fn read_uplink(table: &Table<'_>) -> Result<Option<Located<String>>, ConfigError> {
    let Some(text) = table.string("uplink", "the name of a host's NIC in quotes")? else {
        return Ok(None);
    };
    let is_name = (1..=MAX_UPLINK_NAME_BYTES).contains(&text.value.len())
        && text.value.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_name {
        return Err(table.error("uplink", text.position, Problem::BadUplinkName));
    }
    Ok(Some(Located { value: text.value.into(), position: text.position }))
}

/// The NICs of the VM of this name, whose table is `vm`.
pub(super) fn read(vm: &Table<'_>, name: VmName, networks: &[Network]) -> Result<Vec<Nic>, ConfigError> {
    const EXPECTED: &str = "[[vm.nic]], with two brackets, before each NIC";
    let mut nics = Vec::new();
    for (index, found) in (0_u8..).zip(vm.tables("nic", EXPECTED, MAX_NICS, "NICs")?) {
        let subject = Subject::Nic(name, index.saturating_add(1));
        let table = Table { entries: found.value, subject, position: found.position, lines: vm.lines };
        nics.push(read_nic(&table, networks, generated_mac(&name, index))?);
    }
    Ok(nics)
}

fn read_nic(table: &Table<'_>, networks: &[Network], generated: MacAddress) -> Result<Nic, ConfigError> {
    table.refuse_unknown_keys(&NIC_KEYS)?;
    Ok(Nic {
        position: table.position,
        network: read_network_name(table, networks)?,
        mac: read_mac(table)?.unwrap_or(generated),
        ip: read_addresses(table)?,
        vlan: read_vlan(table)?,
        rate: read_rate(table)?,
        reach: if table.boolean("isolated", false)? { Reach::Uplink } else { Reach::Network },
    })
}

fn read_network_name(table: &Table<'_>, networks: &[Network]) -> Result<usize, ConfigError> {
    let text = table.required_string("network", "a network's name in quotes")?;
    if let Some(index) = networks.iter().position(|network| network.name.as_str() == text.value) {
        return Ok(index);
    }
    let names: Vec<_> = networks.iter().map(|network| network.name.as_str()).collect();
    let nearest = nearest(text.value, &names).map(String::from);
    let problem = Problem::NoSuchNetwork { name: excerpt(text.value), nearest };
    Err(table.error("network", text.position, problem))
}

fn read_mac(table: &Table<'_>) -> Result<Option<MacAddress>, ConfigError> {
    let Some(text) = table.string("mac", "an address in quotes: \"52:54:00:12:34:56\"")? else {
        return Ok(None);
    };
    let mac = MacAddress::parse(text.value).filter(|mac| mac.is_station());
    let bad = || table.error("mac", text.position, Problem::BadMac(excerpt(text.value)));
    mac.map(Some).ok_or_else(bad)
}

fn read_addresses(table: &Table<'_>) -> Result<Vec<IpAddr>, ConfigError> {
    const EXPECTED: &str = "an array of texts: [\"10.0.0.2\"]";
    let mut addresses = Vec::new();
    for value in table.array("ip", EXPECTED, MAX_ADDRESSES, "addresses")? {
        let text = table.as_string("ip", &value, EXPECTED)?;
        let address = text.value.parse::<IpAddr>().ok().filter(is_station);
        let bad = || table.error("ip", text.position, Problem::BadIp(excerpt(text.value)));
        addresses.push(address.ok_or_else(bad)?);
    }
    Ok(addresses)
}

fn read_vlan(table: &Table<'_>) -> Result<Option<VlanId>, ConfigError> {
    let Some(value) = table.get("vlan") else {
        return Ok(None);
    };
    let DeValue::Integer(integer) = value.value else {
        return Err(table.wrong_type("vlan", &value, "a whole number: vlan = 10"));
    };
    let number = integer_value(integer).and_then(|number| u16::try_from(number).ok());
    let bad = || table.error("vlan", value.position, Problem::BadVlan);
    number.and_then(VlanId::new).map(Some).ok_or_else(bad)
}

fn read_rate(table: &Table<'_>) -> Result<Option<BitRate>, ConfigError> {
    let Some(text) = table.string("rate", "a rate in quotes such as \"100Mbit\"")? else {
        return Ok(None);
    };
    let bad = || table.error("rate", text.position, Problem::BadRate(excerpt(text.value)));
    parse_rate(text.value).map(Some).ok_or_else(bad)
}
