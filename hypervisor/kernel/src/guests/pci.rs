//! A VM's devices on PCI: which there are, in which slots, and the step of each.
//!
//! | slots | devices |
//! |---|---|
//! | 1 and up | disks, in the order of the configuration |
//! | then | NICs, in the order of the configuration |
//! | then | the console and the source of random bytes |

use super::Present;
use crate::entropy::HostEntropy;
use crate::network::Networks;
use crate::storage::HostVolume;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use base::{Instant, VmId};
use devices::pci::Slot;
use devices::virtio::blk::{Blk, ID_BYTES};
use devices::virtio::console::Console;
use devices::virtio::net::Net;
use devices::virtio::rng::Rng;
use log::warn;
use seams::Block;
use vmm::vm::Model;

/// The devices of the VM that `config` describes, in the order of their slots.
///
/// # Errors
/// When there is no memory for one.
pub fn of(config: &config::Vm, disks: &[HostVolume]) -> Result<Vec<Model>, String> {
    let mut models = Vec::new();
    for (number, volume) in disks.iter().enumerate() {
        let disk = Blk::new(volume.geometry(), id(config, number));
        models.push(Model::Disk(disk.map_err(|_| String::from("the host has no memory for its disks"))?));
    }
    models.extend(config.nics.iter().map(|nic| Model::Net(Net::new(nic.mac, None))));
    models.push(Model::Console(Console::new()));
    models.push(Model::Entropy(Rng::new()));
    Ok(models)
}

/// Puts the VM's NICs on their networks.
///
/// # Errors
/// Why one cannot be there.
pub fn attach(vm: VmId, config: &config::Vm, networks: &mut Networks) -> Result<(), String> {
    let slots = (1..Slot::COUNT).filter_map(Slot::new).skip(config.disks.len());
    config.nics.iter().zip(slots).try_for_each(|(nic, slot)| networks.attach(vm, slot, nic))
}

/// A disk's name, by which a guest's tools can tell it from others: the VM's, as far as there is room, and its number.
fn id(config: &config::Vm, number: usize) -> [u8; ID_BYTES] {
    let number = format!("-{number}");
    let name = config.name.as_str().as_bytes();
    let room = ID_BYTES - number.len().min(ID_BYTES);
    let mut id = [0; ID_BYTES];
    let bytes = name.iter().take(room).chain(number.as_bytes());
    id.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    id
}

impl Present {
    /// Takes a step of each device that was kicked, and of disks whose media may have finished something.
    pub fn run_devices(&mut self, now: Instant, entropy: &mut HostEntropy, media: Media) {
        let first_nic = self.disks.len();
        let first_other = first_nic + self.nics;
        for slot in self.vm.kicked_devices() {
            let place = usize::from(slot.number()).saturating_sub(1);
            if place < first_nic {
                if media == Media::Idle
                    && let Some(volume) = self.disks.get_mut(place)
                {
                    self.vm.run_disk(slot, now, volume);
                }
            } else if place == first_other {
                self.vm.run_console(slot, now);
            } else if place > first_other {
                self.vm.run_entropy(slot, now, entropy);
            }
        }
        if media == Media::Busy {
            for (volume, slot) in self.disks.iter_mut().zip((1..Slot::COUNT).filter_map(Slot::new)) {
                self.vm.run_disk(slot, now, volume);
            }
        }
        if let Some(broken) = self.vm.take_broken(now) {
            warn!("vm {}: {broken}", self.vm.name());
        }
    }
}

/// Whether drives have done something since devices were last run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// They have.
    Busy,
    /// They have not.
    Idle,
}
