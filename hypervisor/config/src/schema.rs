//! The schema: what each table may hold, and the rules that span several of them.

mod across;
mod disks;
mod nics;

use crate::error::{ConfigError, Problem, Subject};
use crate::model::{Config, Console, Host, LogLevel, Module, OnReset, Vm, VmConsole, WhenIdle};
use crate::network::Network;
use crate::path::RelativePath;
use crate::position::{Lines, Located, Position};
use crate::reader::{Table, excerpt, integer_value};
use crate::{MAX_CMDLINE_BYTES, MAX_MEMORY_BYTES, MAX_MODULES, MAX_VMS, MIN_MEMORY_BYTES, size};
use alloc::{string::String, vec::Vec};
use base::{ByteSize, PAGE_BYTES, Port, VmName};
use toml::de::{DeTable, DeValue};

const TOP_KEYS: [&str; 3] = ["host", "vm", "network"];
const HOST_KEYS: [&str; 4] = ["console", "log", "when_idle", "attach"];
const VM_KEYS: [&str; 14] = [
    "name",
    "vcpus",
    "memory",
    "kernel",
    "initrd",
    "modules",
    "cmdline",
    "autostart",
    "on_reset",
    "debug_exit",
    "exit_profile",
    "console",
    "disk",
    "nic",
];

const CONSOLES: [(&str, Console); 5] = [
    ("com1", Console::Com1),
    ("com2", Console::Com2),
    ("com3", Console::Com3),
    ("com4", Console::Com4),
    ("spcr", Console::Spcr),
];
const LOG_LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];
const WHEN_IDLE: [(&str, WhenIdle); 2] = [("shell", WhenIdle::Shell), ("poweroff", WhenIdle::PowerOff)];
const ON_RESET: [(&str, OnReset); 2] = [("restart", OnReset::Restart), ("end", OnReset::End)];

const VM_CONSOLES: [(&str, VmConsole); 2] = [("serial", VmConsole::Serial), ("virtio", VmConsole::Virtio)];

/// What to write for a size.
const SIZE: &str = "a size in quotes such as \"256M\"";

/// The last port at which a 16550, which has eight, can begin.
const LAST_UART_PORT: i64 = 0xFFF8;

/// Reads the whole document.
pub(crate) fn read<'a>(entries: &'a DeTable<'a>, lines: &'a Lines<'a>) -> Result<Config, ConfigError> {
    let top = Table { entries, subject: Subject::File, position: Position::START, lines };
    top.refuse_unknown_keys(&TOP_KEYS)?;
    let (host, attach) = read_host(&top)?;
    let networks = nics::read_networks(&top)?;
    let vms = read_vms(&top, &networks)?;
    let config = Config { host, vms, networks };
    across::check(&config, attach)?;
    Ok(config)
}

/// The `[host]` table, and where it names the VM to attach.
fn read_host(top: &Table<'_>) -> Result<(Host, Position), ConfigError> {
    let Some(value) = top.get("host") else {
        return Ok((Host::default(), Position::START));
    };
    let DeValue::Table(entries) = value.value else {
        return Err(top.wrong_type("host", &value, "a table: [host]"));
    };
    let table = Table { entries, subject: Subject::Host, position: value.position, lines: top.lines };
    table.refuse_unknown_keys(&HOST_KEYS)?;
    let default = Host::default();
    let attach = table.string("attach", "a VM's name in quotes")?;
    let attach_position = attach.as_ref().map_or(value.position, |name| name.position);
    let host = Host {
        console: read_console(&table)?.unwrap_or(default.console),
        log: table.word(
            "log",
            &LOG_LEVELS,
            "\"error\", \"warn\", \"info\", \"debug\" or \"trace\"",
            default.log,
        )?,
        when_idle: table.word("when_idle", &WHEN_IDLE, "\"shell\" or \"poweroff\"", default.when_idle)?,
        attach: attach.map(|name| vm_name(&table, "attach", &name)).transpose()?,
    };
    Ok((host, attach_position))
}

fn read_console(table: &Table<'_>) -> Result<Option<Console>, ConfigError> {
    const EXPECTED: &str = "\"com1\" to \"com4\", \"spcr\" or a port number such as 0x3F8";
    let Some(value) = table.get("console") else {
        return Ok(None);
    };
    if let DeValue::Integer(integer) = value.value {
        let port = integer_value(integer).filter(|port| (1..=LAST_UART_PORT).contains(port));
        let port = port.and_then(|port| u16::try_from(port).ok());
        let port = port.ok_or_else(|| table.error("console", value.position, Problem::BadPort))?;
        return Ok(Some(Console::Port(Port(port))));
    }
    table.as_string("console", &value, EXPECTED)?;
    table.word("console", &CONSOLES, EXPECTED, Console::Com1).map(Some)
}

/// The `[[vm]]` tables.
fn read_vms(top: &Table<'_>, networks: &[Network]) -> Result<Vec<Vm>, ConfigError> {
    const EXPECTED: &str = "[[vm]], with two brackets, before each VM";
    let mut vms: Vec<Vm> = Vec::new();
    for (index, found) in top.tables("vm", EXPECTED, MAX_VMS, "VMs")?.into_iter().enumerate() {
        let subject = Subject::UnnamedVm(index + 1);
        let table = Table { entries: found.value, subject, position: found.position, lines: top.lines };
        vms.push(read_vm(table, &vms, networks)?);
    }
    Ok(vms)
}

/// One `[[vm]]` table, after the VMs `earlier` in the text.
fn read_vm(mut table: Table<'_>, earlier: &[Vm], networks: &[Network]) -> Result<Vm, ConfigError> {
    let name_text = table.required_string("name", "a name in quotes")?;
    let name = vm_name(&table, "name", &name_text)?;
    table.subject = Subject::Vm(name);
    table.refuse_unknown_keys(&VM_KEYS)?;
    if let Some(other) = earlier.iter().find(|vm| vm.name == name) {
        return Err(table.error("name", name_text.position, Problem::DuplicateVm { first: other.position }));
    }
    let kernel = table.required_string("kernel", "a file's path in quotes")?;
    let initrd = table.string("initrd", "a file's path in quotes")?;
    Ok(Vm {
        name,
        position: table.position,
        vcpus: read_vcpus(&table)?,
        memory: read_memory(&table)?,
        kernel: path(&table, "kernel", &kernel)?,
        initrd: initrd.map(|text| path(&table, "initrd", &text)).transpose()?,
        modules: read_modules(&table)?,
        cmdline: read_cmdline(&table)?,
        autostart: table.boolean("autostart", true)?,
        on_reset: table.word("on_reset", &ON_RESET, "\"restart\" or \"end\"", OnReset::Restart)?,
        debug_exit: table.boolean("debug_exit", false)?,
        exit_profile: table.boolean("exit_profile", false)?,
        console: table.word("console", &VM_CONSOLES, "\"serial\" or \"virtio\"", VmConsole::Serial)?,
        disks: disks::read(&table, name)?,
        nics: nics::read(&table, name, networks)?,
    })
}

fn read_vcpus(table: &Table<'_>) -> Result<u32, ConfigError> {
    let Some(value) = table.get("vcpus") else {
        return Ok(1);
    };
    let DeValue::Integer(integer) = value.value else {
        return Err(table.wrong_type("vcpus", &value, "a whole number: vcpus = 1"));
    };
    match integer_value(integer) {
        Some(1) => Ok(1),
        _ => Err(table.error("vcpus", value.position, Problem::NotOneVcpu)),
    }
}

fn read_memory(table: &Table<'_>) -> Result<ByteSize, ConfigError> {
    let text = table.required_string("memory", SIZE)?;
    let size = parse_size(table, "memory", &text)?;
    let in_range = (MIN_MEMORY_BYTES..=MAX_MEMORY_BYTES).contains(&size.0);
    if !in_range || !size.0.is_multiple_of(PAGE_BYTES) {
        return Err(table.error("memory", text.position, Problem::BadMemory(size)));
    }
    Ok(size)
}

/// The size that `text`, of `key`, says.
fn parse_size(table: &Table<'_>, key: &'static str, text: &Located<&str>) -> Result<ByteSize, ConfigError> {
    size::parse(text.value).map_err(|problem| {
        table.error(key, text.position, Problem::BadSize { text: excerpt(text.value), problem })
    })
}

fn read_modules(table: &Table<'_>) -> Result<Vec<Module>, ConfigError> {
    const EXPECTED: &str = "an array of texts: [\"file arguments\"]";
    let elements = table.array("modules", EXPECTED, MAX_MODULES, "modules")?;
    elements.iter().map(|element| read_module(table, element, EXPECTED)).collect()
}

fn read_module<'a>(
    table: &Table<'a>,
    value: &Located<&'a DeValue<'a>>,
    expected: &'static str,
) -> Result<Module, ConfigError> {
    let text = table.as_string("modules", value, expected)?;
    let (file, arguments) = text.value.split_once(' ').unwrap_or((text.value, ""));
    let file = Located { value: file, position: text.position };
    let arguments = Located { value: arguments, position: text.position };
    Ok(Module { path: path(table, "modules", &file)?, arguments: free_text(table, "modules", &arguments)? })
}

fn read_cmdline(table: &Table<'_>) -> Result<String, ConfigError> {
    match table.string("cmdline", "a text in quotes")? {
        Some(text) => free_text(table, "cmdline", &text),
        None => Ok(String::new()),
    }
}

/// Text that a guest gets as a NUL-terminated string.
fn free_text(table: &Table<'_>, key: &'static str, text: &Located<&str>) -> Result<String, ConfigError> {
    let len_bytes = text.value.len();
    if len_bytes > MAX_CMDLINE_BYTES {
        return Err(table.error(key, text.position, Problem::TooLong { len_bytes }));
    }
    if text.value.contains('\0') {
        return Err(table.error(key, text.position, Problem::HoldsNul));
    }
    Ok(text.value.into())
}

fn vm_name(table: &Table<'_>, key: &'static str, text: &Located<&str>) -> Result<VmName, ConfigError> {
    VmName::new(text.value).map_err(|_| table.error(key, text.position, Problem::BadVmName))
}

fn path(
    table: &Table<'_>,
    key: &'static str,
    text: &Located<&str>,
) -> Result<Located<RelativePath>, ConfigError> {
    match RelativePath::new(text.value) {
        Ok(value) => Ok(Located { value, position: text.position }),
        Err(problem) => {
            Err(table.error(key, text.position, Problem::BadPath { text: excerpt(text.value), problem }))
        }
    }
}
