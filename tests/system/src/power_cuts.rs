//! Power cuts: what a guest was told to be on its disk is there, wherever the power goes.
//!
//! A guest writes numbered records to a file system, each with fsync, and after each a promise to another partition of the
//! same disk of the host. That disk logs its writes and flushes, so the log itself tells what was promised before any
//! place in it. Afterwards the power is cut at some of these places, in images: see [`xtask::medium`].

use crate::faults::noticed;
use crate::linux::config;
use crate::{BOOT, STEP, WORK, line};
use anyhow::{Context, Result, bail, ensure};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use xtask::guest::{Kernel, initramfs};
use xtask::image::{Partition, ext4, write_disk};
use xtask::medium::write_log::{self, Entry};
use xtask::scenario::{Lab, On, Scenario, Speed};
use xtask::{medium, paths};

pub const SCENARIOS: &[Scenario] = &[
    quick("what_a_guest_has_flushed_outlives_twenty_power_cuts", power_cuts),
    quick("flushes_that_flush_nothing_fail_the_power_cuts", |lab| {
        noticed(lab, "skipped-flushes", power_cuts, "was promised")
    }),
];

const fn quick(name: &'static str, run: fn(&Lab) -> Result<()>) -> Scenario {
    Scenario { name, speed: Speed::Quick, on: On::Amd("Bochs has no disk that records flushes"), run }
}

/// What the guest runs.
const WRITER: &str = include_str!("power_cuts/writer.sh");
/// How many records it writes, and of how many bytes.
const RECORDS: usize = 60;
const RECORD_BYTES: usize = 10_000;
/// The guest's disks: partitions of one disk of the host.
const DISKS: &str =
    "[[vm.disk]]\nsource = \"partition:records\"\n\n[[vm.disk]]\nsource = \"partition:promises\"\n";
const RECORDS_MIB: u64 = 32;
const PROMISES_MIB: u64 = 1;
/// How often the power is cut.
const CUTS: usize = 20;
/// Decides where in the log, and what is lost.
const SEED: u64 = 1;

fn power_cuts(lab: &Lab) -> Result<()> {
    let disk = make_disk(lab)?;
    let before = paths::read(&disk.image)?;
    let log = run_writer(lab, &disk.image)?;
    let log = write_log::read(&log, before.len())?;
    let promises = promises(&log, &disk.promises);
    ensure!(promises.last() == Some(&RECORDS), "not all records were promised: {:?}", promises.last());
    let first = promises.iter().position(|promised| *promised != 0).context("nothing was promised")?;

    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut cuts = BTreeSet::new();
    while cuts.len() < CUTS {
        cuts.insert(first + random.next_u32() as usize % (log.len() - first));
    }
    let image = lab.folder().join("after.ext4");
    let mut losing = 0;
    let mut findings = Vec::new();
    for cut in cuts {
        let done = &log[..=cut];
        let mut medium = before.clone();
        medium::cut(&mut medium, done, &mut random);
        paths::write(&image, &medium[disk.records.clone()])?;
        let later = &done[medium::flushed(done)..];
        let at_risk = later.iter().filter(|entry| matches!(entry, Entry::Write(_))).count();
        losing += usize::from(at_risk != 0);
        let checks = [ext4::recover(&image), records_are_there(lab, &image, promises[cut])];
        let found = checks.into_iter().filter_map(Result::err);
        let place = format!("cut after entry {cut} of {}, {at_risk} writes not flushed", log.len());
        findings.extend(found.map(|error| format!("{place}: {error:#}")));
    }
    ensure!(findings.is_empty(), "{}", findings.join("\n"));
    ensure!(losing > CUTS / 4, "only {losing} of {CUTS} cuts had anything to lose");
    Ok(())
}

/// The host's disk, and where on it the guest's are, in bytes.
struct Disk {
    image: PathBuf,
    records: Range<usize>,
    promises: Range<usize>,
}

/// Makes a disk with an empty file system for the records, and a place for the promises.
fn make_disk(lab: &Lab) -> Result<Disk> {
    let empty = lab.folder().join("empty.ext4");
    let options = ["-J", "size=4", "-E", "root_owner=0:0,lazy_itable_init=0"];
    ext4::make("making a file system", &options, &empty, &format!("{RECORDS_MIB}M"))?;
    let partitions = [
        Partition { label: "records", contents: &paths::read(&empty)?, size_mib: RECORDS_MIB },
        Partition { label: "promises", contents: &[], size_mib: PROMISES_MIB },
    ];
    let image = lab.folder().join("data.img");
    let starts = write_disk(&partitions, &image)?;
    let [records, promises] = starts[..] else { bail!("two partitions begin at {starts:?}") };
    let range = |start: u64, size_mib: u64| start as usize..(start + (size_mib << 20)) as usize;
    Ok(Disk { image, records: range(records, RECORDS_MIB), promises: range(promises, PROMISES_MIB) })
}

/// Runs the writer in a guest whose disks are on `image`; returns the log of what was done to that.
fn run_writer(lab: &Lab, image: &Path) -> Result<Vec<u8>> {
    let variables = format!("RECORDS={RECORDS} RECORD_BYTES={RECORD_BYTES}");
    let config = config(&format!("cmdline = \"console=ttyS0 run=writer {variables}\"")) + DISKS;
    let mut contents = lab.contents(&config)?;
    contents.add("kernel", lab.vmlinux(Kernel::V6_12)?);
    let mut archives = lab.initramfs()?;
    archives.extend(initramfs::program("bin/writer", WRITER.as_bytes())?);
    contents.add("initramfs.cpio", archives);

    let log = lab.folder().join("data.log");
    // QEMU makes no file by itself.
    paths::write(&log, &[])?;
    let files = format!("file.filename={},log.filename={}", image.display(), log.display());
    let drive = format!("driver=blklogwrites,node-name=data,file.driver=file,log.driver=file,{files}");
    let machine = lab.machine(&lab.image(&contents)?);
    let mut emulator =
        lab.start(machine.qemu_args(["-blockdev", &drive, "-device", "nvme,drive=data,serial=data"]))?;
    emulator.expect("the writer begins", BOOT)?;
    emulator.expect("all records are promised", WORK)?;
    emulator.expect("vm demo: ended: powered off", STEP)?;
    line::await_power_off(&mut emulator)?;
    paths::read(&log)
}

/// Behind each entry, the greatest number that was promised by then; 0 where none was.
fn promises(log: &[Entry<'_>], place: &Range<usize>) -> Vec<usize> {
    let mut promised = 0;
    let behind = |entry: &Entry<'_>| {
        if let Entry::Write(write) = entry
            && place.contains(&write.start)
            && let Some(number) = number_of(write.data)
        {
            promised = promised.max(number);
        }
        promised
    };
    log.iter().map(behind).collect()
}

/// The number of a promise.
fn number_of(block: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(block).ok()?;
    text.lines().next()?.strip_prefix("promise ")?.parse().ok()
}

/// The records from the first to the one numbered `promised` are as they were written.
fn records_are_there(lab: &Lab, image: &Path, promised: usize) -> Result<()> {
    let folder = tempfile::tempdir_in(lab.folder())?;
    ext4::copy_out(image, "/records", folder.path())?;
    for number in 1..=promised {
        let found = std::fs::read(folder.path().join(format!("records/{number}"))).unwrap_or_default();
        let line = format!("record {number}\n");
        let is_whole = line.bytes().cycle().take(RECORD_BYTES).eq(found);
        ensure!(is_whole, "record {number} was promised, as all up to {promised}, and is not there");
    }
    Ok(())
}
