//! `cargo xtask bench io`: what an operation on a virtio device costs, in executed instructions of the hypervisor and the
//! guest, in exits and in interrupts.
//!
//! ```text
//!   VM bare     exits with three instructions: what the stamps take for the guest's and is not
//!   VM client   Linux: reads its disk, sends datagrams and a stream to the other; between them asks for snapshots
//!   VM server   Linux: answers
//! ```
//! The hypervisor is built with counters (its feature `exit-shares`), which it tells in snapshots: time, of which in a guest
//! and slept; what remains is its own. A tick is an instruction there.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::{measure, number, write_json};
use crate::emulator::{Emulator, Time};
use crate::guest::{self, Kernel};
use crate::image::Contents;
use crate::setup::{self, Need};
use crate::{build, paths};

/// How long firmware, hypervisor and guests may take until the first measurement is told.
const BOOT: Duration = Duration::from_secs(240);
/// How long a run may say nothing then: half a minute is usual, and more on a computer that does other things too.
const SILENCE: Duration = Duration::from_secs(120);
/// How often a run is begun.
const RUNS_MAX: u32 = 10;
/// What the program that guests talk by says when it got no answer (`tests/peer`).
const ASKED_AGAIN: &str = "peer: asks again";

/// What is started: the client by hand, when the server is there. While both boot, many interrupts of timers come, and with each
/// that error of QEMU may.
const CONFIG: &str = r#"
[host]
attach = "server"
[[network]]
name = "lan0"

[[vm]]
name = "bare"
memory = "16M"
kernel = "bare-exits"
debug_exit = true
on_reset = "end"

[[vm]]
name = "client"
autostart = false
memory = "192M"
kernel = "vmlinux"
initrd = "client.cpio"
cmdline = "console=ttyS0 quiet loglevel=1 run=measure"
on_reset = "end"

[[vm.disk]]
source = "file:disk.img"
read_only = true

[[vm.nic]]
network = "lan0"

[[vm]]
name = "server"
memory = "192M"
kernel = "vmlinux"
initrd = "server.cpio"
cmdline = "console=ttyS0 quiet loglevel=1 run=measure"
on_reset = "end"

[[vm.nic]]
network = "lan0"
"#;

/// Bytes of the disk: as much as the largest of the client's reads wants, and its first once more.
const DISK_BYTES: usize = 11 << 20;

/// How the measurements are shown.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Also write them to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is measured, and compared with.
struct Yardstick {
    operation: &'static str,
    /// The number of its snapshots (`io/client.sh`).
    label: u8,
    /// How many operations are between the first two snapshots; between the other two there are twice as many.
    count: u32,
    goal: Option<Goal>,
    /// What others' hypervisor and guest take together, on the same emulated computer.
    others: &'static str,
}

/// Instructions of the hypervisor.
struct Goal {
    must: u32,
    aim: u32,
}

/// In the order of the table.
const YARDSTICKS: [Yardstick; 5] = [
    Yardstick {
        operation: "blk 4 KiB read",
        label: 1,
        count: 1000,
        goal: Some(Goal { must: 5_000, aim: 2_500 }),
        others: "kvmtool 111,000, Firecracker 136,000, QEMU 205,000",
    },
    Yardstick {
        operation: "blk 64 KiB read",
        label: 2,
        count: 80,
        goal: Some(Goal { must: 16_000, aim: 11_000 }),
        others: "138,000",
    },
    Yardstick { operation: "blk 1 MiB read", label: 3, count: 5, goal: None, others: "900,000" },
    Yardstick {
        operation: "UDP round trip",
        label: 4,
        count: 500,
        goal: Some(Goal { must: 12_000, aim: 6_000 }),
        others: "117,000, guest to host",
    },
    Yardstick {
        operation: "TCP, a KiB",
        label: 5,
        count: 8 << 10,
        goal: Some(Goal { must: 350, aim: 250 }),
        others: "2,189",
    },
];

/// The number of the snapshots that the VM asks for which does nothing else, and how many instructions it takes for each.
const BARE: u8 = 0;
const BARE_INSTRUCTIONS: u64 = 3;

/// The counters at one moment, or what two moments differ by. Ticks are instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Snapshot {
    label: u8,
    at: u64,
    guest: u64,
    slept: u64,
    exits: u64,
    interrupts: u64,
}

impl Snapshot {
    /// What has passed since `before`; `None` if counters went backwards.
    fn since(&self, before: &Self) -> Option<Self> {
        Some(Self {
            label: self.label,
            at: self.at.checked_sub(before.at)?,
            guest: self.guest.checked_sub(before.guest)?,
            slept: self.slept.checked_sub(before.slept)?,
            exits: self.exits.checked_sub(before.exits)?,
            interrupts: self.interrupts.checked_sub(before.interrupts)?,
        })
    }
}

/// One operation: averages.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Cost {
    hypervisor: f64,
    guest: f64,
    exits: f64,
    interrupts: f64,
}

/// Measures, prints a table, and writes JSON if asked to.
///
/// # Errors
/// When it cannot be built or run, an operation was not measured, or the file cannot be written.
pub fn command(options: &Options) -> Result<()> {
    let Run { log, begun_again } = run()?;
    let costs = costs(&log).with_context(|| format!("see {}", log_path().display()))?;
    print!("{}", Rows(&costs));
    let asked_again = log.matches(ASKED_AGAIN).count();
    println!("\nbegun again because nothing more was heard: {begun_again} times");
    println!("asked again because no answer came: {asked_again} times");
    match &options.json {
        Some(path) => write_json(path, &objects(&costs, begun_again, asked_again)),
        None => Ok(()),
    }
}

/// A run that came to its end.
struct Run {
    /// What appeared on the serial line.
    log: String,
    /// How many runs before it fell silent.
    begun_again: u32,
}

/// Runs the guests until a run comes to its end.
///
/// QEMU 10 can deliver an interrupt that a hypervisor injects a second time, while the guest has interrupts masked, when its
/// count of instructions ends just then (`helper_vmrun` leaves the vector behind as an exception). Linux then waits for ever
/// for a lock that it holds: such a run says nothing more, and is done again. A wakeup that we lost would look the same: how
/// often it happened is told, and what such a run said is kept.
fn run() -> Result<Run> {
    setup::ensure(&Need::ALL)?;
    let hypervisor = build::counting_hypervisor()?;
    build::guests()?;
    build::peer()?;
    let mut contents = Contents::with_hypervisor(&hypervisor, CONFIG.into())?;
    contents.add("bare-exits", paths::read(&build::guest("bare-exits"))?);
    contents.add("vmlinux", guest::vmlinux(Kernel::V6_12)?);
    contents.add("client.cpio", initramfs(include_str!("io/client.sh"))?);
    contents.add("server.cpio", initramfs(include_str!("io/server.sh"))?);
    contents.add("disk.img", vec![b'x'; DISK_BYTES]);
    let run = || {
        let log = log_file()?;
        measure(
            "measuring operations on devices",
            &contents,
            |machine| machine.time(Time::FastInstructions).copy_serial_to(log),
            await_end,
        )
    };
    for begun_again in 0..RUNS_MAX - 1 {
        match run() {
            Err(error) if is_silence(&error) => keep_silent_log(begun_again + 1)?,
            end => return end.map(|log| Run { log, begun_again }),
        }
    }
    run().map(|log| Run { log, begun_again: RUNS_MAX - 1 })
}

/// Says that a run fell silent, as the one with this number, and puts the log aside.
fn keep_silent_log(number: u32) -> Result<()> {
    let kept = paths::lane("bench").join(format!("io-silent-{number}.log"));
    std::fs::rename(log_path(), &kept).with_context(|| format!("cannot write {}", kept.display()))?;
    eprintln!(
        "... nothing more is heard ({number} of at most {RUNS_MAX} times): once more; see {}",
        kept.display()
    );
    Ok(())
}

/// Whether the run ended because nothing was heard any more.
fn is_silence(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(crate::emulator::Error::TimedOut { .. }))
}

/// Where the serial log is kept.
fn log_path() -> PathBuf {
    paths::lane("bench").join("io.log")
}

fn log_file() -> Result<File> {
    paths::make_folder(&paths::lane("bench"))?;
    let path = log_path();
    File::create(&path).with_context(|| format!("cannot write {}", path.display()))
}

/// The initial RAM disk of a guest that runs `script`, and has the program that Linux guests talk by.
fn initramfs(script: &str) -> Result<Vec<u8>> {
    let mut initramfs = guest::initramfs()?;
    // The kernel unpacks one archive after the other.
    initramfs.extend(guest::initramfs::program("bin/peer", &paths::read(&build::peer_path())?)?);
    initramfs.extend(guest::initramfs::program("bin/measure", script.as_bytes())?);
    Ok(initramfs)
}

/// Ctrl-], which leads from a guest's console to the hypervisor's prompt.
const ESCAPE: &str = "\x1d";
const PROMPT: &str = "cofferdam> ";

/// Starts the client and waits until it has measured all, and ended. The server goes on for ever.
fn await_end(emulator: &mut Emulator) -> Result<()> {
    const PROGRESS: &str = "measured ";
    const END: &str = "vm client: lived ";
    emulator.expect("serving", BOOT)?;
    emulator.send(ESCAPE)?;
    emulator.expect(PROMPT, BOOT)?;
    emulator.send("vm start client\r")?;
    emulator.expect("vm client: started", BOOT)?;
    emulator.send("vm console client\r")?;
    let mut limit = BOOT;
    while emulator.expect_any(&[PROGRESS, END], limit)?.0 == 0 {
        limit = SILENCE;
    }
    let log = emulator.serial_log();
    if let Some(line) = log.lines().find(|line| line.contains("failed: ")) {
        bail!("the guest could not measure: {line}");
    }
    Ok(())
}

/// Every operation's cost in `log`, in the order of the yardsticks.
fn costs(log: &str) -> Result<Vec<Cost>> {
    let snapshots: Vec<Snapshot> = log.lines().filter_map(snapshot).collect();
    let switch = switch_instructions(&snapshots)?;
    YARDSTICKS.iter().map(|yardstick| cost(yardstick, &snapshots, switch)).collect()
}

/// The snapshot in a line `mark N: at N, guest N, slept N, exits N, interrupts N`.
fn snapshot(line: &str) -> Option<Snapshot> {
    let (_, report) = line.split_once("mark ")?;
    let (label, numbers) = report.trim_end().split_once(": ")?;
    Some(Snapshot {
        label: label.parse().ok()?,
        at: number(numbers, "at")?,
        guest: number(numbers, "guest")?,
        slept: number(numbers, "slept")?,
        exits: number(numbers, "exits")?,
        interrupts: number(numbers, "interrupts")?,
    })
}

/// How many instructions between the stamps around an entry and an exit are not the guest's: all but a few, where
/// an exit follows the other.
fn switch_instructions(snapshots: &[Snapshot]) -> Result<u64> {
    let of_bare: Vec<_> = snapshots.iter().filter(|snapshot| snapshot.label == BARE).collect();
    let differences = of_bare.windows(2).filter_map(|pair| pair[1].since(pair[0]));
    // What is more was an interrupt of the host.
    let least =
        differences.filter(|difference| difference.exits == 1).map(|difference| difference.guest).min();
    least
        .and_then(|ticks| ticks.checked_sub(BARE_INSTRUCTIONS))
        .context("the VM of bare exits has no snapshots")
}

/// What one operation costs: between the second and the third snapshot there are twice as many as between the first two.
fn cost(yardstick: &Yardstick, snapshots: &[Snapshot], switch: u64) -> Result<Cost> {
    let of_it: Vec<_> = snapshots.iter().filter(|snapshot| snapshot.label == yardstick.label).collect();
    let missing = || format!("\"{}\" was not measured: {of_it:?}", yardstick.operation);
    let [first, second, third] = of_it[..] else { bail!(missing()) };
    let once = second.since(first).with_context(missing)?;
    let twice = third.since(second).with_context(missing)?;
    let net = twice.since(&once).with_context(missing)?;
    let own = net.exits * switch;
    ensure!(own < net.guest && net.guest + net.slept < net.at, missing());
    let each = |count: u64| count as f64 / f64::from(yardstick.count);
    Ok(Cost {
        hypervisor: each(net.at - net.guest - net.slept + own),
        guest: each(net.guest - own),
        exits: each(net.exits),
        interrupts: each(net.interrupts),
    })
}

fn objects(costs: &[Cost], begun_again: u32, asked_again: usize) -> Vec<Value> {
    let object = |(yardstick, cost): (&Yardstick, &Cost)| {
        json!({
            "operation": yardstick.operation,
            "vendor": "amd",
            "hypervisor": cost.hypervisor,
            "guest": cost.guest,
            "exits": cost.exits,
            "interrupts": cost.interrupts,
            "begun_again": begun_again,
            "asked_again": asked_again,
            "must": yardstick.goal.as_ref().map(|goal| goal.must),
            "aim": yardstick.goal.as_ref().map(|goal| goal.aim),
        })
    };
    YARDSTICKS.iter().zip(costs).map(object).collect()
}

/// The table, in the form that documents take over.
struct Rows<'a>(&'a [Cost]);

impl fmt::Display for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| operation, in instructions | hypervisor | must | aim | guest | both | exits | interrupts | others, both |"
        )?;
        writeln!(f, "|---|---:|---:|---:|---:|---:|---:|---:|---|")?;
        for (yardstick, cost) in YARDSTICKS.iter().zip(self.0) {
            let Yardstick { operation, goal, others, .. } = yardstick;
            let Cost { hypervisor, guest, exits, interrupts } = cost;
            let (must, aim) = match goal {
                Some(Goal { must, aim }) => (must.to_string(), aim.to_string()),
                None => Default::default(),
            };
            let both = hypervisor + guest;
            writeln!(
                f,
                "| {operation} | {hypervisor:.0} | {must} | {aim} | {guest:.0} | {both:.0} | {exits:.2} | \
                 {interrupts:.2} | {others} |"
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Snapshots after `at` ticks in all, `guest` of them in a guest, and `exits` exits.
    fn lines(label: u8, marks: [(u64, u64, u64); 3]) -> String {
        let line = |(at, guest, exits): (u64, u64, u64)| {
            format!(
                "[1.5] info mark {label}: at {at}, guest {guest}, slept 10, exits {exits}, interrupts {exits}\r\n"
            )
        };
        marks.map(line).concat()
    }

    /// Three exits, with 70 instructions around each.
    fn of_bare_exits() -> String {
        lines(BARE, [(100, 73, 1), (300, 146, 2), (500, 219, 3)])
    }

    #[test]
    fn what_the_stamps_take_for_the_guests_is_learnt_from_bare_exits() {
        let snapshots: Vec<_> = of_bare_exits().lines().filter_map(snapshot).collect();
        assert_eq!(switch_instructions(&snapshots).unwrap(), 70);
        assert!(switch_instructions(&[]).is_err());
    }

    #[test]
    fn twice_the_operations_differ_from_once_by_those_alone() {
        // 7,000 ticks are the program's; each of the 1,000 operations takes 3,000 and two exits, of which 140 are the switch.
        let once = (10_000 + 7_000 + 3_000_000, 5_000 + 1_000_000, 2_000);
        let twice = (once.0 + 7_000 + 6_000_000, once.1 + 5_000 + 2_000_000, 6_000);
        let log = of_bare_exits() + &lines(1, [(10_000, 0, 0), once, twice]);
        let snapshots: Vec<_> = log.lines().filter_map(snapshot).collect();
        let cost = cost(&YARDSTICKS[0], &snapshots, 70).unwrap();
        assert_eq!(cost, Cost { hypervisor: 2_140.0, guest: 860.0, exits: 2.0, interrupts: 2.0 });
    }

    #[test]
    fn an_operation_that_was_not_measured_is_told() {
        assert!(costs(&of_bare_exits()).unwrap_err().to_string().contains("blk 4 KiB read"));
        assert!(costs("").unwrap_err().to_string().contains("bare exits"));
    }

    /// What asks for snapshots is built apart from what takes them, so that the constant stands in each.
    #[test]
    fn those_who_ask_for_snapshots_use_the_leaf_that_the_hypervisor_knows() {
        let leaf = |source: &'static str| {
            source.lines().find_map(|line| line.strip_prefix("const MARK: u32 = ")).unwrap()
        };
        let known = leaf(include_str!("../../../hypervisor/vmm/src/exits/cpuid.rs"));
        assert_eq!(leaf(include_str!("../../../tests/peer/src/main.rs")), known);
        assert_eq!(leaf(include_str!("../../../tests/guests/src/bin/bare-exits.rs")), known);
    }

    #[test]
    fn what_guests_say_when_they_ask_again_is_what_is_counted() {
        assert!(
            include_str!("../../../tests/peer/src/main.rs").contains(&format!("eprintln!(\"{ASKED_AGAIN}"))
        );
    }

    #[test]
    fn its_configuration_is_valid() {
        assert_eq!(config::parse(CONFIG).unwrap().vms.len(), 3);
    }
}
