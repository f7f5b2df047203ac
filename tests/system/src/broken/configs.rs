//! Broken configurations: the line and column of what is wrong, and a remedy.

use super::chain::{self, Damage};
use super::{Case, GOOD, Round};
use anyhow::Result;
use xtask::scenario::Lab;

pub fn run(lab: &Lab) -> Result<()> {
    static ROUND: Round = Round::new();
    super::check(lab, CASES, &ROUND, chain::refusals)
}

const fn case(name: &'static str, config: fn() -> Vec<u8>, promise: &'static str) -> Case<Damage> {
    Case { name, damage: Damage::Config(config), promise }
}

/// The good configuration, whose VM is the table in lines 4 to 7, and more lines of that table.
fn and(lines: &str) -> Vec<u8> {
    format!("{GOOD}{lines}").into_bytes()
}

/// The good configuration with a part replaced.
fn with(part: &str, other: &str) -> Vec<u8> {
    GOOD.replace(part, other).into_bytes()
}

pub const CASES: &[Case<Damage>] = &[
    Case {
        name: "broken_config_missing",
        damage: Damage::Files(|files| files.remove("cofferdam.toml")),
        promise: r"file not found: \cofferdam\cofferdam.toml: copy it there, or correct its path",
    },
    Case {
        name: "broken_config_is_a_folder",
        damage: Damage::Files(|files| {
            files.remove("cofferdam.toml");
            files.add("cofferdam.toml/file", Vec::new());
        }),
        promise: r"directory instead of a file: \cofferdam\cofferdam.toml: put a file there, or correct its path",
    },
    case("broken_config_empty", Vec::new, r"file is empty: \cofferdam\cofferdam.toml: copy the file again"),
    case(
        "broken_config_blank",
        || b" \n\n".to_vec(),
        "bad configuration: cofferdam.toml:1:1: the file is empty; write a [[vm]] table",
    ),
    case(
        "broken_config_too_large",
        || and(&"# more\n".repeat(10_000)),
        "bad configuration: cofferdam.toml:*: the file has * bytes; 65536 are allowed, so shorten it",
    ),
    case(
        "broken_config_not_utf8",
        || b"[host]\nlog = \"\xff\xfe\"\n".to_vec(),
        "bad configuration: cofferdam.toml:2:8: not UTF-8; save the file as UTF-8 text",
    ),
    case(
        "broken_config_syntax",
        || b"[host\n".to_vec(),
        "bad configuration: cofferdam.toml:1:*: not TOML: *; correct the line",
    ),
    case(
        "broken_config_key_given_twice",
        || and("name = \"again\"\n"),
        "bad configuration: cofferdam.toml:8:1: not TOML: duplicate key; correct the line",
    ),
    case(
        "broken_config_nested_too_deep",
        || and(&format!("modules = {}\n", "[".repeat(1000))),
        "bad configuration: cofferdam.toml:8:*: nested too deep; write [host] and [[vm]] tables with plain values",
    ),
    case(
        "broken_config_unknown_key",
        || and("colour = \"red\"\n"),
        "bad configuration: cofferdam.toml:8:1: vm \"good\": unknown key \"colour\"; remove it",
    ),
    case(
        "broken_config_misspelt_key",
        || with("kernel", "kernal"),
        "bad configuration: cofferdam.toml:7:1: vm \"good\": unknown key \"kernal\"; did you mean \"kernel\"?",
    ),
    case(
        "broken_config_missing_key",
        || with("memory = \"16M\"\n", ""),
        "bad configuration: cofferdam.toml:4:1: vm \"good\": memory: is missing; add it",
    ),
    case(
        "broken_config_wrong_type",
        || with("\"16M\"", "16"),
        "bad configuration: cofferdam.toml:6:10: vm \"good\": memory: is an integer; write a size in quotes such as \
         \"256M\"",
    ),
    case(
        "broken_config_table_instead_of_array",
        || with("[[vm]]", "[vm]"),
        "bad configuration: cofferdam.toml:4:1: vm: is a table; write [[vm]], with two brackets, before each VM",
    ),
    case(
        "broken_config_unknown_word",
        || with("poweroff", "sleep"),
        "bad configuration: cofferdam.toml:2:13: host: when_idle: \"sleep\" is not known; write \"shell\" or \"poweroff\"",
    ),
    case(
        "broken_config_console_is_no_port",
        || with("[host]", "[host]\nconsole = 0x10000"),
        "bad configuration: cofferdam.toml:2:11: host: console: is no port of a 16550; write 0x1 to 0xFFF8, usually 0x3F8",
    ),
    case(
        "broken_config_size_without_a_number",
        || with("16M", "much"),
        "bad configuration: cofferdam.toml:6:10: vm \"good\": memory: \"much\" *; write a size with K, M or G such as \
         \"256M\"",
    ),
    case(
        "broken_config_memory_too_small",
        || with("16M", "1M"),
        "bad configuration: cofferdam.toml:6:10: vm \"good\": memory: 1M is out of range; write 4M to 256G in steps of 4K",
    ),
    case(
        "broken_config_two_vcpus",
        || and("vcpus = 2\n"),
        "bad configuration: cofferdam.toml:8:9: vm \"good\": vcpus: this release gives each VM one vCPU; write vcpus = 1",
    ),
    case(
        "broken_config_vm_name_with_a_blank",
        || with("\"good\"", "\"no good\""),
        "bad configuration: cofferdam.toml:5:8: vm number 1: name: *; choose such a name",
    ),
    case(
        "broken_config_vm_name_given_twice",
        || and("\n[[vm]]\nname = \"good\"\nmemory = \"16M\"\nkernel = \"guest\"\n"),
        "bad configuration: cofferdam.toml:10:8: vm \"good\": name: the VM at line 4 has this name too; rename one of them",
    ),
    case(
        "broken_config_attach_names_no_vm",
        || with("[host]", "[host]\nattach = \"bad\""),
        "bad configuration: cofferdam.toml:2:10: host: attach: there is no VM \"bad\"; name one of the [[vm]] tables",
    ),
    case(
        "broken_config_path_leads_out",
        || with("\"guest\"", "\"../guest\""),
        "bad configuration: cofferdam.toml:7:10: vm \"good\": kernel: \"../guest\" has an empty, \".\" or \"..\" part; name a \
         file below the configuration",
    ),
    case(
        "broken_config_paths_are_one_on_fat",
        || and("initrd = \"GUEST\"\n"),
        "bad configuration: cofferdam.toml:8:10: \"GUEST\" and the path at line 7 differ only in case, which FAT ignores; \
         rename one of the files",
    ),
    case(
        "broken_config_too_many_vms",
        || {
            let vms =
                (1..=64).map(|n| format!("[[vm]]\nname = \"vm{n}\"\nmemory = \"4M\"\nkernel = \"guest\"\n"));
            and(&vms.collect::<String>())
        },
        "bad configuration: cofferdam.toml:*: vm: more than 64 VMs; remove some",
    ),
    case(
        "broken_config_too_many_modules",
        || and(&format!("modules = [{}]\n", "\"guest\",".repeat(33))),
        "bad configuration: cofferdam.toml:8:11: vm \"good\": modules: more than 32 modules; remove some",
    ),
    case(
        "broken_config_command_line_too_long",
        || and(&format!("cmdline = \"{}\"\n", "x".repeat(2048))),
        "bad configuration: cofferdam.toml:8:11: vm \"good\": cmdline: has 2048 bytes; 2047 are allowed, so shorten it",
    ),
];
