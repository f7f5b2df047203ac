//! The files that a VM starts from: boot put them into memory. They stay there for a VM that a reset loads again.

use alloc::{format, string::String, vec::Vec};
use base::PhysRange;
use config::RelativePath;
use memory::{SharedMemory, View};
use vmm::{File, Image, Module};

/// Where the files of one VM are.
pub struct Files {
    kernel: Named,
    initrd: Option<Named>,
    /// With their arguments.
    modules: Vec<(Named, String)>,
    cmdline: String,
}

struct Named {
    name: String,
    range: PhysRange,
}

/// The files, visible as long as this lives.
pub struct Opened {
    kernel: View,
    initrd: Option<View>,
    modules: Vec<View>,
}

impl Files {
    /// Finds the files that `vm` names among `kept`, those of boot's that are still there.
    pub fn of(vm: &config::Vm, kept: &[handoff::File]) -> Result<Self, String> {
        let find = |path: &RelativePath| {
            let file = kept.iter().find(|file| file.path == path.as_str());
            let range = file.map(|file| file.range);
            let range = range.ok_or_else(|| {
                format!("{path} was given back after the VM's start; on_reset = \"restart\" keeps it")
            })?;
            Ok::<_, String>(Named { name: String::from(path.as_str()), range })
        };
        Ok(Self {
            kernel: find(&vm.kernel.value)?,
            initrd: vm.initrd.as_ref().map(|path| find(&path.value)).transpose()?,
            modules: vm
                .modules
                .iter()
                .map(|module| Ok((find(&module.path.value)?, module.arguments.clone())))
                .collect::<Result<_, String>>()?,
            cmdline: vm.cmdline.clone(),
        })
    }

    /// Maps the files.
    pub fn open(&self, memory: &'static SharedMemory) -> Result<Opened, String> {
        let view =
            |file: &Named| View::new(memory, file.range).map_err(|error| format!("{}: {error}", file.name));
        Ok(Opened {
            kernel: view(&self.kernel)?,
            initrd: self.initrd.as_ref().map(view).transpose()?,
            modules: self.modules.iter().map(|(file, _)| view(file)).collect::<Result<_, _>>()?,
        })
    }
}

impl Opened {
    /// The files as the loader wants them.
    pub fn image<'a>(&'a self, files: &'a Files) -> Image<'a> {
        let initrd = files.initrd.as_ref().zip(self.initrd.as_ref());
        let modules = files.modules.iter().zip(&self.modules).map(|((file, arguments), view)| Module {
            file: File { name: &file.name, bytes: view },
            arguments,
        });
        Image {
            kernel: File { name: &files.kernel.name, bytes: &self.kernel },
            initrd: initrd.map(|(file, view)| File { name: &file.name, bytes: view }),
            modules: modules.collect(),
            cmdline: &files.cmdline,
        }
    }
}
