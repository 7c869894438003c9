//! Random mappings of one process, beside a table that says page by page what is mapped: what may be mapped, what is read there, and
//! that there are never more records than if each `MAP` made one of its own.

use abi::object::{access, memory, process};
use abi::{Error, Handle};
use simulator::random::Random;
use simulator::scenario;
use simulator::scenario::{Log, Plan, Process, Root};

const PLACE: u64 = 0x60_0000_0000;
const PAGE: u64 = abi::PAGE_SIZE;
/// Where is mapped; more than one large page's place.
const PAGES: u64 = 48;
const FIELD: u64 = PLACE + 490 * PAGE;
/// Pages of each of the two Memories.
const LENGTH: u64 = 16;
const RW: u64 = access::READ | access::WRITE;

/// A page of the table.
#[derive(Clone, Copy, PartialEq)]
struct Page {
    /// Which Memory, and which page of it.
    what: (usize, u64),
    bits: u64,
    /// Which record it would be in, if none were joined.
    record: u64,
}

struct Table {
    pages: [Option<Page>; PAGES as usize],
    records: u64,
}

impl Table {
    fn next_record(&mut self) -> u64 {
        self.records += 1;
        self.records
    }

    fn map(&mut self, first: u64, count: u64, (memory, offset): (usize, u64), bits: u64) {
        let record = self.next_record();
        for page in 0..count {
            self.pages[(first + page) as usize] = Some(Page { what: (memory, offset + page), bits, record });
        }
    }

    /// Records of which the range takes a part are cut where it begins and ends, if they permit something else.
    fn protect(&mut self, first: u64, count: u64, bits: u64) {
        let mut before = None;
        let mut cut = 0;
        for at in first..first + count {
            if let Some(mut page) = self.pages[at as usize].filter(|page| page.bits != bits) {
                if before != Some((at.wrapping_sub(1), page.record)) {
                    cut = self.next_record();
                }
                before = Some((at, page.record));
                (page.bits, page.record) = (bits, cut);
                self.pages[at as usize] = Some(page);
            }
        }
    }

    fn is_free(&self, first: u64, count: u64) -> bool {
        (first..first + count).all(|at| self.pages[at as usize].is_none())
    }

    /// How many records there would be.
    fn runs(&self) -> u32 {
        let record = |at: usize| self.pages[at].map(|page| page.record);
        (0..PAGES as usize).filter(|&at| record(at).is_some() && (at == 0 || record(at) != record(at - 1))).count()
            as u32
    }
}

/// What is in a page of a Memory.
fn content((memory, page): (usize, u64)) -> u64 {
    1000 * (memory as u64 + 1) + page
}

async fn filled(root: &Root, number: usize) -> Handle {
    let memory = root.memory(LENGTH).await;
    let base = root.user.method(memory, memory::INFORMATION, [0; 4]).ok().await.words[2];
    for page in 0..LENGTH {
        root.user.world().memory().write(base + page * PAGE, &content((number, page)).to_le_bytes());
    }
    memory
}

/// One random step; the table changes as the mappings should.
async fn step(root: &Root, process: &Process, memories: &[Handle; 2], random: &Random, table: &mut Table) {
    let (first, user) = (random.below(PAGES), root.user.clone());
    let count = 1 + random.below(4.min(PAGES - first));
    let (address, length) = (FIELD + first * PAGE, count * PAGE);
    let bits = if random.chance(800) { RW } else { access::READ };
    match random.below(10) {
        0..=5 => {
            // What lies side by side in a Memory is mostly mapped side by side.
            let number = random.below(2) as usize;
            let offset = if random.chance(900) { first % LENGTH } else { random.below(LENGTH) }.min(LENGTH - count);
            let words = [memories[number].0, address | bits, offset * PAGE, length];
            let error = user.method(process.handle, process::MAP, words).repeat().await.error();
            let free = table.is_free(first, count);
            assert_eq!(error, (!free).then_some(Error::Busy), "{count} pages from {first}");
            if free {
                table.map(first, count, (number, offset), bits);
            }
        }
        6..=8 => {
            user.method(process.handle, process::UNMAP, [address, length, 0, 0]).repeat().await;
            table.pages[first as usize..(first + count) as usize].fill(None);
        }
        _ => {
            user.method(process.handle, process::PROTECT, [address | bits, length, 0, 0]).repeat().await;
            table.protect(first, count, bits);
        }
    }
}

#[test]
fn random_mappings_are_what_a_table_of_pages_says() {
    for seed in 1..=20 {
        scenario(move |root| async move {
            let process = root.process().await;
            let memories = [filled(&root, 0).await, filled(&root, 1).await];
            let own = root.usage(process.handle).await.used.mappings;
            let random = Random::new(seed);
            let mut table = Table { pages: [None; PAGES as usize], records: 0 };
            let mut joined = 0;
            for number in 0..200 {
                step(&root, &process, &memories, &random, &mut table).await;
                let (used, runs) = (root.usage(process.handle).await.used.mappings - own, table.runs());
                assert!(used <= runs, "seed {seed}, step {number}: {used} records for {runs}");
                joined += runs - used;
            }
            assert!(joined > 0, "seed {seed}: never two that are one");
            let log = Log::new();
            let (noted, pages) = (log.clone(), table.pages);
            root.start(Plan::new(&process, "reader").priority(10), |user| async move {
                for (at, page) in pages.iter().enumerate() {
                    let Some(page) = page else { continue };
                    let address = FIELD + at as u64 * PAGE;
                    assert_eq!(user.load_word(address).await, content(page.what), "seed {seed}, page {at}");
                    if page.bits == RW {
                        user.store_word(address, content(page.what)).await;
                    }
                }
                noted.note("read");
            })
            .await;
            root.until_noted(&log, 1).await;
        });
    }
}
