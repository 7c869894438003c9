//! What is counted, and when.

use std::collections::BTreeMap;
use std::fmt;

use crate::Kind;

/// What was counted between marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Instructions, marks not included.
    instructions: u64,
    kernel: u64,
    page_table_writes: u64,
    model_register_writes: u64,
    segment_base_instructions: u64,
    system_calls: u64,
    /// The most instructions of the kernel's between two points where it would take an interrupt, and where that stretch ended.
    longest: u64,
    longest_end: u64,
}

impl fmt::Display for Section {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { instructions, kernel, page_table_writes, model_register_writes, .. } = self;
        let Self { segment_base_instructions, system_calls, longest, longest_end, .. } = self;
        write!(
            formatter,
            r#""instructions":{instructions},"kernel":{kernel},"page_table_writes":{page_table_writes},"model_register_writes":{model_register_writes},"segment_base_instructions":{segment_base_instructions},"system_calls":{system_calls},"longest":{longest},"longest_end":"{longest_end:#x}""#
        )
    }
}

impl Section {
    fn count(&mut self, kind: Kind) {
        self.instructions += 1;
        self.kernel += u64::from(kind.is_kernel());
        match kind {
            Kind::PageTable => self.page_table_writes += 1,
            Kind::ModelRegister => self.model_register_writes += 1,
            Kind::SegmentBase => self.segment_base_instructions += 1,
            Kind::SystemCall => self.system_calls += 1,
            _ => {}
        }
    }

    /// A stretch ends. Says whether it is the longest so far.
    fn stretch(&mut self, length: u64, end: u64) -> bool {
        let longer = length > self.longest;
        if longer {
            (self.longest, self.longest_end) = (length, end);
        }
        longer
    }
}

/// The counter.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    counting: bool,
    /// Whether a program has called: what firmware and boot stub do is nobody's stretch.
    started: bool,
    /// The kernel's instructions since it would have taken an interrupt, and the last one's address.
    stretch: u64,
    last: u64,
    section: Section,
    number: u64,
    whole: Section,
    /// In or before which section the longest stretch of all ended.
    longest_in: u64,
    /// How often each address was executed in what is profiled.
    profile: BTreeMap<u64, u64>,
    profiled: Profiled,
    /// The addresses of this stretch, if the longest is profiled.
    addresses: Vec<u64>,
}

/// Of what the executed addresses are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Profiled {
    #[default]
    Nothing,
    /// Of a section.
    Section(u64),
    /// Of the longest stretch of all.
    Longest,
}

impl Counter {
    pub(crate) fn new(profiled: Profiled) -> Self {
        Self { profiled, ..Self::default() }
    }

    /// An instruction is executed. Gives what is to be written: the line of the section that ends with it, or, if that is what is
    /// profiled, all about the stretch that ends here and is longer than all before (the machine may be ended at any moment).
    pub(crate) fn executed(&mut self, kind: Kind, address: u64) -> Option<String> {
        let longer = (kind == Kind::Window || !kind.is_kernel()) && self.end_stretch();
        let told = (longer && self.profiled == Profiled::Longest).then(|| self.end());
        self.started |= kind == Kind::SystemCall;
        if kind.is_kernel() {
            self.stretch += 1;
            self.last = address;
            if self.profiled == Profiled::Longest {
                self.addresses.push(address);
            }
        }
        match kind {
            Kind::Begin => self.counting = true,
            Kind::Pause => self.counting = false,
            Kind::End => {
                let line = format!("{{\"section\":{},{}}}\n", self.number, self.section);
                self.number += 1;
                self.section = Section::default();
                return Some(line + &told.unwrap_or_default());
            }
            _ if self.counting => {
                self.section.count(kind);
                if self.profiled == Profiled::Section(self.number) {
                    *self.profile.entry(address).or_default() += 1;
                }
            }
            _ => {}
        }
        told
    }

    /// Says whether it was the longest of all.
    fn end_stretch(&mut self) -> bool {
        let mut longer = false;
        if self.started {
            longer = self.whole.stretch(self.stretch, self.last);
            if longer {
                self.longest_in = self.number;
                if self.profiled == Profiled::Longest {
                    self.profile.clear();
                    for &address in &self.addresses {
                        *self.profile.entry(address).or_default() += 1;
                    }
                }
            }
            if self.counting {
                self.section.stretch(self.stretch, self.last);
            }
        }
        self.stretch = 0;
        self.addresses.clear();
        longer
    }

    /// The last lines, as things are.
    pub(crate) fn end(&mut self) -> String {
        let mut text = format!("{{\"whole\":true,\"longest_in\":{},{}}}\n", self.longest_in, self.whole);
        for (address, times) in &self.profile {
            text += &format!("{{\"address\":\"{address:#x}\",\"times\":{times}}}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_has_what_is_between_its_marks() {
        let mut counter = Counter::new(Profiled::Nothing);
        let mut line = None;
        for kind in [
            Kind::Kernel,
            Kind::SystemCall,
            Kind::Begin,
            Kind::User,
            Kind::SystemCall,
            Kind::Kernel,
            Kind::PageTable,
            Kind::Window,
            Kind::Kernel,
            Kind::User,
            Kind::Pause,
            Kind::Kernel,
            Kind::End,
        ] {
            line = counter.executed(kind, 7);
        }
        let line = line.expect("the section's end");
        assert!(line.starts_with(r#"{"section":0,"instructions":7,"kernel":4,"page_table_writes":1,"#), "{line}");
        assert!(line.contains(r#""system_calls":1,"longest":2,"longest_end":"0x7"}"#), "{line}");
    }

    #[test]
    fn a_stretch_goes_on_until_interrupts_are_open_or_a_program_runs() {
        let mut counter = Counter::new(Profiled::Nothing);
        // The boot stub does not count.
        (0..9).for_each(|_| drop(counter.executed(Kind::Kernel, 1)));
        counter.executed(Kind::SystemCall, 0);
        (0..5).for_each(|at| drop(counter.executed(Kind::Kernel, 10 + at)));
        counter.executed(Kind::Window, 20);
        (0..3).for_each(|at| drop(counter.executed(Kind::Kernel, 30 + at)));
        counter.executed(Kind::User, 0);
        assert!(counter.end().contains(r#""longest":5,"longest_end":"0xe"}"#), "{}", counter.end());
    }
}
