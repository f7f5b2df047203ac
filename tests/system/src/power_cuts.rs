//! Power cuts: what a guest was told to be on its disk is there, wherever the power goes.
//!
//! A guest writes numbered records to a file system, each with fsync, and after each a promise to another partition of the
//! same disk of the host. That disk records its writes and flushes, so the record itself tells what was promised before
//! any place in it. Afterwards the power is cut at some of these places, in images: see [`xtask::medium`].

use crate::faults::noticed;
use crate::linux::config;
use crate::{BOOT, STEP};
use anyhow::{Context, Result, ensure};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Range;
use std::path::Path;
use xtask::emulator::Ending;
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
/// Of the file system.
const SIZE_MIB: u64 = 32;
/// How often the power is cut.
const CUTS: usize = 20;
/// Where, and what is lost.
const SEED: u64 = 1;

/// A run of the writer.
struct Recording {
    /// The host's disk before it.
    before: Vec<u8>,
    /// Where on it the file system is, and the promises.
    records: Range<usize>,
    promises: Range<usize>,
    /// What was done to it.
    log: Vec<u8>,
}

fn power_cuts(lab: &Lab) -> Result<()> {
    let recording = record(lab)?;
    let log = write_log::read(&recording.log, recording.before.len())?;
    let promises = promises(&log, &recording.promises);
    let first = promises.iter().position(|promise| *promise != 0).context("nothing was promised")?;
    ensure!(promises.last() == Some(&RECORDS), "not all records were promised: {:?}", promises.last());

    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut cuts = BTreeSet::new();
    while cuts.len() < CUTS {
        cuts.insert(first + random.next_u32() as usize % (log.len() - first));
    }
    let image = lab.folder().join("after.ext4");
    let (mut troubles, mut at_risk) = (Vec::new(), 0);
    for cut in cuts {
        let done = &log[..=cut];
        let mut medium = recording.before.clone();
        medium::cut(&mut medium, done, &mut random);
        paths::write(&image, &medium[recording.records.clone()])?;
        let later =
            done[medium::flushed(done)..].iter().filter(|entry| matches!(entry, Entry::Write(_))).count();
        at_risk += usize::from(later != 0);
        for error in [ext4::recover(&image), records_are_there(lab, &image, promises[cut])] {
            let place = format!("cut after entry {cut} of {}, {later} writes not flushed", log.len());
            troubles.extend(error.err().map(|error| format!("{place}: {error:#}")));
        }
    }
    ensure!(troubles.is_empty(), "{}", troubles.join("\n"));
    ensure!(at_risk > CUTS / 4, "only {at_risk} of {CUTS} cuts had anything to lose");
    Ok(())
}

/// Runs the writer.
fn record(lab: &Lab) -> Result<Recording> {
    let empty = lab.folder().join("empty.ext4");
    let options = ["-J", "size=4", "-E", "root_owner=0:0,lazy_itable_init=0"];
    ext4::make("making a file system", &options, &empty, &format!("{SIZE_MIB}M"))?;
    let partitions = [
        Partition { label: "records", contents: &paths::read(&empty)?, size_mib: SIZE_MIB },
        Partition { label: "promises", contents: &[], size_mib: 1 },
    ];
    let (disk, log) = (lab.folder().join("data.img"), lab.folder().join("data.log"));
    let starts = write_disk(&partitions, &disk)?;
    let mut places = starts.iter().zip(&partitions).map(|(start, partition)| {
        let start = *start as usize;
        start..start + ((partition.size_mib as usize) << 20)
    });
    let place = "a place for each partition";
    let (records, promises) = (places.next().context(place)?, places.next().context(place)?);
    let before = paths::read(&disk)?;
    File::create(&log)?;

    let disks =
        "[[vm.disk]]\nsource = \"partition:records\"\n\n[[vm.disk]]\nsource = \"partition:promises\"\n";
    let cmdline =
        format!("cmdline = \"console=ttyS0 run=writer RECORDS={RECORDS} RECORD_BYTES={RECORD_BYTES}\"");
    let mut contents = lab.contents(&(config(&cmdline) + disks))?;
    contents.add("kernel", lab.vmlinux(Kernel::V6_12)?);
    let mut archives = lab.initramfs()?;
    archives.extend(initramfs::program("bin/writer", WRITER.as_bytes())?);
    contents.add("initramfs.cpio", archives);
    let (file, log_file) = (disk.display(), log.display());
    let drive = format!(
        "driver=blklogwrites,node-name=data,file.driver=file,file.filename={file},\
         log.driver=file,log.filename={log_file}"
    );
    let machine = lab.machine(&lab.image(&contents)?);
    let mut emulator =
        lab.start(machine.qemu_args(["-blockdev", &drive, "-device", "nvme,drive=data,serial=data"]))?;
    emulator.expect("all records are promised", BOOT)?;
    emulator.expect("vm demo: ended: powered off", STEP)?;
    ensure!(emulator.wait_exit(STEP)? == Ending::PoweredOff);
    Ok(Recording { before, records, promises, log: paths::read(&log)? })
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
fn number_of(sector: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(sector).ok()?;
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
