//! The rules that span several tables.

use crate::MAX_NICS_ON_NETWORK;
use crate::error::{ConfigError, Problem, Subject};
use crate::model::{Config, Vm};
use crate::network::{Nic, Reach};
use crate::path::RelativePath;
use crate::position::Position;
use crate::reader::excerpt;
use crate::storage::Disk;
use alloc::vec::Vec;

/// Checks `config`, in which `[host]` names the VM to attach at `attach`.
pub(super) fn check(config: &Config, attach: Position) -> Result<(), ConfigError> {
    check_attach(config, attach)?;
    check_paths_on_fat(config)?;
    check_sources(config)?;
    check_nics(config)
}

fn check_attach(config: &Config, position: Position) -> Result<(), ConfigError> {
    match config.host.attach {
        Some(name) if config.vm(&name).is_none() => {
            let problem = Problem::NoSuchVm(name);
            Err(ConfigError { position, subject: Subject::Host, key: Some("attach"), problem })
        }
        _ => Ok(()),
    }
}

/// Refuses two paths that are different files on the operator's disk and one on the ESP.
fn check_paths_on_fat(config: &Config) -> Result<(), ConfigError> {
    let mut seen: Vec<(&RelativePath, Position)> = Vec::new();
    for (path, position) in config.files() {
        match seen.iter().find(|(other, _)| other.is_same_on_fat(path)) {
            None => seen.push((path, position)),
            Some((other, _)) if *other == path => {}
            Some(&(_, first)) => {
                let problem = Problem::SameOnFat { text: excerpt(path.as_str()), first };
                return Err(ConfigError::file(position, problem));
            }
        }
    }
    Ok(())
}

/// Refuses what one disk writes to and something else uses.
fn check_sources(config: &Config) -> Result<(), ConfigError> {
    let mut seen: Vec<(&Vm, &Disk)> = Vec::new();
    for vm in &config.vms {
        for (ordinal, disk) in (1..).zip(&vm.disks) {
            let clashes = |(_, other): &&(&Vm, &Disk)| {
                other.source.value == disk.source.value
                    && (other.writes_to_source() || disk.writes_to_source())
            };
            let clash = seen.iter().find(clashes).map(|(other, its)| (other.name, its.source.position));
            if let Some((other, first)) = clash.or_else(|| starts_from(config, disk)) {
                let problem = Problem::SourceInUse { other, line: first.line };
                let subject = Subject::Disk(vm.name, ordinal);
                let position = disk.source.position;
                return Err(ConfigError { position, subject, key: Some("source"), problem });
            }
            seen.push((vm, disk));
        }
    }
    Ok(())
}

/// A VM that starts from the file that `disk` writes to, and the place where it says so.
fn starts_from(config: &Config, disk: &Disk) -> Option<(base::VmName, Position)> {
    let (file, _) = disk.file().filter(|_| disk.writes_to_source())?;
    config.vms.iter().find_map(|vm| {
        let (_, position) = vm.boot_files().find(|(path, _)| *path == file)?;
        Some((vm.name, position))
    })
}

/// Refuses NICs that nothing could tell apart on their network, that are too many for it, or could talk to nobody.
fn check_nics(config: &Config) -> Result<(), ConfigError> {
    let mut seen: Vec<&Nic> = Vec::new();
    for vm in &config.vms {
        for (ordinal, nic) in (1..).zip(&vm.nics) {
            let neighbours: Vec<_> =
                seen.iter().copied().filter(|other| other.network == nic.network).collect();
            check_nic(config, nic, &neighbours).map_err(|(key, problem)| {
                let subject = Subject::Nic(vm.name, ordinal);
                ConfigError { position: nic.position, subject, key: Some(key), problem }
            })?;
            seen.push(nic);
        }
    }
    Ok(())
}

/// Checks `nic` beside its `neighbours`, which are before it in the text; an error is of a key.
fn check_nic(config: &Config, nic: &Nic, neighbours: &[&Nic]) -> Result<(), (&'static str, Problem)> {
    if let Some(its) = neighbours.iter().find(|other| other.mac == nic.mac) {
        let problem = Problem::DuplicateMac { mac: nic.mac, first: its.position };
        return Err(("mac", problem));
    }
    for ip in &nic.ip {
        let has_it = |other: &&&Nic| other.vlan == nic.vlan && other.ip.contains(ip);
        if let Some(its) = neighbours.iter().find(has_it) {
            let problem = Problem::DuplicateIp { ip: *ip, first: its.position };
            return Err(("ip", problem));
        }
    }
    if neighbours.len() >= MAX_NICS_ON_NETWORK {
        let problem = Problem::TooMany { what: "NICs on the network", max: MAX_NICS_ON_NETWORK };
        return Err(("network", problem));
    }
    if nic.reach == Reach::Uplink && has_no_uplink(config, nic) {
        return Err(("isolated", Problem::IsolatedWithoutUplink));
    }
    Ok(())
}

fn has_no_uplink(config: &Config, nic: &Nic) -> bool {
    config.networks.get(nic.network).is_none_or(|network| network.uplink.is_none())
}
