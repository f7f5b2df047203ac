extern crate std;

use super::testing::{BUFFERS, Buffer, Driver, Layout, Used};
use super::*;

const BOTH: u64 = feature::RING_INDIRECT_DESC | feature::RING_EVENT_IDX;

fn take(driver: &Driver, queue: &mut Queue) -> Result<Option<(Head, Chain)>, Broken> {
    let mut chain = Chain::new();
    Ok(queue.next_chain(&driver.memory, &mut chain)?.map(|head| (head, chain)))
}

#[test]
fn a_chain_comes_as_its_readable_and_then_its_writable_buffers() {
    for layout in [Layout::Direct, Layout::Indirect] {
        let (mut driver, mut queue) = Driver::new(8, BOTH);
        let buffers =
            [Buffer::Readable(BUFFERS, 16), Buffer::Writable(0x5000, 0x200), Buffer::Writable(0x7000, 1)];
        let head = driver.add(layout, &buffers).unwrap();
        let (taken, chain) = take(&driver, &mut queue).unwrap().unwrap();
        assert_eq!(taken, Head(head));
        assert_eq!(chain.readable(), [Segment { gpa: Gpa::from_low_bits(BUFFERS), len_bytes: 16 }]);
        assert_eq!(chain.writable().len(), 2);
        assert_eq!((chain.readable_bytes(), chain.writable_bytes()), (16, 0x201));
        queue.push_used(&driver.memory, taken, 5).unwrap();
        assert_eq!(driver.take_used(), [], "not shown before it is settled");
        assert_eq!(queue.settle(&driver.memory), Ok(Signal::Needed));
        assert_eq!(driver.take_used(), [Used { head, written_bytes: 5 }]);
        assert!(take(&driver, &mut queue).unwrap().is_none());
    }
}
