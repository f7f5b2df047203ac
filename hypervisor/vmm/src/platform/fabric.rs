//! Where lines and messages meet: both interrupt controllers, the local APIC, and what devices reach beyond themselves.
//!
//! Two layers, since an interrupt controller is a device too: the IOAPIC acts through [`Local`], and every other device
//! through the whole [`Fabric`].

use backends::VmConsole;
use base::{ApicId, Gsi, Instant, Port, Vector};
use devices::lapic::{Accepted, Effect, LocalApic, Message, Pin, Role};
use devices::platform::PCI_GSIS;
use devices::{
    Access, Cx, Device, I8259Pair, InterruptMessage, Ioapic, PortAccess, Request, Width, WindowOffset,
};
use seams::Level;

/// The id of the one local APIC.
pub const APIC_ID: ApicId = ApicId(0);

/// The edge/level registers of the 8259 pair, and their value with PCI's inputs set.
const ELCR: Port = Port(0x4d0);
const ELCR_PCI: u32 = {
    let [even, odd] = PCI_GSIS;
    1 << even.0 | 1 << odd.0
};

/// The interrupt controllers, and what they act on.
pub struct Fabric {
    pic: I8259Pair,
    ioapic: Ioapic,
    /// Whether the 8259 pair asks for service: looked at after everything that can change it.
    pic_asked: bool,
    /// What every device may reach.
    pub local: Local,
}

/// What is left when the interrupt controllers are devices themselves.
pub struct Local {
    /// The time of the current access.
    pub now: Instant,
    /// The vCPU's local APIC.
    pub lapic: LocalApic,
    /// The console behind the UART.
    pub console: VmConsole,
    /// What the guest asked of its whole machine, not yet taken.
    pub request: Option<Request>,
    /// An NMI waits for the vCPU.
    pub nmi_pending: bool,
    /// An IOAPIC input programmed as ExtINT has fired: the 8259 pair is asked although LINT0 is closed.
    ext_int_sent: bool,
}

impl Fabric {
    /// The fabric after power-on, at `now`.
    pub fn new(console: VmConsole, now: Instant) -> Self {
        let mut lapic = LocalApic::new(APIC_ID, Role::Bootstrap);
        // There is no firmware that would connect the 8259 pair.
        lapic.enter_virtual_wire_mode();
        let mut fabric = Self {
            pic: I8259Pair::new(),
            ioapic: Ioapic::new(),
            pic_asked: false,
            local: Local { now, lapic, console, request: None, nmi_pending: false, ext_int_sent: false },
        };
        // Nor one that would make PCI's inputs level-triggered there.
        fabric.write_pic(Access { at: ELCR, width: Width::Word }, ELCR_PCI);
        fabric
    }

    /// Whether the vCPU would take an interrupt now if it took any.
    #[inline]
    pub fn interrupt_pending(&self) -> bool {
        self.ext_int_pending() || self.local.lapic.highest_pending().is_some()
    }

    /// Whether a device's interrupt can reach the vCPU as an NMI.
    pub fn devices_send_nmis(&self) -> bool {
        self.ioapic.sends_nmis() || self.local.lapic.takes_lint0_for_nmi()
    }

    /// The vector of the interrupt that the vCPU takes now. The 8259 pair goes first: its output is not subject to the
    /// task priority.
    #[inline]
    pub fn acknowledge(&mut self) -> Option<Vector> {
        if self.ext_int_pending() {
            return Some(self.acknowledge_ext_int());
        }
        self.local.lapic.acknowledge()
    }

    /// The vector of the 8259 pair's interrupt that the vCPU takes now.
    #[inline]
    pub fn acknowledge_ext_int(&mut self) -> Vector {
        self.local.ext_int_sent = false;
        let vector = self.pic.acknowledge();
        self.pic_may_have_changed();
        vector
    }

    /// Whether an interrupt of the 8259 pair waits for the vCPU.
    #[inline]
    pub fn ext_int_pending(&self) -> bool {
        self.pic_asked && (self.local.ext_int_sent || self.local.lapic.passes_ext_int())
    }

    /// Does what a write to the local APIC asked for.
    #[inline]
    pub fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::None => {}
            Effect::Send(message) => self.local.deliver(&message),
            Effect::EndOfInterrupt(vector) => self.ioapic.end_of_interrupt(&mut self.local, vector),
        }
    }

    /// Reads a register of the 8259 pair.
    pub fn read_pic(&mut self, access: PortAccess) -> u32 {
        let value = self.pic.read(&mut self.local, access);
        self.pic_may_have_changed();
        value
    }

    /// Writes a register of the 8259 pair.
    pub fn write_pic(&mut self, access: PortAccess, value: u32) {
        self.pic.write(&mut self.local, access, value);
        self.pic_may_have_changed();
    }

    /// Reads a register of the IOAPIC.
    pub fn read_ioapic(&mut self, access: Access<WindowOffset>) -> u32 {
        self.ioapic.read(&mut self.local, access)
    }

    /// Writes a register of the IOAPIC.
    pub fn write_ioapic(&mut self, access: Access<WindowOffset>, value: u32) {
        self.ioapic.write(&mut self.local, access, value);
    }

    /// The pair's output is wired to LINT0, which can be programmed as something else than ExtINT.
    fn pic_may_have_changed(&mut self) {
        let asks = self.pic.pending();
        if asks && !self.pic_asked {
            match self.local.lapic.pin(Pin::Lint0) {
                // Looked at when the vCPU can take it: the pair may have changed its mind by then.
                Accepted::ExtInt => {}
                accepted => self.local.take(accepted),
            }
        }
        self.pic_asked = asks;
    }
}

impl Local {
    /// Brings what the local APIC sends to itself, if it addresses itself.
    fn deliver(&mut self, message: &Message) {
        if self.lapic.is_addressed_by(message, Some(APIC_ID)) {
            let accepted = self.lapic.accept(message);
            self.take(accepted);
        }
    }

    #[inline]
    fn take(&mut self, accepted: Accepted) {
        match accepted {
            // SIPI is for a processor that waits for it, which the bootstrap processor never does.
            Accepted::Ignored | Accepted::Queued | Accepted::StartUp(_) => {}
            Accepted::Nmi => self.nmi_pending = true,
            // The bootstrap processor would start its firmware again.
            Accepted::Init => self.request = Some(Request::Reset),
            Accepted::ExtInt => self.ext_int_sent = true,
        }
    }
}

impl Cx for Local {
    fn now(&self) -> Instant {
        self.now
    }

    /// No interrupt controller drives a line.
    fn set_line(&mut self, _gsi: Gsi, _level: Level) {}

    fn send_interrupt(&mut self, message: InterruptMessage) {
        let accepted = self.lapic.accept_from_device(message);
        self.take(accepted);
    }

    fn console_out(&mut self, byte: u8) {
        self.console.push_output(byte);
    }

    fn request(&mut self, request: Request) {
        // The first one counts: nothing after it would have happened on a machine.
        self.request.get_or_insert(request);
    }
}

impl Cx for Fabric {
    fn now(&self) -> Instant {
        self.local.now
    }

    fn set_line(&mut self, gsi: Gsi, level: Level) {
        if let Some(message) = self.ioapic.set_line(gsi, level) {
            self.local.send_interrupt(message);
        }
        self.pic.set_line(gsi, level);
        self.pic_may_have_changed();
    }

    fn send_interrupt(&mut self, message: InterruptMessage) {
        self.local.send_interrupt(message);
    }

    #[inline]
    fn console_out(&mut self, byte: u8) {
        self.local.console_out(byte);
    }

    fn request(&mut self, request: Request) {
        self.local.request(request);
    }
}
